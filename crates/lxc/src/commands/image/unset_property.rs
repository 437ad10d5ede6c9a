//! `lxc image unset-property`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;

/// Remove a property of an image
#[derive(Debug, Args)]
#[command(after_help = "lxc image unset-property web description")]
pub struct UnsetProperty {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// The property
    key: String,
}

impl UnsetProperty {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut record = super::record(app, &self.image).await?;
        if record.value.properties.remove(&self.key).is_none() {
            bail!("Can't unset property '{}', it's not currently set", self.key);
        }
        record.save().await
    }
}
