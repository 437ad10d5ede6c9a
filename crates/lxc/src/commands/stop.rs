//! `lxc stop`.

use anyhow::Result;
use api::instances::StatePut;
use clap::Args;

use super::checkpoint::{self, Purpose};
use super::states::Change;
use crate::app::App;

/// Stop containers
///
/// Their init is asked to shut down; `--force` kills them at once. With `--stateful` the running state is
/// saved instead, and `lxc start` goes on from it.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc stop c1 # its init is asked to shut down
lxc stop c1 --timeout 30
lxc stop c1 --force # like pulling the plug
lxc stop c1 --stateful # its processes go on at the next start
lxc stop c1 --stateful --check # whether that can be done, and what stands in the way
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
    /// Only tell whether the running state can be saved, and what stands in the way (exit status 1: it can't)
    #[arg(long)]
    check: bool,
    /// Seconds to wait for a clean stop before it counts as failed (-1: for ever)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    timeout: i64,
}

impl Stop {
    pub async fn run(self, app: &App) -> Result<()> {
        let put = StatePut { action: "stop".to_owned(), timeout: self.timeout, force: self.force, stateful: self.stateful };
        let change = Change { command: "stop", put, is_for_all: self.all };
        if self.check {
            checkpoint::ensure_stateful(self.stateful)?;
            return checkpoint::check(app, &change.names(app, self.names).await?, Purpose::Stop).await;
        }
        change.apply(app, self.names).await
    }
}
