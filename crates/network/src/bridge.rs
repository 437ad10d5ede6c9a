//! Carrying out a plan, so that doing it again changes nothing; and taking it all down.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlink::{BridgeOptions, Netlink};

use crate::config::{Config, ConfigError, Settings};
use crate::dnsmasq::{self, Server};
use crate::hosts::{self, Host, Written};
use crate::leases::{self, Lease};
use crate::plan::{Plan, plan};
use crate::watch::Watcher;
use crate::{Error, Result, nft, release, sysctl};

/// What a managed bridge is to be.
#[derive(Clone, Debug)]
pub struct BridgeSpec {
    /// Name of the network and of the interface.
    pub name: String,
    /// Its configuration, complete: addresses are chosen by [`crate::fill_defaults`].
    pub config: Config,
    /// Directory for dnsmasq's files; made if absent, its parent must exist.
    pub state_dir: PathBuf,
}

/// A bridge that is up. Dropping it leaves the bridge as it is, only not watched over.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    watcher: Watcher,
}

/// What the watcher thread and the callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    state_dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    server: Option<Server>,
    hosts: Vec<Host>,
}

impl Network {
    /// Brings the bridge up, or takes over what is up already. On failure a bridge that was not
    /// there before is removed again.
    pub fn up(spec: BridgeSpec, hosts: &[Host]) -> Result<Self> {
        let settings = settings(&spec.name, &spec.config)?;
        sys::fs::ensure_dir(&spec.state_dir, 0o711)?;
        let stale = hosts::write_all(&hosts_dir(&spec.state_dir), hosts, settings.dns.mode)?;
        let existed = Netlink::open()?.find_link(&spec.name)?.is_some();
        let server = match apply(&settings, &spec.state_dir) {
            Ok(server) => server,
            Err(error) => {
                if !existed {
                    warn_all(&spec.name, take_down(&spec.name, &spec.state_dir));
                }
                return Err(error);
            }
        };
        if let Some(server) = server.as_ref().filter(|_| stale) {
            server.reload()?;
        }
        let state = Mutex::new(State { settings, server, hosts: hosts.to_vec() });
        let shared = Arc::new(Shared { name: spec.name, state_dir: spec.state_dir, state });
        let watcher = Watcher::start(&shared.name, Arc::downgrade(&shared))
            .map_err(|error| sys::Error::io("start a thread for network", &shared.name, &error))?;
        Ok(Self { shared, watcher })
    }

    /// Changes the configuration in place; guests stay connected. On failure the old one is
    /// put back as far as possible.
    pub fn update(&self, config: Config) -> Result<()> {
        let settings = settings(&self.shared.name, &config)?;
        let mut state = self.shared.lock();
        let applied = self.reapply(&settings, &state.hosts);
        match applied {
            Ok(server) => {
                state.server = server;
                state.settings = settings;
                drop(state);
                self.watcher.wake();
                Ok(())
            }
            Err(error) => {
                match self.reapply(&state.settings, &state.hosts) {
                    Ok(server) => state.server = server,
                    Err(undo) => tracing::warn!(network = self.shared.name, error = %undo, "old configuration not restored"),
                }
                drop(state);
                self.watcher.wake();
                Err(error)
            }
        }
    }

    fn reapply(&self, settings: &Settings, hosts: &[Host]) -> Result<Option<Server>> {
        let shared = &self.shared;
        let stale = hosts::write_all(&hosts_dir(&shared.state_dir), hosts, settings.dns.mode)?;
        let server = apply(settings, &shared.state_dir)?;
        if let Some(server) = server.as_ref().filter(|_| stale) {
            server.reload()?;
        }
        Ok(server)
    }

    /// Takes everything down: dnsmasq, firewall table, bridge. Goes on after errors and returns
    /// them. Leases are kept for the next time.
    pub fn down(&self) -> Vec<Error> {
        let mut state = self.shared.lock();
        // Gone on purpose: the watcher finds nothing to revive.
        state.server = None;
        let errors = take_down(&self.shared.name, &self.shared.state_dir);
        drop(state);
        self.watcher.wake();
        errors
    }

    /// Takes down what a network left on the host, without having brought it up.
    pub fn clean_up(name: &str, state_dir: &Path) -> Vec<Error> {
        match crate::validate_name(name) {
            Ok(()) => take_down(name, state_dir),
            Err(problem) => vec![config_error(name, vec![problem])],
        }
    }

    /// Addresses that guests have or would get.
    pub fn leases(&self) -> Vec<Lease> {
        let hosts = self.shared.lock().hosts.clone();
        leases::collect(&hosts, &leases::read(&self.shared.state_dir.join("dnsmasq.leases")))
    }

    /// Adds or changes a guest's entry: its name and fixed addresses.
    pub fn set_host(&self, host: Host) -> Result<()> {
        let mut state = self.shared.lock();
        let written = hosts::write(&hosts_dir(&self.shared.state_dir), &host, state.settings.dns.mode)?;
        // dnsmasq notices a new file by itself, but keeps what an older one said.
        if let Some(server) = state.server.as_ref().filter(|_| written == Written::Replaced) {
            server.reload()?;
        }
        state.hosts.retain(|known| !known.hwaddr.eq_ignore_ascii_case(&host.hwaddr));
        state.hosts.push(host);
        Ok(())
    }

    /// Removes a guest's entry; that there is none is fine.
    pub fn remove_host(&self, hwaddr: &str) -> Result<()> {
        let mut state = self.shared.lock();
        state.hosts.retain(|known| !known.hwaddr.eq_ignore_ascii_case(hwaddr));
        let existed = hosts::remove(&hosts_dir(&self.shared.state_dir), hwaddr)?;
        if let Some(server) = state.server.as_ref().filter(|server| existed && server.is_alive()) {
            server.reload()?;
        }
        drop(state);
        self.release(hwaddr);
        Ok(())
    }

    /// Gives back what the interface had leased. Leases end by themselves, so failing is no harm.
    fn release(&self, hwaddr: &str) {
        let state = self.shared.lock();
        let Some(server) = state.settings.ipv4.as_ref().filter(|ipv4| ipv4.dhcp).map(|ipv4| ipv4.net.addr()) else { return };
        drop(state);
        for held in leases::held_by(hwaddr, &leases::read(&self.shared.state_dir.join("dnsmasq.leases"))) {
            if let Err(error) = release::send(server, &held) {
                tracing::debug!(network = self.shared.name, hwaddr, %error, "lease not given back");
            }
        }
    }

    /// Process number of the dnsmasq in charge.
    pub fn dnsmasq_pid(&self) -> Option<i32> {
        self.shared.lock().server.as_ref().map(Server::pid)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking thread leaves is still a description of the host.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the present dnsmasq, for the watcher.
    pub(crate) fn server_pidfd(&self) -> Option<std::os::fd::OwnedFd> {
        self.lock().server.as_ref().and_then(|server| server.try_clone_pidfd().ok())
    }

    /// Says so where guests will not get out because of somebody else's rules. On the watcher's
    /// thread, since nobody waits for it.
    pub(crate) fn warn_of_foreign_firewall(&self) {
        let state = self.lock();
        let forwards = state.settings.ipv4.as_ref().is_some_and(|ipv4| ipv4.routing);
        drop(state);
        if let Some(chain) = forwards.then(nft::foreign_forward_drop).flatten() {
            let network = &self.name;
            tracing::warn!(
                network,
                chain,
                "another firewall drops forwarded packets: guests reach only this host until it accepts the bridge's"
            );
        }
    }

    /// Starts dnsmasq again if it is meant to run and does not.
    pub(crate) fn revive(&self) {
        let mut state = self.lock();
        if state.server.as_ref().is_none_or(Server::is_alive) {
            return;
        }
        tracing::warn!(network = self.name, "dnsmasq has ended; it is started again");
        match start_server(&planned(&state.settings, &self.state_dir), &self.state_dir) {
            // On failure the dead one stays, so that the watcher tries again after a pause.
            Ok(server) => state.server = server,
            Err(error) => tracing::error!(network = self.name, %error, "dnsmasq does not start"),
        }
    }
}

fn config_error(network: &str, problems: Vec<ConfigError>) -> Error {
    Error::Config { network: network.to_owned(), problems }
}

fn settings(name: &str, config: &Config) -> Result<Settings> {
    let open = ["ipv4.address", "ipv6.address"].into_iter().filter(|key| config.get(*key).is_some_and(|value| value == "auto"));
    let problems: Vec<_> = open.map(|key| ConfigError { key: key.to_owned(), reason: "not chosen yet".to_owned() }).collect();
    if problems.is_empty() {
        Settings::parse(name, config).map_err(|problems| config_error(name, problems))
    } else {
        Err(config_error(name, problems))
    }
}

fn hosts_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("dnsmasq.hosts")
}

fn planned(settings: &Settings, state_dir: &Path) -> Plan {
    plan(settings, state_dir, dnsmasq::user(state_dir))
}

/// Makes the host agree with the settings and returns the dnsmasq that serves them.
fn apply(settings: &Settings, state_dir: &Path) -> Result<Option<Server>> {
    let plan = planned(settings, state_dir);
    let mut netlink = Netlink::open()?;
    apply_link(&mut netlink, &plan)?;
    // Each of the two programs takes longer than all the rest; neither needs the other.
    let (rules, server) = std::thread::scope(|scope| {
        let rules = scope.spawn(|| apply_rules(&plan));
        let server = start_server(&plan, state_dir);
        (rules.join(), server)
    });
    rules.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    server
}

/// The bridge itself, its settings and addresses.
fn apply_link(netlink: &mut Netlink, plan: &Plan) -> Result<()> {
    let link = match netlink.find_link(&plan.name)? {
        Some(link) if link.is_kind("bridge") => link,
        Some(_) => return Err(Error::NotABridge { network: plan.name.clone() }),
        None => {
            netlink.create_bridge(&plan.name, BridgeOptions { mac: Some(plan.mac), mtu: None })?;
            netlink.link_by_name(&plan.name)?
        }
    };
    if link.mac != Some(plan.mac) {
        netlink.set_mac(link.index, plan.mac)?;
    }
    // Set on the living bridge, not at its creation: only then it does not follow its ports.
    if let Some(mtu) = plan.mtu.filter(|mtu| *mtu != link.mtu) {
        netlink.set_mtu(link.index, mtu)?;
    }
    sysctl::apply(&plan.sysctls);
    let present = netlink.addr_list()?;
    let present: Vec<_> = present.iter().filter(|addr| addr.index == link.index && addr.reach() != "link").map(|addr| addr.net).collect();
    for net in present.iter().filter(|net| !plan.addresses.contains(net)) {
        netlink.del_addr(link.index, *net)?;
    }
    for net in plan.addresses.iter().filter(|net| !present.contains(net)) {
        netlink.add_addr(link.index, *net)?;
    }
    if !link.is_up() {
        netlink.set_up(link.index)?;
    }
    Ok(())
}

fn apply_rules(plan: &Plan) -> Result<()> {
    // First the rules: no packet is forwarded before it is filtered.
    match &plan.ruleset {
        Some(ruleset) => nft::load(ruleset)?,
        None => nft::remove(&plan.name)?,
    }
    if plan.forward_ipv4 {
        sysctl::forward_ipv4()?;
    }
    if plan.forward_ipv6 {
        sysctl::forward_ipv6()?;
    }
    Ok(())
}

fn start_server(plan: &Plan, state_dir: &Path) -> Result<Option<Server>> {
    match &plan.dnsmasq {
        Some(args) => Server::ensure(&plan.name, state_dir, args).map(Some),
        None => {
            if let Some(running) = Server::find(state_dir) {
                running.end(&plan.name)?;
            }
            Ok(None)
        }
    }
}

fn take_down(name: &str, state_dir: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(server) = Server::find(state_dir) {
        errors.extend(server.end(name).err());
    }
    errors.extend(sys::fs::remove_file(state_dir.join("dnsmasq.pid")).err().map(Error::from));
    errors.extend(nft::remove(name).err());
    errors.extend(delete_bridge(name).err());
    errors
}

fn delete_bridge(name: &str) -> Result<()> {
    let mut netlink = Netlink::open()?;
    match netlink.find_link(name)? {
        Some(link) if link.is_kind("bridge") => Ok(netlink.delete_link_by_name(name)?),
        // Something else under this name is not ours to remove.
        _ => Ok(()),
    }
}

fn warn_all(network: &str, errors: Vec<Error>) {
    for error in errors {
        tracing::warn!(network, %error, "undoing the network's start");
    }
}
