//! Who is calling, and what a caller may reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How often a certificate's validity is looked at again at the least.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);

/// The other end of a connection over the network.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// The certificate that it has shown to have the key of.
    pub certificate: Option<pki::Certificate>,
}

impl Peer {
    /// Whether its certificate is trusted now. Reads memory only.
    pub(crate) fn is_trusted(&self, engine: &Arc<Engine>) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| engine.certificates().is_trusted(certificate))
    }
}

/// The other end of a connection, as of one request.
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
    /// Somebody on the network.
    Network {
        /// Who that is.
        peer: Arc<Peer>,
        /// Whether its certificate was trusted when the request came.
        is_trusted: bool,
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
        matches!(self, Self::Unix { .. } | Self::Network { is_trusted: true, .. })
    }

    /// Whether it may use an endpoint.
    pub fn may(&self, access: Access) -> bool {
        access == Access::Public || self.is_trusted()
    }

    /// The same, without what it is trusted for.
    pub(crate) fn into_stranger(self) -> Self {
        match self {
            Self::Network { peer, .. } => Self::Network { peer, is_trusted: false },
            Self::Unix { .. } | Self::Untrusted => Self::Untrusted,
        }
    }

    /// The other end, if it is on the network.
    pub fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Network { peer, .. } => Some(peer),
            Self::Unix { .. } | Self::Untrusted => None,
        }
    }
}

/// The trust in a peer while its connection lasts.
#[derive(Clone)]
pub(crate) struct Trust {
    pub engine: Arc<Engine>,
    pub peer: Arc<Peer>,
    /// Changes when a certificate may have lost its trust.
    pub changes: watch::Receiver<()>,
}

impl Trust {
    /// The peer as a caller, now.
    pub fn caller(&self) -> Caller {
        Caller::Network { peer: self.peer.clone(), is_trusted: self.peer.is_trusted(&self.engine) }
    }

    /// Completes once the peer is not trusted any more: its certificate was removed, or its time is over.
    pub async fn lost(mut self) {
        while self.peer.is_trusted(&self.engine) {
            let left = self.peer.certificate.as_ref().map_or(0, |certificate| certificate.not_after().saturating_sub(now()));
            let left = Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1).min(LOOK_INTERVAL);
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    // The server ends: no reason to end what its clients run.
                    return std::future::pending().await;
                },
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
