//! `lxd init --dump`: the current set-up, in the form that `--preseed` takes.

use std::path::Path;

use anyhow::{Context, Result};
use api::server::Server;
use api::storage_pools::StoragePool;
use client::Client;
use serde_json::Value;

use super::preseed::{Network, Pool, Preseed, Profile};

/// Reads the set-up of the server whose state directory is `dir`.
pub async fn read(client: &Client, dir: &Path) -> Result<Preseed> {
    let server: Server = client.get("/1.0").await.context("read the server configuration")?;
    let networks: Vec<api::networks::Network> = client.get("/1.0/networks?recursion=1").await.context("list the networks")?;
    let pools: Vec<StoragePool> = client.get("/1.0/storage-pools?recursion=1").await.context("list the storage pools")?;
    let profiles: Vec<api::profiles::Profile> = client.get("/1.0/profiles?recursion=1").await.context("list the profiles")?;
    // A secret is shown as `true`, and must not become the secret elsewhere.
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let is_secret = |key: &str| keys::server::TABLE.row(key).is_some_and(keys::Row::is_secret);
    let config = server.config.unwrap_or_default();
    let mut state = Preseed::default();
    state.config = config.iter().filter(|(key, _)| !is_secret(key)).filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
    state.networks = networks.into_iter().filter_map(Network::from_api).collect();
    state.storage_pools = pools.into_iter().map(|found| pool(found, dir)).collect();
    state.profiles = profiles.into_iter().map(Profile::from_api).collect();
    Ok(state)
}

/// A pool as it was asked for: without what the server remembers and the place it chose itself,
/// which another server must choose anew.
fn pool(pool: StoragePool, dir: &Path) -> Pool {
    let is_chosen = |key: &str, value: &str| key.starts_with("volatile.") || key == "source" && Path::new(value).starts_with(dir);
    let config = pool.config.into_iter().filter(|(key, value)| !is_chosen(key, value)).collect();
    Pool { name: pool.name, driver: pool.driver, description: pool.description, config }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_the_server_chose_are_left_out() {
        let config = [("size", "1GiB"), ("source", "/var/lib/lxd/disks/default.img"), ("volatile.initial_source", "x")];
        let config: api::Config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let found = |dir: &str| pool(StoragePool { config: config.clone(), ..StoragePool::default() }, Path::new(dir)).config;
        assert_eq!(found("/var/lib/lxd").into_keys().collect::<Vec<_>>(), ["size"]);
        assert_eq!(found("/elsewhere").into_keys().collect::<Vec<_>>(), ["size", "source"]);
    }
}
