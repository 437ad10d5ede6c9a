//! Networks: managed bridges, and the host's interfaces read-only.

use std::sync::Arc;

use api::networks::{Lease, Network, NetworkPut, NetworkState, NetworkStateBridge, NetworksPost};
use keys::devices::nic;
use network::{BridgeSpec, Host};
use serde_json::Value;

use crate::devices::{BridgeFacts, managed_network};
use crate::error::Context;
use crate::instances::expand::expand_record;
use crate::records::{Held, NetworkRecord};
use crate::slots::Slots;
use crate::warnings::Cause;
use crate::{Engine, Error, Result, Tagged, etag, patch};

/// The managed networks that are up.
#[derive(Default)]
pub(crate) struct NetworkTable {
    slots: Slots<Arc<network::Network>>,
}

impl NetworkTable {
    pub(crate) fn expect(&self, names: &[String]) {
        self.slots.expect(names);
    }

    /// For the shutdown of the host.
    pub(crate) fn take_down_all(&self) {
        for network in self.slots.all_ready() {
            for error in network.down() {
                tracing::warn!("{error}");
            }
        }
    }
}

impl std::fmt::Debug for NetworkTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkTable").finish_non_exhaustive()
    }
}

/// The networks of an engine.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(crate) engine: Arc<Engine>,
}

impl Engine {
    /// What a card must know of a managed network.
    pub(crate) fn bridge_facts(&self, name: &str) -> Option<BridgeFacts> {
        let record = self.records.networks.get(name)?;
        Some(BridgeFacts { mtu: record.config.get("bridge.mtu").and_then(|mtu| mtu.parse().ok()) })
    }

    /// Waits until a managed network is up (it may be coming up right now), and tries once more
    /// where that failed.
    pub(crate) fn ensure_network(&self, name: &str) -> Result<()> {
        match self.networks.slots.get("network", name) {
            Err(error) if error.kind() == crate::ErrorKind::Unavailable => self.bring_up(name).map_err(|_| error),
            other => other.map(drop),
        }
    }

    /// Tells a managed network of a card of an instance: its name in DNS, a fixed address.
    pub(crate) fn announce_host(&self, network: &str, host: Host) {
        if let Some(network) = self.networks.slots.ready(network)
            && let Err(error) = network.set_host(host)
        {
            tracing::warn!("{error}");
        }
    }

    /// Takes back what [`Self::announce_host`] said.
    pub(crate) fn withdraw_host(&self, network: &str, hwaddr: &str) {
        if let Some(network) = self.networks.slots.ready(network)
            && let Err(error) = network.remove_host(hwaddr)
        {
            tracing::warn!("{error}");
        }
    }

    /// The cards of an instance on managed networks: network and entry.
    pub(crate) fn hosts_of(&self, name: &str, config: &api::Config, devices: &api::Devices) -> Vec<(String, Host)> {
        let cards = devices.iter().filter_map(|(device, keys)| Some((device, keys, managed_network(keys)?)));
        let managed = cards.filter(|(_, _, network)| self.records.networks.contains(network));
        let hosts = managed.filter_map(|(device, keys, network)| {
            let volatile = keys::instance::volatile::device(device, "hwaddr");
            let hwaddr = keys.get("hwaddr").or_else(|| config.get(&volatile))?.clone();
            let address = |key: &str| keys.get(key).filter(|text| !text.is_empty() && *text != "none");
            let ipv4 = address(nic::bridged::IPV4_ADDRESS.name).and_then(|text| text.parse().ok());
            let ipv6 = address(nic::bridged::IPV6_ADDRESS.name).and_then(|text| text.parse().ok());
            Some((network.to_owned(), Host { name: name.to_owned(), hwaddr, ipv4, ipv6 }))
        });
        hosts.collect()
    }

    fn bring_up(&self, name: &str) -> Result<()> {
        let record = self.records.networks.get(name).ok_or_else(|| Error::not_found(format!("Network '{name}' not found")))?;
        let instances = self.records.instances.all();
        let all = instances.iter().flat_map(|(instance, held)| {
            let expanded = expand_record(&self.records, held);
            self.hosts_of(instance, &expanded.config, &expanded.devices)
        });
        let hosts: Vec<Host> = all.filter(|(network, _)| network == name).map(|(_, host)| host).collect();
        match network::Network::up(self.bridge_spec(name, &record.config), &hosts) {
            Ok(network) => {
                self.networks.slots.set(name, Ok(Arc::new(network)));
                self.resolve_warning(Cause::Network, name);
                Ok(())
            }
            Err(error) => {
                self.networks.slots.set(name, Err(error.to_string()));
                Err(Error::unavailable(format!("bring up network `{name}`")).caused_by(error))
            }
        }
    }

    fn bridge_spec(&self, name: &str, config: &api::Config) -> BridgeSpec {
        BridgeSpec { name: name.to_owned(), config: config.clone(), state_dir: self.config.dir.join("networks").join(name) }
    }
}

impl Networks {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Brings all managed networks up, each on a thread of its own.
    pub(crate) fn bring_up_all(&self) {
        std::thread::scope(|scope| {
            for name in self.engine.records.networks.ids() {
                scope.spawn(move || {
                    if let Err(error) = self.engine.bring_up(&name) {
                        self.engine.warn(Cause::Network, &name, &error.report());
                        tracing::error!(network = name, "{}", error.report());
                    }
                });
            }
        });
    }

    /// Names of managed networks and host interfaces, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.engine.records.networks.ids();
        names.extend(network::host_interfaces().context("look at the host's interfaces")?.into_iter().map(|interface| interface.name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// All of them.
    pub fn list(&self) -> Result<Vec<Network>> {
        let records = &self.engine.records.networks;
        let mut list: Vec<Network> = records.all().iter().map(|(name, record)| self.render_managed(name, record)).collect();
        let interfaces = network::host_interfaces().context("look at the host's interfaces")?;
        let unmanaged = interfaces.into_iter().filter(|interface| !records.contains(&interface.name));
        list.extend(unmanaged.map(|interface| self.render_host(&interface)));
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<Tagged<Network>> {
        if let Some(record) = self.engine.records.networks.get(name) {
            return Ok(Tagged { value: self.render_managed(name, &record), etag: etag::of(&tagged_parts(&record)) });
        }
        let found = network::host_interface(name).context(format!("look at interface {name}"))?;
        let interface = found.ok_or_else(|| Error::not_found(format!("Network '{name}' not found")))?;
        let value = self.render_host(&interface);
        Ok(Tagged { etag: etag::of(&(&value.name, &value.config)), value })
    }

    /// Addresses and counters of a network's interface.
    pub fn state(&self, name: &str) -> Result<NetworkState> {
        let found = network::interface_state(name).context(format!("look at interface {name}"))?;
        let is_known = self.engine.records.networks.contains(name);
        let network::InterfaceState { interface, bridge } = match found {
            Some(found) => found,
            None if is_known => return Ok(NetworkState { state: "down".into(), kind: "broadcast".into(), ..NetworkState::default() }),
            None => return Err(Error::not_found(format!("Network '{name}' not found"))),
        };
        let (_, shown) = crate::instances::state::interface(interface);
        let bridge = bridge.map(|bridge| NetworkStateBridge {
            id: bridge.id,
            stp: bridge.stp,
            forward_delay: bridge.forward_delay,
            vlan_default: bridge.vlan_default,
            vlan_filtering: bridge.vlan_filtering,
            upper_devices: bridge.ports,
        });
        Ok(NetworkState {
            addresses: shown.addresses,
            counters: shown.counters,
            hwaddr: shown.hwaddr,
            mtu: shown.mtu,
            state: shown.state,
            kind: shown.kind,
            bridge,
        })
    }

    /// Makes a managed bridge and brings it up.
    pub fn create(&self, request: NetworksPost) -> Result<()> {
        let name = request.name;
        keys::names::check_network(&name)?;
        if !matches!(request.kind.as_str(), "" | "bridge") {
            return Err(Error::bad_request(format!("Unsupported network type '{}'", request.kind)).hint("only bridge is supported"));
        }
        if self.engine.records.networks.contains(&name) {
            return Err(Error::conflict("The network already exists"));
        }
        if network::host_interface(&name).context("look at the host's interfaces")?.is_some() {
            return Err(Error::conflict(format!("The interface {name} already exists on the host"))
                .hint("choose another name, or use it with nictype=bridged"));
        }
        let mut config = request.config;
        config.retain(|_, value| !value.is_empty());
        check(&name, &config)?;
        let in_use = network::in_use().context("look at the addresses in use")?;
        let config = network::fill_defaults(&config, &in_use);
        check(&name, &config)?;
        let mut changes = self.engine.records.changes();
        changes.insert(&name, NetworkRecord { description: request.description, config })?;
        changes.commit()?;
        if let Err(error) = self.engine.bring_up(&name) {
            self.engine.networks.slots.remove(&name);
            let mut undo = self.engine.records.changes();
            undo.delete::<NetworkRecord>(&name);
            if let Err(undo) = undo.commit() {
                tracing::warn!("undo: forget the network: {}", undo.report());
            }
            return Err(error);
        }
        self.engine.lifecycle("network-created", "networks", &name);
        Ok(())
    }

    /// Replaces its configuration, live.
    pub fn update(&self, name: &str, request: NetworkPut, if_match: Option<&str>) -> Result<()> {
        let held = self.record(name)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let mut config = request.config;
        config.retain(|_, value| !value.is_empty());
        check(name, &config)?;
        let in_use = network::in_use().context("look at the addresses in use")?;
        let config = network::fill_defaults(&config, &in_use);
        check(name, &config)?;
        let live = self.engine.networks.slots.ready(name);
        if let Some(network) = &live {
            network.update(config.clone()).context(format!("change network `{name}`"))?;
        }
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, NetworkRecord { description: request.description, config })?;
        if let Err(error) = changes.commit() {
            if let Some(network) = &live
                && let Err(undo) = network.update(held.config.clone())
            {
                tracing::warn!("undo: put the old network configuration back: {undo}");
            }
            return Err(error);
        }
        if live.is_none() {
            self.engine.bring_up(name)?;
        }
        self.engine.lifecycle("network-updated", "networks", name);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.record(name)?;
        let current = NetworkPut { description: record.description.clone(), config: record.config.clone() };
        self.update(name, patch::apply(&current, patch)?, if_match)
    }

    /// Renames a managed network that nothing uses.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        keys::names::check_network(new)?;
        let held = self.unused(name, "renamed")?;
        if self.engine.records.networks.contains(new) || network::host_interface(new).ok().flatten().is_some() {
            return Err(Error::conflict(format!("The network {new} already exists")));
        }
        check(new, &held.config)?;
        self.take_down(name);
        self.move_record(name, new, &held)?;
        if let Err(error) = self.engine.bring_up(new) {
            self.engine.networks.slots.remove(new);
            if let Err(undo) = self.move_record(new, name, &held).and_then(|()| self.engine.bring_up(name)) {
                tracing::warn!("undo: keep the network's name: {}", undo.report());
            }
            return Err(error);
        }
        self.forget_state(name);
        self.engine.forget_warnings(Cause::Network, name);
        self.engine.lifecycle("network-renamed", "networks", new);
        Ok(())
    }

    fn move_record(&self, from: &str, to: &str, held: &Held<NetworkRecord>) -> Result<()> {
        let mut changes = self.engine.records.changes();
        changes.delete::<NetworkRecord>(from);
        changes.insert(to, NetworkRecord::clone(&held.record))?;
        changes.commit()
    }

    /// Takes a managed network that nothing uses down and forgets it.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.unused(name, "deleted")?;
        self.take_down(name);
        let mut changes = self.engine.records.changes();
        changes.delete::<NetworkRecord>(name);
        changes.commit()?;
        self.forget_state(name);
        self.engine.forget_warnings(Cause::Network, name);
        self.engine.lifecycle("network-deleted", "networks", name);
        Ok(())
    }

    /// DHCP leases of a managed network.
    pub fn leases(&self, name: &str) -> Result<Vec<Lease>> {
        self.record(name)?;
        let Some(network) = self.engine.networks.slots.ready(name) else { return Ok(Vec::new()) };
        let lease = |lease: network::Lease| Lease {
            hostname: lease.hostname,
            hwaddr: lease.hwaddr,
            address: lease.address.to_string(),
            kind: if lease.dynamic { "dynamic" } else { "static" }.to_owned(),
            location: "none".into(),
        };
        Ok(network.leases().into_iter().map(lease).collect())
    }

    fn record(&self, name: &str) -> Result<Held<NetworkRecord>> {
        self.engine.records.networks.get(name).ok_or_else(|| Error::not_found(format!("Network '{name}' not found")))
    }

    fn unused(&self, name: &str, what: &str) -> Result<Held<NetworkRecord>> {
        let held = self.record(name)?;
        let users = self.used_by(name);
        if users.is_empty() {
            return Ok(held);
        }
        Err(Error::bad_request("The network is currently in use")
            .hint(format!("used by {}; it can be {what} once they do not use it", users.join(", "))))
    }

    fn take_down(&self, name: &str) {
        if let Some(network) = self.engine.networks.slots.remove(name) {
            for error in network.down() {
                tracing::warn!(network = name, "{error}");
            }
        }
    }

    fn forget_state(&self, name: &str) {
        if let Err(error) = sys::fs::remove_tree(self.engine.config.dir.join("networks").join(name)) {
            tracing::warn!("{error}");
        }
    }

    fn render_managed(&self, name: &str, record: &NetworkRecord) -> Network {
        let broken = self.engine.networks.slots.broken(name);
        Network {
            config: record.config.clone(),
            // A client shows the description beside the status: the place for the reason.
            description: match &broken {
                Some(reason) if record.description.is_empty() => reason.clone(),
                _ => record.description.clone(),
            },
            name: name.to_owned(),
            kind: "bridge".into(),
            used_by: self.used_by(name),
            managed: true,
            status: if broken.is_some() { "Unavailable" } else { "Created" }.to_owned(),
            locations: vec!["none".into()],
        }
    }

    fn render_host(&self, interface: &network::HostInterface) -> Network {
        Network {
            name: interface.name.clone(),
            kind: interface.kind.as_str().to_owned(),
            used_by: self.used_by(&interface.name),
            ..Network::default()
        }
    }

    /// URLs of the instances and profiles with a card on it.
    fn used_by(&self, name: &str) -> Vec<String> {
        let records = &self.engine.records;
        let uses = |devices: &api::Devices| {
            devices.values().any(|device| device.get("type").is_some_and(|kind| kind == "nic") && nic::parent_of(device) == Some(name))
        };
        let instances = records.instances.all().into_iter().filter(|(_, record)| uses(&expand_record(records, record).devices));
        let mut urls: Vec<String> = instances.map(|(id, _)| format!("/1.0/instances/{id}")).collect();
        urls.extend(
            records.profiles.all().into_iter().filter(|(_, record)| uses(&record.devices)).map(|(id, _)| format!("/1.0/profiles/{id}")),
        );
        urls
    }
}

fn check(name: &str, config: &api::Config) -> Result<()> {
    keys::network::validate(config)?;
    network::validate(name, config).map_err(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::bad_request(texts.join("; "))
    })
}

fn tagged_parts(record: &NetworkRecord) -> (&str, &api::Config) {
    (&record.description, &record.config)
}
