//! What would keep a container's running state from being saved, found without touching it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::container::Container;
use crate::error::Result;
use crate::spec::NicKind;

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
/// CAP_SYS_RESOURCE.
const SYS_RESOURCE: u32 = 24;

/// Something that stands in the way, or will be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Saving cannot succeed; otherwise this is a mere loss.
    pub is_fatal: bool,
    /// What it is, and whose.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Namespaces that cannot be saved where one inside differs from init's, and the setting of systemd
/// that makes them.
const NAMESPACES: &[(&str, &str)] = &[
    ("uts", "a host name namespace of its own (systemd: ProtectHostname=)"),
    ("user", "a user namespace of its own (systemd: PrivateUsers=, or a container in the container)"),
    ("ipc", "an IPC namespace of its own (systemd: PrivateIPC=, or a container in the container)"),
    ("pid", "a pid namespace of its own (a container in the container)"),
    ("time", "a time namespace of its own"),
];

/// Kernel objects that cannot be saved, by what /proc/PID/fd says of them.
const OBJECTS: &[(&str, &str)] = &[
    ("anon_inode:[io_uring]", "io_uring"),
    ("anon_inode:bpf-", "a BPF program or map"),
    ("anon_inode:[perf_event]", "a performance counter"),
    ("anon_inode:[userfaultfd]", "a userfaultfd"),
    ("anon_inode:kvm", "a virtual machine"),
];

/// Devices that every container has and that hold no state.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
/// Directories below /dev that are no devices.
const DIRECTORIES: &[&str] = &["pts/", "shm/", "mqueue/", "hugepages/"];

impl Container {
    /// Looks for all that keeps the state from being saved.
    pub fn obstacles(&self) -> Result<Vec<Obstacle>> {
        self.check_running()?;
        let mut found = Vec::new();
        let mut fatal = |what: String, remedy: &str| found.push(Obstacle { is_fatal: true, what, remedy: remedy.into() });
        let spec = self.spec();
        if !sys::process::has_all_ids() {
            fatal("the manager is itself in a user namespace, where CRIU cannot work".into(), "save the outer instance instead");
        }
        for nic in &spec.nics {
            if matches!(nic.kind, NicKind::Physical { .. } | NicKind::Macvlan { .. }) {
                fatal(format!("the network card `{}` is not a bridged one", nic.name), "use nictype=bridged or p2p, or remove the device");
            }
        }
        let parents: BTreeMap<i32, i32> = self.pids().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        // Sessions are ended, or go on without being saved, whatever they use.
        let pids = descendants(self.pid, &parents);
        for node in &spec.nodes {
            let users = pids.iter().filter(|pid| links(**pid).any(|link| link == node.target.to_string_lossy()));
            for pid in users {
                fatal(format!("{} uses the device `{}`", who(*pid), node.target.display()), "end it before");
            }
        }
        if spec.idmap.is_empty() && !has_capability(SYS_RESOURCE) && pids.iter().any(|pid| uid(*pid).is_some_and(|uid| uid != 0)) {
            fatal(
                "the instance is privileged, and the manager may not read the limits of its processes (no CAP_SYS_RESOURCE)".into(),
                "set security.privileged=false, or run the manager with that capability",
            );
        }
        for (disk, place) in super::externals::mounted_again(&spec, self.pid) {
            fatal(
                format!("a part of the disk at `{}` is mounted again at `{}`", disk.display(), place.display()),
                "unmount it: what the disk holds may be different at the restore",
            );
        }
        let own: BTreeMap<&str, Option<String>> = NAMESPACES.iter().map(|(kind, _)| (*kind, namespace(self.pid, kind))).collect();
        for pid in &pids {
            for (kind, words) in NAMESPACES {
                let theirs = namespace(*pid, kind);
                if theirs.is_some() && theirs != own[kind] {
                    fatal(format!("{} has {words}", who(*pid)), remedy_for(*pid));
                }
            }
            for link in links(*pid) {
                if let Some((_, words)) = OBJECTS.iter().find(|(pattern, _)| link.starts_with(pattern)) {
                    fatal(format!("{} uses {words}", who(*pid)), "stop it before");
                } else if link.starts_with("/proc/pressure/") || link.ends_with(".pressure") {
                    fatal(format!("{} waits to be told of memory pressure", who(*pid)), "start it with MEMORY_PRESSURE_WATCH=/dev/null");
                } else if is_device(&link) {
                    fatal(format!("{} uses the device `{link}`", who(*pid)), "stop it before");
                }
            }
        }
        for pid in outsiders(self.pid, &parents) {
            found.push(Obstacle {
                is_fatal: false,
                what: format!("{} was started by `lxc exec` and is not saved", who(pid)),
                remedy: "start what is to go on as a service of the instance".into(),
            });
        }
        found.dedup();
        Ok(found)
    }

    /// Ends what `lxc exec` has started: it does not belong to what is saved.
    pub fn end_sessions(&self) {
        for (signal, patience) in [(SIGHUP, Duration::from_millis(500)), (SIGKILL, Duration::from_millis(500))] {
            let end = Instant::now() + patience;
            let sessions = self.open(self.sessions());
            sessions.iter().for_each(|session| drop(sys::process::pidfd_signal(session, signal)));
            while sessions.iter().any(sys::process::pidfd_is_alive) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Stops all that `lxc exec` has started; to be let go on by SIGCONT.
    pub(crate) fn stop_sessions(&self) -> Vec<OwnedFd> {
        let parents: BTreeMap<i32, i32> = self.pids().iter().filter_map(|pid| Some((*pid, parent(*pid)?))).collect();
        let saved = descendants(self.pid, &parents);
        let sessions = self.open(parents.keys().copied().filter(|pid| !saved.contains(pid)));
        sessions.iter().for_each(|session| drop(sys::process::pidfd_signal(session, SIGSTOP)));
        sessions
    }

    /// Holds processes of the container; the number of one that has gone may be another's, which is left out.
    fn open(&self, pids: impl IntoIterator<Item = i32>) -> Vec<OwnedFd> {
        let wanted = namespace(self.pid, "pid");
        let open = |pid: i32| {
            let pidfd = sys::process::pidfd_open(pid).ok()?;
            (wanted.is_some() && namespace(pid, "pid") == wanted && sys::process::pidfd_is_alive(&pidfd)).then_some(pidfd)
        };
        pids.into_iter().filter(|pid| *pid != self.pid).filter_map(open).collect()
    }

    /// The first processes of what `lxc exec` has started.
    fn sessions(&self) -> BTreeSet<i32> {
        outsiders(self.pid, &self.pids().iter().filter_map(|pid| Some((*pid, parent(*pid)?))).collect())
    }

    /// Every process of the container, also those of containers inside.
    pub(crate) fn pids(&self) -> Vec<i32> {
        // The manager's own helpers are in the groups, too, and not in the container's pid namespace.
        let own = namespace(std::process::id() as i32, "pid");
        self.groups.members().into_iter().filter(|pid| namespace(*pid, "pid") != own).collect()
    }
}

/// Processes that do not descend from init: the first of each tree.
fn outsiders(init: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    parents.iter().filter(|(pid, parent)| **pid != init && !parents.contains_key(parent)).map(|(pid, _)| *pid).collect()
}

/// Init and all that descends from it.
fn descendants(init: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let descends = |mut pid: i32| {
        while pid != init {
            match parents.get(&pid) {
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        true
    };
    parents.keys().copied().filter(|pid| descends(*pid)).collect()
}

fn namespace(pid: i32, kind: &str) -> Option<String> {
    sys::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok().map(|link| link.to_string_lossy().into_owned())
}

/// What its descriptors are.
fn links(pid: i32) -> impl Iterator<Item = String> {
    let dir = format!("/proc/{pid}/fd");
    let names = sys::fs::list_dir(&dir).unwrap_or_default();
    names.into_iter().filter_map(move |name| Some(sys::fs::read_link(format!("{dir}/{name}")).ok()?.to_string_lossy().into_owned()))
}

fn is_device(link: &str) -> bool {
    let Some(name) = link.strip_prefix("/dev/") else { return false };
    let is_harmless = DEVICES.contains(&name) || DIRECTORIES.iter().any(|dir| name.starts_with(dir));
    // What is not in the manager's view either is a file that the guest keeps there, such as systemd's /dev/log.
    let has_state = matches!(name, "fuse" | "net/tun" | "kvm" | "vhost-net") || name.starts_with("dri/") || name.starts_with("snd/");
    has_state && !is_harmless
}

fn parent(pid: i32) -> Option<i32> {
    status(pid, "PPid:")?.parse().ok()
}

fn uid(pid: i32) -> Option<u32> {
    status(pid, "Uid:")?.parse().ok()
}

/// The first word of a field of /proc/PID/status.
fn status(pid: i32, field: &str) -> Option<String> {
    let text = sys::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn has_capability(number: u32) -> bool {
    let own = std::process::id() as i32;
    status(own, "CapEff:").and_then(|text| u64::from_str_radix(&text, 16).ok()).is_some_and(|set| set & (1 << number) != 0)
}

/// `process 12 (nginx) of nginx.service`.
fn who(pid: i32) -> String {
    let name = sys::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let unit = unit(pid).map(|unit| format!(" of {unit}")).unwrap_or_default();
    format!("process {} ({}){unit}", super::watches::inner_pid(pid), name.trim())
}

fn remedy_for(pid: i32) -> &'static str {
    if unit(pid).is_some() {
        "stop that unit, or turn the setting off in a drop-in; with migration.stateful=true the manager does so at the next start"
    } else {
        "end it before"
    }
}

/// The systemd unit, from its control group.
fn unit(pid: i32) -> Option<String> {
    let text = sys::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let ends = [".service", ".scope", ".socket", ".mount"];
    text.lines()
        .flat_map(|line| line.rsplit('/'))
        .find(|part| ends.iter().any(|end| part.ends_with(end)) && *part != "init.scope")
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_with_a_state_count() {
        for name in ["null", "pts/3", "log", "shm/x", "console"] {
            assert!(!is_device(&format!("/dev/{name}")), "{name}");
        }
        for name in ["fuse", "net/tun", "dri/card0"] {
            assert!(is_device(&format!("/dev/{name}")), "{name}");
        }
        assert!(!is_device("/srv/dev/fuse"));
    }

    #[test]
    fn those_that_init_did_not_make_are_found() {
        let parents = BTreeMap::from([(10, 1), (11, 10), (12, 11), (50, 2), (51, 50)]);
        assert_eq!(outsiders(10, &parents), BTreeSet::from([50]));
    }
}
