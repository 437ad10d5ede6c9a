//! `lxc config trust list`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;

/// List trusted clients
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust list")]
pub struct List {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        app.server(self.remote.as_deref())?;
        bail!("Trusted clients aren't supported yet: this server is reached by its unix socket only")
    }
}
