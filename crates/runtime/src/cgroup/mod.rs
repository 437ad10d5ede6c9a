//! Control groups: which hierarchies the host has (v1, hybrid or v2), and one container's groups
//! in all of them.

pub(crate) mod devices;
mod limits;
mod removal;
mod stats;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use stats::Counters;

use crate::error::Result;
use crate::spec::{ContainerSpec, DeviceNode, GroupFile, Limits};

/// How long the kernel may take to stop every process of a container.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// How long what was killed may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where it is mounted on the host.
    pub mount_point: PathBuf,
    /// The unified hierarchy (v2).
    pub unified: bool,
    /// Controllers: of v1 those it was mounted with, of v2 those available.
    pub controllers: Vec<String>,
    /// Name of a v1 hierarchy without controllers (`systemd`).
    pub name: Option<String>,
}

/// All hierarchies of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// In the order in which they were mounted.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads the layout from `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self> {
        let mut layout = Self::parse(&sys::fs::read_to_string("/proc/self/mountinfo")?);
        for hierarchy in layout.hierarchies.iter_mut().filter(|hierarchy| hierarchy.unified) {
            let path = hierarchy.mount_point.join("cgroup.controllers");
            let list = sys::fs::read_to_string(path).unwrap_or_default();
            hierarchy.controllers = list.split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    /// Finds the hierarchies in the text of a mountinfo file, see proc_pid_mountinfo(5). Of
    /// several mounts of one hierarchy the last below `/sys/fs/cgroup` counts: it is the visible one.
    pub fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for hierarchy in mountinfo.lines().filter_map(parse_line) {
            let same = |other: &Hierarchy| {
                other.unified == hierarchy.unified && other.controllers == hierarchy.controllers && other.name == hierarchy.name
            };
            match layout.hierarchies.iter_mut().find(|other| same(other)) {
                Some(known) if hierarchy.mount_point.starts_with("/sys/fs/cgroup") => *known = hierarchy,
                Some(_) => {}
                None => layout.hierarchies.push(hierarchy),
            }
        }
        layout
    }

    /// The unified hierarchy, if mounted.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.unified)
    }

    /// The hierarchy that has a controller.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (mount, source) = line.split_once(" - ")?;
    let mut source = source.split(' ');
    let fstype = source.next()?;
    let options = source.nth(1)?;
    let mount_point = PathBuf::from(mount.split(' ').nth(4)?);
    let unified = match fstype {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let mut hierarchy = Hierarchy { mount_point, unified, controllers: Vec::new(), name: None };
    if !unified {
        const NOT_CONTROLLERS: &[&str] = &["rw", "ro", "xattr", "clone_children", "noprefix", "none", "favordynmods", "nofavordynmods"];
        for option in options.split(',') {
            match option.split_once('=') {
                Some(("name", name)) => hierarchy.name = Some(name.to_owned()),
                Some(_) => {}
                None if NOT_CONTROLLERS.contains(&option) => {}
                None => hierarchy.controllers.push(option.to_owned()),
            }
        }
    }
    Some(hierarchy)
}

/// How many groups a guest may make below its own, where the kernel can bound that: in the unified hierarchy. A host of nested
/// containers makes hundreds.
const MAX_DESCENDANTS: &str = "10000";

/// A leaf for commands, named as liblxc names its own.
const LEAF: &str = ".lxc";

/// The groups of one container, one in each hierarchy.
#[derive(Clone, Debug)]
pub struct Groups {
    layout: Layout,
    /// Path below each mount point: `TAG/NAME`.
    path: PathBuf,
}

impl Groups {
    /// Names the groups; does nothing yet.
    pub fn new(layout: Layout, tag: &str, name: &str) -> Self {
        Self { layout, path: Path::new(tag).join(name) }
    }

    /// Makes the groups, gives them limits and hands the inner tree to `owner` (uid, gid).
    pub fn create(&self, limits: &Limits, owner: (u32, u32)) -> Result<()> {
        for hierarchy in &self.layout.hierarchies {
            let parent = hierarchy.mount_point.join(self.tag());
            sys::fs::ensure_dir(&parent, 0o755)?;
            if hierarchy.unified {
                // What is above the parent's parent is someone else's.
                enable_controllers(parent.parent().unwrap_or(&parent), &hierarchy.controllers);
                enable_controllers(&parent, &hierarchy.controllers);
            }
            let dir = self.dir(hierarchy);
            removal::remove(&dir)?;
            inherit_cpuset(hierarchy, &parent)?;
            sys::fs::ensure_dir(&dir, 0o755)?;
            inherit_cpuset(hierarchy, &dir)?;
            if hierarchy.unified {
                bound_descendants(&dir)?;
            }
        }
        limits::apply(self, limits)?;
        self.layout.hierarchies.iter().try_for_each(|hierarchy| delegate(&self.dir(hierarchy), owner))
    }

    /// Writes files besides the limits. One of a controller that the host has in the other version counts for nothing.
    pub fn write_files(&self, files: &[GroupFile]) -> Result<()> {
        files.iter().try_for_each(|file| limits::write_file(self, file))
    }

    /// Leaves a container only the devices that it is shown. False where that cannot be: in a user namespace.
    pub fn restrict_devices(&self, spec: &ContainerSpec) -> Result<bool> {
        devices::restrict(self, spec)
    }

    /// Lets it use one device more; `spec` has it already.
    pub fn allow_device(&self, node: &DeviceNode, spec: &ContainerSpec) -> Result<()> {
        devices::allow(self, node, spec)
    }

    /// Takes one device back; `spec` has it no more.
    pub fn deny_device(&self, node: &DeviceNode, spec: &ContainerSpec) -> Result<()> {
        devices::deny(self, node, spec)
    }

    /// Moves the calling process to the keeper of the delegated group that these are in, if they are in one: away from
    /// the group of the daemon's unit, with which it would be killed.
    pub(crate) fn join_keeper(&self) -> Result<()> {
        let Some(keeper) = self.only_dir().and_then(|dir| Some(dir.parent()?.with_file_name(crate::keeper::LEAF))) else { return Ok(()) };
        match sys::fs::write_kernel(keeper.join("cgroup.procs"), "0") {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Moves a process in that brings a command along. Where version 2 is alone, into a leaf: the guest may hand
    /// controllers on only while no process is in the group itself, and it cannot move one that it does not see.
    pub fn enter_beside(&self, pid: i32) -> Result<()> {
        match self.only_dir() {
            Some(dir) => enter_leaf(&dir, pid),
            None => self.enter(pid),
        }
    }

    /// Moves a process in.
    pub fn enter(&self, pid: i32) -> Result<()> {
        for hierarchy in &self.layout.hierarchies {
            let dir = self.dir(hierarchy);
            match sys::fs::write_kernel(dir.join("cgroup.procs"), &pid.to_string()) {
                // The guest hands controllers on to groups of its own: then v2 takes processes in leaves only.
                Err(error) if error.errno == sys::Errno::BUSY => enter_leaf(&dir, pid)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Writes what differs between `old`, which holds now, and `new`. If something cannot be
    /// written, all is as it was.
    pub fn change_limits(&self, old: &Limits, new: &Limits) -> Result<()> {
        limits::change(self, old, new)
    }

    /// What the container uses now.
    pub fn counters(&self) -> Counters {
        stats::read(self)
    }

    /// Stops (or lets go on) every process. Where one cannot be stopped, all go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.freeze_within(frozen, FREEZE_PATIENCE)
    }

    fn freeze_within(&self, frozen: bool, patience: Duration) -> Result<()> {
        let (switch, values, state, words) = match (self.layout.unified(), self.layout.with_controller("freezer")) {
            (Some(unified), _) => {
                let dir = self.dir(unified);
                (dir.join("cgroup.freeze"), ["0", "1"], dir.join("cgroup.events"), ["frozen 0", "frozen 1"])
            }
            (None, Some(freezer)) => {
                let state = self.dir(freezer).join("freezer.state");
                (state.clone(), ["THAWED", "FROZEN"], state, ["THAWED", "FROZEN"])
            }
            (None, None) => return Err(crate::Error::Invalid("the host has neither cgroup v2 nor the freezer controller".into())),
        };
        let wanted = usize::from(frozen);
        sys::fs::write_kernel(&switch, values[wanted])?;
        let result = wait_for(&state, words[wanted], patience);
        if result.is_err() && frozen {
            // It counts as running, so nothing of it may be frozen, now or later.
            sys::fs::write_kernel(&switch, values[0])?;
        }
        result
    }

    /// Kills what is in the groups and below, until nothing is left. Best effort.
    pub(crate) fn kill(&self) {
        let end = Instant::now() + KILL_PATIENCE;
        loop {
            let members: Vec<i32> = self.layout.hierarchies.iter().flat_map(|hierarchy| self.members_in(hierarchy)).collect();
            members.iter().filter_map(|pid| sys::process::pidfd_open(*pid).ok()).for_each(|pidfd| {
                drop(sys::process::pidfd_signal(&pidfd, SIGKILL));
            });
            if members.is_empty() || Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A group beside them, in one hierarchy: for CRIU, and for what it makes until that is in its own
    /// place, so that all of it can be found and killed whoever has died. No container has such a name.
    pub(crate) fn workshop(&self) -> Self {
        let named = || self.layout.hierarchies.iter().find(|hierarchy| hierarchy.name.is_some());
        let hierarchy = self.layout.unified().or_else(named).or(self.layout.hierarchies.first());
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".criu");
        Self { layout: Layout { hierarchies: hierarchy.cloned().into_iter().collect() }, path: self.path.with_file_name(name) }
    }

    /// Makes the groups, without limits, where the parents are there.
    pub(crate) fn ensure(&self) -> Result<()> {
        for hierarchy in &self.layout.hierarchies {
            let dir = self.dir(hierarchy);
            sys::fs::ensure_dir(&dir, 0o755)?;
            inherit_cpuset(hierarchy, &dir)?;
        }
        Ok(())
    }

    /// Whether the container is frozen by us.
    pub fn is_frozen(&self) -> bool {
        let contains = |path: PathBuf, word: &str| sys::fs::read_to_string(path).is_ok_and(|text| text.contains(word));
        match (self.layout.unified(), self.layout.with_controller("freezer")) {
            (Some(unified), _) => contains(self.dir(unified).join("cgroup.events"), "frozen 1"),
            (None, Some(freezer)) => contains(self.dir(freezer).join("freezer.state"), "FROZEN"),
            (None, None) => false,
        }
    }

    /// Removes the groups with all that the guest made below. The parent goes with its last child.
    pub fn remove(&self) -> Result<()> {
        for hierarchy in &self.layout.hierarchies {
            removal::remove(&self.dir(hierarchy))?;
            // Still in use by other containers: that is what EBUSY and ENOTEMPTY mean here.
            drop(sys::fs::remove_dir(hierarchy.mount_point.join(self.tag())));
        }
        Ok(())
    }

    /// Their path below the root of each hierarchy.
    pub(crate) fn root(&self) -> PathBuf {
        Path::new("/").join(&self.path)
    }

    /// Whether a text of /proc/PID/cgroup, see cgroups(7), is that of a process in the groups or below.
    pub(crate) fn contain(&self, memberships: &str) -> bool {
        let root = self.root();
        memberships.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| Path::new(path).starts_with(&root))
    }

    /// Every process in the groups and below, by pid.
    pub(crate) fn members(&self) -> Vec<i32> {
        self.layout.unified().or(self.layout.hierarchies.first()).map(|hierarchy| self.members_in(hierarchy)).unwrap_or_default()
    }

    fn members_in(&self, hierarchy: &Hierarchy) -> Vec<i32> {
        let mut dirs = vec![self.dir(hierarchy)];
        let mut members = Vec::new();
        while let Some(dir) = dirs.pop() {
            let text = sys::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            members.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
            dirs.extend(sys::fs::list_subdirs(&dir).unwrap_or_default().into_iter().map(|name| dir.join(name)));
        }
        members.sort_unstable();
        members
    }

    /// The directory in one hierarchy.
    pub(crate) fn dir(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mount_point.join(&self.path)
    }

    /// The directory in the v1 hierarchy or v2 tree with this controller, and which it is.
    pub(crate) fn controller(&self, controller: &str) -> Option<(PathBuf, bool)> {
        self.layout.with_controller(controller).map(|hierarchy| (self.dir(hierarchy), hierarchy.unified))
    }

    /// The directory in the unified hierarchy, with or without controllers.
    pub(crate) fn unified_dir(&self) -> Option<PathBuf> {
        self.layout.unified().map(|hierarchy| self.dir(hierarchy))
    }

    /// The directory, where there is no other: the unified hierarchy is the only one.
    pub(crate) fn only_dir(&self) -> Option<PathBuf> {
        match &*self.layout.hierarchies {
            [only] if only.unified => Some(self.dir(only)),
            _ => None,
        }
    }

    /// The parent's path below each mount point.
    pub(crate) fn tag(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

fn enter_leaf(dir: &Path, pid: i32) -> Result<()> {
    let leaf = dir.join(LEAF);
    sys::fs::ensure_dir(&leaf, 0o755)?;
    Ok(sys::fs::write_kernel(leaf.join("cgroup.procs"), &pid.to_string())?)
}

/// Lets children use the controllers. One that cannot be enabled is missing below, and the limits
/// that need it say so.
fn enable_controllers(dir: &Path, controllers: &[String]) {
    for controller in controllers {
        drop(sys::fs::write_kernel(dir.join("cgroup.subtree_control"), &format!("+{controller}")));
    }
}

/// What a group of v2 may have below. The file stays root's: it is none of those that are handed to a guest.
fn bound_descendants(dir: &Path) -> Result<()> {
    match sys::fs::write_kernel(dir.join("cgroup.max.descendants"), MAX_DESCENDANTS) {
        // Kernels before 4.14.
        Err(error) if error.is_not_found() => Ok(()),
        other => Ok(other?),
    }
}

/// A new v1 cpuset group is empty and refuses tasks until it has processors and memory nodes.
fn inherit_cpuset(hierarchy: &Hierarchy, dir: &Path) -> Result<()> {
    if hierarchy.unified || !hierarchy.controllers.iter().any(|name| name == "cpuset") {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if dir.exists() && sys::fs::read_to_string(dir.join(file))?.trim().is_empty() {
            sys::fs::write_kernel(dir.join(file), sys::fs::read_to_string(parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Gives a group's tree, not its limits, to the container's root: cgroups(7), "Delegation".
fn delegate(dir: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    sys::fs::chown(dir, uid, gid)?;
    // What this kernel's version 2 has beside those that all have.
    let listed = sys::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    let known = ["cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"];
    for file in listed.lines().filter(|file| !file.contains('/')).chain(known) {
        match sys::fs::chown(dir.join(file), uid, gid) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Waits until a kernel file contains a word.
fn wait_for(path: &Path, word: &str, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    for round in 0_u64.. {
        if sys::fs::read_to_string(path)?.contains(word) {
            return Ok(());
        }
        if Instant::now() > end {
            break;
        }
        std::thread::sleep(Duration::from_millis(if round < 20 { 1 } else { 10 }));
    }
    let seconds = patience.as_secs();
    Err(crate::Error::step("freeze", format_args!("{} did not become `{word}` within {seconds} s", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:6 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /mnt/old rw,nosuid - cgroup cgroup rw,memory
35 30 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid_layout() {
        let layout = Layout::parse(HYBRID);
        assert_eq!(layout.hierarchies.len(), 4);
        assert_eq!(layout.unified().expect("unified").mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.with_controller("cpuacct").expect("cpuacct").controllers, ["cpu", "cpuacct"]);
        assert_eq!(layout.with_controller("memory").expect("memory").mount_point, Path::new("/sys/fs/cgroup/memory"));
        assert!(layout.hierarchies.iter().any(|hierarchy| hierarchy.name.as_deref() == Some("systemd")));
    }

    #[test]
    fn members_are_told_from_others() {
        let groups = Groups::new(Layout::default(), "lxd", "c1");
        assert!(groups.contain("5:pids:/\n0::/lxd/c1\n") && groups.contain("0::/lxd/c1/system.slice/x.service"));
        // A guest may make groups of any name, but only below its own.
        for other in ["0::/\n", "0::/lxd/c10\n", "0::/lxd/c2/lxd/c1\n", "0::/lxd/c1.criu\n", ""] {
            assert!(!groups.contain(other), "{other}");
        }
    }

    #[test]
    fn a_freeze_that_fails_leaves_nothing_frozen() {
        let dir = tempfile::tempdir().expect("dir");
        let group = dir.path().join("tag/c1");
        std::fs::create_dir_all(&group).expect("mkdir");
        // Not a kernel's files: nothing ever freezes here.
        std::fs::write(group.join("cgroup.freeze"), "0").expect("write");
        std::fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").expect("write");
        let unified = Hierarchy { mount_point: dir.path().to_owned(), unified: true, controllers: Vec::new(), name: None };
        let groups = Groups::new(Layout { hierarchies: vec![unified] }, "tag", "c1");
        groups.freeze_within(true, Duration::from_millis(5)).expect_err("it does not freeze");
        assert_eq!(std::fs::read_to_string(group.join("cgroup.freeze")).expect("read"), "0");
    }

    #[test]
    fn pure_v2_layout() {
        let layout = Layout::parse("25 30 0:23 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n");
        assert_eq!(layout.hierarchies.len(), 1);
        assert!(layout.hierarchies[0].unified);
    }
}
