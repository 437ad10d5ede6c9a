//! What to run: complete, serializable descriptions without any reference to the manager's records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sys::idmap::IdMap;

/// Everything needed to start one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique among the containers of one daemon; names cgroups and directories.
    pub name: String,
    /// Host name inside.
    pub hostname: String,
    /// Guest to host ids; empty for a privileged container, which has no user namespace.
    pub idmap: IdMap,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The ids on disk are guest ids, to be mapped at mount time; otherwise they have been shifted.
    pub idmapped: bool,
    /// Program and arguments of init.
    pub init: Vec<String>,
    /// Environment of init, added to `container=lxc` and a default PATH.
    pub env: BTreeMap<String, String>,
    /// Host paths to show inside, in this order.
    pub mounts: Vec<Bind>,
    /// Directory of the host to show as `/dev/lxd`, for the guest API's socket.
    #[serde(default)]
    pub guest_api: Option<PathBuf>,
    /// Device nodes to show inside.
    pub nodes: Vec<DeviceNode>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Resource limits.
    pub limits: Limits,
    /// Resource limits of init, and of commands run inside.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// May run containers of its own.
    pub nesting: bool,
    /// Refuse the nested namespaces that a checkpoint could not save.
    pub checkpointable: bool,
    /// Which subvolumes of a btrfs it may make.
    #[serde(default)]
    pub subvolumes: Subvolumes,
    /// 32-bit personality.
    pub personality_32: bool,
    /// Rules added to the container's AppArmor profile.
    #[serde(default)]
    pub apparmor: String,
    /// What few containers have otherwise than all.
    #[serde(default)]
    pub tuning: Tuning,
}

/// Which subvolumes of a btrfs a guest may make: not those that would not count for a volume with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subvolumes {
    /// Any.
    #[default]
    Any,
    /// Those for which it cannot choose quota groups.
    WithoutGroups,
    /// None.
    None,
}

impl ContainerSpec {
    /// What its AppArmor profile depends on.
    pub fn confinement(&self) -> crate::apparmor::Rules<'_> {
        crate::apparmor::Rules { privileged: self.idmap.is_empty(), nesting: self.nesting, raw: &self.apparmor }
    }

    /// Capabilities that its processes do not have, by number.
    pub fn dropped_capabilities(&self) -> Vec<u32> {
        let usual = if self.idmap.is_empty() && !self.tuning.keeps_capabilities { crate::plan::PRIVILEGED_DROPS } else { &[] };
        usual.iter().chain(&self.tuning.dropped_capabilities).copied().collect()
    }
}

/// What few containers have otherwise than all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// Not confined by AppArmor.
    pub unconfined: bool,
    /// A privileged container keeps the capabilities that others give up.
    pub keeps_capabilities: bool,
    /// Capabilities that it gives up besides, by number.
    pub dropped_capabilities: Vec<u32>,
    /// Nothing of `/proc` is hidden or read-only.
    pub writable_proc: bool,
    /// Nothing of `/sys` is hidden or read-only.
    pub writable_sys: bool,
    /// Names below /proc/sys with slashes, and what is written there; of what the container has for itself.
    pub sysctls: Vec<(String, String)>,
    /// Files of its control groups, written after the limits.
    pub cgroup: Vec<GroupFile>,
    /// Devices that it may use without having a node of them.
    pub devices: Vec<DeviceRule>,
    /// It may use all devices.
    pub all_devices: bool,
    /// The signal that asks its init to shut down; that which the init is known to take if unset.
    pub halt_signal: Option<i32>,
    /// `oom_score_adj` of its init, proc_pid_oom_score_adj(5).
    pub oom_score_adj: Option<i32>,
}

/// A file of a container's control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFile {
    /// Of version 2, else of version 1. It counts where the host has the controller in that version.
    pub unified: bool,
    /// `CONTROLLER.FILE`.
    pub name: String,
    /// What is written.
    pub value: String,
}

/// A device, or all of one major number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Block or character device.
    pub block: bool,
    /// Device number.
    pub major: u32,
    /// Device number; all if unset.
    pub minor: Option<u32>,
}

/// Where the root file system is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// A directory.
    Dir {
        /// The directory.
        path: PathBuf,
    },
    /// Layers, mounted inside the container's own user namespace.
    Overlay {
        /// Read-only layer.
        lower: PathBuf,
        /// Writable layer.
        upper: PathBuf,
        /// Scratch directory beside `upper`.
        work: PathBuf,
    },
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Dir { path: PathBuf::new() }
    }
}

/// A host path shown inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Name of the device entry that it comes from; empty for what every container gets.
    #[serde(default)]
    pub device: String,
    /// On the host.
    pub source: PathBuf,
    /// Inside; made if it is missing.
    pub target: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
    /// With the mounts below.
    pub recursive: bool,
    /// A missing source is no failure.
    pub optional: bool,
    /// Map the ids on disk like those of the root file system.
    pub idmapped: bool,
    /// The source is a block device with this file system, which is mounted.
    #[serde(default)]
    pub file_system: Option<String>,
    /// The source is the node of this character device, major and minor number. A container with a user namespace may
    /// use it: its guest cannot have made the node. One without may use what its device nodes and `raw.lxc` give it.
    #[serde(default)]
    pub character_device: Option<(u32, u32)>,
    /// Options of that file system; one without a value is a flag.
    #[serde(default)]
    pub options: Vec<(String, Option<String>)>,
    /// More of `MOUNT_ATTR_*`, see mount_setattr(2).
    #[serde(default)]
    pub attributes: u32,
    /// Which mounts below it pass between the host and the container.
    #[serde(default)]
    pub propagation: Propagation,
}

/// Which mounts pass between the host and a container, see mount_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// From the host to the container.
    Slave,
    /// Both ways. The kernel makes that a slave for a container with a user namespace.
    Shared,
}

/// A device node shown inside. The node itself is made on the host at `source`, if it is not
/// there yet, since a user namespace may not make one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Name of the device entry that it comes from.
    #[serde(default)]
    pub device: String,
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// Block or character device.
    pub block: bool,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, guest id.
    pub uid: u32,
    /// Group, guest id.
    pub gid: u32,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Name of the device entry that it comes from.
    pub device: String,
    /// How it is connected.
    pub kind: NicKind,
    /// Interface name inside.
    pub name: String,
    /// Interface name of the host's end; the kernel chooses if unset.
    pub host_name: Option<String>,
    /// MAC address inside, `00:16:3e:xx:xx:xx`.
    pub hwaddr: Option<String>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Bounds of its traffic, for those with a host end.
    #[serde(default)]
    pub rates: NicRates,
    /// In a bridge it cannot reach others of which the same is said.
    #[serde(default)]
    pub isolated: bool,
}

/// How much traffic a card may have, bits per second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicRates {
    /// Into the container.
    pub ingress: Option<u64>,
    /// Out of it.
    pub egress: Option<u64>,
}

/// How a network card is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicKind {
    /// A veth pair with its host end in a bridge.
    Bridged {
        /// The bridge.
        parent: String,
    },
    /// A veth pair with a free host end.
    P2p,
    /// A macvlan in bridge mode.
    Macvlan {
        /// The host interface.
        parent: String,
    },
    /// The host interface itself, lent while the container runs.
    Physical {
        /// The host interface.
        parent: String,
    },
}

/// Resource limits; unset means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The memory limit holds only under pressure.
    pub memory_soft: bool,
    /// Whether swap may be used.
    pub swap: Option<bool>,
    /// Swappiness, 0 to 100 (cgroup v1 only).
    pub swappiness: Option<u64>,
    /// Number of tasks.
    pub processes: Option<u64>,
    /// Processors, as a list: `0,2-3`.
    pub cpus: Option<String>,
    /// Relative weight, 1024 being normal.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period of microseconds.
    pub cpu_quota_us: Option<(u64, u64)>,
    /// Relative weight of block I/O, 10 to 1000.
    pub blkio_weight: Option<u64>,
    /// Bounds of the accesses to disks, by `MAJOR:MINOR`.
    #[serde(default)]
    pub disks: BTreeMap<String, DiskRates>,
    /// Bytes of huge pages, by their size: `64KB`, `1MB`, `2MB`, `1GB`.
    #[serde(default)]
    pub huge_pages: BTreeMap<String, u64>,
}

/// How much may be read from and written to a disk each second; 0 for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub read_operations: u64,
    /// Write operations.
    pub write_operations: u64,
}

/// A resource limit of processes, see getrlimit(2); `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `nofile` and the like.
    pub name: String,
    /// What a process starts with.
    pub soft: Option<u64>,
    /// Up to which it may raise that.
    pub hard: Option<u64>,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What should follow.
    pub target: ExitTarget,
    /// Exit code of init, where it exited.
    pub code: Option<i32>,
    /// Signal that ended init.
    pub signal: Option<i32>,
}

/// What a container wanted when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitTarget {
    /// It was halted, or asked to be killed.
    Halt,
    /// It asked to be started again.
    Reboot,
    /// Init died of a signal that nobody here sent, or the monitor was lost.
    Crash,
}
