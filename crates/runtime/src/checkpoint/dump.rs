//! Saving: the daemon's side.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sys::cmd::{Cmd, CmdError, Output};

use super::cards::{join_bridges, leave_bridges};
use super::criu::{Criu, EXTERNAL, Flags};
use super::early::Early;
use super::hook::{Context, GO_ON};
use super::watches::{Kept, Watches, put_back};
use super::{FORMAT_UNPACKED, PATIENCE, Packing, SavedState, explain, externals, routes};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::plan::plan;
use crate::protocol::Launch;

const SIGCONT: i32 = 18;
/// The newest log of a dump, in the container's log directory.
const LOG: &str = "stateful-dump.log";
/// Where the daemon waits for the hook, in the run directory.
const SOCKET: &str = "checkpoint.sock";
/// Locked while CRIU works on the container, in the run directory.
const LOCK: &str = "checkpoint.lock";
/// What was taken away from the container for the time of the dump, in the run directory.
const ASIDE: &str = "checkpoint-watches.json";
/// Deleted files that are still open are saved up to this size, as CRIU writes it.
const GHOST_LIMIT: &str = "256M";
/// File systems that CRIU would not save by itself; they hold nothing, or what systemd puts there
/// (credentials on ramfs) is saved with them.
const FILE_SYSTEMS: &[&str] = &["hugetlbfs", "tracefs", "ramfs"];
/// What passes by itself: messages that their receiver is about to read; a watch of what is being deleted, which the
/// kernel shows without a handle for a moment.
const TRANSIENT: &[&str] = &["The socket has data to read", "Control messages in queue", "parse_fdinfo_pid_s: error parsing"];
const ATTEMPTS: u32 = 12;
/// How long a guest that dies meanwhile may take to be gone, until CRIU is ended.
const DEATH_PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(250);

/// What becomes of the container once it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    GoOn,
    /// It ends.
    Stop,
}

/// How to save.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    /// With what.
    pub criu: &'a Criu,
    /// A directory of mode 0750 for the images, on a disk that has room for the container's memory: its group
    /// is the host's root's, see how images are opened at the restore. What is in it is removed.
    pub images: &'a Path,
    /// What follows.
    pub after: After,
    /// How memory is to lie there.
    pub packing: Packing,
}

impl Container {
    /// Saves the running state. When everything is saved and nothing in the container runs, `at_rest` is
    /// called: it may still refuse, and what it does is as of the same moment as the state. After a
    /// failure the container goes on, and the images are of no use.
    pub fn checkpoint(
        &self,
        request: &Checkpoint<'_>,
        at_rest: &mut (dyn FnMut() -> std::result::Result<(), String> + Send),
    ) -> Result<()> {
        self.is_saving.store(true, Ordering::Relaxed);
        let saved = self.checkpoint_now(request, at_rest);
        self.is_saving.store(false, Ordering::Relaxed);
        saved
    }

    fn checkpoint_now(
        &self,
        request: &Checkpoint<'_>,
        at_rest: &mut (dyn FnMut() -> std::result::Result<(), String> + Send),
    ) -> Result<()> {
        // Devices stay as they are meanwhile.
        let _changing = self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.check_running()?;
        let launch = Launch::read(&self.run_dir)?;
        let mut state = SavedState {
            format: FORMAT_UNPACKED,
            criu: request.criu.version().to_owned(),
            console: self.console_name()?,
            externals: externals::find(&plan(&launch), self.pid)?,
            spec: launch.spec,
            watches: Vec::new(),
            files: BTreeMap::new(),
            checksums: BTreeMap::new(),
            packed: BTreeMap::new(),
        };
        let log_dir = self.runtime()?.log_dir(self.name());
        clear(request.images)?;
        let mut early = self.dump_early(request, &state, &log_dir);
        for _ in 1..ATTEMPTS {
            match self.attempt(request, early.take(), &mut state, &log_dir, at_rest) {
                // Its memory was looked at again: what was written early is of no use any more.
                Err(Failure::Transient) => std::thread::sleep(PAUSE),
                Err(Failure::Final(error)) => return Err(error),
                Ok(()) => return self.tidy(request, &mut state),
            }
            clear(request.images)?;
        }
        self.attempt(request, None, &mut state, &log_dir, at_rest).map_err(|failure| match failure {
            Failure::Final(error) => error,
            Failure::Transient => self.failed(&log_dir.join(LOG)),
        })?;
        self.tidy(request, &mut state)
    }

    /// What the container need not stand still for, where it goes on.
    fn tidy(&self, request: &Checkpoint<'_>, state: &mut SavedState) -> Result<()> {
        if request.after == After::Stop {
            return Ok(());
        }
        routes::name_gateways(request.images)?;
        state.pack(request.images, request.packing)?;
        state.take_stock(request.images)?;
        state.checksums = state.checksums(request.images)?;
        state.write(request.images)?;
        state.remove_unpacked(request.images)
    }

    fn attempt(
        &self,
        request: &Checkpoint<'_>,
        early: Option<Early>,
        state: &mut SavedState,
        log_dir: &Path,
        at_rest: &mut (dyn FnMut() -> std::result::Result<(), String> + Send),
    ) -> std::result::Result<(), Failure> {
        let socket = self.run_dir.join(SOCKET);
        drop(sys::fs::remove_file(&socket));
        let listener = sys::socket::listen_seqpacket(&socket).map_err(Error::from)?;
        let watches = Watches::find(self.pid, &self.pids())?;
        let command = self.command(request, early, state, &watches, (log_dir, &socket))?;
        state.watches = self.set_aside(&watches)?;
        let (mut refusal, mut is_put_back) = (None, false);
        let was_at_rest = AtomicBool::new(false);
        let (over, is_over) = sys::socket::seqpacket_pair().map_err(Error::from)?;
        let ended = std::thread::scope(|scope| {
            let hook = scope.spawn(|| {
                let Ok(Some(client)) = sys::socket::accept_next(&listener, &is_over) else { return false };
                if !matches!(sys::socket::receive(&client, 64), Ok(Some(_))) {
                    return false;
                }
                if request.after == After::GoOn {
                    put_back(self.pid, &state.watches);
                    is_put_back = true;
                }
                let written = if request.after == After::Stop { complete(state, request) } else { Ok(()) };
                was_at_rest.store(true, Ordering::Relaxed);
                // What `lxc exec` has started is none of CRIU's, and must not write either.
                let sessions = if request.after == After::GoOn { self.stop_sessions() } else { Vec::new() };
                let result = written.map_err(|error| error.to_string()).and_then(|()| at_rest());
                sessions.iter().for_each(|session| drop(sys::process::pidfd_signal(session, SIGCONT)));
                match result {
                    Ok(()) => self.let_go_on(request.after, &client),
                    Err(reason) => {
                        refusal = Some(reason);
                        false
                    }
                }
            });
            // A guest that dies in CRIU's hands waits for CRIU, and CRIU for it.
            let mut ending_since = None;
            let ended = command.run_while(|| {
                let since: Instant = *ending_since.get_or_insert_with(Instant::now);
                if !self.is_ending() || was_at_rest.load(Ordering::Relaxed) {
                    ending_since = None;
                    return true;
                }
                since.elapsed() < DEATH_PATIENCE
            });
            // CRIU may have ended before it came to its hook.
            drop(over);
            drop(hook.join());
            ended
        });
        drop(sys::fs::remove_file(&socket));
        if !is_put_back && self.is_running() {
            put_back(self.pid, &state.watches);
        }
        drop(sys::fs::remove_file(self.run_dir.join(ASIDE)));
        if request.after == After::Stop && !matches!(ended, Ok(Some(_))) && self.is_running() {
            join_bridges(&self.spec().nics);
        }
        self.outcome(ended, refusal, was_at_rest.into_inner(), &log_dir.join(LOG))
    }

    /// Tells the hook that what is saved counts.
    fn let_go_on(&self, after: After, hook: &OwnedFd) -> bool {
        if after == After::Stop {
            leave_bridges(&self.spec().nics);
        }
        sys::socket::send(hook, GO_ON, &[]).is_ok()
    }

    /// What an end of CRIU means. One that came to its hook is not tried again.
    fn outcome(
        &self,
        ended: std::result::Result<Option<Output>, CmdError>,
        refusal: Option<String>,
        was_at_rest: bool,
        log: &Path,
    ) -> std::result::Result<(), Failure> {
        match ended {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Failure::Final(Error::NotRunning(self.name().to_owned()))),
            Err(_) if refusal.is_some() => Err(Failure::Final(Error::Invalid(refusal.unwrap_or_default()))),
            Err(CmdError::Failed { status, .. }) if status.starts_with("signal") => {
                self.unlock_network();
                Err(Failure::Final(Error::step("save the running state", format_args!("CRIU was ended by {status}"))))
            }
            Err(CmdError::Failed { .. }) if !was_at_rest && is_transient(log) => Err(Failure::Transient),
            Err(CmdError::Failed { .. }) => Err(Failure::Final(self.failed(log))),
            Err(error) => {
                self.unlock_network();
                Err(Failure::Final(Error::step("save the running state", error)))
            }
        }
    }

    /// Takes watches away that CRIU cannot save, while nobody inside can learn of it.
    fn set_aside(&self, watches: &Watches) -> Result<Vec<Kept>> {
        if !watches.has_aside() {
            return Ok(Vec::new());
        }
        // Another daemon puts them back, should this one die.
        let text = serde_json::to_vec(&watches.aside()).map_err(|error| Error::step("describe what is watched", error))?;
        sys::fs::write_atomic(self.run_dir.join(ASIDE), &text, 0o600)?;
        self.groups.freeze(true)?;
        let kept = watches.take_aside();
        self.groups.freeze(false)?;
        Ok(kept)
    }

    /// Waits until no CRIU works on the container any more, be it one that an earlier daemon started,
    /// and lets a container that goes on be as it was before: for a checkpoint that was interrupted.
    pub fn settle_checkpoint(&self) {
        self.await_criu();
        drop(sys::fs::remove_file(self.run_dir.join(SOCKET)));
        let aside = self.run_dir.join(ASIDE);
        if self.is_running() {
            if self.groups.is_frozen()
                && let Err(error) = self.groups.freeze(false)
            {
                tracing::warn!(container = self.name(), %error, "stays frozen");
            }
            join_bridges(&self.spec().nics);
            self.unlock_network();
            let kept = sys::fs::read(&aside).ok().and_then(|text| serde_json::from_slice::<Vec<Kept>>(&text).ok());
            put_back(self.pid, &kept.unwrap_or_default());
        }
        drop(sys::fs::remove_file(&aside));
    }

    fn await_criu(&self) {
        let Ok(lock) = sys::fs::append(self.run_dir.join(LOCK), 0o600) else { return };
        let end = Instant::now() + PATIENCE;
        while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > end {
                tracing::warn!(container = self.name(), "CRIU does not come to an end");
                return;
            }
            std::thread::sleep(PAUSE / 10);
        }
    }

    /// CRIU holds it as its standard input for as long as it lives.
    fn checkpoint_lock(&self) -> Result<std::fs::File> {
        let path = self.run_dir.join(LOCK);
        let lock = sys::fs::append(&path, 0o600)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(lock),
            Err(errno) => Err(sys::Error::new("lock", path.display(), errno).into()),
        }
    }

    fn failed(&self, log: &Path) -> Error {
        let name_of = |pid: i32| sys::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned());
        Error::step("save the running state", explain(log, name_of))
    }

    /// What CRIU is told about the container.
    pub(super) fn describe(&self, flags: &mut Flags, state: &SavedState) {
        flags.pair("--tree", self.pid.to_string());
        flags.add(["--force-irmap", "--ghost-limit", GHOST_LIMIT, "--enable-external-sharing", "--enable-external-masters"]);
        FILE_SYSTEMS.iter().for_each(|name| flags.pair("--enable-fs", *name));
        flags.pair(EXTERNAL, &state.console);
        flags.pair(EXTERNAL, "mnt[/dev/console]:/dev/console");
        for external in &state.externals {
            let place = external.mount_point.display();
            flags.pair(EXTERNAL, format!("mnt[{place}]:{place}"));
        }
    }

    fn command(
        &self,
        request: &Checkpoint<'_>,
        early: Option<Early>,
        state: &SavedState,
        watches: &Watches,
        (log_dir, socket): (&Path, &Path),
    ) -> Result<Cmd> {
        let mut flags = Flags::common(request.images, log_dir, LOG, &self.groups.root());
        self.describe(&mut flags, state);
        if let Some(early) = early {
            early.refer(&mut flags);
        }
        watches.hints.iter().for_each(|path| flags.pair("--irmap-scan-path", path));
        if request.after == After::GoOn {
            flags.add(["--leave-running"]);
        }
        flags.pair("--action-script", self.runtime()?.hook_path());
        let sealed = (request.after == After::Stop).then(|| request.images.to_owned());
        let context = Context::Dump { socket: socket.to_owned(), sealed }.to_environment()?;
        let command = Criu::command(request.criu.path(), "dump").args(flags.0).stdin_fd(self.checkpoint_lock()?);
        Ok(context.into_iter().fold(command, |command, (name, value)| command.env(name, value)))
    }

    /// CRIU's name for the console's terminal: `tty[RDEV:DEV]`.
    fn console_name(&self) -> Result<String> {
        let root = sys::Root::open(format!("/proc/{}/root/.", self.pid))?;
        let fd = root.open_at("/dev/console", rustix::fs::OFlags::PATH, 0)?;
        let meta = std::fs::File::from(fd).metadata().map_err(|error| Error::step("look at the console", error))?;
        Ok(format!("tty[{:x}:{:x}]", meta.rdev(), meta.dev()))
    }

    /// A CRIU that was killed leaves the container's network shut.
    fn unlock_network(&self) {
        let namespace = format!("--net=/proc/{}/ns/net", self.pid);
        let nft = |args: &[&str]| Cmd::new("nsenter", "util-linux").arg(&namespace).arg("nft").args(args.iter().copied()).run();
        let Ok(tables) = nft(&["list", "tables"]) else { return };
        for table in String::from_utf8_lossy(&tables.stdout).lines() {
            let words: Vec<&str> = table.split_whitespace().collect();
            // The guest's root may make tables of any name, and nft would read it as a command.
            let is_criu =
                |name: &str| name.strip_prefix("CRIU-").is_some_and(|rest| rest.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
            if let ["table", family @ "inet", name] = words[..]
                && is_criu(name)
                && let Err(error) = nft(&["delete", "table", family, name])
            {
                tracing::warn!(container = self.name(), %error, "the network could not be opened again");
            }
        }
    }
}

/// Completes the images of a container that ends, all of which are there, as a state.
fn complete(state: &mut SavedState, request: &Checkpoint<'_>) -> Result<()> {
    routes::name_gateways(request.images)?;
    state.pack(request.images, request.packing)?;
    state.remove_unpacked(request.images)?;
    state.take_stock(request.images)?;
    state.write_unsealed(request.images)
}

/// Removes all images.
fn clear(images: &Path) -> Result<()> {
    for name in sys::fs::list_dir(images)? {
        sys::tree::remove(images.join(name))?;
    }
    Ok(())
}

enum Failure {
    /// To be tried again.
    Transient,
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

fn is_transient(log: &Path) -> bool {
    sys::fs::read(log).is_ok_and(|text| {
        let text = String::from_utf8_lossy(&text);
        // Names that the guest has chosen are in the log, too, but not in its errors.
        text.lines().filter(|line| explain::is_error(line)).any(|line| TRANSIENT.iter().any(|pattern| line.contains(pattern)))
    })
}
