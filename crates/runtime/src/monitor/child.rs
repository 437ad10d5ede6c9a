//! The container's first process, from its birth to the exec of init: carries out the plan.
//!
//! It is root in its own user namespace and nobody outside. Every path in the guest's tree is
//! resolved beneath the new root's descriptor, since the image decides what is there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sys::Root;
use sys::mount::{MountAttrFlags, MountFlags};
use sys::process::namespaces;

use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::protocol::{self, Launch, StepFailure};

/// Where the new root is put together before it becomes the root. Every host has the directory,
/// anyone may pass through it, and the host's own content there is not needed any more.
const STAGE: &str = "/dev";
/// Soft limit of open files for init, as most distributions expect it.
const NOFILE: u64 = 1024;
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the monitor opened on the host: the plan's trees, and the console's terminal.
type Mounts = (Vec<Option<OwnedFd>>, OwnedFd);

/// Runs the child; never returns.
pub(super) fn run(launch: &Launch, plan: &Plan, mounts: Mounts, socket: &OwnedFd) -> ! {
    let failure = match set_up(launch, plan, mounts, socket) {
        Ok(()) => {
            let (program, env) = (&launch.spec.init[0], environment(launch));
            let error = sys::process::exec(program, &launch.spec.init, &env);
            StepFailure { step: format!("start init `{program}`"), reason: explain_exec(&error) }
        }
        Err(failure) => failure,
    };
    drop(protocol::send(socket, &failure, &[]));
    sys::process::exit_now(1)
}

fn set_up(launch: &Launch, plan: &Plan, (trees, console): Mounts, socket: &OwnedFd) -> std::result::Result<(), StepFailure> {
    let failed = |step: String| move |error: Error| StepFailure { step, reason: error.to_string() };
    if launch.spec.init.is_empty() {
        return Err(failed("start init".into())(Error::Invalid("no init program was given".into())));
    }
    await_go(socket).map_err(failed("wait for the monitor".into()))?;
    sys::process::set_identity(0, 0).map_err(Error::from).map_err(failed("become root of the container".into()))?;
    let mut child = Child { launch, plan, trees, console, socket, root: None, terminal: None };
    for step in &plan.steps {
        child.perform(step).map_err(failed(describe(step, plan)))?;
    }
    Ok(())
}

fn await_go(socket: &OwnedFd) -> Result<()> {
    match sys::socket::receive(socket, 16)? {
        Some(_) => Ok(()),
        None => Err(Error::Invalid("the monitor has gone".into())),
    }
}

struct Child<'a> {
    launch: &'a Launch,
    plan: &'a Plan,
    trees: Vec<Option<OwnedFd>>,
    console: OwnedFd,
    socket: &'a OwnedFd,
    root: Option<Root>,
    terminal: Option<OwnedFd>,
}

impl Child<'_> {
    fn perform(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::TakeLocked => self.take_locked(),
            Step::MakePrivate => Ok(sys::mount::make_all_private()?),
            Step::AttachRoot { tree } => {
                sys::mount::attach(self.tree(*tree)?, STAGE)?;
                self.enter_root(Path::new(STAGE))
            }
            Step::OverlayRoot { lower, writable, upper, work } => self.overlay_root(*lower, *writable, upper, work),
            Step::MountFs { fstype, target, options, attributes } => self.mount_fs(fstype, target, options, *attributes),
            Step::AttachTree { tree, target } => match &self.trees[*tree] {
                Some(fd) => self.attach_tree(fd, target),
                None => Ok(()),
            },
            Step::ReadOnly { target } => self.read_only(target),
            Step::Mask { target } => self.mask(target),
            Step::DropIns { checkpointable } => super::dropins::leave(self.root()?, &self.launch.spec.init[0], *checkpointable),
            Step::Symlink { target, path } => self.symlink(target, path),
            Step::OpenConsole => self.open_console(),
            Step::AwaitPlacement => await_go(self.socket),
            Step::UnshareCgroup => Ok(sys::process::unshare(namespaces::CGROUP)?),
            Step::LinksUp => crate::nic::all_up(),
            Step::Sysctl { name, value } => Ok(sys::fs::write_kernel(Path::new("/proc/sys").join(name), value)?),
            Step::Hostname(name) => Ok(sys::process::set_hostname(name)?),
            Step::Pivot => {
                self.root = None;
                Ok(sys::mount::pivot_to_current_dir()?)
            }
            Step::Session => self.session(),
            Step::Keyring => {
                // A guest may have used up its quota; then it keeps the empty one that this program began with.
                drop(sys::process::new_session_keyring());
                Ok(())
            }
            Step::Personality32 => Ok(sys::process::set_personality_32()?),
            Step::DropCapabilities(capabilities) => {
                sys::process::drop_bounding(capabilities)?;
                Ok(sys::process::keep_capabilities_without(&crate::plan::not_needed_until_exec(capabilities))?)
            }
            Step::Seccomp => Ok(sys::seccomp::install(&self.launch.seccomp)?),
            Step::Confine { profile } => crate::apparmor::confine_next_exec(profile),
        }
    }

    fn take_locked(&mut self) -> Result<()> {
        sys::process::unshare(namespaces::MOUNT)?;
        for (index, _) in self.plan.trees.iter().enumerate().filter(|(_, tree)| tree.locked) {
            // The one that was passed is not locked, and must not be used by mistake.
            if self.trees[index].take().is_some() {
                self.trees[index] = Some(crate::staging::take(index)?);
            }
        }
        Ok(())
    }

    fn tree(&self, tree: usize) -> Result<&OwnedFd> {
        self.trees[tree].as_ref().ok_or_else(|| Error::Invalid("a required file system is missing".into()))
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::Invalid("the new root is not there".into()))
    }

    fn enter_root(&mut self, path: &Path) -> Result<()> {
        self.root = Some(Root::open(path)?);
        rustix::process::chdir(path).map_err(|errno| sys::Error::new("chdir", path.display(), errno).into())
    }

    fn overlay_root(&mut self, lower: usize, writable: usize, upper: &str, work: &str) -> Result<()> {
        let stage = Path::new(STAGE);
        sys::mount::mount_fs("tmpfs", stage, "tmpfs", MountFlags::empty(), "mode=755,size=64k")?;
        for name in ["lower", "rw", "root"] {
            sys::fs::create_dir(stage.join(name), 0o755)?;
        }
        sys::mount::attach(self.tree(lower)?, stage.join("lower"))?;
        sys::mount::attach(self.tree(writable)?, stage.join("rw"))?;
        crate::overlay::mount(stage, upper, work)?;
        self.enter_root(&stage.join("root"))
    }

    fn mount_fs(&self, fstype: &str, target: &Path, options: &[(String, Option<String>)], attributes: u32) -> Result<()> {
        let root = self.root()?;
        root.create_dir_all(target, 0o755)?;
        let options: Vec<_> = options.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let mount = sys::mount::new_fs(fstype, &options, MountAttrFlags::from_bits_retain(attributes))?;
        let target_fd = root.open_at(target, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok(sys::mount::attach_fd(mount, target_fd, target)?)
    }

    fn attach_tree(&self, tree: &OwnedFd, target: &Path) -> Result<()> {
        let root = self.root()?;
        let target_fd = match mount_point(root, tree, target) {
            // The kernel file systems hold no place for what this host's kernel does not have.
            Err(_) if target.starts_with("/sys") || target.starts_with("/proc") => return Ok(()),
            other => other?,
        };
        Ok(sys::mount::attach_fd(tree, target_fd, target)?)
    }

    fn read_only(&self, target: &Path) -> Result<()> {
        let Ok(fd) = self.root()?.open_at(target, OFlags::PATH, 0) else { return Ok(()) };
        let label = target.display().to_string();
        let tree = sys::mount::clone_tree_fd(&fd, true, &label)?;
        sys::mount::add_flags(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, true, &label)?;
        Ok(sys::mount::attach_fd(tree, fd, target)?)
    }

    fn mask(&self, target: &Path) -> Result<()> {
        let root = self.root()?;
        let Ok(fd) = root.open_at(target, OFlags::PATH, 0) else { return Ok(()) };
        let is_dir = rustix::fs::fstat(&fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
        let cover = if is_dir {
            sys::mount::new_fs("tmpfs", &[("mode", Some("555")), ("size", Some("0"))], MountAttrFlags::MOUNT_ATTR_RDONLY)?
        } else {
            sys::mount::clone_tree_fd(root.open_at("/dev/null", OFlags::PATH, 0)?, false, "/dev/null")?
        };
        Ok(sys::mount::attach_fd(cover, fd, target)?)
    }

    fn symlink(&self, target: &str, path: &Path) -> Result<()> {
        match self.root()?.symlink(target, path) {
            Err(error) if error.errno == sys::Errno::EXIST => Ok(()),
            other => Ok(other?),
        }
    }

    /// Opened by the name that the guest knows it by.
    fn open_console(&mut self) -> Result<()> {
        let console = Path::new("/dev/console");
        self.attach_tree(&self.console, console)?;
        self.terminal = Some(self.root()?.open_at(console, OFlags::RDWR | OFlags::NOCTTY, 0)?);
        Ok(())
    }

    fn session(&self) -> Result<()> {
        let terminal = self.terminal.as_ref().ok_or_else(|| Error::Invalid("no console was opened".into()))?;
        sys::process::setsid()?;
        sys::pty::make_controlling(terminal)?;
        sys::process::set_stdio(terminal.as_fd(), terminal.as_fd(), terminal.as_fd())?;
        sys::process::reset_signals();
        sys::process::set_nofile(NOFILE)?;
        for limit in &self.launch.spec.rlimits {
            sys::process::set_rlimit(&limit.name, limit.soft, limit.hard)?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Ok(sys::process::close_on_exec_from(3)?)
    }
}

/// Opens, and makes if need be, the place where a tree goes: a directory or a file like the tree.
pub(crate) fn mount_point(root: &Root, tree: &OwnedFd, target: &Path) -> Result<OwnedFd> {
    let is_dir = rustix::fs::fstat(tree).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    if is_dir.unwrap_or(true) {
        root.create_dir_all(target, 0o755)?;
        return Ok(root.open_at(target, OFlags::PATH | OFlags::DIRECTORY, 0)?);
    }
    if let Some(parent) = target.parent() {
        root.create_dir_all(parent, 0o755)?;
    }
    match root.open_at(target, OFlags::PATH, 0) {
        Err(error) if error.is_not_found() => drop(root.create_file(target, OFlags::EXCL, 0o644)?),
        other => return Ok(other?),
    }
    Ok(root.open_at(target, OFlags::PATH, 0)?)
}

fn environment(launch: &Launch) -> Vec<String> {
    let mut env = vec!["container=lxc".to_owned()];
    if launch.spec.checkpointable {
        env.push(super::dropins::NO_PRESSURE.to_owned());
    }
    if !launch.spec.env.contains_key("PATH") {
        env.push(DEFAULT_PATH.to_owned());
    }
    env.extend(launch.spec.env.iter().map(|(key, value)| format!("{key}={value}")));
    env
}

fn explain_exec(error: &sys::Error) -> String {
    let hint = match error.errno {
        sys::Errno::NOENT => "; the image has no such program, or not the interpreter or library loader that it names",
        sys::Errno::NOEXEC => "; the program is made for another architecture",
        sys::Errno::ACCESS => "; the program may not be executed by the container's root (is the root file system's ownership right?)",
        _ => "",
    };
    format!("{error}{hint}")
}

fn describe(step: &Step, plan: &Plan) -> String {
    let source = |tree: usize| plan.trees[tree].source.display().to_string();
    let on = |verb: &str, path: &PathBuf| format!("{verb} `{}`", path.display());
    match step {
        Step::TakeLocked => "make the container's mount namespace".into(),
        Step::MakePrivate => "separate the mounts of host and container".into(),
        Step::AttachRoot { tree } => format!("mount the root file system `{}`", source(*tree)),
        Step::OverlayRoot { writable, .. } => format!("mount the overlay root file system of `{}`", source(*writable)),
        Step::MountFs { fstype, target, .. } => on(&format!("mount {fstype} at"), target),
        Step::AttachTree { tree, target } => on(&format!("mount host path `{}` at", source(*tree)), target),
        Step::ReadOnly { target } => on("make read-only", target),
        Step::Mask { target } => on("hide", target),
        Step::DropIns { .. } => "leave settings for systemd".into(),
        Step::Symlink { path, .. } => on("make the link", path),
        Step::OpenConsole => "open the console".into(),
        Step::AwaitPlacement => "wait for control groups and network".into(),
        Step::UnshareCgroup => "make the cgroup namespace".into(),
        Step::LinksUp => "bring the network links up".into(),
        Step::Sysctl { name, value } => format!("set the kernel parameter {} to `{value}`", name.replace('/', ".")),
        Step::Hostname(name) => format!("set the host name `{name}`"),
        Step::Pivot => "change to the new root file system".into(),
        Step::Session => "start init's session on the console".into(),
        Step::Keyring => "make a keyring".into(),
        Step::Personality32 => "set the 32-bit personality".into(),
        Step::DropCapabilities(_) => "drop capabilities".into(),
        Step::Seccomp => "install the system call filter".into(),
        Step::Confine { profile } => format!("choose the AppArmor profile `{profile}`"),
    }
}
