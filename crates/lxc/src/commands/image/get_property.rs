//! `lxc image get-property`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::commands::image_servers::ImageServer;
use crate::{images, output};

/// Get the value of an image property
///
/// One that is not there prints an empty line.
#[derive(Debug, Args)]
#[command(after_help = "lxc image get-property debian/12 description")]
pub struct GetProperty {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// The property
    key: String,
}

impl GetProperty {
    pub async fn run(self, app: &App) -> Result<()> {
        let target = app.target(&self.image)?;
        app.note("Image", images::name_or_default(&target.name));
        let image = ImageServer::of(app, &target.remote)?.load(&target.name).await?;
        output::value(image.properties.get(&self.key).map_or("", String::as_str));
        Ok(())
    }
}
