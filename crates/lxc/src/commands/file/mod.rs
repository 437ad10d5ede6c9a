//! `lxc file`.

use anyhow::{Context, Result};
use client::Client;

use crate::app::App;
use crate::names;

commands! {
    /// Manage files in containers
    group File {
        delete => Delete,
        edit => Edit,
        pull => Pull,
        push => Push,
    }
}

/// A path in a container.
#[derive(Clone, Debug)]
struct Place {
    client: Client,
    instance: String,
    /// Absolute.
    path: String,
}

/// The place that a `[REMOTE:]CONTAINER/PATH` argument names; `what` is for the error.
fn place(app: &App, argument: &str, what: &str) -> Result<Place> {
    let target = app.target(argument)?;
    let (instance, path) = names::split_path(&target.name).with_context(|| format!("Invalid {what} {argument}"))?;
    Ok(Place { client: app.client(&target.remote)?, instance: instance.to_owned(), path })
}
