//! `lxc operation list`.

use std::collections::BTreeMap;

use anyhow::Result;
use api::operations::Operation;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;
use crate::units;

/// List background operations
#[derive(Debug, Args)]
#[command(after_help = "lxc operation list")]
pub struct List {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let client = app.server(self.remote.as_deref())?;
        let by_status: BTreeMap<String, Vec<Operation>> = client.get(&format!("{}?recursion=1", path(&["operations"]))).await?;
        let mut operations: Vec<Operation> = by_status.into_values().flatten().collect();
        // Their ids say nothing: oldest first.
        operations.sort_by_key(|operation| operation.created_at.0);
        let mut table = Table::new(["ID", "TYPE", "DESCRIPTION", "STATUS", "CANCELABLE", "CREATED"]);
        for operation in &operations {
            let cancelable = if operation.may_cancel { "YES" } else { "NO" };
            let created = units::minute(operation.created_at);
            table.row([&operation.id, &operation.class.to_uppercase(), &operation.description, &operation.status.to_uppercase(), cancelable, &created]);
        }
        format.write(&table, || Ok(serde_json::to_value(&operations)?))
    }
}
