//! `limits.*` keys to numbers: pure arithmetic, and the balancing of processors.

use std::collections::BTreeMap;

use api::{Config, Devices};
use keys::cpu::{CpuAllowance, CpuLimit, cpu_shares};
use keys::devices::{DeviceType, disk};
use keys::instance as key;
use keys::types::MemoryEnforce;
use keys::values::DiskRate;
use runtime::{DiskRates, Limits};

/// What the host has to give.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostResources {
    pub memory_bytes: u64,
    /// Numbers of the processors that containers may use, sorted.
    pub cpus: Vec<u32>,
}

/// The limits of an instance, without the choice of processors (see [`balance`]). Values were
/// checked when they were set; one that does not parse counts as unset.
pub(crate) fn limits(config: &Config, host: &HostResources) -> Limits {
    let memory_bytes = key::LIMITS_MEMORY.get(config).map(|limit| limit.bytes(host.memory_bytes));
    let swap = key::LIMITS_MEMORY_SWAP.text(config).map(|_| key::LIMITS_MEMORY_SWAP.is_true(config));
    Limits {
        memory_bytes,
        memory_soft: key::LIMITS_MEMORY_ENFORCE.get(config) == Some(MemoryEnforce::Soft),
        swap,
        swappiness: swappiness(config, swap),
        processes: key::LIMITS_PROCESSES.get(config),
        cpus: None,
        cpu_shares: shares(config),
        cpu_quota_us: quota(config),
        huge_pages: key::huge_pages(config).map(|(size, bytes)| (size.to_owned(), bytes)).collect(),
        disks: BTreeMap::new(),
        blkio_weight: key::LIMITS_DISK_PRIORITY.text(config).and(key::LIMITS_DISK_PRIORITY.get(config)).map(blkio_weight),
    }
}

fn swappiness(config: &Config, swap: Option<bool>) -> Option<u64> {
    if swap == Some(false) {
        return Some(0);
    }
    key::LIMITS_MEMORY_SWAP_PRIORITY.text(config)?;
    let priority = key::LIMITS_MEMORY_SWAP_PRIORITY.get(config)?;
    Some((60 - 10 + priority).max(0) as u64)
}

fn shares(config: &Config) -> Option<u64> {
    let allowance = key::LIMITS_CPU_ALLOWANCE.text(config).and(key::LIMITS_CPU_ALLOWANCE.get(config));
    let priority = key::LIMITS_CPU_PRIORITY.get(config).unwrap_or(10);
    let is_set = allowance.is_some() || key::LIMITS_CPU_PRIORITY.text(config).is_some();
    is_set.then(|| cpu_shares(allowance, priority))
}

fn quota(config: &Config) -> Option<(u64, u64)> {
    match key::LIMITS_CPU_ALLOWANCE.text(config).and(key::LIMITS_CPU_ALLOWANCE.get(config))? {
        CpuAllowance::Time { quota_ms, period_ms } => Some((quota_ms * 1000, period_ms * 1000)),
        CpuAllowance::Percent(_) => None,
    }
}

fn blkio_weight(priority: i64) -> u64 {
    if priority <= 0 { 10 } else { 100 * priority as u64 }
}

/// The bounds of each disk: where devices share one, the average of those that there are. `disk_of` gives the disk of
/// a device.
pub(crate) fn disk_rates<E>(
    devices: &Devices,
    mut disk_of: impl FnMut(&str, &Config) -> Result<Option<String>, E>,
) -> Result<BTreeMap<String, DiskRates>, E> {
    let mut wishes: BTreeMap<String, [Vec<u64>; 4]> = BTreeMap::new();
    for (name, device) in devices {
        if DeviceType::of(device) != Some(DeviceType::Disk) || !disk::is_limited(device) {
            continue;
        }
        let Some(number) = disk_of(name, device)? else { continue };
        let all = disk::LIMITS_MAX.get(device);
        let own = wishes.entry(number).or_default();
        for (index, rate) in [(0, disk::LIMITS_READ.get(device).or(all)), (1, disk::LIMITS_WRITE.get(device).or(all))] {
            match rate {
                Some(DiskRate::Bytes(bytes)) => own[index].push(bytes),
                Some(DiskRate::Operations(operations)) => own[index + 2].push(operations),
                None => {}
            }
        }
    }
    let average = |rates: &Vec<u64>| {
        let wanted: Vec<u64> = rates.iter().copied().filter(|rate| *rate > 0).collect();
        let sum: u128 = wanted.iter().map(|rate| u128::from(*rate)).sum();
        u64::try_from(sum / wanted.len().max(1) as u128).unwrap_or(u64::MAX)
    };
    let rates = wishes.into_iter().map(|(number, wished)| {
        let [read_bytes, write_bytes, read_operations, write_operations] = wished.each_ref().map(average);
        (number, DiskRates { read_bytes, write_bytes, read_operations, write_operations })
    });
    Ok(rates.collect())
}

/// Which processors each instance gets. Pinned ones are counted first; then each that asks for a
/// number takes the least used. Instances without `limits.cpu` are not mentioned: they use all.
pub(crate) fn balance<'a>(wishes: impl IntoIterator<Item = (&'a str, CpuLimit)>, cpus: &[u32]) -> BTreeMap<String, String> {
    let mut load: BTreeMap<u32, usize> = cpus.iter().map(|cpu| (*cpu, 0)).collect();
    let mut chosen = BTreeMap::new();
    let mut counted = Vec::new();
    for (name, wish) in wishes {
        match wish {
            CpuLimit::Count(count) => counted.push((name, count)),
            CpuLimit::Set(set) => {
                let set: Vec<u32> = set.into_iter().filter(|cpu| load.contains_key(cpu)).collect();
                for cpu in &set {
                    *load.entry(*cpu).or_default() += 1;
                }
                // A set of which nothing is there cannot be obeyed: better all than none.
                let set = if set.is_empty() { cpus.to_vec() } else { set };
                chosen.insert(name.to_owned(), keys::cpu::format_cpu_list(&set));
            }
        }
    }
    counted.sort();
    for (name, count) in counted {
        let mut order: Vec<u32> = load.keys().copied().collect();
        order.sort_by_key(|cpu| (load[cpu], *cpu));
        order.truncate(count as usize);
        for cpu in &order {
            *load.entry(*cpu).or_default() += 1;
        }
        chosen.insert(name.to_owned(), keys::cpu::format_cpu_list(&order));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn host() -> HostResources {
        HostResources { memory_bytes: 1000 << 20, cpus: vec![0, 1, 2, 3] }
    }

    #[test]
    fn nothing_set_limits_nothing() {
        assert_eq!(limits(&config(&[]), &host()), Limits::default());
    }

    #[test]
    fn arithmetic_of_the_specification() {
        let limits = |pairs: &[(&str, &str)]| limits(&config(pairs), &host());
        let memory = limits(&[("limits.memory", "10%"), ("limits.memory.enforce", "soft"), ("limits.memory.swap", "false")]);
        assert_eq!(memory.memory_bytes, Some((1000 << 20) / 100 * 10));
        assert!(memory.memory_soft);
        assert_eq!((memory.swap, memory.swappiness), (Some(false), Some(0)));
        assert_eq!(limits(&[("limits.memory.swap.priority", "3")]).swappiness, Some(53));
        assert_eq!(limits(&[("limits.cpu.allowance", "10%")]).cpu_shares, Some(124));
        assert_eq!(limits(&[("limits.cpu.priority", "0")]).cpu_shares, Some(1014));
        let hard = limits(&[("limits.cpu.allowance", "25ms/100ms")]);
        assert_eq!((hard.cpu_quota_us, hard.cpu_shares), (Some((25_000, 100_000)), Some(1024)));
        assert_eq!(limits(&[("limits.disk.priority", "0")]).blkio_weight, Some(10));
        assert_eq!(limits(&[("limits.disk.priority", "7")]).blkio_weight, Some(700));
        assert_eq!(limits(&[("limits.processes", "100")]).processes, Some(100));
    }

    #[test]
    fn disks_that_are_shared_get_the_average() {
        let disk = |pairs: &[(&str, &str)]| {
            let mut device = config(pairs);
            device.insert("type".into(), "disk".into());
            device
        };
        let devices: Devices = [
            ("root".to_owned(), disk(&[("path", "/"), ("limits.read", "10MB"), ("limits.write", "20iops")])),
            ("data".to_owned(), disk(&[("path", "/data"), ("source", "/srv"), ("limits.max", "30MB"), ("limits.write", "40iops")])),
            ("other".to_owned(), disk(&[("path", "/o"), ("source", "/other"), ("limits.max", "5MB")])),
            ("free".to_owned(), disk(&[("path", "/f"), ("source", "/free")])),
            ("gone".to_owned(), disk(&[("path", "/g"), ("source", "/gone"), ("limits.max", "5MB")])),
        ]
        .into();
        let number = |name: &str, _: &Config| -> Result<Option<String>, ()> {
            Ok(match name {
                "gone" => None,
                "other" => Some("7:1".into()),
                "free" => panic!("it has no limit"),
                _ => Some("8:0".into()),
            })
        };
        let rates = disk_rates(&devices, number).expect("rates");
        let shared = DiskRates { read_bytes: 20 << 20, write_operations: 30, ..DiskRates::default() };
        let other = DiskRates { read_bytes: 5 << 20, write_bytes: 5 << 20, ..DiskRates::default() };
        assert_eq!(rates, [("7:1".to_owned(), other), ("8:0".to_owned(), shared)].into());
    }

    #[test]
    fn balanced_instances_avoid_pinned_and_each_other() {
        let wishes =
            [("a", CpuLimit::Count(1)), ("pin", CpuLimit::Set(vec![0, 9])), ("b", CpuLimit::Count(1)), ("all", CpuLimit::Count(99))];
        let chosen = balance(wishes, &[0, 1, 2]);
        assert_eq!(chosen["pin"], "0");
        assert_eq!(chosen["a"], "1");
        assert_eq!(chosen["all"], "0-2");
        assert_eq!(chosen["b"], "2");
        assert_eq!(balance([("x", CpuLimit::Set(vec![77]))], &[0, 1])["x"], "0-1");
    }
}
