//! `lxc image edit`.

use anyhow::Result;
use api::images::ImagePut;
use clap::Args;
use client::path;

use super::show;
use crate::app::App;
use crate::commands::keys;
use crate::images;

const HELP: &str = "This is a YAML representation of the image properties.
Any line starting with a '#' will be ignored.

Each property is represented by a single line:
An example would be:
properties:
  description: My custom image";

/// Edit image properties as YAML
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image edit debian/12
lxc image edit debian/12 < properties.yaml")]
pub struct Edit {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve(&self.image)?;
        app.note("Image", images::name_or_default(&name));
        let image = images::load(&client, &name).await?;
        let image_path = path(&["images", &image.fingerprint]);
        keys::edit::<ImagePut>(&client, image_path, &show::text(image)?, HELP).await
    }
}
