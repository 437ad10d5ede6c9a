//! `lxc config metadata show`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::output;

/// Show container metadata files
///
/// What `lxc publish` puts into the image: its properties, and which files are made from which templates, and when.
#[derive(Debug, Args)]
#[command(after_help = "lxc config metadata show c1")]
pub struct Show {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path) = super::locate(app, &self.name)?;
        output::text_block(&super::shown(&client, &path).await?);
        Ok(())
    }
}
