//! `lxc pause`.

use anyhow::Result;
use api::instances::StatePut;
use clap::Args;

use super::states::Change;
use crate::app::App;

/// Pause containers
///
/// Their processes are frozen where they are; `lxc start` lets them go on.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc pause c1
lxc pause --all")]
pub struct Pause {
    /// The containers
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    names: Vec<String>,
    /// Pause every running container
    #[arg(long)]
    all: bool,
}

impl Pause {
    pub async fn run(self, app: &App) -> Result<()> {
        let put = StatePut { action: "freeze".to_owned(), ..StatePut::default() };
        Change { command: "pause", put, is_for_all: self.all }.apply(app, self.names).await
    }
}
