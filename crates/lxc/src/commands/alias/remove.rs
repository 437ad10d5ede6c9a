//! `lxc alias remove`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;
use crate::config::Config;

/// Remove aliases
#[derive(Debug, Args)]
#[command(after_help = "lxc alias remove ls")]
pub struct Remove {
    /// The words of the alias, as one argument
    alias: String,
}

impl Remove {
    pub async fn run(self, _app: &App) -> Result<()> {
        let mut config = Config::load()?;
        if config.aliases.remove(&self.alias).is_none() {
            bail!("alias {} doesn't exist (`lxc alias list` shows those there are)", self.alias);
        }
        config.save_aliases()
    }
}
