//! `lxc config device`.

use anyhow::Result;

use crate::app::App;
use crate::commands::device::Owner;

commands! {
    /// Manage container devices
    group Device {
        add => Add,
        get => Get,
        list => List,
        r#override = "override" => Override,
        remove => Remove,
        set => Set,
        show => Show,
        unset => Unset,
    }
}

/// The container that an argument names.
fn owner(app: &App, argument: &str) -> Result<Owner> {
    let (client, name) = app.resolve_named(argument, "Container")?;
    Ok(Owner { client, path: super::writable_path(&name)?, name })
}
