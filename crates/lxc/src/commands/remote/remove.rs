//! `lxc remote remove`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;
use crate::remotes;

/// Remove a remote server
///
/// The server itself is not told; `lxc config trust remove` there ends its trust in you.
#[derive(Debug, Args)]
#[command(after_help = "lxc remote remove work")]
pub struct Remove {
    /// The remote
    #[arg(value_name = "REMOTE")]
    name: String,
}

impl Remove {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut config = super::changeable(app, &self.name)?;
        if config.default_remote == self.name {
            bail!("can't remove the default remote (`lxc remote set-default` chooses another one)");
        }
        config.remotes.remove(&self.name);
        config.save_remotes()?;
        Ok(sys::fs::remove_file(remotes::pin_path(&config, &self.name)?)?)
    }
}
