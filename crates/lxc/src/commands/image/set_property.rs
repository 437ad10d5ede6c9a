//! `lxc image set-property`.

use anyhow::Result;
use clap::Args;

use crate::app::App;

/// Set a property of an image
#[derive(Debug, Args)]
#[command(after_help = "lxc image set-property web description \"Web server\"")]
pub struct SetProperty {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// The property
    key: String,
    /// Its value
    #[arg(allow_hyphen_values = true)]
    value: String,
}

impl SetProperty {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut record = super::record(app, &self.image).await?;
        record.value.properties.insert(self.key, self.value);
        record.save().await
    }
}
