//! What a container uses, from its control groups. Best effort: what a kernel does not tell is 0.

use std::path::{Path, PathBuf};

use super::Groups;

/// Usage counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Memory in use, bytes.
    pub memory_bytes: u64,
    /// Most memory ever in use, bytes.
    pub memory_peak_bytes: u64,
    /// Swap in use, bytes.
    pub swap_bytes: u64,
    /// Most swap ever in use, bytes.
    pub swap_peak_bytes: u64,
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
    /// Number of tasks.
    pub processes: u64,
}

pub(super) fn read(groups: &Groups) -> Counters {
    let mut counters = Counters::default();
    match groups.controller("memory") {
        Some((dir, true)) => {
            counters.memory_bytes = number(&dir, "memory.current");
            counters.memory_peak_bytes = number(&dir, "memory.peak");
            counters.swap_bytes = number(&dir, "memory.swap.current");
            counters.swap_peak_bytes = number(&dir, "memory.swap.peak");
        }
        Some((dir, false)) => {
            counters.memory_bytes = number(&dir, "memory.usage_in_bytes");
            counters.memory_peak_bytes = number(&dir, "memory.max_usage_in_bytes");
            counters.swap_bytes = number(&dir, "memory.memsw.usage_in_bytes").saturating_sub(counters.memory_bytes);
            counters.swap_peak_bytes = number(&dir, "memory.memsw.max_usage_in_bytes").saturating_sub(counters.memory_peak_bytes);
        }
        None => {}
    }
    counters.cpu_ns = match (groups.controller("cpuacct"), groups.unified_dir()) {
        (Some((dir, false)), _) => number(&dir, "cpuacct.usage"),
        (_, Some(dir)) => field(&dir, "cpu.stat", "usage_usec") * 1000,
        _ => 0,
    };
    counters.processes = match (groups.controller("pids"), groups.unified_dir()) {
        (Some((dir, _)), _) => number(&dir, "pids.current"),
        (None, Some(dir)) => lines(dir.join("cgroup.threads")),
        (None, None) => 0,
    };
    counters
}

fn number(dir: &Path, file: &str) -> u64 {
    sys::fs::read_kernel(dir.join(file)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn field(dir: &Path, file: &str, name: &str) -> u64 {
    let text = sys::fs::read_kernel(dir.join(file)).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

fn lines(path: PathBuf) -> u64 {
    sys::fs::read_to_string(path).map_or(0, |text| text.lines().count() as u64)
}
