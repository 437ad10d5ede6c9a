//! The user's terminal: raw mode that is always undone, and its size.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios};

/// The modes to go back to, while raw mode is on. Global so that [`restore`] can be called from
/// every way out, also where destructors do not run.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode until dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal at standard input into raw mode: each key goes to the other side.
    pub fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let modes = rustix::termios::tcgetattr(&stdin).context("Can't read the terminal's modes")?;
        let mut raw = modes.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Drain, &raw).context("Can't set the terminal's modes")?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Undoes raw mode, if it is on.
pub fn restore() {
    if let Some(modes) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs no modes.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
    }
}

/// Width and height in characters, if standard output is a terminal that knows them.
pub fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout().as_fd()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Whether both standard input and output are terminals.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}
