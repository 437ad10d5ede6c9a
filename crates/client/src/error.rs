//! What can go wrong between a client and a server.

use std::path::PathBuf;

use api::StatusCode;

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request, operation or stream. The texts are whole: there is no chain of sources to be added to them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no socket.
    #[error("LXD socket not found; is LXD installed and running?")]
    SocketMissing {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// There is a socket but nobody listens.
    #[error("Connection refused; is LXD running?")]
    ConnectionRefused {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket may not be used by this user.
    #[error("Permission denied, are you in the lxd group?")]
    PermissionDenied {
        /// The socket.
        socket: PathBuf,
    },
    /// Connecting failed in another way.
    #[error("connect to {target}: {reason}")]
    Connect {
        /// The server.
        target: String,
        /// The kernel's reason.
        reason: std::io::Error,
    },
    /// The server refused the request.
    #[error("{text}")]
    Api {
        /// HTTP status.
        code: u16,
        /// The server's explanation.
        text: String,
    },
    /// An operation ended without success.
    #[error("{text}")]
    Operation {
        /// [`StatusCode::FAILURE`] or [`StatusCode::CANCELLED`].
        code: StatusCode,
        /// The server's explanation.
        text: String,
    },
    /// The connection broke during an exchange.
    #[error("{request}: {}", innermost(.reason))]
    Http {
        /// Method and path.
        request: String,
        /// What broke.
        reason: hyper::Error,
    },
    /// The server answered what is not this API.
    #[error("{request}: {reason}")]
    Protocol {
        /// Method and path.
        request: String,
        /// What was wrong with the reply.
        reason: String,
    },
    /// A request that cannot be made.
    #[error("{request}: {reason}")]
    BadRequest {
        /// Method and path.
        request: String,
        /// Why.
        reason: String,
    },
    /// A websocket broke.
    #[error("websocket {path}: {reason}")]
    WebSocket {
        /// Its path.
        path: String,
        /// What broke.
        reason: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// Reading or writing local content of a transfer failed.
    #[error("{operation}: {reason}")]
    Local {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's reason.
        reason: std::io::Error,
    },
}

/// What callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The resource is not there (404).
    NotFound,
    /// It is there already, or busy (409).
    Conflict,
    /// It changed since it was read (412).
    PreconditionFailed,
    /// The caller may not (403).
    Forbidden,
    /// The request is wrong (400).
    BadRequest,
    /// Any other refusal.
    Api,
    /// The operation was cancelled.
    Cancelled,
    /// The operation failed.
    Failed,
    /// No socket.
    SocketMissing,
    /// Nobody listens.
    ConnectionRefused,
    /// The socket is not for this user.
    PermissionDenied,
    /// The connection broke, or the other side does not speak the API.
    Transport,
}

impl Error {
    /// What it is, for callers that decide by it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::SocketMissing { .. } => Kind::SocketMissing,
            Self::ConnectionRefused { .. } => Kind::ConnectionRefused,
            Self::PermissionDenied { .. } => Kind::PermissionDenied,
            Self::Api { code: 400, .. } => Kind::BadRequest,
            Self::Api { code: 403, .. } => Kind::Forbidden,
            Self::Api { code: 404, .. } => Kind::NotFound,
            Self::Api { code: 409, .. } => Kind::Conflict,
            Self::Api { code: 412, .. } => Kind::PreconditionFailed,
            Self::Api { .. } => Kind::Api,
            Self::Operation { code: StatusCode::CANCELLED, .. } => Kind::Cancelled,
            Self::Operation { .. } => Kind::Failed,
            Self::BadRequest { .. } => Kind::BadRequest,
            Self::Connect { .. } | Self::Http { .. } | Self::Protocol { .. } | Self::WebSocket { .. } | Self::Local { .. } => {
                Kind::Transport
            }
        }
    }

    /// True if the server said that the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }
}

/// hyper's own texts are generic; its source says what happened.
fn innermost(error: &hyper::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = source.to_string();
        next = source.source();
    }
    text
}
