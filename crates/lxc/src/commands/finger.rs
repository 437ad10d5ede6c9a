//! `lxc finger`.

use anyhow::Result;
use clap::Args;

use crate::app::App;

/// Check if a server is alive
#[derive(Debug, Args)]
#[command(after_help = "lxc finger # silent if the server answers")]
pub struct Finger {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
}

impl Finger {
    pub async fn run(self, app: &App) -> Result<()> {
        app.server(self.remote.as_deref())?.get::<api::server::Server>("/1.0").await?;
        Ok(())
    }
}
