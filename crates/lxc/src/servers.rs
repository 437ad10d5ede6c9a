//! How servers reach each other: the addresses of one for another, and what proves that it is that one.

use anyhow::{Result, bail};
use api::server::Server;
use clap::ValueEnum;
use client::Client;

use crate::app::App;
use crate::remotes;

/// Who connects to whom when something goes from one server to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The target server fetches it.
    #[default]
    Pull,
    /// The server that has it sends it.
    Push,
    /// Through this program, for servers that cannot reach each other.
    Relay,
}

/// A server as another one can reach it.
#[derive(Clone, Debug)]
pub struct Reachable {
    /// `https://HOST:PORT`, the likeliest first; there is at least one.
    pub addresses: Vec<String>,
    /// PEM text of what it shows.
    pub certificate: String,
}

/// Where another server can reach the server of a remote.
pub async fn reachable(app: &App, client: &Client, remote: &str) -> Result<Reachable> {
    let server: Server = client.get("/1.0").await?;
    let environment = server.environment.unwrap_or_default();
    let pinned = remotes::pinned(&app.config, remote)?.map(|certificate| certificate.pem());
    let known = app.config.remote(remote)?;
    let mut addresses: Vec<String> = environment.addresses.iter().map(|address| format!("https://{address}")).collect();
    if !known.is_local() {
        // The way that this program takes is the likeliest.
        addresses.retain(|address| *address != known.addr);
        addresses.insert(0, known.addr.clone());
    }
    if addresses.is_empty() {
        bail!("The server of {remote} isn't listening on the network (`lxc config set {remote}: core.https_address=:8443`)");
    }
    Ok(Reachable { addresses, certificate: pinned.unwrap_or(environment.certificate) })
}
