//! The monitor: parent of one container's init from start to stop.
//!
//! Single-threaded, so that it may clone and go on in Rust. It makes the container, reports to
//! the daemon, then sleeps in poll(2): for init's end, console output, and requests on its socket.
//! It survives the daemon, keeps its memory small, and writes the exit record before it tells
//! anyone of it.

mod child;
mod console;
mod dropins;
mod resume;
mod serve;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::idmap::{IdMap, Kind};
use sys::process::{Clone, namespaces};
use sys::pty::Pty;

use crate::cgroup::Groups;
use crate::error::{Error, Result};
use crate::plan::{Plan, Tree, plan};
use crate::protocol::{self, Launch, MonitorReply, StepFailure};
use crate::spec::Nic;

/// Files in a container's run directory.
pub const LAUNCH_FILE: &str = "launch.json";
/// Pid and start time of init.
pub const INIT_FILE: &str = "init.json";
/// The exit record.
pub const EXIT_FILE: &str = "exit.json";
/// Socket of the monitor.
pub const SOCKET_FILE: &str = "monitor.sock";

/// Pid and start time: names init even after the monitor is gone.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct InitRecord {
    /// Pid on the host.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

/// The running container as its monitor holds it.
struct Made {
    pid: i32,
    pidfd: OwnedFd,
    console: Pty,
    network: OwnedFd,
    /// Kept until the daemon knows that init runs: to tear a mount namespace down takes a while.
    stage: Option<OwnedFd>,
}

/// Group of terminals inside, by the convention of all distributions.
const TTY_GROUP: u32 = 5;

/// Runs a monitor for the container of `run_dir`; `control` leads to the daemon that started it.
pub fn run(run_dir: &Path, control: OwnedFd) -> i32 {
    match start(run_dir) {
        Ok((mut made, listener)) => {
            let reply = MonitorReply::Running { pid: made.pid };
            // A daemon that died meanwhile finds the monitor by its socket.
            drop(protocol::send(&control, &reply, &[made.pidfd.as_fd()]));
            made.stage = None;
            serve::serve(run_dir, made, listener, control);
            0
        }
        Err(failure) => {
            drop(protocol::send(&control, &MonitorReply::Failed(failure), &[]));
            1
        }
    }
}

fn start(run_dir: &Path) -> std::result::Result<(Made, OwnedFd), StepFailure> {
    let failed = |step: &str| {
        let step = step.to_owned();
        move |error: Error| StepFailure { step, reason: error.to_string() }
    };
    let launch = prepare(run_dir).map_err(failed("prepare the monitor"))?;
    let listener =
        sys::socket::listen_seqpacket(&run_dir.join(SOCKET_FILE)).map_err(Error::from).map_err(failed("listen for the daemon"))?;
    let plan = plan(&launch);
    let made = match &launch.resume {
        Some(resume) => resume::resume(run_dir, &launch, &plan, resume)?,
        None => {
            let trees = open_trees(&plan.trees).map_err(failed("open the container's file systems"))?;
            let console = open_console(&launch.spec.idmap).map_err(failed("open a terminal for the console"))?;
            make(&launch, &plan, trees, console)?
        }
    };
    let record = InitRecord { pid: made.pid, start_time: sys::process::start_time(made.pid).unwrap_or(0) };
    let record = serde_json::to_vec(&record).unwrap_or_default();
    if let Err(error) = sys::fs::write(run_dir.join(INIT_FILE), record) {
        drop(sys::process::pidfd_signal(&made.pidfd, KILL));
        drop(sys::process::wait_pidfd(&made.pidfd));
        crate::nic::take_back(&launch.spec.nics, &made.network);
        return Err(failed("record the container's init")(error.into()));
    }
    Ok((made, listener))
}

const KILL: i32 = 9;
const HANGUP: i32 = 1;
const PIPE: i32 = 13;

fn prepare(run_dir: &Path) -> Result<Launch> {
    // The daemon's end, its terminal and its signals are not the monitor's.
    sys::process::setsid()?;
    sys::process::ignore_signal(HANGUP);
    sys::process::ignore_signal(PIPE);
    sys::process::become_subreaper()?;
    sys::process::set_guest_limits();
    let launch = Launch::read(run_dir)?;
    Groups::new(launch.layout.clone(), &launch.cgroup_tag, &launch.spec.name).join_keeper()?;
    sys::process::set_name(&format!("lxd:{}", launch.spec.name.chars().take(11).collect::<String>()))?;
    Ok(launch)
}

/// Opens the host's part of the plan. A missing optional source leaves an empty place.
fn open_trees(trees: &[Tree]) -> Result<Vec<Option<OwnedFd>>> {
    let open = |tree: &Tree| match crate::staging::open(tree) {
        Err(error) if tree.optional && matches!(error.errno, sys::Errno::NOENT | sys::Errno::NOTDIR) => Ok(None),
        other => Ok(Some(other?)),
    };
    trees.iter().map(open).collect()
}

/// Makes the console: a terminal of the host's devpts, so that it exists before the container and can be
/// given to another one that goes on where this one was saved. The guest's root owns it.
fn open_console(idmap: &IdMap) -> Result<Pty> {
    let pty = sys::pty::open()?;
    sys::pty::resize(&pty.slave, 80, 25)?;
    let owner = idmap.to_host(Kind::Uid, 0).zip(idmap.to_host(Kind::Gid, TTY_GROUP).or(idmap.to_host(Kind::Gid, 0)));
    let (uid, gid) = owner.ok_or_else(|| Error::Invalid("the id map does not contain the container's root (id 0)".into()))?;
    let path = console_path(&pty);
    sys::fs::chown(&path, uid, gid)?;
    sys::fs::set_mode(&path, 0o620)?;
    Ok(pty)
}

fn console_path(pty: &Pty) -> PathBuf {
    Path::new("/dev/pts").join(pty.number.to_string())
}

/// Clones the container's first process and leads it to the exec of init.
fn make(launch: &Launch, plan: &Plan, trees: Vec<Option<OwnedFd>>, console: Pty) -> std::result::Result<Made, StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(Error::from).map_err(failed("connect to the container"))?;
    let mut flags = namespaces::PID | namespaces::UTS | namespaces::IPC | namespaces::NET;
    if !launch.spec.idmap.is_empty() {
        flags |= namespaces::USER;
    }
    let terminal = sys::mount::clone_tree(console_path(&console), false).map_err(Error::from).map_err(failed("show the console"))?;
    // With trees to lock, the child starts on the stage and makes its mount namespace later.
    let home = if plan.has_locked() {
        Some(enter_stage().map_err(failed("make a mount namespace for the disks"))?)
    } else {
        flags |= namespaces::MOUNT;
        None
    };
    let groups = Groups::new(launch.layout.clone(), &launch.cgroup_tag, &launch.spec.name);
    match clone_child(flags, &groups).map_err(failed("make the container's namespaces"))? {
        Clone::Child => {
            drop(ours);
            child::run(launch, plan, (trees, terminal), &theirs)
        }
        Clone::Parent { pid, pidfd } => {
            drop(theirs);
            let stage = map_ids(launch, plan, &trees, pid).map_err(failed("map user and group ids")).and_then(|()| {
                let fill = |home| fill_stage(plan, &trees, &home).map_err(failed("prepare the disks"));
                home.map(fill).transpose()
            });
            drop((trees, terminal));
            let led = stage.and_then(|stage| {
                // Held from before any interface is lent, so that all can be had back whatever happens.
                let network = sys::fs::open(format!("/proc/{pid}/ns/net")).map(OwnedFd::from).map_err(Error::from);
                let network = network.map_err(failed("open the network namespace"))?;
                lead(launch, (pid, &network), &ours).inspect_err(|_| crate::nic::take_back(&launch.spec.nics, &network))?;
                Ok((network, stage))
            });
            match led {
                Ok((network, stage)) => Ok(Made { pid, pidfd, console, network, stage }),
                Err(failure) => {
                    drop(sys::process::pidfd_signal(&pidfd, KILL));
                    drop(sys::process::wait_pidfd(&pidfd));
                    Err(failure)
                }
            }
        }
    }
}

/// Clones the child, into its control group where that is the only one and of version 2.
fn clone_child(flags: u64, groups: &Groups) -> Result<Clone> {
    match groups.only_dir() {
        Some(dir) => Ok(sys::process::clone_process_into(flags, sys::fs::open(dir)?.as_fd())?),
        None => Ok(sys::process::clone_process(flags)?),
    }
}

/// One-byte signals to the child.
const GO: &[u8] = b"go";

/// Enters a new stage; returns the mount namespace to go back to.
fn enter_stage() -> Result<OwnedFd> {
    let home = sys::fs::open("/proc/self/ns/mnt")?;
    crate::staging::enter()?;
    Ok(home.into())
}

/// Puts the trees to lock on the stage, where the child is, too, and leaves it. Returns the stage.
fn fill_stage(plan: &Plan, trees: &[Option<OwnedFd>], home: &OwnedFd) -> Result<OwnedFd> {
    for (index, (_, tree)) in plan.trees.iter().zip(trees).enumerate().filter(|(_, (tree, _))| tree.locked) {
        if let Some(tree) = tree {
            crate::staging::put(index, tree)?;
        }
    }
    let stage = sys::fs::open("/proc/self/ns/mnt")?;
    sys::process::setns(home, namespaces::MOUNT)?;
    Ok(stage.into())
}

/// Leads the child to the exec of init.
fn lead(launch: &Launch, (pid, network): (i32, &OwnedFd), socket: &OwnedFd) -> std::result::Result<(), StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    let groups = Groups::new(launch.layout.clone(), &launch.cgroup_tag, &launch.spec.name);
    let enter = || match groups.only_dir() {
        // It was born there.
        Some(_) => Ok(()),
        None => groups.enter(pid).map_err(failed("enter the control groups")),
    };
    // On v1 only the real root may move a process of another user, which the child becomes next.
    // Everywhere else, moving it meanwhile saves the time that it takes.
    let is_real_root = sys::process::has_all_ids();
    if !is_real_root {
        enter()?;
    }
    sys::socket::send(socket, GO, &[]).map_err(Error::from).map_err(failed("start the container's set-up"))?;
    if is_real_root {
        enter()?;
    }
    make_nics(&launch.spec.nics, network).map_err(failed("set up the network"))?;
    if let Some(adjustment) = launch.spec.tuning.oom_score_adj {
        let written = sys::fs::write_kernel(format!("/proc/{pid}/oom_score_adj"), &adjustment.to_string());
        written.map_err(Error::from).map_err(failed("adjust how readily it is killed when memory runs out"))?;
    }
    finish(socket)
}

/// Gives the second signal and waits for the exec of init, which is the end of the stream. A child that failed before
/// has closed its end: then what it said last counts, not that it cannot be told any more.
fn finish(socket: &OwnedFd) -> std::result::Result<(), StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    let sent = sys::socket::send(socket, GO, &[]).map_err(Error::from).map_err(failed("finish the container's set-up"));
    match protocol::receive::<StepFailure>(socket, protocol::REQUEST_BYTES).map_err(failed("wait for the container")) {
        Ok(Some((failure, _))) => Err(failure),
        Ok(None) => sent,
        Err(failure) => Err(sent.err().unwrap_or(failure)),
    }
}

fn map_ids(launch: &Launch, plan: &Plan, trees: &[Option<OwnedFd>], pid: i32) -> Result<()> {
    let idmap = &launch.spec.idmap;
    if idmap.is_empty() {
        return Ok(());
    }
    sys::fs::write_kernel(format!("/proc/{pid}/uid_map"), &idmap.to_kernel(Kind::Uid))?;
    sys::fs::write_kernel(format!("/proc/{pid}/gid_map"), &idmap.to_kernel(Kind::Gid))?;
    let userns = sys::fs::open(format!("/proc/{pid}/ns/user"))?;
    for (tree, fd) in plan.trees.iter().zip(trees).filter(|(tree, _)| tree.idmapped) {
        if let Some(fd) = fd {
            sys::mount::set_idmap(fd, &userns, tree.recursive, &tree.source.display().to_string())?;
        }
    }
    Ok(())
}

/// Makes network cards.
fn make_nics(nics: &[Nic], network: &OwnedFd) -> Result<()> {
    if nics.is_empty() {
        return Ok(());
    }
    let mut netlink = netlink::Netlink::open().map_err(|error| Error::Network(error.to_string()))?;
    nics.iter().try_for_each(|nic| crate::nic::attach(&mut netlink, nic, network.as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The child may have failed, and gone, before it is told to go on.
    #[test]
    fn a_child_that_failed_early_is_heard() {
        let (ours, theirs) = sys::socket::seqpacket_pair().expect("pair");
        let said = StepFailure { step: "mount the disk at /x".into(), reason: "it is not there".into() };
        protocol::send(&theirs, &said, &[]).expect("send");
        drop(theirs);
        let failure = finish(&ours).expect_err("failed");
        assert_eq!((failure.step, failure.reason), (said.step, said.reason));

        let (ours, theirs) = sys::socket::seqpacket_pair().expect("pair");
        drop(theirs);
        let failure = finish(&ours).expect_err("gone without a word");
        assert_eq!(failure.step, "finish the container's set-up");
    }
}
