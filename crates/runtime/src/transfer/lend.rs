//! The program that rsync starts as its way to another host: it lends its standard streams to the daemon.

use std::fs::File;
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};

/// The word that makes the helper do this.
pub const LEND: &str = "lend";
/// The descriptor that leads to the daemon.
pub(super) const SOCKET: i32 = 3;

/// Hands standard input and output over, and waits until the daemon has closed the socket, since rsync waits for its end.
pub fn lend() -> i32 {
    let Some(socket) = sys::process::take_fd(SOCKET) else { return 2 };
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout()];
    if sys::socket::send(&socket, LEND.as_bytes(), &streams).is_err() {
        return 1;
    }
    // Ours would keep the ends of rsync's streams from being seen.
    for number in [0, 1] {
        drop(sys::process::take_fd(number));
    }
    drop(sys::socket::receive(&socket, 1));
    0
}

/// What goes to rsync, and what comes from it.
pub(super) fn receive(socket: &OwnedFd) -> Result<(File, File)> {
    let message = sys::socket::receive(socket, LEND.len())?;
    let mut fds = message.ok_or_else(|| Error::Invalid("rsync ended before it began".to_owned()))?.1.into_iter();
    match (fds.next(), fds.next()) {
        (Some(from), Some(to)) => Ok((File::from(to), File::from(from))),
        _ => Err(Error::Invalid("rsync's streams did not come".to_owned())),
    }
}
