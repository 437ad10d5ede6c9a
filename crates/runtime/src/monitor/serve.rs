//! The monitor's life after init runs: one poll loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use sys::process::Ended;

use super::console::Console;
use super::{EXIT_FILE, Made, SOCKET_FILE};
use crate::error::Result;
use crate::protocol::{self, Launch, MonitorReply, MonitorRequest, REQUEST_BYTES};
use crate::spec::{Exit, ExitTarget};

/// The most connections at once; the daemon needs two.
const MAX_CLIENTS: usize = 16;

/// What woke the loop.
enum Event {
    InitEnded,
    ConsoleOutput,
    ConsoleInput,
    Connection,
    Client(usize),
}

struct Monitor {
    made_pid: i32,
    pidfd: OwnedFd,
    console: Console,
    /// The terminal works, so that waiting for its output makes sense.
    console_open: bool,
    listener: OwnedFd,
    clients: Vec<OwnedFd>,
}

/// Serves until init ends, then records and reports the exit.
pub(super) fn serve(run_dir: &Path, made: Made, listener: OwnedFd, control: OwnedFd) {
    let Made { pid, pidfd, console, network, stage } = made;
    // The daemon has its answer, so now there is time for it.
    drop(stage);
    let Ok(console) = Console::new(console.master, console.slave) else { return };
    let mut monitor = Monitor { made_pid: pid, pidfd, console, console_open: true, listener, clients: vec![control] };
    while !monitor.turn() {}
    let exit = exit_of(sys::process::wait_pidfd(&monitor.pidfd));
    // The record has the cards that were added since the start, too.
    let nics = Launch::read(run_dir).map(|launch| launch.spec.nics).unwrap_or_default();
    crate::nic::take_back(&nics, &network);
    let record = serde_json::to_vec(&exit).unwrap_or_default();
    drop(sys::fs::write_atomic(run_dir.join(EXIT_FILE), &record, 0o600));
    drop(sys::fs::remove_file(run_dir.join(SOCKET_FILE)));
    for client in &monitor.clients {
        drop(protocol::send(client, &MonitorReply::Exited(exit), &[]));
    }
}

impl Monitor {
    /// Waits for and handles one round of events. True when init has ended.
    fn turn(&mut self) -> bool {
        let events = self.wait();
        sys::process::reap_others(self.made_pid);
        let mut gone = Vec::new();
        for event in events {
            match event {
                Event::InitEnded => return true,
                Event::ConsoleOutput => self.console_open = self.console.pump_output(),
                Event::ConsoleInput => self.console.pump_input(),
                Event::Connection => self.accept(),
                Event::Client(index) => {
                    if !self.answer(index).unwrap_or(false) {
                        gone.push(index);
                    }
                }
            }
        }
        for index in gone.into_iter().rev() {
            self.clients.remove(index);
        }
        false
    }

    fn wait(&self) -> Vec<Event> {
        let (master, client) = self.console.fds();
        let mut fds = vec![PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN), poll_in(self.listener.as_fd())];
        let mut sources = vec![Event::InitEnded, Event::Connection];
        if self.console_open {
            fds.push(poll_in(master));
            sources.push(Event::ConsoleOutput);
        }
        if let Some(client) = client {
            fds.push(poll_in(client));
            sources.push(Event::ConsoleInput);
        }
        for (index, client) in self.clients.iter().enumerate() {
            fds.push(poll_in(client.as_fd()));
            sources.push(Event::Client(index));
        }
        match poll(&mut fds, None) {
            Ok(_) => fds.iter().zip(sources).filter(|(fd, _)| !fd.revents().is_empty()).map(|(_, event)| event).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn accept(&mut self) {
        if let Ok(Some(client)) = sys::socket::accept(&self.listener)
            && self.clients.len() < MAX_CLIENTS
        {
            self.clients.push(client);
        }
    }

    /// Answers one request. False when the client has gone.
    fn answer(&mut self, index: usize) -> Result<bool> {
        let client = &self.clients[index];
        let Some((request, _)) = protocol::receive::<MonitorRequest>(client, REQUEST_BYTES)? else {
            return Ok(false);
        };
        match request {
            MonitorRequest::Hello => protocol::send(client, &MonitorReply::Running { pid: self.made_pid }, &[self.pidfd.as_fd()])?,
            MonitorRequest::Console => {
                let stream = self.console.attach()?;
                protocol::send(client, &MonitorReply::Console, &[stream.as_fd()])?;
            }
            MonitorRequest::ConsoleLog => {
                protocol::send(client, &MonitorReply::ConsoleLog, &[])?;
                let log = self.console.log();
                // An empty packet would read as the end of the stream.
                sys::socket::send(client, if log.is_empty() { b"\n" } else { &log }, &[])?;
            }
            MonitorRequest::ConsoleResize { width, height } => {
                self.console.resize(width, height)?;
                protocol::send(client, &MonitorReply::Done, &[])?;
            }
        }
        Ok(true)
    }
}

fn poll_in(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// What init's end means: reboot(2) in a pid namespace kills its init with SIGHUP for a restart
/// and with SIGINT for a halt, see reboot(2).
fn exit_of(ended: sys::Result<Ended>) -> Exit {
    const SIGHUP: i32 = 1;
    const SIGINT: i32 = 2;
    const SIGKILL: i32 = 9;
    match ended {
        Ok(Ended::Code(code)) => Exit { target: ExitTarget::Halt, code: Some(code), signal: None },
        Ok(Ended::Signal(signal)) => {
            let target = match signal {
                SIGHUP => ExitTarget::Reboot,
                SIGINT | SIGKILL => ExitTarget::Halt,
                _ => ExitTarget::Crash,
            };
            Exit { target, code: None, signal: Some(signal) }
        }
        Err(_) => Exit { target: ExitTarget::Crash, code: None, signal: None },
    }
}
