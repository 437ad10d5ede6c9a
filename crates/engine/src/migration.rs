//! What moving instances and volumes between servers has in common: the connections to the other server, and one tree of
//! files going over them. What is said on the control connection is the crate `migration`'s; what an instance is in that
//! language, `instances/migration`'s.

mod content;
mod peer;
mod tree;

pub(crate) use content::Content;
pub(crate) use peer::{Peer, Remote, live_is_not_offered};
pub(crate) use tree::{Progress, Tree, check_rsync, check_space};

/// A websocket of an operation of another server.
#[derive(Clone, Debug)]
pub struct Dial {
    /// `HOST:PORT`.
    pub authority: String,
    /// UUID of the operation.
    pub operation: String,
    /// What opens the websocket.
    pub secret: String,
    /// The server's.
    pub certificate: pki::Certificate,
}
