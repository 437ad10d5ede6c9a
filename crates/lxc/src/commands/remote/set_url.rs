//! `lxc remote set-url`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::remotes::{self, LXD, Remote};

/// Set the URL of a remote server
///
/// It must be the same server: it goes on being known by its certificate.
#[derive(Debug, Args)]
#[command(after_help = "lxc remote set-url work 10.0.3.2:8443")]
pub struct SetUrl {
    /// The remote
    #[arg(value_name = "REMOTE")]
    name: String,
    /// Where it is now: HOST[:PORT], a URL or a socket
    #[arg(value_name = "ADDRESS")]
    address: String,
}

impl SetUrl {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut config = super::changeable(app, &self.name)?;
        let url = remotes::parse_address(&self.address, LXD)?;
        config.remotes.insert(self.name, Remote::lxd(url, false));
        config.save_remotes()
    }
}
