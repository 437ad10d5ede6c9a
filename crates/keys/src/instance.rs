//! Keys of instances; profiles take the same ones but for `volatile.*`.

use std::collections::BTreeMap;

use crate::row::keys;
use crate::types::{
    Count, Cpu, CpuAllowance, Environment, Expiry, Memory, MemoryEnforce, Modules, Priority, RawIdmap, RawLxc, ResourceLimit, Schedule,
    Size, SnapshotPattern, StateCompression, Text, Uint32,
};
use crate::{Config, KeyError, Refused, Table};

keys! { ROWS;
    /// Start the instance when the daemon starts: true always, false never, unset if it was running before.
    BOOT_AUTOSTART: bool = "boot.autostart", "", Event;
    /// Seconds to wait after this instance was started before the next one.
    BOOT_AUTOSTART_DELAY: Count = "boot.autostart.delay", "0", Event;
    /// Order of starting with the daemon: higher comes first.
    BOOT_AUTOSTART_PRIORITY: i64 = "boot.autostart.priority", "0", Event;
    /// Seconds that the instance gets for a clean stop when the host shuts down.
    BOOT_HOST_SHUTDOWN_TIMEOUT: Count = "boot.host_shutdown_timeout", "30", Event;
    /// Order of stopping when the host shuts down: higher comes first.
    BOOT_STOP_PRIORITY: i64 = "boot.stop.priority", "0", Event;
    /// Network configuration for cloud-init.
    CLOUD_INIT_NETWORK_CONFIG: Text = "cloud-init.network-config", "", Event;
    /// User data for cloud-init, usually starting with `#cloud-config`.
    CLOUD_INIT_USER_DATA: Text = "cloud-init.user-data", "", Event;
    /// Vendor data for cloud-init.
    CLOUD_INIT_VENDOR_DATA: Text = "cloud-init.vendor-data", "", Event;
    /// Environment variables of init (from the next start) and of commands run by exec (at once).
    ENVIRONMENT: Environment = "environment.*", "", Event;
    /// Properties copied from the image.
    IMAGE: Text = "image.*", "", Event;
    /// CPUs the instance may use: a number of them, balanced over the host, or a fixed set.
    LIMITS_CPU: Cpu = "limits.cpu", "", Now;
    /// Processor time: a share under contention (`50%`) or a hard slice (`20ms/100ms`).
    LIMITS_CPU_ALLOWANCE: CpuAllowance = "limits.cpu.allowance", "100%", Now;
    /// Weight among instances of the same CPU allowance.
    LIMITS_CPU_PRIORITY: Priority = "limits.cpu.priority", "10", Now;
    /// Weight of disk accesses under contention.
    LIMITS_DISK_PRIORITY: Priority = "limits.disk.priority", "5", Now;
    /// Bytes of huge pages that the instance may use, by size: `limits.hugepages.64KB`, `1MB`, `2MB` or `1GB`.
    LIMITS_HUGEPAGES: Size = "limits.hugepages.*", "", Now;
    /// Resource limits of init, and of commands run by exec (at once): `limits.kernel.nofile` and the like, see getrlimit(2).
    LIMITS_KERNEL: ResourceLimit = "limits.kernel.*", "", Restart;
    /// Memory the instance may use, in bytes or as a share of the host's.
    LIMITS_MEMORY: Memory = "limits.memory", "", Now;
    /// Whether the memory limit is hard, or soft: enforced only when the host runs short.
    LIMITS_MEMORY_ENFORCE: MemoryEnforce = "limits.memory.enforce", "hard", Now;
    /// Whether the instance's memory may be swapped out.
    LIMITS_MEMORY_SWAP: bool = "limits.memory.swap", "true", Now;
    /// How readily the instance is swapped out.
    LIMITS_MEMORY_SWAP_PRIORITY: Priority = "limits.memory.swap.priority", "10", Now;
    /// Priority of the packets that come out of the instance's bridged and p2p cards, by which the host's interfaces queue
    /// them under load. Of the kernel's own queues, 6 and 7 are served first and 1 to 3 last.
    LIMITS_NETWORK_PRIORITY: Priority = "limits.network.priority", "0", Now;
    /// How many processes the instance may have.
    LIMITS_PROCESSES: Count = "limits.processes", "", Now;
    /// Kernel modules loaded on the host before the instance starts.
    LINUX_KERNEL_MODULES: Modules = "linux.kernel_modules", "", Event;
    /// Whether the guest is kept from namespaces that cannot be saved, so that stateful stops and snapshots work;
    /// unset means true, or false with `security.nesting`. Services of the guest then lose the sandboxing of systemd
    /// that needs such namespaces (`PrivateTmp=`, `ProtectSystem=`, `ProtectHostname=`, `PrivateUsers=` and the like).
    MIGRATION_STATEFUL: bool = "migration.stateful", "", Restart;
    /// How the memory in a saved running state is compressed: less room on the disk, for time of the processors.
    MIGRATION_STATEFUL_COMPRESSION: StateCompression = "migration.stateful.compression", "none", Now;
    /// Rules added to the instance's AppArmor profile, each with its comma: `deny /srv/** w,`. A denial wins over what
    /// is allowed. Without effect where `lxc info` shows that containers are not confined.
    RAW_APPARMOR: Text = "raw.apparmor", "", Now;
    /// Extra entries of the id map.
    RAW_IDMAP: RawIdmap = "raw.idmap", "", Restart;
    /// Settings in the words of lxc.container.conf(5), a line each: `lxc.apparmor.profile` (unconfined), `lxc.cap.drop`, limits
    /// and `devices.allow` of `lxc.cgroup.*` and `lxc.cgroup2.*` (what counts is the version that the host has), `lxc.environment`,
    /// `lxc.init.cmd`, `lxc.mount.auto`, `lxc.mount.entry` (binds, which are as disk devices), `lxc.prlimit.*`,
    /// `lxc.proc.oom_score_adj`, `lxc.signal.halt`, `lxc.sysctl.*` (of what an instance has for itself), `lxc.uts.name`. Other keys
    /// are refused with what to use instead.
    RAW_LXC: RawLxc = "raw.lxc", "", Restart;
    /// Let the instance learn of itself through `/dev/lxd/sock`.
    SECURITY_DEVLXD: bool = "security.devlxd", "true", Now;
    /// Let the instance fetch public and cached images through `/dev/lxd/sock`.
    SECURITY_DEVLXD_IMAGES: bool = "security.devlxd.images", "false", Now;
    /// First host id of the instance's own range; unset to have one chosen.
    SECURITY_IDMAP_BASE: Uint32 = "security.idmap.base", "", Restart;
    /// Give the instance a range of host ids that it shares with no other.
    SECURITY_IDMAP_ISOLATED: bool = "security.idmap.isolated", "false", Restart;
    /// Length of the instance's own range of host ids.
    SECURITY_IDMAP_SIZE: Uint32 = "security.idmap.size", "65536", Restart;
    /// Let the instance run containers of its own.
    SECURITY_NESTING: bool = "security.nesting", "false", Restart;
    /// Run without a user namespace: root of the instance is then root of the host and must be trusted like it.
    SECURITY_PRIVILEGED: bool = "security.privileged", "false", Restart;
    /// Refuse to delete the instance.
    SECURITY_PROTECTION_DELETE: bool = "security.protection.delete", "false", Now;
    /// Age at which the instance's snapshots are deleted.
    SNAPSHOTS_EXPIRY: Expiry = "snapshots.expiry", "", Event;
    /// Name of snapshots made without a name; `%d` is the next free number.
    SNAPSHOTS_PATTERN: SnapshotPattern = "snapshots.pattern", "snap%d", Event;
    /// When snapshots are taken by themselves (UTC); also of an instance that does not run if `snapshots.schedule.stopped` is true.
    SNAPSHOTS_SCHEDULE: Schedule = "snapshots.schedule", "", Event;
    /// Whether snapshots are taken by themselves while the instance does not run.
    SNAPSHOTS_SCHEDULE_STOPPED: bool = "snapshots.schedule.stopped", "false", Event;
    /// Free for your own use; images' templates read some of them (`user.user-data`, `user.network_mode`).
    USER: Text = "user.*", "", Event;
    /// What the daemon remembers about the instance.
    VOLATILE: Text = "volatile.*", "", Event;
}

/// Keys of the original that do not apply here.
static REFUSED: &[Refused] = &[
    Refused { name: "migration.incremental.*", reason: "live migration chooses its rounds itself" },
    Refused { name: "nvidia.*", reason: "the NVIDIA container runtime is not supported; pass the card with a gpu device" },
    Refused { name: "raw.qemu", reason: "it concerns virtual machines, and this server runs containers" },
    Refused { name: "raw.seccomp", reason: "the system call filter is fixed" },
    Refused { name: "security.agent.*", reason: "it concerns virtual machines, and this server runs containers" },
    Refused { name: "security.protection.shift", reason: "files are mapped at mount time, not rewritten" },
    Refused { name: "security.secureboot", reason: "it concerns virtual machines, and this server runs containers" },
    Refused { name: "security.sev*", reason: "it concerns virtual machines, and this server runs containers" },
    Refused {
        name: "security.syscalls.*",
        reason: "the system call filter is fixed; security.nesting permits what nested containers need",
    },
];

/// All keys of instances.
pub static TABLE: Table = Table { unknown: "Unknown configuration key", rows: ROWS, refused: REFUSED };

/// Keys under `volatile.` that the daemon itself uses.
pub mod volatile {
    use crate::Key;
    use crate::types::{Text, Uint32};

    /// What the names of all of them begin with.
    pub const PREFIX: &str = "volatile.";
    /// Template trigger to run at the next start: `create` or `copy`.
    pub const APPLY_TEMPLATE: Key<Text> = Key::new("volatile.apply_template", "");
    /// Fingerprint of the image the instance was made from.
    pub const BASE_IMAGE: Key<Text> = Key::new("volatile.base_image", "");
    /// First host id of an isolated map.
    pub const IDMAP_BASE: Key<Uint32> = Key::new("volatile.idmap.base", "0");
    /// JSON map that the next start will use.
    pub const IDMAP_NEXT: Key<Text> = Key::new("volatile.idmap.next", "");
    /// JSON map that the files on disk are shifted for; `[]` when they hold the instance's own ids.
    pub const LAST_STATE_IDMAP: Key<Text> = Key::new("volatile.last_state.idmap", "");
    /// `RUNNING` or `STOPPED`: what the instance was when the daemon last knew.
    pub const LAST_STATE_POWER: Key<Text> = Key::new("volatile.last_state.power", "");
    /// `true` once the instance has said through the guest API that it is ready.
    pub const LAST_STATE_READY: Key<bool> = Key::new("volatile.last_state.ready", "false");
    /// Identity of the instance, new for each.
    pub const UUID: Key<Text> = Key::new("volatile.uuid", "");

    /// The key that remembers a generated value (`hwaddr`, `name`, `host_name`) of a device.
    pub fn device(device: &str, what: &str) -> String {
        format!("volatile.{device}.{what}")
    }
}

/// Checks the configuration of an instance.
pub fn validate(config: &Config) -> Result<(), KeyError> {
    for (key, value) in config {
        TABLE.check(key, value)?;
        check_name(key)?;
        check_remembered(key, value)?;
    }
    Ok(())
}

/// Refuses what no card could have: a restored `volatile.NAME.hwaddr` is not made by the daemon.
fn check_remembered(key: &str, value: &str) -> Result<(), KeyError> {
    let is_address = key.starts_with("volatile.") && key.ends_with(".hwaddr") && !value.is_empty();
    let checked = if is_address { crate::values::parse_mac(value).map(drop) } else { Ok(()) };
    checked.map_err(|reason| KeyError::other(format!("{reason} ({key} is a card's, such as 00:16:3e:12:34:56)")))
}

/// Environment variables: of `environment.*`, without the prefix, over those of `raw.lxc`.
pub fn environment(config: &Config) -> BTreeMap<String, String> {
    let raw = RAW_LXC.get(config).map(|raw| raw.environment).unwrap_or_default();
    let own = config.iter().filter_map(|(key, value)| Some((key.strip_prefix("environment.")?.to_owned(), value.clone())));
    raw.into_iter().chain(own).collect()
}

/// Resources of processes that can be limited.
pub(crate) const RESOURCES: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Sizes of huge pages.
const HUGE_PAGES: &[&str] = &["64KB", "1MB", "2MB", "1GB"];

/// Resource limits by name: of `limits.kernel.*`, over those of `raw.lxc`. Values were checked when they were set.
pub fn resource_limits(config: &Config) -> BTreeMap<String, crate::values::ResourceLimit> {
    let raw = RAW_LXC.get(config).map(|raw| raw.rlimits).unwrap_or_default();
    let limit = |(key, value): (&'_ String, &String)| -> Option<_> {
        let name = RESOURCES.iter().find(|name| key.strip_prefix("limits.kernel.") == Some(**name))?;
        Some(((*name).to_owned(), crate::values::parse_resource_limit(value).ok()?))
    };
    raw.into_iter().chain(config.iter().filter_map(limit)).collect()
}

/// Bytes of `limits.hugepages.*`, by size.
pub fn huge_pages(config: &Config) -> impl Iterator<Item = (&str, u64)> {
    let limit = |(key, value): (&String, &String)| -> Option<_> {
        let size = HUGE_PAGES.iter().find(|size| key.strip_prefix("limits.hugepages.") == Some(**size))?;
        Some((*size, crate::values::parse_size(value).ok()?))
    };
    config.iter().filter_map(limit)
}

/// Refuses a name that a family does not have.
fn check_member(key: &str, family: &str, members: &[&str]) -> Result<(), KeyError> {
    match key.strip_prefix(family.trim_end_matches('*')) {
        Some(name) if !members.contains(&name) => {
            Err(KeyError::other(format!("Unknown configuration key: {key} (what may follow the last dot: {})", members.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Refuses names within a family that would break out of what they end up in.
fn check_name(key: &str) -> Result<(), KeyError> {
    if key.len() > 255 || key.chars().any(char::is_control) {
        return Err(KeyError::other(format!("Invalid configuration key: {}", crate::row::printable(key))));
    }
    check_member(key, LIMITS_KERNEL.name, RESOURCES)?;
    check_member(key, LIMITS_HUGEPAGES.name, HUGE_PAGES)?;
    match key.strip_prefix("environment.") {
        Some(name) if name.contains('=') => Err(KeyError::other(format!("Invalid environment variable name: {name}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn accepts_what_preseeds_send() {
        let config = config(&[
            ("boot.autostart", "true"),
            ("environment.http_proxy", "http://proxy:3128"),
            ("limits.cpu", "0-1"),
            ("limits.memory", "2GiB"),
            ("linux.kernel_modules", "overlay, nf_nat"),
            ("security.nesting", "true"),
            ("user.user-data", "#cloud-config\npackages: [vim]\n"),
            ("volatile.eth0.hwaddr", "00:16:3e:aa:bb:cc"),
            ("limits.cpu.priority", ""),
        ]);
        assert_eq!(validate(&config), Ok(()));
    }

    #[test]
    fn rejects_with_the_known_texts() {
        for (key, value, text) in [
            ("limits.mem", "1", "Unknown configuration key: limits.mem"),
            ("limits.memori", "1", "Unknown configuration key: limits.memori (did you mean limits.memory?)"),
            ("security.nesting", "maybe", "Invalid value for a boolean: maybe (security.nesting takes true or false)"),
            ("limits.processes", "many", "Invalid value for an integer: many"),
            ("limits.memory.enforce", "x", "Invalid value: x (not one of [hard soft])"),
            ("limits.cpu.allowance", "ten", "Invalid allowance: ten"),
            ("security.idmap.base", "2147483648", "Invalid value for uint32: 2147483648"),
            ("raw.lxc", "lxc.x = 1", "lxc.x: is not known"),
            ("raw.seccomp", "x", "The configuration key raw.seccomp isn't supported"),
            ("environment.A", "a\nb", "Invalid value: contains the character '\\n'"),
            ("environment.A=B", "c", "Invalid environment variable name: A=B"),
            ("user.a\nb", "c", "Invalid configuration key: user.a\\nb"),
            ("environment.", "c", "Unknown configuration key: environment."),
            ("limits.kernel.files", "1", "Unknown configuration key: limits.kernel.files (what may follow the last dot: as, core"),
            ("limits.kernel.nofile", "2:1", "Invalid resource limit: 2:1"),
            ("volatile.eth0.hwaddr", "zz", "Invalid hardware address: zz (volatile.eth0.hwaddr is a card's"),
            ("limits.processes", "9223372036854775808", "Invalid value for an integer: 9223372036854775808"),
            ("limits.hugepages.3MB", "1MB", "Unknown configuration key: limits.hugepages.3MB"),
        ] {
            let error = validate(&config(&[(key, value)])).expect_err(key).to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn typed_reads_use_defaults() {
        let empty = Config::new();
        assert!(LIMITS_MEMORY_SWAP.is_true(&empty));
        assert_eq!(BOOT_AUTOSTART.get(&empty), None);
        assert_eq!(SECURITY_IDMAP_SIZE.get(&empty), Some(65_536));
        let set = config(&[("limits.memory.enforce", "soft"), ("limits.memory.swap", "")]);
        assert_eq!(LIMITS_MEMORY_ENFORCE.get(&set), Some(MemoryEnforce::Soft));
        assert!(LIMITS_MEMORY_SWAP.is_true(&set));
        assert!(SECURITY_NESTING.read(&config(&[("security.nesting", "x")])).is_err());
    }
}
