//! `lxc stop`.

use anyhow::Result;
use api::instances::StatePut;
use clap::Args;

use super::states::Change;
use crate::app::App;

/// Stop containers
///
/// Their init is asked to shut down; `--force` kills them at once.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc stop c1 # its init is asked to shut down
lxc stop c1 --timeout 30
lxc stop c1 --force # like pulling the plug
lxc stop --all")]
pub struct Stop {
    /// The containers
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    names: Vec<String>,
    /// Stop every container
    #[arg(long)]
    all: bool,
    /// Force the shutdown (no clean stop)
    #[arg(long, short)]
    force: bool,
    /// Store the running state
    #[arg(long)]
    stateful: bool,
    /// Seconds to wait for a clean stop before it counts as failed (-1: for ever)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    timeout: i64,
}

impl Stop {
    pub async fn run(self, app: &App) -> Result<()> {
        let put = StatePut { action: "stop".to_owned(), timeout: self.timeout, force: self.force, stateful: self.stateful };
        Change { command: "stop", put, is_for_all: self.all }.apply(app, self.names).await
    }
}
