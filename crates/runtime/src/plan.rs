//! From a specification and host facts to the steps that make a container: pure.
//!
//! The monitor opens the [`Tree`]s on the host, the child carries out the [`Step`]s. A tree's
//! place in the list is its name in the steps.

use std::path::{Path, PathBuf};

use sys::mount::MountAttrFlags;

use crate::cgroup::Layout;
use crate::protocol::Launch;
use crate::spec::{Bind, ContainerSpec, Propagation, Rootfs};

/// A host path whose mount tree the container gets a copy of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// On the host.
    pub source: PathBuf,
    /// With the mounts below.
    pub recursive: bool,
    /// Skip it if it is missing.
    pub optional: bool,
    /// Map ids through the container's user namespace.
    pub idmapped: bool,
    /// Refuse writes.
    pub read_only: bool,
    /// Refuse to open device nodes in it.
    pub no_devices: bool,
    /// The source is a block device with this file system, which is mounted.
    pub file_system: Option<String>,
    /// Options of that file system.
    pub options: Vec<(String, Option<String>)>,
    /// More of `MOUNT_ATTR_*`.
    pub attributes: u32,
    /// Which mounts below it pass between host and container.
    pub propagation: Propagation,
    /// The guest must not be able to undo these two, see [`crate::staging`].
    pub locked: bool,
}

impl Tree {
    /// As a bind says.
    fn of(bind: &Bind) -> Self {
        Self {
            source: bind.source.clone(),
            recursive: bind.recursive,
            optional: bind.optional,
            idmapped: bind.idmapped,
            read_only: bind.read_only,
            file_system: bind.file_system.clone(),
            options: bind.options.clone(),
            attributes: bind.attributes,
            propagation: bind.propagation,
            ..Self::default()
        }
    }

    /// A disk of a container. The root of a privileged one could undo any lock.
    pub(crate) fn guarded(bind: &Bind, spec: &ContainerSpec) -> Self {
        let guarded = !spec.idmap.is_empty();
        Self { no_devices: guarded, locked: guarded, ..Self::of(bind) }
    }
}

/// One step of the child, in its new namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go from the staging namespace to the container's own and take the locked trees along.
    TakeLocked,
    /// Keep mount events of host and container apart.
    MakePrivate,
    /// Attach a tree as the new root.
    AttachRoot {
        /// The tree.
        tree: usize,
    },
    /// Mount an overlay of two trees as the new root.
    OverlayRoot {
        /// Tree of the read-only layer.
        lower: usize,
        /// Tree that holds the writable layer and its scratch directory.
        writable: usize,
        /// Name of the writable layer in its tree.
        upper: String,
        /// Name of the scratch directory in its tree.
        work: String,
    },
    /// Mount a new file system.
    MountFs {
        /// Type.
        fstype: String,
        /// Inside; made if missing.
        target: PathBuf,
        /// Options, flags having no value.
        options: Vec<(String, Option<String>)>,
        /// `MOUNT_ATTR_*`.
        attributes: u32,
    },
    /// Attach a tree below the new root; its mount point is made if missing.
    AttachTree {
        /// The tree.
        tree: usize,
        /// Inside.
        target: PathBuf,
    },
    /// Show a part of the container again at its own place, read-only. A missing one is skipped.
    ReadOnly {
        /// Inside.
        target: PathBuf,
    },
    /// Hide a file or directory. A missing one is skipped.
    Mask {
        /// Inside.
        target: PathBuf,
    },
    /// Tell a systemd inside what a container cannot do, and where the running state is to be saved also what a
    /// checkpoint cannot save; other inits are left alone.
    DropIns {
        /// The running state is to be saved.
        checkpointable: bool,
    },
    /// Make a symbolic link.
    Symlink {
        /// What it says.
        target: &'static str,
        /// Inside.
        path: PathBuf,
    },
    /// Show the console's terminal as `/dev/console` and open it.
    OpenConsole,
    /// Wait until the monitor has placed the container in its control groups and made its network cards.
    AwaitPlacement,
    /// Make the current control groups the container's roots.
    UnshareCgroup,
    /// Bring all network links up.
    LinksUp,
    /// Set a kernel parameter that the container has for itself. While `/proc` is still the host's: the guest's could be
    /// covered, and for a privileged one it is read-only.
    Sysctl {
        /// Name below /proc/sys.
        name: String,
        /// Its value.
        value: String,
    },
    /// Set the host name.
    Hostname(String),
    /// Make the new root the root.
    Pivot,
    /// New session on the console, default signals and limits.
    Session,
    /// Leave the daemon's keyring.
    Keyring,
    /// 32-bit personality.
    Personality32,
    /// Give up capabilities, by number.
    DropCapabilities(Vec<u32>),
    /// Filter system calls.
    Seccomp,
    /// Let init, once it is executed, be confined by AppArmor. While `/proc` is still the host's: the guest's
    /// could be covered.
    Confine {
        /// Name of the profile.
        profile: String,
    },
}

/// What to do and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For the monitor, before the clone.
    pub trees: Vec<Tree>,
    /// For the child.
    pub steps: Vec<Step>,
}

/// Where guests find the socket of their API.
const GUEST_API: &str = "/dev/lxd";
/// Device nodes of the host that every container has.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];
/// Device nodes that are shown where the host has them.
const OPTIONAL_DEVICES: &[&str] = &["fuse", "net/tun"];
/// Kernel file systems that init systems insist on finding mounted; their content is owned by the
/// host's root, so an unprivileged guest sees names at most.
const HOST_MOUNTS: &[&str] =
    &["/sys/fs/fuse/connections", "/sys/fs/pstore", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing"];
/// Files of lxcfs that replace those of the kernel.
const LXCFS_FILES: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu/online",
];
/// Tell about or reach into the host's kernel. Hidden unless the container nests: a kernel refuses
/// new proc mounts in a user namespace where the old one is partly covered.
const MASKED: &[&str] =
    &["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/sys/firmware"];
/// Not for a privileged guest to change.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"];
/// What a privileged guest gives up: CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME.
pub(crate) const PRIVILEGED_DROPS: &[u32] = &[33, 32, 16, 17, 25];

/// CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN: to become the user, and to install the filter.
const NEEDED_UNTIL_EXEC: &[u32] = &[6, 7, 21];

/// Those of capabilities that are in nobody's bounding set any more which a process gives up at once; the others go with
/// its exec.
pub(crate) fn not_needed_until_exec(dropped: &[u32]) -> Vec<u32> {
    dropped.iter().copied().filter(|capability| !NEEDED_UNTIL_EXEC.contains(capability)).collect()
}

/// Makes the plan.
pub fn plan(launch: &Launch) -> Plan {
    let spec = &launch.spec;
    let mut plan = Plan::default();
    plan.steps.push(Step::MakePrivate);
    plan.root(spec);
    plan.kernel_file_systems();
    plan.devices();
    plan.hide(spec);
    plan.steps.push(Step::DropIns { checkpointable: spec.checkpointable });
    if let Some(lxcfs) = &launch.lxcfs {
        for file in LXCFS_FILES {
            plan.bind(&Bind { source: lxcfs.join(file), target: format!("/{file}").into(), optional: true, ..Default::default() });
        }
        plan.bind(&Bind { source: lxcfs.clone(), target: "/var/lib/lxcfs".into(), recursive: true, optional: true, ..Default::default() });
    }
    if let Some(dir) = &spec.guest_api {
        plan.bind(&Bind { source: dir.clone(), target: GUEST_API.into(), read_only: true, ..Default::default() });
    }
    for node in &spec.nodes {
        plan.bind(&Bind { source: node.source.clone(), target: node.target.clone(), ..Default::default() });
    }
    spec.mounts.iter().for_each(|bind| plan.disk(bind, spec));
    if plan.has_locked() {
        plan.steps.insert(0, Step::TakeLocked);
    }
    plan.steps.push(Step::Hostname(spec.hostname.clone()));
    plan.steps.push(Step::OpenConsole);
    plan.steps.push(Step::AwaitPlacement);
    plan.steps.push(Step::UnshareCgroup);
    plan.cgroups(&launch.layout);
    plan.steps.push(Step::LinksUp);
    let sysctls = spec.tuning.sysctls.iter();
    plan.steps.extend(sysctls.map(|(name, value)| Step::Sysctl { name: name.clone(), value: value.clone() }));
    if let Some(profile) = &launch.apparmor {
        plan.steps.push(Step::Confine { profile: profile.clone() });
    }
    plan.steps.push(Step::Pivot);
    plan.finish(spec, !launch.seccomp.is_empty());
    plan
}

impl Plan {
    /// Whether there are trees that must go through a staging namespace.
    pub(crate) fn has_locked(&self) -> bool {
        self.trees.iter().any(|tree| tree.locked)
    }

    fn tree(&mut self, tree: Tree) -> usize {
        self.trees.push(tree);
        self.trees.len() - 1
    }

    fn root(&mut self, spec: &ContainerSpec) {
        let idmapped = spec.idmapped && !spec.idmap.is_empty();
        // The layers of an overlay are out of reach once it is mounted, and the overlay itself, being
        // mounted in the user namespace, knows no devices: nothing of it needs a lock.
        let layer = |source: PathBuf, read_only| Tree { source, idmapped, read_only, ..Tree::default() };
        match &spec.rootfs {
            Rootfs::Dir { path } => {
                // Device nodes may be left from when the container was privileged.
                let guarded = !spec.idmap.is_empty();
                let tree = self.tree(Tree { recursive: true, no_devices: guarded, locked: guarded, ..layer(path.clone(), false) });
                self.steps.push(Step::AttachRoot { tree });
            }
            Rootfs::Overlay { lower, upper, work } => {
                let lower = self.tree(layer(lower.clone(), true));
                let writable = self.tree(layer(upper.parent().unwrap_or(upper).to_owned(), false));
                let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.steps.push(Step::OverlayRoot { lower, writable, upper: name(upper), work: name(work) });
            }
        }
    }

    fn mount(&mut self, fstype: &str, target: impl Into<PathBuf>, options: &str, attributes: MountAttrFlags) {
        let options = options.split(',').filter(|option| !option.is_empty());
        let options = options.map(|option| match option.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (option.to_owned(), None),
        });
        let (fstype, target, options) = (fstype.to_owned(), target.into(), options.collect());
        self.steps.push(Step::MountFs { fstype, target, options, attributes: attributes.bits() });
    }

    fn kernel_file_systems(&mut self) {
        let safe = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        self.mount("proc", "/proc", "", safe);
        self.mount("sysfs", "/sys", "", safe);
        for target in HOST_MOUNTS.iter().chain(&["/proc/sys/fs/binfmt_misc"]) {
            self.bind(&Bind { source: target.into(), target: target.into(), recursive: true, optional: true, ..Default::default() });
        }
    }

    fn devices(&mut self) {
        let no_suid = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let no_exec = no_suid | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        self.mount("tmpfs", "/dev", "mode=755,size=492k", no_suid);
        for (names, optional) in [(DEVICES, false), (OPTIONAL_DEVICES, true)] {
            for name in names {
                let path = PathBuf::from("/dev").join(name);
                self.bind(&Bind { source: path.clone(), target: path, optional, ..Default::default() });
            }
        }
        self.mount("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666,max=1024", no_exec);
        self.mount("tmpfs", "/dev/shm", "mode=1777", no_suid | MountAttrFlags::MOUNT_ATTR_NODEV);
        self.mount("mqueue", "/dev/mqueue", "", no_exec | MountAttrFlags::MOUNT_ATTR_NODEV);
        for (path, target) in [
            ("/dev/ptmx", "pts/ptmx"),
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ] {
            self.steps.push(Step::Symlink { target, path: path.into() });
        }
    }

    fn hide(&mut self, spec: &ContainerSpec) {
        if spec.nesting {
            let safe = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            // A second, uncovered pair, which lets inner user namespaces mount theirs.
            self.mount("proc", "/dev/.lxc/proc", "", safe);
            self.mount("sysfs", "/dev/.lxc/sys", "", safe);
            return;
        }
        let tuning = &spec.tuning;
        let is_left = |target: &&&str| if target.starts_with("/proc") { tuning.writable_proc } else { tuning.writable_sys };
        self.steps.extend(MASKED.iter().filter(|target| !is_left(target)).map(|target| Step::Mask { target: target.into() }));
        if spec.idmap.is_empty() {
            self.steps.extend(READ_ONLY.iter().filter(|target| !is_left(target)).map(|target| Step::ReadOnly { target: target.into() }));
        }
    }

    fn bind(&mut self, bind: &Bind) {
        self.attach(Tree::of(bind), &bind.target);
    }

    fn disk(&mut self, bind: &Bind, spec: &ContainerSpec) {
        self.attach(Tree::guarded(bind, spec), &bind.target);
    }

    fn attach(&mut self, tree: Tree, target: &Path) {
        let tree = self.tree(tree);
        self.steps.push(Step::AttachTree { tree, target: target.to_owned() });
    }

    /// Each v1 hierarchy separately, beside the unified one: what systemd calls hybrid. Docker and
    /// nested managers then find every controller, which systemd's own choice of mounts denies them.
    fn cgroups(&mut self, layout: &Layout) {
        let safe = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        if layout.hierarchies.iter().all(|hierarchy| hierarchy.unified) {
            if layout.unified().is_some() {
                self.mount("cgroup2", "/sys/fs/cgroup", "", safe);
            }
            return;
        }
        self.mount("tmpfs", "/sys/fs/cgroup", "mode=755,size=64k", safe);
        for hierarchy in &layout.hierarchies {
            if hierarchy.unified {
                self.mount("cgroup2", "/sys/fs/cgroup/unified", "", safe);
                continue;
            }
            let controllers = hierarchy.controllers.join(",");
            let (dir, options) = match &hierarchy.name {
                Some(name) => (name.clone(), format!("none,name={name}")),
                None => (controllers.clone(), controllers),
            };
            self.mount("cgroup", format!("/sys/fs/cgroup/{dir}"), &options, safe);
        }
        for hierarchy in &layout.hierarchies {
            let joint = match hierarchy.controllers.join(",").as_str() {
                "cpu,cpuacct" => "cpu,cpuacct",
                "net_cls,net_prio" => "net_cls,net_prio",
                _ => continue,
            };
            for controller in &hierarchy.controllers {
                self.steps.push(Step::Symlink { target: joint, path: PathBuf::from("/sys/fs/cgroup").join(controller) });
            }
        }
    }

    fn finish(&mut self, spec: &ContainerSpec, filtered: bool) {
        self.steps.push(Step::Session);
        self.steps.push(Step::Keyring);
        if spec.personality_32 {
            self.steps.push(Step::Personality32);
        }
        let dropped = spec.dropped_capabilities();
        if !dropped.is_empty() {
            self.steps.push(Step::DropCapabilities(dropped));
        }
        if filtered {
            self.steps.push(Step::Seccomp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchy;
    use sys::idmap::IdMap;

    fn launch(idmap: IdMap, nesting: bool) -> Launch {
        let hierarchy = |dir: &str, unified, controllers: &[&str], name: Option<&str>| Hierarchy {
            mount_point: PathBuf::from("/sys/fs/cgroup").join(dir),
            unified,
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            name: name.map(str::to_owned),
        };
        let hierarchies = vec![
            hierarchy("cpu,cpuacct", false, &["cpu", "cpuacct"], None),
            hierarchy("systemd", false, &[], Some("systemd")),
            hierarchy("unified", true, &[], None),
        ];
        Launch {
            spec: ContainerSpec {
                name: "c1".into(),
                hostname: "c1".into(),
                rootfs: Rootfs::Overlay {
                    lower: "/pool/image/rootfs".into(),
                    upper: "/pool/c1/upper".into(),
                    work: "/pool/c1/work".into(),
                },
                idmap,
                idmapped: true,
                nesting,
                ..Default::default()
            },
            layout: Layout { hierarchies },
            cgroup_tag: "lxd".into(),
            seccomp: vec![0; 8],
            apparmor: Some("lxd-c1".into()),
            lxcfs: None,
            resume: None,
        }
    }

    fn targets(plan: &Plan, wanted: fn(&Step) -> Option<&PathBuf>) -> Vec<String> {
        plan.steps.iter().filter_map(wanted).map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn overlay_layers_are_mapped_and_only_the_lower_is_read_only() {
        let plan = plan(&launch(IdMap::contiguous(100_000, 100_000, 65_536), false));
        assert_eq!(plan.steps[1], Step::OverlayRoot { lower: 0, writable: 1, upper: "upper".into(), work: "work".into() });
        assert!(plan.trees[0].idmapped && plan.trees[0].read_only);
        assert!(plan.trees[1].idmapped && !plan.trees[1].read_only);
        assert_eq!(plan.trees[1].source, PathBuf::from("/pool/c1"));
    }

    #[test]
    fn hybrid_cgroups_are_mounted_one_by_one_after_placement() {
        let plan = plan(&launch(IdMap::contiguous(100_000, 100_000, 65_536), false));
        let mounted = targets(&plan, |step| match step {
            Step::MountFs { target, fstype, .. } if fstype.starts_with("cgroup") => Some(target),
            _ => None,
        });
        assert_eq!(mounted, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]);
        let position = |wanted: &Step| plan.steps.iter().position(|step| step == wanted).expect("the step is there");
        assert!(position(&Step::AwaitPlacement) < position(&Step::UnshareCgroup));
        assert!(position(&Step::UnshareCgroup) < position(&Step::Pivot));
        assert!(position(&Step::Confine { profile: "lxd-c1".into() }) < position(&Step::Pivot));
        assert_eq!(plan.steps.last(), Some(&Step::Seccomp), "nothing may follow the filter but exec");
    }

    #[test]
    fn only_privileged_containers_lose_capabilities_and_writable_sysctls() {
        let unprivileged = plan(&launch(IdMap::contiguous(100_000, 100_000, 65_536), false));
        let privileged = plan(&launch(IdMap::default(), false));
        let read_only = |plan: &Plan| targets(plan, |step| if let Step::ReadOnly { target } = step { Some(target) } else { None });
        assert!(read_only(&unprivileged).is_empty());
        assert!(read_only(&privileged).contains(&"/proc/sysrq-trigger".to_owned()));
        assert!(privileged.steps.contains(&Step::DropCapabilities(PRIVILEGED_DROPS.to_vec())));
        assert!(!privileged.trees[0].idmapped);
    }

    #[test]
    fn what_is_asked_for_is_left_open() {
        let mut launch = launch(IdMap::default(), false);
        launch.spec.tuning = crate::spec::Tuning {
            keeps_capabilities: true,
            dropped_capabilities: vec![21],
            writable_proc: true,
            sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
            ..Default::default()
        };
        let plan = plan(&launch);
        let closed = targets(&plan, |step| match step {
            Step::ReadOnly { target } | Step::Mask { target } => Some(target),
            _ => None,
        });
        assert_eq!(closed, ["/sys/firmware", "/sys"]);
        assert!(plan.steps.contains(&Step::DropCapabilities(vec![21])));
        let position = |wanted: &Step| plan.steps.iter().position(|step| step == wanted).expect("the step is there");
        let sysctl = position(&Step::Sysctl { name: "net/ipv4/ip_forward".into(), value: "1".into() });
        assert!(position(&Step::LinksUp) < sysctl && sysctl < position(&Step::Pivot));
    }

    #[test]
    fn what_a_guest_could_loosen_is_locked() {
        let mut launch = launch(IdMap::contiguous(100_000, 100_000, 65_536), false);
        assert!(!plan(&launch).steps.contains(&Step::TakeLocked), "an overlay needs no lock, and locking takes time");
        launch.spec.mounts = vec![Bind { source: "/srv".into(), target: "/mnt".into(), read_only: true, ..Default::default() }];
        let with_disk = plan(&launch);
        assert_eq!(with_disk.steps[0], Step::TakeLocked);
        let locked: Vec<_> = with_disk.trees.iter().filter(|tree| tree.locked).collect();
        assert!(matches!(&locked[..], [tree] if tree.source == Path::new("/srv") && tree.read_only && tree.no_devices));
        launch.spec.rootfs = Rootfs::Dir { path: "/pool/c1/rootfs".into() };
        let on_dir = plan(&launch);
        assert!(on_dir.trees[0].locked && on_dir.trees[0].no_devices && !on_dir.trees[0].read_only);
        launch.spec.idmap = IdMap::default();
        assert!(!plan(&launch).has_locked());
    }

    #[test]
    fn the_guest_api_cannot_be_written_to() {
        let mut launch = launch(IdMap::default(), false);
        assert!(!plan(&launch).trees.iter().any(|tree| tree.source == Path::new("/lxd/devlxd/c1")));
        launch.spec.guest_api = Some("/lxd/devlxd/c1".into());
        let plan = plan(&launch);
        let index = plan.trees.iter().position(|tree| tree.source == Path::new("/lxd/devlxd/c1")).expect("shown");
        assert!(plan.trees[index].read_only && !plan.trees[index].optional);
        assert!(plan.steps.contains(&Step::AttachTree { tree: index, target: "/dev/lxd".into() }));
    }

    #[test]
    fn nesting_leaves_proc_uncovered() {
        let plan = plan(&launch(IdMap::contiguous(100_000, 100_000, 65_536), true));
        assert!(!plan.steps.iter().any(|step| matches!(step, Step::Mask { .. })));
    }
}
