//! Limits as rows: what to write for each, on v1 and on v2.

use std::path::Path;

use super::Groups;
use crate::error::{Error, Result};
use crate::spec::{GroupFile, Limits};

/// One kernel file to write.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    /// Its name; where kernels differ, all names with `|` between.
    file: &'static str,
    /// `None`: what the parent group has.
    value: Option<String>,
    need: Need,
}

/// What a failed write means.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// A failure.
    Asked,
    /// A failure, unless this kernel has no such file.
    IfThere,
    /// Nothing: nobody asked for it.
    None,
}

/// A controller with its encodings for both versions.
struct Row {
    controller: &'static str,
    /// What the user set that needs this controller.
    asked: fn(&Limits) -> Option<&'static str>,
    v1: fn(&Limits) -> Vec<Write>,
    v2: fn(&Limits) -> Vec<Write>,
}

static ROWS: &[Row] = &[
    Row { controller: "memory", asked: |limits| limits.memory_bytes.is_some().then_some("limits.memory"), v1: memory_v1, v2: memory_v2 },
    Row { controller: "pids", asked: |limits| limits.processes.is_some().then_some("limits.processes"), v1: processes, v2: processes },
    Row {
        controller: "cpu",
        asked: |limits| (limits.cpu_quota_us.is_some() || limits.cpu_shares.is_some()).then_some("limits.cpu.allowance"),
        v1: cpu_v1,
        v2: cpu_v2,
    },
    Row {
        controller: "cpuset",
        asked: |limits| limits.cpus.is_some().then_some("limits.cpu"),
        v1: |limits| vec![cpuset(limits)],
        // An empty list is the parent's, but some kernels refuse it while there are processes.
        v2: |limits| match limits.cpus {
            Some(_) => vec![cpuset(limits)],
            None => vec![cpuset(limits), write_if_there("cpuset.cpus", "\n")],
        },
    },
    Row { controller: "blkio", asked: asked_of_disks, v1: blkio_v1, v2: |_| Vec::new() },
    Row { controller: "io", asked: |_| None, v1: |_| Vec::new(), v2: io_v2 },
    Row {
        controller: "hugetlb",
        asked: |limits| (!limits.huge_pages.is_empty()).then_some("limits.hugepages"),
        v1: |limits| huge_pages(limits, "-1", |size| size.1),
        v2: |limits| huge_pages(limits, "max", |size| size.2),
    },
];

/// Writes all limits.
pub(super) fn apply(groups: &Groups, limits: &Limits) -> Result<()> {
    ROWS.iter().try_for_each(|row| row.apply(groups, limits))
}

/// Writes a file that no row has.
pub(super) fn write_file(groups: &Groups, file: &GroupFile) -> Result<()> {
    let controller = file.name.split('.').next().unwrap_or_default();
    match groups.controller(controller) {
        Some((dir, unified)) if unified == file.unified => match sys::fs::write_kernel(dir.join(&file.name), &file.value) {
            Err(error) if error.is_not_found() => {
                Err(Error::Invalid(format!("the control groups of this kernel have no file {}; leave it out of raw.lxc", file.name)))
            }
            other => Ok(other?),
        },
        _ => Ok(()),
    }
}

/// Writes the rows in which `new` differs from `old`, or none of them.
pub(super) fn change(groups: &Groups, old: &Limits, new: &Limits) -> Result<()> {
    let changed = || ROWS.iter().filter(|row| (row.v1)(old) != (row.v1)(new) || (row.v2)(old) != (row.v2)(new));
    let (there, back) = (with_lifted(old, new), with_lifted(new, old));
    changed().try_for_each(|row| row.apply(groups, &there)).inspect_err(|_| {
        for row in changed() {
            if let Err(error) = row.apply(groups, &back) {
                tracing::warn!(controller = row.controller, %error, "the old limits could not be written back");
            }
        }
    })
}

/// The new limits, and that there are none for disks that had some.
fn with_lifted(old: &Limits, new: &Limits) -> Limits {
    let mut limits = new.clone();
    for disk in old.disks.keys() {
        limits.disks.entry(disk.clone()).or_default();
    }
    limits
}

impl Row {
    fn apply(&self, groups: &Groups, limits: &Limits) -> Result<()> {
        match groups.controller(self.controller) {
            Some((dir, true)) => (self.v2)(limits).iter().try_for_each(|write| perform(&dir, write)),
            Some((dir, false)) => (self.v1)(limits).iter().try_for_each(|write| perform(&dir, write)),
            None => match (self.asked)(limits) {
                // On a host with v2 the work of `blkio` is that of `io`.
                Some(key) if self.controller != "blkio" || groups.controller("io").is_none() => Err(Error::Invalid(format!(
                    "{key} needs the cgroup controller `{}`, which this host does not have; unset the key or enable the controller",
                    self.controller
                ))),
                _ => Ok(()),
            },
        }
    }
}

fn perform(dir: &Path, write: &Write) -> Result<()> {
    let known = write.file.split('|').find(|file| sys::fs::exists(dir.join(file)));
    let file = known.or(write.file.split('|').next()).unwrap_or(write.file);
    let path = dir.join(file);
    let result = match (&write.value, dir.parent()) {
        (Some(value), _) => sys::fs::write_kernel(&path, value),
        (None, Some(parent)) => parents_value(parent, file).and_then(|value| sys::fs::write_kernel(&path, value.trim())),
        (None, None) => Ok(()),
    };
    match (result, &write.need) {
        (Err(_), Need::None) => Ok(()),
        (Err(error), Need::IfThere) if error.is_not_found() => Ok(()),
        (Err(error), Need::Asked) if error.is_not_found() => {
            Err(Error::Invalid(format!("a limit needs the kernel's file {}, which this kernel does not have; unset the limit", write.file)))
        }
        (result, _) => Ok(result?),
    }
}

/// What the parent has; where nothing is set there, what it comes to.
fn parents_value(parent: &Path, file: &str) -> sys::Result<String> {
    let own = sys::fs::read_to_string(parent.join(file))?;
    if own.trim().is_empty() { sys::fs::read_to_string(parent.join(format!("{file}.effective"))) } else { Ok(own) }
}

fn write(file: &'static str, value: impl ToString) -> Write {
    Write { file, value: Some(value.to_string()), need: Need::Asked }
}

fn write_if_there(file: &'static str, value: impl ToString) -> Write {
    Write { file, value: Some(value.to_string()), need: Need::None }
}

/// With swap accounting memory and swap together are bounded, unless swap is off anyway.
///
/// The kernel wants memory <= memory+swap at every moment. A first attempt at both, which may
/// fail, is right for lowering (memory first) and gets memory+swap out of the way for raising; the
/// second says what cannot be done. So nothing is ever lifted in between.
fn memory_v1(limits: &Limits) -> Vec<Write> {
    let hard = limits.memory_bytes.filter(|_| !limits.memory_soft);
    let both = hard.filter(|_| limits.swap != Some(false));
    let soft = limits.memory_bytes.map(|bytes| if limits.memory_soft { bytes } else { bytes / 10 * 9 });
    let bound =
        |file, bytes: Option<u64>, need| Write { file, value: Some(bytes.map_or_else(|| "-1".into(), |bytes| bytes.to_string())), need };
    let asked = |is_asked, need| if is_asked { need } else { Need::None };
    let swappiness = if limits.swap == Some(false) { Some(0) } else { limits.swappiness };
    vec![
        bound("memory.limit_in_bytes", hard, Need::None),
        bound("memory.memsw.limit_in_bytes", both, Need::None),
        bound("memory.limit_in_bytes", hard, asked(hard.is_some(), Need::Asked)),
        bound("memory.memsw.limit_in_bytes", both, asked(both.is_some(), Need::IfThere)),
        bound("memory.soft_limit_in_bytes", soft, asked(limits.memory_soft && soft.is_some(), Need::Asked)),
        Write { file: "memory.swappiness", value: swappiness.map(|value| value.to_string()), need: Need::None },
    ]
}

/// A hard limit has no mark below it: above `memory.high` a process without swap is slowed down without end, where
/// it is to be killed. Swap is counted apart, so that as much again may be swapped out at most.
fn memory_v2(limits: &Limits) -> Vec<Write> {
    let text = |bytes: Option<u64>| bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
    let hard = limits.memory_bytes.filter(|_| !limits.memory_soft);
    let soft = limits.memory_bytes.filter(|_| limits.memory_soft);
    let swap = if limits.swap == Some(false) { Some(0) } else { hard };
    let need = || if limits.memory_bytes.is_some() { Need::Asked } else { Need::None };
    vec![
        Write { file: "memory.max", value: Some(text(hard)), need: need() },
        Write { file: "memory.high", value: Some(text(soft)), need: need() },
        write_if_there("memory.swap.max", text(swap)),
    ]
}

fn processes(limits: &Limits) -> Vec<Write> {
    match limits.processes {
        Some(count) => vec![write("pids.max", count)],
        None => vec![write_if_there("pids.max", "max")],
    }
}

fn cpu_v1(limits: &Limits) -> Vec<Write> {
    let (quota, period) = match limits.cpu_quota_us {
        Some((quota, period)) => (quota.to_string(), period),
        None => ("-1".to_owned(), 100_000),
    };
    vec![
        write_if_there("cpu.shares", limits.cpu_shares.unwrap_or(1024)),
        // Without a quota any period is allowed; with one, some pairs of old and new are not.
        write_if_there("cpu.cfs_quota_us", -1),
        Write { file: "cpu.cfs_period_us", value: Some(period.to_string()), need: quota_need(limits) },
        Write { file: "cpu.cfs_quota_us", value: Some(quota), need: quota_need(limits) },
    ]
}

fn quota_need(limits: &Limits) -> Need {
    if limits.cpu_quota_us.is_some() { Need::Asked } else { Need::None }
}

fn cpu_v2(limits: &Limits) -> Vec<Write> {
    let (quota, period) = match limits.cpu_quota_us {
        Some((quota, period)) => (quota.to_string(), period),
        None => ("max".to_owned(), 100_000),
    };
    // 1024 shares are the normal weight of 100.
    let weight = (limits.cpu_shares.unwrap_or(1024) * 100 / 1024).clamp(1, 10_000);
    vec![
        write_if_there("cpu.weight", weight),
        Write { file: "cpu.max", value: Some(format!("{quota} {period}")), need: quota_need(limits) },
    ]
}

fn asked_of_disks(limits: &Limits) -> Option<&'static str> {
    if limits.blkio_weight.is_some() {
        Some("limits.disk.priority")
    } else {
        (!limits.disks.is_empty()).then_some("a disk's limits.read or limits.write")
    }
}

fn weight(limits: &Limits, file: &'static str, value: Option<String>) -> Write {
    Write { file, value, need: if limits.blkio_weight.is_some() { Need::Asked } else { Need::None } }
}

fn blkio_v1(limits: &Limits) -> Vec<Write> {
    // Which of them there is depends on the I/O schedulers that the kernel has.
    let mut writes = vec![weight(limits, "blkio.weight|blkio.bfq.weight", limits.blkio_weight.map(|weight| weight.to_string()))];
    for (disk, rates) in &limits.disks {
        for (file, rate) in [
            ("blkio.throttle.read_bps_device", rates.read_bytes),
            ("blkio.throttle.write_bps_device", rates.write_bytes),
            ("blkio.throttle.read_iops_device", rates.read_operations),
            ("blkio.throttle.write_iops_device", rates.write_operations),
        ] {
            // 0 lifts it.
            writes.push(write(file, format!("{disk} {rate}")));
        }
    }
    writes
}

/// Weights of the controller and of the scheduler BFQ are apart; which of them has effect is the host's choice for each disk.
fn io_v2(limits: &Limits) -> Vec<Write> {
    let value = limits.blkio_weight.unwrap_or(100).to_string();
    let bfq = write_if_there("io.bfq.weight", &value);
    let mut writes = vec![weight(limits, "io.weight|io.bfq.weight", Some(value)), bfq];
    let bound = |rate: u64| if rate == 0 { "max".to_owned() } else { rate.to_string() };
    for (disk, rates) in &limits.disks {
        let [read, write_bytes] = [rates.read_bytes, rates.write_bytes].map(bound);
        let [reads, writes_done] = [rates.read_operations, rates.write_operations].map(bound);
        writes.push(write("io.max", format!("{disk} rbps={read} wbps={write_bytes} riops={reads} wiops={writes_done}")));
    }
    writes
}

/// Sizes of huge pages, and the files of both versions.
const HUGE_PAGES: &[(&str, &str, &str)] = &[
    ("64KB", "hugetlb.64KB.limit_in_bytes", "hugetlb.64KB.max"),
    ("1MB", "hugetlb.1MB.limit_in_bytes", "hugetlb.1MB.max"),
    ("2MB", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"),
    ("1GB", "hugetlb.1GB.limit_in_bytes", "hugetlb.1GB.max"),
];

type HugePages = (&'static str, &'static str, &'static str);

fn huge_pages(limits: &Limits, unlimited: &str, file: fn(&HugePages) -> &'static str) -> Vec<Write> {
    let one = |size: &HugePages| match limits.huge_pages.get(size.0) {
        Some(bytes) => write(file(size), bytes),
        None => write_if_there(file(size), unlimited),
    };
    HUGE_PAGES.iter().map(one).collect()
}

fn cpuset(limits: &Limits) -> Write {
    match &limits.cpus {
        Some(cpus) => write("cpuset.cpus", cpus),
        None => Write { file: "cpuset.cpus", value: None, need: Need::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(writes: &[Write]) -> Vec<(&str, &str)> {
        writes.iter().map(|write| (write.file, write.value.as_deref().unwrap_or("parent's"))).collect()
    }

    #[test]
    fn hard_memory_on_both_versions() {
        let limits = Limits { memory_bytes: Some(1000), ..Default::default() };
        assert_eq!(
            values(&memory_v1(&limits))[2..5],
            [("memory.limit_in_bytes", "1000"), ("memory.memsw.limit_in_bytes", "1000"), ("memory.soft_limit_in_bytes", "900")]
        );
        assert!(values(&memory_v1(&limits)).iter().all(|(_, value)| *value != "-1"), "nothing is lifted on the way");
        assert_eq!(values(&memory_v2(&limits)), [("memory.max", "1000"), ("memory.high", "max"), ("memory.swap.max", "1000")]);
        let unswapped = Limits { swap: Some(false), ..limits };
        assert_eq!(values(&memory_v2(&unswapped)).last(), Some(&("memory.swap.max", "0")));
    }

    #[test]
    fn disks_on_both_versions() {
        let rates = crate::spec::DiskRates { read_bytes: 10, write_operations: 7, ..Default::default() };
        let limits = Limits { disks: [("8:0".to_owned(), rates)].into(), ..Default::default() };
        assert_eq!(
            values(&blkio_v1(&limits))[1..],
            [
                ("blkio.throttle.read_bps_device", "8:0 10"),
                ("blkio.throttle.write_bps_device", "8:0 0"),
                ("blkio.throttle.read_iops_device", "8:0 0"),
                ("blkio.throttle.write_iops_device", "8:0 7"),
            ]
        );
        assert_eq!(values(&io_v2(&limits))[2], ("io.max", "8:0 rbps=10 wbps=max riops=max wiops=7"));
        // What had a bound and has none any more is told so.
        let lifted = with_lifted(&limits, &Limits::default());
        assert_eq!(values(&io_v2(&lifted))[2], ("io.max", "8:0 rbps=max wbps=max riops=max wiops=max"));
    }

    #[test]
    fn huge_pages_of_one_size() {
        let limits = Limits { huge_pages: [("2MB".to_owned(), 4 << 20)].into(), ..Default::default() };
        let v2 = huge_pages(&limits, "max", |size| size.2);
        assert_eq!(values(&v2)[1..3], [("hugetlb.1MB.max", "max"), ("hugetlb.2MB.max", "4194304")]);
        assert!(v2[1].need == Need::None && v2[2].need == Need::Asked);
    }

    #[test]
    fn soft_memory_does_not_bound() {
        let limits = Limits { memory_bytes: Some(1000), memory_soft: true, ..Default::default() };
        assert_eq!(
            values(&memory_v1(&limits))[2..5],
            [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1"), ("memory.soft_limit_in_bytes", "1000")]
        );
        assert_eq!(values(&memory_v2(&limits)), [("memory.max", "max"), ("memory.high", "1000"), ("memory.swap.max", "max")]);
    }

    #[test]
    fn what_is_unset_becomes_the_parents() {
        let row = |controller: &str| ROWS.iter().find(|row| row.controller == controller).expect("row");
        assert_eq!(values(&(row("cpuset").v1)(&Limits::default())), [("cpuset.cpus", "parent's")]);
        assert_eq!(values(&(row("cpuset").v2)(&Limits::default())), [("cpuset.cpus", "parent's"), ("cpuset.cpus", "\n")]);
        assert_eq!(values(&(row("blkio").v1)(&Limits::default())), [("blkio.weight|blkio.bfq.weight", "parent's")]);
        assert_eq!(values(&(row("io").v2)(&Limits::default())), [("io.weight|io.bfq.weight", "100"), ("io.bfq.weight", "100")]);
        assert_eq!(values(&memory_v1(&Limits::default())).last(), Some(&("memory.swappiness", "parent's")));
    }

    #[test]
    fn processor_quota() {
        let limits = Limits { cpu_quota_us: Some((20_000, 100_000)), cpu_shares: Some(512), ..Default::default() };
        assert_eq!(values(&cpu_v1(&limits)).last(), Some(&("cpu.cfs_quota_us", "20000")));
        assert_eq!(values(&cpu_v2(&limits)), [("cpu.weight", "50"), ("cpu.max", "20000 100000")]);
    }
}
