//! `lxc storage delete`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Delete storage pools
///
/// No container, profile or image may be left on it.
#[derive(Debug, Args)]
#[command(after_help = "lxc storage delete fast")]
pub struct Delete {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        let reply = client.delete(&path).await?;
        client.wait(&reply).await?;
        outln!("Storage pool {name} deleted");
        Ok(())
    }
}
