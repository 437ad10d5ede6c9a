//! `lxc alias list`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List all the aliases
#[derive(Debug, Args)]
#[command(after_help = "lxc alias list")]
pub struct List {
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut table = Table::new(["ALIAS", "TARGET"]);
        for (alias, target) in &app.config.aliases {
            table.row([alias, target]);
        }
        self.format.parse()?.write(&table, || Ok(json!(app.config.aliases)))
    }
}
