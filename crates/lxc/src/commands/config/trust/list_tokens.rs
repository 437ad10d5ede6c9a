//! `lxc config trust list-tokens`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;
use crate::units;

/// List the tokens that can be used
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust list-tokens")]
pub struct ListTokens {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl ListTokens {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let tokens = super::tokens(&app.server(self.remote.as_deref())?).await?;
        let mut table = Table::new(["NAME", "TOKEN", "EXPIRES AT"]);
        for (_, token) in &tokens {
            table.row([token.client_name.clone(), token.encode(), units::minute(token.expires_at)]);
        }
        table.sort();
        let record = |token: &api::certificates::TrustToken| json!({"ClientName": token.client_name, "Token": token.encode(), "ExpiresAt": units::minute(token.expires_at)});
        format.write(&table, || Ok(tokens.iter().map(|(_, token)| record(token)).collect()))
    }
}
