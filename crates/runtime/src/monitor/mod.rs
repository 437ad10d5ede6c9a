//! The monitor: parent of one container's init from start to stop.
//!
//! Single-threaded, so that it may clone and go on in Rust. It makes the container, reports to
//! the daemon, then sleeps in poll(2): for init's end, console output, and requests on its socket.
//! It survives the daemon, keeps its memory small, and writes the exit record before it tells
//! anyone of it.

mod child;
mod console;
mod serve;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::idmap::Kind;
use sys::process::{Clone, namespaces};

use crate::cgroup::Groups;
use crate::error::{Error, Result};
use crate::plan::{Plan, Tree, plan};
use crate::protocol::{self, Launch, MonitorReply, StepFailure};
use crate::spec::{Nic, NicKind};

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
    console: Terminal,
    network: OwnedFd,
    lent_links: Vec<(String, String)>,
}

/// Both ends of the console. The monitor keeps the slave open, too: without a holder the master would
/// report a hang-up all the time, and there is no way to wait for the next holder.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

/// Runs a monitor for the container of `run_dir`; `control` leads to the daemon that started it.
pub fn run(run_dir: &Path, control: OwnedFd) -> i32 {
    match start(run_dir) {
        Ok((made, listener)) => {
            let reply = MonitorReply::Running { pid: made.pid };
            // A daemon that died meanwhile finds the monitor by its socket.
            drop(protocol::send(&control, &reply, &[made.pidfd.as_fd()]));
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
    let trees = open_trees(&plan.trees).map_err(failed("open the container's file systems"))?;
    let made = make(&launch, &plan, trees)?;
    let record = InitRecord { pid: made.pid, start_time: sys::process::start_time(made.pid).unwrap_or(0) };
    let record = serde_json::to_vec(&record).unwrap_or_default();
    if let Err(error) = sys::fs::write(run_dir.join(INIT_FILE), record) {
        drop(sys::process::pidfd_signal(&made.pidfd, KILL));
        drop(sys::process::wait_pidfd(&made.pidfd));
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
    let text = sys::fs::read(run_dir.join(LAUNCH_FILE))?;
    let launch: Launch = serde_json::from_slice(&text).map_err(|error| Error::step("read launch.json", error))?;
    sys::process::set_name(&format!("lxd:{}", launch.spec.name.chars().take(11).collect::<String>()))?;
    Ok(launch)
}

/// Opens the host's part of the plan. A missing optional source leaves an empty place.
fn open_trees(trees: &[Tree]) -> Result<Vec<Option<OwnedFd>>> {
    let open = |tree: &Tree| -> Result<Option<OwnedFd>> {
        let label = tree.source.display().to_string();
        let fd = match sys::mount::clone_tree(&tree.source, tree.recursive) {
            Err(error) if tree.optional && matches!(error.errno, sys::Errno::NOENT | sys::Errno::NOTDIR) => return Ok(None),
            other => other?,
        };
        sys::mount::set_private(&fd, &label)?;
        if tree.read_only {
            sys::mount::set_read_only(&fd, tree.recursive, &label)?;
        }
        Ok(Some(fd))
    };
    trees.iter().map(open).collect()
}

/// Clones the container's first process and leads it to the exec of init.
fn make(launch: &Launch, plan: &Plan, trees: Vec<Option<OwnedFd>>) -> std::result::Result<Made, StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(Error::from).map_err(failed("connect to the container"))?;
    let mut flags = namespaces::PID | namespaces::MOUNT | namespaces::UTS | namespaces::IPC | namespaces::NET;
    if !launch.spec.idmap.is_empty() {
        flags |= namespaces::USER;
    }
    match sys::process::clone_process(flags).map_err(Error::from).map_err(failed("make the container's namespaces"))? {
        Clone::Child => {
            drop(ours);
            child::run(launch, plan, &trees, &theirs)
        }
        Clone::Parent { pid, pidfd } => {
            drop(theirs);
            let result = lead(launch, plan, &trees, pid, &ours);
            drop(trees);
            match result {
                Ok((console, network, lent_links)) => Ok(Made { pid, pidfd, console, network, lent_links }),
                Err(failure) => {
                    drop(sys::process::pidfd_signal(&pidfd, KILL));
                    drop(sys::process::wait_pidfd(&pidfd));
                    Err(failure)
                }
            }
        }
    }
}

/// One-byte signals to the child.
const GO: &[u8] = b"go";

type Led = (Terminal, OwnedFd, Vec<(String, String)>);

fn lead(launch: &Launch, plan: &Plan, trees: &[Option<OwnedFd>], pid: i32, socket: &OwnedFd) -> std::result::Result<Led, StepFailure> {
    let failed = |step: &'static str| move |error: Error| StepFailure { step: step.into(), reason: error.to_string() };
    map_ids(launch, plan, trees, pid).map_err(failed("map user and group ids"))?;
    let groups = Groups::new(launch.layout.clone(), &launch.cgroup_tag, &launch.spec.name);
    let enter = || groups.enter(pid).map_err(failed("enter the control groups"));
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
    let network = sys::fs::open(format!("/proc/{pid}/ns/net")).map_err(Error::from).map_err(failed("open the network namespace"))?;
    let network = OwnedFd::from(network);
    let lent_links = make_nics(&launch.spec.nics, &network).map_err(failed("set up the network"))?;
    sys::socket::send(socket, GO, &[]).map_err(Error::from).map_err(failed("finish the container's set-up"))?;
    let mut console = None;
    // Two messages at most: the console, and a failure. The end of the stream is the exec of init.
    while let Some((reply, fds)) =
        protocol::receive::<Option<StepFailure>>(socket, protocol::REQUEST_BYTES).map_err(failed("wait for the container"))?
    {
        match reply {
            None => console = <[OwnedFd; 2]>::try_from(fds).ok().map(|[master, slave]| Terminal { master, slave }),
            Some(failure) => return Err(failure),
        }
    }
    match console {
        Some(console) => Ok((console, network, lent_links)),
        None => Err(StepFailure { step: "start init".into(), reason: "the container's first process died".into() }),
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

/// Makes network cards; returns lent host links as (name on the host, name inside).
fn make_nics(nics: &[Nic], network: &OwnedFd) -> Result<Vec<(String, String)>> {
    let mut lent = Vec::new();
    if nics.is_empty() {
        return Ok(lent);
    }
    let mut netlink = netlink::Netlink::open().map_err(|error| Error::Network(error.to_string()))?;
    for nic in nics {
        crate::nic::attach(&mut netlink, nic, network.as_fd())?;
        if let NicKind::Physical { parent } = &nic.kind {
            lent.push((parent.clone(), nic.name.clone()));
        }
    }
    Ok(lent)
}
