//! `lxc remote list`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::format::FormatFlag;
use crate::remotes;
use crate::table::Table;

/// List the available remotes
#[derive(Debug, Args)]
#[command(after_help = "lxc remote list")]
pub struct List {
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let yes_no = |flag: bool| if flag { "YES" } else { "NO" };
        let mut table = Table::new(["NAME", "URL", "PROTOCOL", "PUBLIC", "STATIC"]);
        for (name, remote) in &app.config.remotes {
            let shown = if *name == app.config.default_remote { format!("{name} (default)") } else { name.clone() };
            let is_fixed = remotes::fixed(name).is_some();
            table.row([&shown, &remote.addr, remote.protocol(), yes_no(remote.public), yes_no(is_fixed)]);
        }
        table.sort();
        self.format.parse()?.write(&table, || Ok(serde_json::to_value(&app.config.remotes)?))
    }
}
