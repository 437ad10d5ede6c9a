//! `lxc alias add`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;
use crate::config::Config;

/// Add new aliases
///
/// The replacement may hold `@ARGS@` where the other words of the command line go.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc alias add ls \"list -c ns4\" # `lxc ls` is now short for `lxc list -c ns4`
lxc alias add login \"exec @ARGS@ -- su -l\" # `lxc login c1` opens a shell")]
pub struct Add {
    /// The words of the alias, as one argument
    alias: String,
    /// What they stand for, as one argument
    #[arg(allow_hyphen_values = true)]
    target: String,
}

impl Add {
    pub async fn run(self, _app: &App) -> Result<()> {
        let mut config = Config::load()?;
        if config.aliases.contains_key(&self.alias) {
            bail!("alias {} already exists", self.alias);
        }
        config.aliases.insert(self.alias, self.target);
        config.save_aliases()
    }
}
