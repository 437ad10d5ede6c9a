//! `lxc move`.

use anyhow::{Result, bail};
use clap::Args;

use super::rename::rename;
use crate::app::App;

/// Move containers: rename them, or their snapshots
///
/// A container must be stopped for it.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc move c1 c2 # the container must be stopped
lxc move c1/snap0 c1/before-upgrade")]
pub struct Move {
    /// The container or snapshot
    #[arg(value_name = "[REMOTE:]SOURCE[/SNAPSHOT]")]
    source: String,
    /// Its new name
    #[arg(value_name = "[REMOTE:]DESTINATION[/SNAPSHOT]")]
    destination: String,
}

impl Move {
    pub async fn run(self, app: &App) -> Result<()> {
        let (source, destination) = (app.target(&self.source)?, app.target(&self.destination)?);
        if source.name.is_empty() || destination.name.is_empty() {
            bail!("You must specify a source and a destination container name");
        }
        app.note("Container", &source.name);
        if source.remote != destination.remote {
            bail!("Moving between servers isn't supported yet");
        }
        rename(&app.client(&source.remote)?, &source.name, &destination.name).await
    }
}
