//! `lxc remote`: the user's list of servers.

use anyhow::{Result, bail};

use crate::app::App;
use crate::config::Config;
use crate::remotes;

commands! {
    /// Manage the list of remote servers
    group Remote {
        add => Add,
        get_default = "get-default" => GetDefault,
        list => List,
        remove => Remove,
        rename => Rename,
        set_default = "set-default" => SetDefault,
        set_url = "set-url" => SetUrl,
    }
}

/// The configuration for a change of an existing remote, which must be one of the user's own.
fn changeable(app: &App, name: &str) -> Result<Config> {
    if remotes::fixed(name).is_some() {
        bail!("remote {name} is static and cannot be modified");
    }
    existing(app, name)
}

/// The configuration, which must know the remote.
fn existing(app: &App, name: &str) -> Result<Config> {
    if !app.config.remotes.contains_key(name) {
        bail!("remote {name} doesn't exist (`lxc remote list` shows those there are)");
    }
    Config::load()
}
