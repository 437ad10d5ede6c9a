//! `lxc config trust revoke-token`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;

/// Revoke a token
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust revoke-token laptop")]
pub struct RevokeToken {
    /// Name of the client that the token was made for
    #[arg(value_name = "[REMOTE:]NAME")]
    name: String,
}

impl RevokeToken {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve(&self.name)?;
        let mut found = super::tokens(&client).await?;
        found.retain(|(_, token)| token.client_name == name);
        if found.is_empty() {
            bail!("No token for client {name} (`lxc config trust list-tokens` shows those there are)");
        }
        for (operation, _) in found {
            client.cancel_operation(&operation).await?;
        }
        Ok(())
    }
}
