//! Facts about the host that do not change while the daemon runs.

use std::collections::BTreeMap;

use crate::instances::limits::HostResources;

/// Names of architectures as the API prints them: name, other spellings, 32-bit companions.
const ARCHITECTURES: &[(&str, &[&str], &[&str])] = &[
    ("i686", &["i386", "i586", "386", "x86"], &[]),
    ("x86_64", &["amd64", "x86-64"], &["i686"]),
    ("armv7l", &["armel", "armhf", "arm"], &[]),
    ("aarch64", &["arm64"], &["armv7l"]),
    ("ppc", &["powerpc"], &[]),
    ("ppc64", &["powerpc64"], &["ppc"]),
    ("ppc64le", &["ppc64el"], &[]),
    ("riscv64", &[], &[]),
    ("s390x", &[], &[]),
];

/// The API's name of an architecture, whatever spelling is given.
pub(crate) fn architecture(name: &str) -> Option<&'static str> {
    ARCHITECTURES.iter().find(|(main, others, _)| *main == name || others.contains(&name)).map(|row| row.0)
}

/// What the host is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub architecture: &'static str,
    /// The native one first, then its personalities.
    pub architectures: Vec<&'static str>,
    pub kernel_version: String,
    pub os_name: String,
    pub os_version: String,
    pub hostname: String,
    pub resources: HostResources,
}

impl Host {
    /// Reads the facts; what cannot be read stays empty.
    pub(crate) fn read() -> Self {
        let text = |path: &str| sys::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let os = parse_os_release(&text("/etc/os-release"));
        let architecture = architecture(std::env::consts::ARCH).unwrap_or("x86_64");
        let companions = ARCHITECTURES.iter().find(|row| row.0 == architecture).map_or(&[][..], |row| row.2);
        Self {
            architecture,
            architectures: std::iter::once(architecture).chain(companions.iter().copied()).collect(),
            kernel_version: text("/proc/sys/kernel/osrelease"),
            os_name: os.get("NAME").cloned().unwrap_or_default(),
            os_version: os.get("VERSION_ID").cloned().unwrap_or_default(),
            hostname: text("/proc/sys/kernel/hostname"),
            resources: HostResources { memory_bytes: memory_bytes(&text("/proc/meminfo")), cpus: read_cpus() },
        }
    }

    /// Whether instances of this architecture run here, and if so as 32-bit personality.
    pub(crate) fn is_personality_32(&self, architecture: &str) -> bool {
        architecture != self.architecture && self.architectures.contains(&architecture)
    }
}

/// Processors that containers may use: those of the root cpuset, without isolated ones.
pub(crate) fn read_cpus() -> Vec<u32> {
    const SETS: &[&str] = &[
        "/sys/fs/cgroup/cpuset/cpuset.effective_cpus",
        "/sys/fs/cgroup/cpuset/cpuset.cpus",
        "/sys/fs/cgroup/cpuset.cpus.effective",
        "/sys/devices/system/cpu/online",
    ];
    let list = |path: &&str| sys::fs::read_to_string(path).ok().and_then(|text| keys::cpu::parse_cpu_list(&text).ok());
    let all = SETS.iter().filter_map(list).find(|cpus| !cpus.is_empty()).unwrap_or_else(|| vec![0]);
    let isolated = list(&"/sys/devices/system/cpu/isolated").unwrap_or_default();
    let free: Vec<u32> = all.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    if free.is_empty() { all } else { free }
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn parse_os_release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_host() {
        let host = Host::read();
        assert!(host.resources.memory_bytes > 1 << 20 && !host.resources.cpus.is_empty() && !host.kernel_version.is_empty());
        assert_eq!(host.architectures[0], host.architecture);
    }

    #[test]
    fn spellings_and_files() {
        assert_eq!(architecture("amd64"), Some("x86_64"));
        assert_eq!(architecture("vax"), None);
        assert_eq!(memory_bytes("MemTotal:        2048 kB\nMemFree: 1 kB"), 2 << 20);
        assert_eq!(parse_os_release("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"")["VERSION_ID"], "12");
    }
}
