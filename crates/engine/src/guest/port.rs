//! One instance's socket, and who may use it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::Guest;
use crate::{Engine, Error, ErrorKind, Result};

/// The socket of one instance, for the edge to serve.
#[derive(Debug)]
pub struct Port {
    engine: Weak<Engine>,
    instance: String,
    /// The instance's root, as a user of the host.
    root_uid: u32,
    listener: UnixListener,
    /// Nothing is ever sent: dropping it says that the port is given up.
    _held: Sender<()>,
}

/// Tells when a port is given up.
pub(super) struct Gone(Receiver<()>);

impl Gone {
    /// False at the time limit.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        self.0.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Port {
    pub(super) fn new(engine: Weak<Engine>, instance: String, root_uid: u32, listener: UnixListener) -> (Self, Gone) {
        let (held, gone) = channel();
        (Self { engine, instance, root_uid, listener, _held: held }, Gone(gone))
    }

    /// The instance that it belongs to.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where connections come in. It does not block.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Finds out who is at the other end of a connection that was accepted. Only the instance's root is let in.
    pub fn identify(&self, connection: impl AsFd) -> Result<Guest> {
        let engine = self.engine.upgrade().ok_or_else(|| Error::unavailable("the daemon is ending"))?;
        let stranger = || Error::internal("pid not in container?");
        let peer = sys::socket::peer(connection).map_err(|error| stranger().caused_by(error))?;
        let is_inside = engine.runtime.holds(&self.instance, peer.pid);
        // What was read was the peer's only if the number has been its own all the time.
        if !is_inside || !sys::process::pidfd_is_alive(&peer.pidfd) {
            return Err(stranger());
        }
        if peer.uid != self.root_uid {
            return Err(Error::new(ErrorKind::Unauthorized, "Access denied for non-root user"));
        }
        Ok(Guest::new(engine, self.instance.clone()))
    }
}
