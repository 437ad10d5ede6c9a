//! `lxc remote rename`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;
use crate::remotes;

/// Rename a remote server
#[derive(Debug, Args)]
#[command(after_help = "lxc remote rename work office")]
pub struct Rename {
    /// The remote
    #[arg(value_name = "REMOTE")]
    name: String,
    /// Its new name
    #[arg(value_name = "NEW-NAME")]
    new: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut config = super::changeable(app, &self.name)?;
        remotes::check_name(&self.new)?;
        if config.remotes.contains_key(&self.new) {
            bail!("remote {} already exists", self.new);
        }
        let (before, after) = (remotes::pin_path(&config, &self.name)?, remotes::pin_path(&config, &self.new)?);
        if let Some(remote) = config.remotes.remove(&self.name) {
            config.remotes.insert(self.new.clone(), remote);
        }
        if config.default_remote == self.name {
            config.default_remote = self.new;
        }
        // First the certificate: a remote without one would be judged by the authorities of this host.
        if sys::fs::exists(&before) {
            sys::fs::copy(&before, &after)?;
        }
        config.save_remotes()?;
        Ok(sys::fs::remove_file(before)?)
    }
}
