//! `lxc storage`.

use anyhow::Result;
use client::Client;

use crate::app::App;

commands! {
    /// Manage storage pools and volumes
    group Storage {
        create => Create,
        delete => Delete,
        edit => Edit,
        get => Get,
        info => Info,
        list => List,
        set => Set,
        show => Show,
        unset => Unset,
        volume => Volume,
    }
}

/// The server and the path of the pool that an argument names.
fn locate(app: &App, argument: &str) -> Result<(Client, String, String)> {
    let (client, name) = app.resolve_named(argument, "Pool")?;
    let path = client::path(&["storage-pools", &name]);
    Ok((client, path, name))
}
