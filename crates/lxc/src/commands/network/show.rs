//! `lxc network show`.

use anyhow::Result;
use api::networks::Network;
use clap::Args;

use crate::app::App;
use crate::{output, yaml};

/// Show network configurations
#[derive(Debug, Args)]
#[command(after_help = "lxc network show lxdbr0")]
pub struct Show {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        output::text_block(&yaml::emit_fields(&client.get::<Network>(&path).await?)?);
        Ok(())
    }
}
