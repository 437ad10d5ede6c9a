//! A container that goes on from a saved state: CRIU makes it, in place of the child of a fresh start.
//!
//! CRIU runs in a mount namespace of its own, the stage, where everything of the host's that the
//! container had is attached; it takes it from there into the new container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use sys::idmap::{IdMap, Kind};
use sys::process::{Clone, Ended, namespaces};
use sys::pty::Pty;

use super::{Made, console_path, open_console};
use crate::cgroup::Groups;
use crate::checkpoint::{Cards, Context, EXTERNAL, Flags, Overlay, Port, SavedState, explain, files_in, remove_waiting};
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::protocol::{Launch, Resume, StepFailure};

/// Where the stage is. Every host has the directory, whoever is root in the container may pass through
/// it, and CRIU does not need the host's content there.
const STAGE: &str = "/dev/shm";
/// The images, on the stage.
const IMAGES: &str = "images";
/// The newest log, in the container's log directory.
const LOG: &str = "stateful-restore.log";
/// Where CRIU finds `ip`, `nft` and the like: the monitor has no environment.
const TOOLS: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Exit code of a process that did not become CRIU, which has no such code.
const NOT_EXECUTED: i32 = 127;
/// In the run directory.
const PID_FILE: &str = "restored.pid";

/// Brings the container back; returns when its processes run.
pub(super) fn resume(run_dir: &Path, launch: &Launch, plan: &Plan, resume: &Resume) -> std::result::Result<Made, StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    let state = SavedState::read(&resume.images).map_err(failed("read the saved state"))?;
    let console = open_console(&launch.spec.idmap).map_err(failed("open a terminal for the console"))?;
    let ids = container_ids(&launch.spec.idmap).map_err(failed("map user and group ids"))?;
    let home = sys::fs::open("/proc/self/ns/mnt").map_err(Error::from).map_err(failed("open the mount namespace"))?;
    let stage = Stage { launch, images: &resume.images, plan, state: &state, console: &console, ids };
    let cards = Cards::make(launch).map_err(failed("set up the network"))?;
    let pid_file = run_dir.join(PID_FILE);
    drop(sys::fs::remove_file(&pid_file));
    let run = stage.set().map_err(failed("prepare the file systems")).and_then(|mut flags| {
        cards.names().for_each(|(name, peer)| flags.pair(EXTERNAL, format!("netdev[{name}]:{peer}")));
        flags.pair("--pidfile", &pid_file);
        run_criu((launch, resume), &state, (&console, cards.ports()), flags)
    });
    sys::process::setns_fd(home.as_fd(), namespaces::MOUNT).map_err(Error::from).map_err(failed("leave the stage"))?;
    if let Err(failure) = run {
        remove_waiting(launch);
        return Err(failure);
    }
    found(&pid_file, console).map_err(failed("find the restored init"))
}

fn found(pid_file: &Path, console: Pty) -> Result<Made> {
    let text = sys::fs::read_to_string(pid_file)?;
    let pid: i32 = text.trim().parse().map_err(|_| Error::Invalid(format!("CRIU left `{}` as its pid", text.trim())))?;
    let pidfd = sys::process::pidfd_open(pid)?;
    let network = sys::fs::open(format!("/proc/{pid}/ns/net"))?.into();
    Ok(Made { pid, pidfd, console, network, stage: None })
}

fn run_criu(
    (launch, resume): (&Launch, &Resume),
    state: &SavedState,
    (console, ports): (&Pty, &[Port]),
    mut flags: Flags,
) -> std::result::Result<(), StepFailure> {
    let failed = |reason: String| StepFailure { step: "restore the running state".into(), reason };
    let groups = Groups::new(launch.layout.clone(), &launch.cgroup_tag, &launch.spec.name);
    let common = Flags::common(&Path::new(STAGE).join(IMAGES), &resume.log_dir, LOG, &groups.root());
    flags.add(["--restore-detached", "--restore-sibling"]);
    flags.pair("--root", Path::new(STAGE).join("root"));
    flags.pair("--inherit-fd", format!("fd[0]:{}", state.console));
    flags.pair("--action-script", &resume.hook);
    if let Some(profile) = &launch.apparmor {
        // Not the one that it was saved with, which may be another container's.
        flags.pair("--lsm-profile", format!("apparmor:{profile}"));
    }
    let context = context(launch, state, ports).to_environment().map_err(|error| failed(error.to_string()))?;
    let environment: Vec<String> =
        [TOOLS.to_owned()].into_iter().chain(context.into_iter().map(|(name, value)| format!("{name}={value}"))).collect();
    let output = sys::fs::create(resume.log_dir.join("stateful-restore.out"), 0o600).map_err(|error| failed(error.to_string()))?;
    let program = resume.criu.to_string_lossy().into_owned();
    let words = common.0.iter().chain(&flags.0).map(|word| word.to_string_lossy().into_owned());
    let args: Vec<String> = [program.clone(), "restore".into()].into_iter().chain(words).collect();
    let workshop = groups.workshop();
    let ended = workshop.ensure().and_then(|()| execute(&workshop, &args, &environment, (&console.slave, &output.into())));
    let result = match ended {
        Ok(Ended::Code(0)) => Ok(()),
        Ok(Ended::Code(NOT_EXECUTED)) => Err(failed(format!("`{program}` could not be executed"))),
        Ok(Ended::Code(_)) => Err(failed(explain(&resume.log_dir.join(LOG), |_| None))),
        Ok(Ended::Signal(signal)) => Err(failed(format!("CRIU was ended by signal {signal}"))),
        Err(error) => Err(failed(error.to_string())),
    };
    if result.is_err() {
        // What it has made so far would wait for it for ever.
        workshop.kill();
        groups.kill();
    }
    drop(workshop.remove());
    result
}

/// Executes a program in these groups, from its first instruction on: what it starts is there, too. The
/// terminal becomes its standard input, by which CRIU finds it.
fn execute(groups: &Groups, args: &[String], environment: &[String], (terminal, output): (&OwnedFd, &OwnedFd)) -> Result<Ended> {
    let (ours, theirs) = sys::socket::seqpacket_pair()?;
    match sys::process::clone_process(0)? {
        Clone::Child => {
            drop(ours);
            let is_placed = matches!(sys::socket::receive(&theirs, 16), Ok(Some(_)));
            if is_placed && sys::process::set_stdio(terminal.as_fd(), output.as_fd(), output.as_fd()).is_ok() {
                sys::process::reset_signals();
                drop(sys::process::exec(&args[0], args, environment));
            }
            sys::process::exit_now(NOT_EXECUTED)
        }
        Clone::Parent { pid, pidfd } => {
            drop(theirs);
            let placed = groups.enter(pid).and_then(|()| Ok(sys::socket::send(&ours, super::GO, &[])?));
            // Where it was not placed, it ends by itself.
            drop(ours);
            let ended = sys::process::wait_pidfd(&pidfd);
            placed.and(Ok(ended?))
        }
    }
}

fn context(launch: &Launch, state: &SavedState, ports: &[Port]) -> Context {
    let overlay = match &launch.spec.rootfs {
        crate::spec::Rootfs::Overlay { upper, work, .. } if !launch.spec.idmap.is_empty() => {
            let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Some(Overlay { stage: STAGE.into(), upper: name(upper), work: name(work) })
        }
        _ => None,
    };
    Context::Restore { overlay, watches: state.watches.clone(), ports: ports.to_vec() }
}

struct Stage<'a> {
    launch: &'a Launch,
    images: &'a Path,
    plan: &'a Plan,
    state: &'a SavedState,
    console: &'a Pty,
    /// A user namespace with the container's ids.
    ids: Option<OwnedFd>,
}

impl Stage<'_> {
    /// Enters a new mount namespace and attaches everything; returns the flags that tell CRIU where it is.
    fn set(&self) -> Result<Flags> {
        let needed = |target: &Path| self.state.externals.iter().any(|external| external.target == target);
        let mut trees: Vec<(usize, String)> = Vec::new();
        let mut places: Vec<(PathBuf, String)> = Vec::new();
        for step in &self.plan.steps {
            match step {
                Step::AttachRoot { tree } => trees.push((*tree, "root".into())),
                Step::OverlayRoot { lower, writable, .. } => trees.extend([(*lower, "lower".into()), (*writable, "rw".into())]),
                Step::AttachTree { tree, target } if needed(target) => {
                    let place = format!("x{tree}");
                    trees.push((*tree, place.clone()));
                    places.push((target.clone(), place));
                }
                _ => {}
            }
        }
        let opened: Vec<(OwnedFd, String)> = trees.into_iter().map(|(tree, place)| Ok((self.open(tree)?, place))).collect::<Result<_>>()?;
        let images = self.open_images()?;
        let console = sys::mount::clone_tree(console_path(self.console), false)?;
        sys::process::unshare(namespaces::MOUNT)?;
        sys::mount::make_all_private()?;
        sys::mount::mount_fs("tmpfs", STAGE, "tmpfs", MountFlags::empty(), "mode=755,size=256k")?;
        for (tree, place) in &opened {
            attach(tree, place)?;
        }
        attach(&console, "console")?;
        attach(&images, IMAGES)?;
        self.overlay()?;
        let mut flags = Flags::default();
        flags.pair(EXTERNAL, format!("mnt[/dev/console]:{STAGE}/console"));
        for external in &self.state.externals {
            let place = places.iter().find(|(target, _)| *target == external.target).map(|(_, place)| place);
            let place = place.ok_or_else(|| Error::Invalid(format!("`{}` is not there any more", external.target.display())))?;
            let mut source = Path::new(STAGE).join(place);
            if !external.below.as_os_str().is_empty() {
                source = self.part(&source, &external.below, flags.0.len())?;
            }
            flags.pair(EXTERNAL, format!("mnt[{}]:{}", external.mount_point.display(), source.display().to_string().trim_end_matches('/')));
        }
        Ok(flags)
    }

    /// A mount in a disk by a path of its own: names in the disk may be links by now.
    fn part(&self, tree: &Path, below: &Path, number: usize) -> Result<PathBuf> {
        let part = sys::tree::open_dir(sys::fs::open(tree)?, below)?;
        let copy = sys::mount::clone_tree_fd(&part, false, &below.display().to_string())?;
        let place = format!("part{number}");
        attach(&copy, &place)?;
        Ok(Path::new(STAGE).join(place))
    }

    fn open(&self, index: usize) -> Result<OwnedFd> {
        let tree = &self.plan.trees[index];
        let fd = crate::staging::open(tree)?;
        if let (true, Some(ids)) = (tree.idmapped, &self.ids) {
            sys::mount::set_idmap(&fd, ids, tree.recursive, &tree.source.display().to_string())?;
        }
        Ok(fd)
    }

    /// The images, which are read by two: by the container's root, whose own they become through a mapped
    /// mount (or truly, where the file system knows no such mounts), and before that by a process that
    /// has no other id yet than that of the host's root, by its group.
    fn open_images(&self) -> Result<OwnedFd> {
        let images = sys::mount::clone_tree(self.images, false)?;
        let label = self.images.display().to_string();
        if self.ids.is_none() {
            return Ok(images);
        }
        let idmap = &self.launch.spec.idmap;
        let readers = user_namespace(&idmap.to_kernel(Kind::Uid), "0 0 1")?;
        if sys::mount::set_idmap(&images, &readers, false, &label).is_err() {
            let uid = idmap.to_host(Kind::Uid, 0).ok_or_else(|| Error::Invalid("the id map has no root".into()))?;
            sys::fs::chown(self.images, uid, 0)?;
            for file in files_in(self.images)? {
                sys::fs::chown(self.images.join(file), uid, 0)?;
            }
        }
        Ok(images)
    }

    /// The overlay of a privileged container; that of others is mounted inside, by the hook.
    fn overlay(&self) -> Result<()> {
        let root = Path::new(STAGE).join("root");
        for step in &self.plan.steps {
            if let Step::OverlayRoot { upper, work, .. } = step {
                sys::fs::create_dir(&root, 0o755)?;
                if self.ids.is_none() {
                    crate::overlay::mount(Path::new(STAGE), upper, work)?;
                }
            }
        }
        Ok(())
    }
}

fn attach(tree: &OwnedFd, place: &str) -> Result<()> {
    let place = Path::new(STAGE).join(place);
    let is_dir = rustix::fs::fstat(tree).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    if is_dir {
        sys::fs::create_dir(&place, 0o755)?;
    } else {
        sys::fs::create(&place, 0o644)?;
    }
    Ok(sys::mount::attach(tree, &place)?)
}

/// A user namespace with these ids, without a process: mounts are mapped by it.
fn user_namespace(uids: &str, gids: &str) -> Result<OwnedFd> {
    let (ours, theirs) = sys::socket::seqpacket_pair()?;
    match sys::process::clone_process(namespaces::USER)? {
        Clone::Child => {
            // Until the monitor has done, or died.
            drop(ours);
            drop(sys::socket::receive(&theirs, 1));
            sys::process::exit_now(0)
        }
        Clone::Parent { pid, pidfd } => {
            drop(theirs);
            let made = (|| {
                sys::fs::write_kernel(format!("/proc/{pid}/uid_map"), uids)?;
                sys::fs::write_kernel(format!("/proc/{pid}/gid_map"), gids)?;
                Ok(sys::fs::open(format!("/proc/{pid}/ns/user"))?.into())
            })();
            drop(ours);
            drop(sys::process::wait_pidfd(&pidfd));
            made
        }
    }
}

/// The container's own map; `None` where nothing is mapped.
fn container_ids(idmap: &IdMap) -> Result<Option<OwnedFd>> {
    if idmap.is_empty() {
        return Ok(None);
    }
    user_namespace(&idmap.to_kernel(Kind::Uid), &idmap.to_kernel(Kind::Gid)).map(Some)
}
