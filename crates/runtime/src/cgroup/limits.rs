//! Limits as rows: what to write for each, on v1 and on v2.

use std::path::Path;

use super::Groups;
use crate::error::{Error, Result};
use crate::spec::Limits;

/// One kernel file to write.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    file: &'static str,
    value: String,
    /// A kernel without this file cannot do it, and nobody asked for it.
    optional: bool,
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
    Row { controller: "cpuset", asked: |limits| limits.cpus.is_some().then_some("limits.cpu"), v1: cpuset, v2: cpuset },
    Row {
        controller: "blkio",
        asked: |limits| limits.blkio_weight.is_some().then_some("limits.disk.priority"),
        v1: |limits| weight(limits, "blkio.weight"),
        v2: |_| Vec::new(),
    },
    Row { controller: "io", asked: |_| None, v1: |_| Vec::new(), v2: |limits| weight(limits, "io.weight") },
];

/// Writes all limits. Lifting comes first where the kernel demands an order.
pub(super) fn apply(groups: &Groups, limits: &Limits) -> Result<()> {
    for row in ROWS {
        let Some((dir, unified)) = groups.controller(row.controller) else {
            match (row.asked)(limits) {
                // On a host with v2 the work of `blkio` is that of `io`.
                Some(key) if row.controller != "blkio" || groups.controller("io").is_none() => {
                    return Err(Error::Invalid(format!(
                        "{key} needs the cgroup controller `{}`, which this host does not have; unset the key or enable the controller",
                        row.controller
                    )));
                }
                _ => continue,
            }
        };
        let writes = if unified { (row.v2)(limits) } else { (row.v1)(limits) };
        writes.iter().try_for_each(|write| perform(&dir, write))?;
    }
    Ok(())
}

fn perform(dir: &Path, write: &Write) -> Result<()> {
    match sys::fs::write_kernel(dir.join(write.file), &write.value) {
        Err(_) if write.optional => Ok(()),
        other => Ok(other?),
    }
}

fn write(file: &'static str, value: impl ToString) -> Write {
    Write { file, value: value.to_string(), optional: false }
}

fn write_if_there(file: &'static str, value: impl ToString) -> Write {
    Write { file, value: value.to_string(), optional: true }
}

/// All limits go to -1 first, since memory may never exceed memory+swap in between. With swap
/// accounting memory and swap together are bounded, unless swap is off anyway.
fn memory_v1(limits: &Limits) -> Vec<Write> {
    let mut writes = vec![
        write_if_there("memory.memsw.limit_in_bytes", -1),
        write_if_there("memory.limit_in_bytes", -1),
        write_if_there("memory.soft_limit_in_bytes", -1),
    ];
    if let Some(bytes) = limits.memory_bytes {
        if limits.memory_soft {
            writes.push(write("memory.soft_limit_in_bytes", bytes));
        } else {
            writes.push(write("memory.limit_in_bytes", bytes));
            if limits.swap != Some(false) {
                writes.push(write_if_there("memory.memsw.limit_in_bytes", bytes));
            }
            writes.push(write_if_there("memory.soft_limit_in_bytes", bytes / 10 * 9));
        }
    }
    if limits.swap == Some(false) {
        writes.push(write_if_there("memory.swappiness", 0));
    } else if let Some(swappiness) = limits.swappiness {
        writes.push(write_if_there("memory.swappiness", swappiness));
    }
    writes
}

fn memory_v2(limits: &Limits) -> Vec<Write> {
    let max = || "max".to_owned();
    let bytes = limits.memory_bytes.map(|bytes| bytes.to_string());
    let (hard, high) = match (&bytes, limits.memory_soft, limits.memory_bytes) {
        (Some(text), true, _) => (max(), text.clone()),
        (Some(text), false, Some(bytes)) => (text.clone(), (bytes / 10 * 9).to_string()),
        _ => (max(), max()),
    };
    let swap = if limits.swap == Some(false) { "0".to_owned() } else { max() };
    let asked = bytes.is_some();
    vec![
        Write { file: "memory.max", value: hard, optional: !asked },
        Write { file: "memory.high", value: high, optional: !asked },
        write_if_there("memory.swap.max", swap),
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
        Write { file: "cpu.cfs_period_us", value: period.to_string(), optional: limits.cpu_quota_us.is_none() },
        Write { file: "cpu.cfs_quota_us", value: quota, optional: limits.cpu_quota_us.is_none() },
    ]
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
        Write { file: "cpu.max", value: format!("{quota} {period}"), optional: limits.cpu_quota_us.is_none() },
    ]
}

fn cpuset(limits: &Limits) -> Vec<Write> {
    limits.cpus.iter().map(|cpus| write("cpuset.cpus", cpus)).collect()
}

fn weight(limits: &Limits, file: &'static str) -> Vec<Write> {
    match limits.blkio_weight {
        Some(weight) => vec![write_if_there(file, weight)],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(writes: &[Write]) -> Vec<(&str, &str)> {
        writes.iter().map(|write| (write.file, write.value.as_str())).collect()
    }

    #[test]
    fn hard_memory_on_both_versions() {
        let limits = Limits { memory_bytes: Some(1000), ..Default::default() };
        assert_eq!(
            values(&memory_v1(&limits))[3..],
            [("memory.limit_in_bytes", "1000"), ("memory.memsw.limit_in_bytes", "1000"), ("memory.soft_limit_in_bytes", "900")]
        );
        assert_eq!(values(&memory_v2(&limits)), [("memory.max", "1000"), ("memory.high", "900"), ("memory.swap.max", "max")]);
    }

    #[test]
    fn soft_memory_does_not_bound() {
        let limits = Limits { memory_bytes: Some(1000), memory_soft: true, ..Default::default() };
        assert_eq!(values(&memory_v1(&limits))[3..], [("memory.soft_limit_in_bytes", "1000")]);
        assert_eq!(values(&memory_v2(&limits))[..2], [("memory.max", "max"), ("memory.high", "1000")]);
    }

    #[test]
    fn processor_quota() {
        let limits = Limits { cpu_quota_us: Some((20_000, 100_000)), cpu_shares: Some(512), ..Default::default() };
        assert_eq!(values(&cpu_v1(&limits)).last(), Some(&("cpu.cfs_quota_us", "20000")));
        assert_eq!(values(&cpu_v2(&limits)), [("cpu.weight", "50"), ("cpu.max", "20000 100000")]);
    }
}
