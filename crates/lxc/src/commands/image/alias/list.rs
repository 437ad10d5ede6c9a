//! `lxc image alias list`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::format::FormatFlag;
use crate::commands::image_servers::ImageServer;
use crate::table::Table;

/// List image aliases
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image alias list
lxc image alias list debian")]
pub struct List {
    /// Part of an alias or fingerprint
    #[arg(value_name = "[REMOTE:]FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let target = app.target(self.filter.as_deref().unwrap_or(""))?;
        let mut aliases = ImageServer::of(app, &target.remote)?.aliases().await?;
        aliases.retain(|alias| alias.name.contains(&target.name) || alias.target.contains(&target.name));
        let mut table = Table::new(["ALIAS", "FINGERPRINT", "DESCRIPTION"]);
        for alias in &aliases {
            table.row([alias.name.clone(), alias.target.chars().take(12).collect(), alias.description.clone()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&aliases)?))
    }
}
