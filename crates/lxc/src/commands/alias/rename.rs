//! `lxc alias rename`.

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::app::App;
use crate::config::Config;

/// Rename aliases
#[derive(Debug, Args)]
#[command(after_help = "lxc alias rename ls l")]
pub struct Rename {
    /// The words of the alias, as one argument
    old: String,
    /// Its new words, as one argument
    new: String,
}

impl Rename {
    pub async fn run(self, _app: &App) -> Result<()> {
        let mut config = Config::load()?;
        if config.aliases.contains_key(&self.new) {
            bail!("alias {} already exists", self.new);
        }
        let target = config.aliases.remove(&self.old).with_context(|| format!("alias {} doesn't exist (`lxc alias list` shows those there are)", self.old))?;
        config.aliases.insert(self.new, target);
        config.save_aliases()
    }
}
