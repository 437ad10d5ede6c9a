//! `lxc profile device`.

use anyhow::Result;

use crate::app::App;
use crate::commands::device::Owner;

commands! {
    /// Manage profile devices
    group Device {
        add => Add,
        get => Get,
        list => List,
        remove => Remove,
        set => Set,
        show => Show,
        unset => Unset,
    }
}

/// The profile that an argument names.
fn owner(app: &App, argument: &str) -> Result<Owner> {
    let (client, name) = app.resolve_named(argument, "Profile")?;
    Ok(Owner { client, path: client::path(&["profiles", &name]), name })
}
