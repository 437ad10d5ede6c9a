//! `lxc profile list`.

use anyhow::{Result, bail};
use api::profiles::Profile;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::{Format, FormatFlag};
use crate::outln;
use crate::table::Table;

/// List profiles
#[derive(Debug, Args)]
#[command(after_help = "\
lxc profile list
lxc profile list --format csv # with descriptions and the number of users")]
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
        let (client, name) = app.resolve(self.remote.as_deref().unwrap_or(""))?;
        if !name.is_empty() {
            bail!("Cannot provide container name to list");
        }
        let profiles: Vec<Profile> = client.get(&format!("{}?recursion=1", path(&["profiles"]))).await?;
        // Plain names, one a line, are what scripts read.
        if format == Format::Table {
            for profile in &profiles {
                outln!("{}", profile.name);
            }
            return Ok(());
        }
        let mut table = Table::new(["NAME", "DESCRIPTION", "USED BY"]);
        for profile in &profiles {
            table.row([&profile.name, &profile.description, &profile.used_by.len().to_string()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&profiles)?))
    }
}
