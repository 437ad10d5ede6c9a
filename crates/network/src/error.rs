//! What can go wrong with a network.

use crate::ConfigError;

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed step; the step's own error names its subject.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not hold together.
    #[error("network `{network}`: {}", list(.problems))]
    Config {
        /// Which network.
        network: String,
        /// Every problem found.
        problems: Vec<ConfigError>,
    },
    /// An interface of that name exists and is something else.
    #[error("network `{network}`: an interface of that name exists and is not a bridge")]
    NotABridge {
        /// Which network.
        network: String,
    },
    /// A host entry that cannot be given to dnsmasq.
    #[error("host `{host}`: {reason}")]
    Host {
        /// Its name.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// dnsmasq did not go away.
    #[error("network `{network}`: dnsmasq (process {pid}) does not end")]
    Stuck {
        /// Which network.
        network: String,
        /// The process.
        pid: i32,
    },
    /// dnsmasq ended at once, without saying why.
    #[error("network `{network}`: dnsmasq ended right after its start")]
    Ended {
        /// Which network.
        network: String,
    },
    /// Links and addresses.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Files, kernel settings, processes.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// nft or dnsmasq.
    #[error(transparent)]
    Program(#[from] sys::cmd::CmdError),
}

fn list(problems: &[ConfigError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
