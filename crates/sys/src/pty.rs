//! Pseudo terminals.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::OpenptFlags;
use rustix::termios::{ControlModes, InputModes, LocalModes, Winsize};

use crate::error::{Context, Errno, Error, Result};

/// `f_type` of devpts.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Both ends of a pseudo terminal.
#[derive(Debug)]
pub struct Pty {
    /// The controlling side.
    pub master: OwnedFd,
    /// The terminal itself.
    pub slave: OwnedFd,
    /// Its number in its devpts.
    pub number: u32,
}

/// A new terminal in the devpts of this mount namespace, which shows it as `/dev/pts/NUMBER`.
pub fn open() -> Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    complete(rustix::pty::openpt(flags).context("open", "/dev/ptmx")?)
}

/// Completes a freshly opened multiplexer (`ptmx`) to a terminal, and refuses anything that is not
/// one: it may come from a tree that others control.
pub fn from_multiplexer(master: OwnedFd) -> Result<Pty> {
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    let magic = rustix::fs::fstatfs(&master).context("statfs", "ptmx")?.f_type as i64;
    if magic != DEVPTS_MAGIC {
        return Err(Error::new("open (not a devpts)", "ptmx", Errno::INVAL));
    }
    complete(master)
}

fn complete(master: OwnedFd) -> Result<Pty> {
    rustix::pty::unlockpt(&master).context("unlock", "ptmx")?;
    let name = rustix::pty::ptsname(&master, Vec::new()).context("ptsname", "ptmx")?;
    let number = name.to_str().ok().and_then(|name| name.rsplit('/').next()?.parse().ok());
    let number = number.ok_or_else(|| Error::new("ptsname", "ptmx", Errno::INVAL))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).context("open peer", "ptmx")?;
    Ok(Pty { master, slave, number })
}

/// Sets the size in characters.
pub fn resize(terminal: impl AsFd, width: u16, height: u16) -> Result<()> {
    let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).context("resize", "terminal")
}

/// Makes the terminal the controlling one of this session.
pub fn make_controlling(terminal: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal).context("set controlling", "terminal")
}

/// Line settings of a fresh exec session: UTF-8 editing, any key resumes, hang up on close.
pub fn set_session_modes(terminal: impl AsFd) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(&terminal).context("tcgetattr", "terminal")?;
    modes.input_modes |= InputModes::IMAXBEL | InputModes::IUTF8 | InputModes::BRKINT | InputModes::IXANY;
    modes.control_modes |= ControlModes::HUPCL;
    modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &modes).context("tcsetattr", "terminal")
}
