//! Runs one container: from a complete specification to a running init, and everything that can
//! be asked of it while it runs.
//!
//! The daemon side ([`Runtime`], [`Container`]) never forks. It starts a small helper program,
//! `lxd-runtime`, which is single-threaded: as a *monitor* it is the parent of the container's
//! init and outlives the daemon; as *attach* it carries one command into the container; as
//! *files* it serves the guest's own view of its files. The service manager starts it as *keeper* of the
//! containers' control groups.
//!
//! This crate knows nothing of records, profiles, images or HTTP.

mod apparmor;
pub mod attach;
mod cgroup;
pub mod checkpoint;
mod container;
mod error;
mod exec;
pub mod files;
mod hotplug;
pub mod keeper;
pub mod monitor;
mod nic;
mod nodes;
mod overlay;
mod plan;
mod protocol;
mod recording;
mod runtime;
mod seccomp;
mod spec;
mod staging;
pub mod transfer;
mod watcher;

pub use apparmor::{AppArmor, Rules};
pub use cgroup::{Counters, Hierarchy, Layout};
pub use checkpoint::{After, Checkpoint, Criu, Obstacle, Packing, SavedState};
pub use container::{Container, Usage};
pub use error::{Error, Result};
pub use exec::{ExecProcess, ExecSession, ExecSpec, ExecStdio};
pub use files::{FileAttrs, FileKind, FileStat, FileTree, open_rootfs};
pub use recording::Recording;
pub use runtime::{ExitEvent, HostFacts, Recovered, Runtime, RuntimeConfig};
pub use spec::{
    Bind, ContainerSpec, DeviceNode, DeviceRule, DiskRates, Exit, ExitTarget, GroupFile, Limits, Nic, NicKind, NicRates, Propagation,
    Rlimit, Rootfs, Subvolumes, Tuning,
};
