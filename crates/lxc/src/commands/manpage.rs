//! `lxc manpage`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;
use crate::{cli, manual};

/// Write the manual pages of all commands
///
/// `lxc.1` and one page for each command, such as `lxc.config.set.1`, into a directory that is there.
#[derive(Debug, Args)]
#[command(after_help = "lxc manpage /usr/local/share/man/man1")]
pub struct Manpage {
    /// Where to write them
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Manpage {
    pub async fn run(self, _app: &App) -> Result<()> {
        if !self.directory.is_dir() {
            bail!("Can't write manual pages: there is no directory {}", self.directory.display());
        }
        for (name, page) in manual::pages(&cli::command()) {
            sys::fs::write(self.directory.join(name), page)?;
        }
        Ok(())
    }
}
