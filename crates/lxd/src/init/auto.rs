//! `lxd init --auto` and `--minimal`: the best this host can do, without questions.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use api::{Config, Devices};
use client::Client;

use super::backend::{Backend, HostFacts};
use super::preseed::{Network, Pool, Preseed, Profile};
use crate::args::InitArgs;

/// Name of the pool that is made.
pub const POOL: &str = "default";
/// Name of the network that is made.
pub const BRIDGE: &str = "lxdbr0";
/// Port of the API on the network.
pub const HTTPS_PORT: u16 = 8443;

/// What the server has already.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Names of its pools.
    pub pools: BTreeSet<String>,
    /// Names of its managed networks.
    pub networks: BTreeSet<String>,
    /// Names of the host's other interfaces.
    pub interfaces: BTreeSet<String>,
    /// The devices of the default profile.
    pub devices: Devices,
}

impl Present {
    /// Asks the server.
    pub async fn read(client: &Client) -> Result<Self> {
        let pools: Vec<api::storage_pools::StoragePool> =
            client.get("/1.0/storage-pools?recursion=1").await.context("list the storage pools")?;
        let networks: Vec<api::networks::Network> = client.get("/1.0/networks?recursion=1").await.context("list the networks")?;
        let profile: api::profiles::Profile = client.get("/1.0/profiles/default").await.context("read the default profile")?;
        let (managed, others): (Vec<_>, Vec<_>) = networks.into_iter().partition(|network| network.managed);
        Ok(Self {
            pools: pools.into_iter().map(|pool| pool.name).collect(),
            networks: managed.into_iter().map(|network| network.name).collect(),
            interfaces: others.into_iter().map(|network| network.name).collect(),
            devices: profile.devices,
        })
    }
}

/// What to make true. What is there already is left alone.
pub fn decide(args: &InitArgs, host: &HostFacts, present: &Present) -> Result<Preseed> {
    let mut wanted = Preseed::default();
    let mut devices = Devices::new();
    let asked = pool(args, host)?;
    if present.pools.is_empty() {
        wanted.storage_pools.push(asked);
    } else if args.storage_backend.is_some() || args.storage_pool.is_some() || args.storage_create_loop.is_some() {
        bail!("There are storage pools already; add more of them with `lxc storage create`.");
    }
    if !has_root(&present.devices) {
        let pool = if present.pools.contains(POOL) { Some(POOL) } else { present.pools.first().map(String::as_str) };
        devices.insert("root".into(), root_device(pool.unwrap_or(POOL)));
    }
    if present.networks.is_empty() {
        ensure!(
            !present.interfaces.contains(BRIDGE),
            "The interface {BRIDGE} exists and isn't managed by LXD; remove it, or set the network up with `lxd init`."
        );
        wanted.networks.push(Network::bridge(BRIDGE, addresses("auto", "auto")));
    }
    if present.networks.is_empty() || present.networks.contains(BRIDGE) && !present.devices.contains_key("eth0") {
        devices.insert("eth0".into(), nic_device(BRIDGE));
    }
    if !devices.is_empty() {
        wanted.profiles.push(Profile::with_devices("default", devices));
    }
    wanted.config = server_config(args);
    Ok(wanted)
}

/// The pool that the options ask for.
fn pool(args: &InitArgs, host: &HostFacts) -> Result<Pool> {
    let backend = match args.storage_backend.as_deref() {
        None if args.storage_create_loop.is_some() => Backend::Btrfs,
        None => host.best(),
        Some(name) => match Backend::from_name(name) {
            Some(backend) => backend,
            None => bail!("The requested backend '{name}' isn't supported by lxd init."),
        },
    };
    ensure!(host.can(backend), "The requested backend '{}' isn't available on your system (missing tools).", backend.name());
    let has_place = args.storage_pool.is_some() || args.storage_create_device.is_some() || args.storage_create_loop.is_some();
    if backend != Backend::Btrfs && has_place {
        bail!(
            "None of --storage-pool, --storage-create-device or --storage-create-loop may be used with the '{}' backend.",
            backend.name()
        );
    }
    if args.storage_create_device.is_some() && args.storage_create_loop.is_some() {
        bail!("Only one of --storage-create-device or --storage-create-loop can be specified.");
    }
    if let Some(device) = &args.storage_create_device {
        bail!(
            "Pools directly on a block device aren't supported; run `mkfs.btrfs {device}`, mount it, and give the mount point with --storage-pool."
        );
    }
    if args.storage_create_loop == Some(0) {
        bail!("--storage-create-loop must be at least 1 (GB).");
    }
    let mut config = Config::new();
    if let Some(size) = args.storage_create_loop {
        config.insert("size".into(), format!("{size}GiB"));
    }
    if let Some(source) = &args.storage_pool {
        config.insert("source".into(), source.clone());
    }
    Ok(Pool { name: POOL.into(), driver: backend.name().into(), config, ..Pool::default() })
}

/// Server keys that the options ask for.
fn server_config(args: &InitArgs) -> Config {
    let mut config = Config::new();
    if let Some(address) = &args.network_address {
        config.insert("core.https_address".into(), format!("{address}:{}", args.network_port.unwrap_or(HTTPS_PORT)));
    }
    if let Some(password) = &args.trust_password {
        config.insert("core.trust_password".into(), password.clone());
    }
    config
}

/// The keys of a bridge's addresses; a family with an address gets NAT.
pub fn addresses(ipv4: &str, ipv6: &str) -> Config {
    let mut config = Config::new();
    for (family, address) in [("ipv4", ipv4), ("ipv6", ipv6)] {
        config.insert(format!("{family}.address"), address.to_owned());
        if address != "none" {
            config.insert(format!("{family}.nat"), "true".into());
        }
    }
    config
}

/// The root disk on a pool.
pub fn root_device(pool: &str) -> keys::Device {
    device(&[("path", "/"), ("pool", pool), ("type", "disk")])
}

/// The interface in a network.
pub fn nic_device(network: &str) -> keys::Device {
    device(&[("name", "eth0"), ("network", network), ("type", "nic")])
}

fn device(pairs: &[(&str, &str)]) -> keys::Device {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn has_root(devices: &Devices) -> bool {
    devices.values().any(keys::devices::disk::is_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostFacts {
        HostFacts { dir: "/var/lib/lxd".into(), is_on_btrfs: false, has_btrfs: true, has_overlay: true, size_gb: 100 }
    }

    fn auto() -> InitArgs {
        InitArgs { auto: true, ..InitArgs::default() }
    }

    fn error(args: InitArgs) -> String {
        decide(&args, &host(), &Present::default()).expect_err("refused").to_string()
    }

    #[test]
    fn a_fresh_server_gets_everything() {
        let wanted = decide(&auto(), &host(), &Present::default()).expect("decide");
        assert_eq!(wanted.storage_pools[0].driver, "overlay");
        assert_eq!(wanted.networks[0].config["ipv4.address"], "auto");
        let devices = &wanted.profiles[0].devices;
        assert_eq!((devices["root"]["pool"].as_str(), devices["eth0"]["network"].as_str()), ("default", "lxdbr0"));
        assert!(wanted.config.is_empty());
        keys::profile::validate_devices(devices).expect("valid");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let devices = Devices::from([("root".to_owned(), root_device("fast")), ("eth0".to_owned(), nic_device("lxdbr0"))]);
        let present = Present { pools: ["fast".into()].into(), networks: [BRIDGE.into()].into(), interfaces: BTreeSet::new(), devices };
        assert_eq!(decide(&auto(), &host(), &present).expect("decide"), Preseed::default());
        let half = Present { devices: Devices::new(), ..present };
        let wanted = decide(&auto(), &host(), &half).expect("decide");
        assert_eq!(wanted.profiles[0].devices["root"]["pool"], "fast");
        assert!(wanted.storage_pools.is_empty() && wanted.networks.is_empty());
        assert!(decide(&InitArgs { storage_backend: Some("dir".into()), ..auto() }, &host(), &half).is_err());
    }

    #[test]
    fn texts_of_wrong_options() {
        let backend = |name: &str| InitArgs { storage_backend: Some(name.into()), ..auto() };
        assert_eq!(error(backend("ceph")), "The requested backend 'ceph' isn't supported by lxd init.");
        assert_eq!(
            error(InitArgs { storage_create_loop: Some(5), ..backend("dir") }),
            "None of --storage-pool, --storage-create-device or --storage-create-loop may be used with the 'dir' backend."
        );
        let both = InitArgs { storage_create_loop: Some(5), storage_create_device: Some("/dev/sdb".into()), ..backend("btrfs") };
        assert_eq!(error(both), "Only one of --storage-create-device or --storage-create-loop can be specified.");
        let no_btrfs = HostFacts { has_btrfs: false, ..host() };
        let text = decide(&backend("btrfs"), &no_btrfs, &Present::default()).expect_err("refused").to_string();
        assert_eq!(text, "The requested backend 'btrfs' isn't available on your system (missing tools).");
        let taken = Present { interfaces: [BRIDGE.into()].into(), ..Present::default() };
        assert!(decide(&auto(), &host(), &taken).is_err());
    }

    #[test]
    fn network_options_become_server_keys() {
        let args = InitArgs { network_address: Some("[::]".into()), trust_password: Some("x".into()), ..auto() };
        let config = decide(&args, &host(), &Present::default()).expect("decide").config;
        assert_eq!((config["core.https_address"].as_str(), config["core.trust_password"].as_str()), ("[::]:8443", "x"));
    }
}
