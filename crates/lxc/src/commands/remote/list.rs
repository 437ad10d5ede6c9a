//! `lxc remote list`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::config::LOCAL;
use crate::format::FormatFlag;
use crate::table::Table;

/// List the available remotes
///
/// Only servers on this host are reached so far.
#[derive(Debug, Args)]
#[command(after_help = "lxc remote list")]
pub struct List {
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut remotes = vec![(LOCAL, "unix://", "YES")];
        let others = app.config.remotes.iter().filter(|(name, remote)| *name != LOCAL && remote.addr.starts_with("unix:"));
        remotes.extend(others.map(|(name, remote)| (name.as_str(), remote.addr.as_str(), "NO")));
        let mut table = Table::new(["NAME", "URL", "PROTOCOL", "PUBLIC", "STATIC"]);
        for &(name, url, is_static) in &remotes {
            let shown = if name == app.config.default_remote { format!("{name} (default)") } else { name.to_owned() };
            table.row([&shown, url, "lxd", "NO", is_static]);
        }
        table.sort();
        self.format.parse()?.write(&table, || {
            let records = remotes.iter().map(|(name, url, _)| ((*name).to_owned(), json!({"addr": url, "protocol": "lxd", "public": false})));
            Ok(serde_json::Value::Object(records.collect()))
        })
    }
}
