//! What is published of instances, and what a running one uses.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::OnceLock;

use api::StatusCode;
use api::instances::{Instance, InstanceFull};
use api::state::{Address, Counters, Cpu, Disk, InstanceState, Memory, Network};
use keys::instance::volatile;
use netlink::Tour;
use storage::VolumeRef;

use super::Instances;
use super::expand::expand_record;
use super::update::tagged_parts;
use crate::live::Run;
use crate::records::InstanceRecord;
use crate::{Error, Result, Tagged, etag};

/// What a look at a running instance costs, in looks at stopped ones.
const WEIGHT_OF_RUNNING: usize = 16;
/// So many stopped instances are worth a thread.
const LEAST_SHARE: usize = 128;
/// A list is shown by at most so many threads.
const MAX_LOOKING_THREADS: usize = 4;

impl Instances {
    /// Names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.engine.records.instances.ids()
    }

    /// Shows all instances, by name, one after the other: what `recursion=1` shows. Touches no process.
    pub fn each(&self, mut show: impl FnMut(Instance)) {
        self.engine.records.instances.all().into_iter().for_each(|(name, record)| show(self.render(name, &record)));
    }

    /// The same with state and snapshots: what `recursion=2` shows. Some threads share them out, so that `show` is called
    /// on each with a part of the list; gives what it makes of the parts, in order.
    pub fn shares_full<T: Send>(&self, show: impl Fn(&mut dyn Iterator<Item = InstanceFull>) -> T + Sync) -> Vec<T> {
        let all = self.engine.records.instances.all();
        let weights = all.iter().map(|(name, _)| if self.status(name) == StatusCode::STOPPED { 1 } else { WEIGHT_OF_RUNNING });
        let shares = share_out(&weights.collect::<Vec<_>>(), looking_threads());
        netlink::tours(&shares, |share, tour| {
            let mut tour = available(tour);
            let mut instances = all[share.clone()].iter().map(|(name, record)| self.render_full(name.clone(), record, tour.as_deref_mut()));
            show(&mut instances)
        })
    }

    /// One instance.
    pub fn get(&self, name: &str) -> Result<Tagged<Instance>> {
        let record = self.record(name)?;
        Ok(Tagged { value: self.render(name.to_owned(), &record), etag: etag::of(&tagged_parts(&record)) })
    }

    /// One instance with state and snapshots.
    pub fn get_full(&self, name: &str) -> Result<InstanceFull> {
        let record = self.record(name)?;
        self.look(name, |tour| self.render_full(name.to_owned(), &record, tour))
    }

    /// What an instance uses now.
    pub fn state(&self, name: &str) -> Result<InstanceState> {
        let record = self.record(name)?;
        self.look(name, |tour| self.state_of(name, &record, tour))
    }

    /// Runs what looks into the networks of an instance: on a thread of its own if there is anything to look at.
    fn look<T: Send>(&self, name: &str, work: impl Fn(Option<&mut Tour>) -> T + Sync) -> Result<T> {
        if self.engine.live.get(name).is_none() {
            return Ok(work(None));
        }
        let mut looks = netlink::tours(&[()], |(), tour| work(available(tour)));
        looks.pop().ok_or_else(|| Error::internal("nobody looked at the instance"))
    }

    /// Running or not; in error where that cannot be found out.
    fn status(&self, name: &str) -> StatusCode {
        if self.engine.gates.is_unreachable(name) { StatusCode::ERROR } else { self.engine.live.status(name) }
    }

    fn render(&self, name: String, record: &InstanceRecord) -> Instance {
        let expanded = expand_record(&self.engine.records, record);
        let status_code = self.status(&name);
        let mut config = record.config.clone();
        if status_code == StatusCode::READY {
            // Of what runs, and so not in the record: no guest keeps anybody from changing that.
            volatile::LAST_STATE_READY.set(&mut config, "true");
        }
        Instance {
            architecture: record.architecture.clone(),
            config,
            created_at: record.created_at,
            description: record.description.clone(),
            devices: record.devices.clone(),
            ephemeral: record.ephemeral,
            expanded_config: expanded.config,
            expanded_devices: expanded.devices,
            last_used_at: record.last_used_at,
            location: "none".into(),
            name,
            profiles: record.profiles.clone(),
            project: "default".into(),
            stateful: record.stateful,
            status: status_code.text().to_owned(),
            status_code,
            kind: "container".into(),
        }
    }

    fn render_full(&self, name: String, record: &InstanceRecord, tour: Option<&mut Tour>) -> InstanceFull {
        let (state, snapshots) = (self.state_of(&name, record, tour), self.render_snapshots(&name));
        InstanceFull {
            backups: Some(self.render_backups(&name)),
            instance: self.render(name, record),
            state: Some(state),
            snapshots: Some(snapshots),
        }
    }

    fn state_of(&self, name: &str, record: &InstanceRecord, tour: Option<&mut Tour>) -> InstanceState {
        let status_code = self.status(name);
        let stopped = InstanceState { status: status_code.text().to_owned(), status_code, ..InstanceState::default() };
        match self.engine.live.get(name).filter(|_| status_code != StatusCode::STOPPED) {
            Some(run) => InstanceState { disk: Some(self.disks(name, record)), ..used(&run, tour, stopped) },
            None => stopped,
        }
    }

    /// Usage of the root disk, where the pool knows it without counting.
    fn disks(&self, name: &str, record: &InstanceRecord) -> BTreeMap<String, Disk> {
        let devices = expand_record(&self.engine.records, record).devices;
        let root = keys::devices::root_disk(&devices).ok().flatten().map(|(root, _)| root.to_owned());
        let usage = self.engine.pool(&record.pool).ok().and_then(|pool| pool.usage_bytes(&VolumeRef::instance(name)));
        root.zip(usage).map(|(root, bytes)| (root, Disk { usage: as_i64(bytes), total: 0 })).into_iter().collect()
    }
}

/// States are shown without networks where nobody can look at these.
fn available(tour: netlink::Result<&mut Tour>) -> Option<&mut Tour> {
    tour.inspect_err(|error| tracing::warn!("states are shown without networks: {error}")).ok()
}

/// How many threads look at instances at the same time: one for each processor, up to a bound.
fn looking_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_LOOKING_THREADS))
}

/// Divides a list into at most so many parts of about the same weight, none of them lighter than is worth a thread.
fn share_out(weights: &[usize], threads: usize) -> Vec<Range<usize>> {
    let total: usize = weights.iter().sum();
    let parts = (total / LEAST_SHARE).clamp(1, threads.max(1));
    let mut shares = Vec::with_capacity(parts);
    let (mut start, mut weight) = (0, 0);
    for (index, one) in weights.iter().enumerate() {
        weight += one;
        if weight * parts >= total * (shares.len() + 1) {
            shares.push(start..index + 1);
            start = index + 1;
        }
    }
    shares
}

fn used(run: &Run, tour: Option<&mut Tour>, base: InstanceState) -> InstanceState {
    let usage = run.container.usage(tour);
    let counters = &usage.counters;
    InstanceState {
        memory: Memory {
            usage: as_i64(counters.memory_bytes),
            usage_peak: as_i64(counters.memory_peak_bytes),
            total: run.container.spec().limits.memory_bytes.map_or(0, as_i64),
            swap_usage: as_i64(counters.swap_bytes),
            swap_usage_peak: as_i64(counters.swap_peak_bytes),
        },
        network: Some(usage.interfaces.into_iter().map(interface).collect()),
        pid: run.container.pid().into(),
        processes: as_i64(counters.processes),
        cpu: Cpu { usage: as_i64(counters.cpu_ns) },
        ..base
    }
}

pub(crate) fn interface(interface: netlink::Interface) -> (String, Network) {
    let link = interface.link;
    let address = |address: &netlink::Addr| Address {
        family: if address.net.addr().is_ipv4() { "inet" } else { "inet6" }.to_owned(),
        address: address.net.addr().to_string(),
        netmask: address.net.prefix_len().to_string(),
        scope: address.reach().to_owned(),
    };
    let hwaddr = link.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")).unwrap_or_default();
    let network = Network {
        addresses: interface.addresses.iter().map(address).collect(),
        counters: Counters {
            bytes_received: as_i64(link.stats.received_bytes),
            bytes_sent: as_i64(link.stats.sent_bytes),
            packets_received: as_i64(link.stats.received_packets),
            packets_sent: as_i64(link.stats.sent_packets),
        },
        hwaddr,
        host_name: interface.host_name.unwrap_or_default(),
        mtu: link.mtu.into(),
        state: if link.is_up() { "up" } else { "down" }.to_owned(),
        kind: link.medium().to_owned(),
    };
    (link.name, network)
}

fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_and_even() {
        let weights: Vec<usize> = (0..1100).map(|index| if index < 100 { WEIGHT_OF_RUNNING } else { 1 }).collect();
        for threads in 1..=4 {
            let shares = share_out(&weights, threads);
            assert_eq!(shares.len(), threads);
            let flat: Vec<usize> = shares.iter().cloned().flatten().collect();
            assert_eq!(flat, (0..weights.len()).collect::<Vec<_>>(), "each once, in order");
            let total: usize = weights.iter().sum();
            for share in shares {
                let weight: usize = weights[share].iter().sum();
                assert!(weight.abs_diff(total / threads) <= WEIGHT_OF_RUNNING, "{weight} of {total} for one of {threads}");
            }
        }
    }

    #[test]
    fn few_are_not_shared_out() {
        let (few, one, none) = (share_out(&[1; 200], 4), share_out(&[WEIGHT_OF_RUNNING], 0), share_out(&[], 4));
        assert!(few.len() == 1 && few[0] == (0..200), "{few:?}");
        assert!(one.len() == 1 && one[0] == (0..1), "{one:?}");
        assert!(none.is_empty(), "{none:?}");
    }
}
