//! `lxc config template list`.

use anyhow::Result;
use clap::Args;

use super::Templates;
use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List container file templates
#[derive(Debug, Args)]
#[command(after_help = "lxc config template list c1")]
pub struct List {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let names = Templates::of(app, &self.name)?.names().await?;
        let mut table = Table::new(["FILENAME"]);
        for name in &names {
            table.row([name.as_str()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&names)?))
    }
}
