//! `lxc restart`.

use anyhow::Result;
use api::instances::StatePut;
use clap::Args;

use super::states::Change;
use crate::app::App;

/// Restart containers
#[derive(Debug, Args)]
#[command(after_help = "\
lxc restart c1
lxc restart c1 c2 --timeout 30
lxc restart c1 --force # without asking its init")]
pub struct Restart {
    /// The containers
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    names: Vec<String>,
    /// Restart every running container
    #[arg(long)]
    all: bool,
    /// Force the shutdown (no clean stop)
    #[arg(long, short)]
    force: bool,
    /// Seconds to wait for a clean stop before it counts as failed (-1: for ever)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    timeout: i64,
    /// Attach to its console once it has restarted (one container only)
    #[arg(long)]
    console: bool,
}

impl Restart {
    pub async fn run(self, app: &App) -> Result<()> {
        let put = StatePut { action: "restart".to_owned(), timeout: self.timeout, force: self.force, stateful: false };
        Change { command: "restart", put, is_for_all: self.all }.apply_and_attach(app, (self.names, self.console)).await
    }
}
