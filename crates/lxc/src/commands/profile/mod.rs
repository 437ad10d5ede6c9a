//! `lxc profile`.

use anyhow::Result;
use client::Client;

use crate::app::App;

commands! {
    /// Manage configuration profiles
    group Profile {
        add => Add,
        assign => Assign,
        copy => Copy,
        create => Create,
        delete => Delete,
        device => Device,
        edit => Edit,
        get => Get,
        list => List,
        remove => Remove,
        rename => Rename,
        set => Set,
        show => Show,
        unset => Unset,
    }
}

/// The server and the path of the profile that an argument names.
fn locate(app: &App, argument: &str) -> Result<(Client, String, String)> {
    let (client, name) = app.resolve_named(argument, "Profile")?;
    let path = client::path(&["profiles", &name]);
    Ok((client, path, name))
}
