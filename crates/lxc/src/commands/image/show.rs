//! `lxc image show`.

use anyhow::Result;
use api::images::{Image, ImagePut};
use clap::Args;

use crate::app::App;
use crate::commands::image_servers::ImageServer;
use crate::{images, output, units, yaml};

/// Show image properties
#[derive(Debug, Args)]
#[command(after_help = "lxc image show debian/12")]
pub struct Show {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let target = app.target(&self.image)?;
        app.note("Image", images::name_or_default(&target.name));
        let image = ImageServer::of(app, &target.remote)?.load(&target.name).await?;
        output::text_block(&text(image)?);
        Ok(())
    }
}

/// The writable part of an image as YAML.
pub fn text(image: Image) -> Result<String> {
    let expires_at = Some(image.expires_at).filter(|time| !units::is_unset(*time));
    yaml::emit_fields(&ImagePut { auto_update: image.auto_update, expires_at, properties: image.properties, public: image.public })
}
