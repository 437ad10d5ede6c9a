//! `lxc version`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = "lxc version")]
pub struct Version {}

impl Version {
    pub async fn run(self, _app: &App) -> Result<()> {
        outln!("{}", env!("CARGO_PKG_VERSION"));
        Ok(())
    }
}
