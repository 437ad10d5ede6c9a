//! `lxc network`.

use anyhow::Result;
use client::Client;

use crate::app::App;

mod attachment;

commands! {
    /// Manage and attach containers to networks
    group Network {
        attach => Attach,
        attach_profile = "attach-profile" => AttachProfile,
        create => Create,
        delete => Delete,
        detach => Detach,
        detach_profile = "detach-profile" => DetachProfile,
        edit => Edit,
        get => Get,
        info => Info,
        list => List,
        list_leases = "list-leases" => ListLeases,
        rename => Rename,
        set => Set,
        show => Show,
        unset => Unset,
    }
}

/// The server and the path of the network that an argument names.
fn locate(app: &App, argument: &str) -> Result<(Client, String, String)> {
    let (client, name) = app.resolve_named(argument, "Network")?;
    let path = client::path(&["networks", &name]);
    Ok((client, path, name))
}
