//! `lxc config`: configuration of the server and of instances.

use anyhow::{Result, bail};
use client::Client;

use crate::app::App;
use crate::record::instance_path;

commands! {
    /// Manage container and server configuration options
    group Config {
        device => Device,
        edit => Edit,
        get => Get,
        metadata => Metadata,
        set => Set,
        show => Show,
        template => Template,
        trust => Trust,
        unset => Unset,
    }
}

/// Where keys live.
enum Subject {
    Server(Client),
    Instance(Client, String),
}

/// The subject of an optional `[REMOTE:][CONTAINER]` argument.
fn subject(app: &App, argument: Option<&str>) -> Result<Subject> {
    let (client, name) = app.resolve(argument.unwrap_or(""))?;
    if !name.is_empty() {
        app.note("Container", &name);
    }
    Ok(if name.is_empty() { Subject::Server(client) } else { Subject::Instance(client, name) })
}

/// Path of an instance, which a snapshot is not.
fn writable_path(name: &str) -> Result<String> {
    if name.contains('/') {
        bail!("A snapshot's configuration can't be changed ({name} is one; `lxc copy {name} NAME` makes a container of it)");
    }
    Ok(instance_path(name))
}
