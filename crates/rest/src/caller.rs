//! Who is calling, and what a caller may reach.

use tokio::net::UnixStream;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A local process that could open the unix socket: its owner and group decide who that is,
    /// so whoever gets here is trusted.
    Unix {
        /// User id, as the kernel vouches for it.
        uid: u32,
        /// Process id, where the kernel knows it.
        pid: Option<i32>,
    },
    /// Somebody who has proven nothing.
    Untrusted,
}

/// What an endpoint asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody. What they see may still depend on who they are.
    Public,
    /// Trusted callers only.
    Trusted,
}

impl Caller {
    /// The peer of a unix connection.
    pub(crate) fn of_unix(stream: &UnixStream) -> std::io::Result<Self> {
        let peer = stream.peer_cred()?;
        Ok(Self::Unix { uid: peer.uid(), pid: peer.pid() })
    }

    /// Whether the server trusts it.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }

    /// Whether it may use an endpoint.
    pub fn may(&self, access: Access) -> bool {
        access == Access::Public || self.is_trusted()
    }
}
