//! `lxc start`.

use anyhow::Result;
use api::instances::StatePut;
use clap::Args;

use super::states::Change;
use crate::app::App;

/// Start containers
///
/// A paused container goes on, and so does one whose running state was saved (`lxc stop --stateful`).
#[derive(Debug, Args)]
#[command(after_help = "\
lxc start c1
lxc start c1 c2 c3
lxc start --all")]
pub struct Start {
    /// The containers
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    names: Vec<String>,
    /// Start every container that is not running
    #[arg(long)]
    all: bool,
    /// Start afresh; a saved running state is discarded
    #[arg(long)]
    stateless: bool,
    /// Attach to its console once it is started (one container only)
    #[arg(long)]
    console: bool,
}

impl Start {
    pub async fn run(self, app: &App) -> Result<()> {
        let put = StatePut { action: "start".to_owned(), stateful: !self.stateless, ..StatePut::default() };
        Change { command: "start", put, is_for_all: self.all }.apply_and_attach(app, (self.names, self.console)).await
    }
}
