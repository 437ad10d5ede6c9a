//! What fuzzing calls: one function for each parser of foreign bytes.
//!
//! A function here must never panic, hang or take much memory, whatever it is given; some check more. The test beside
//! them runs each with `corpus/TARGET/*`, inputs that once found something or that reach far, and changes of them.

mod archives;
mod bodies;
mod servers;
mod sockets;
mod texts;

/// A target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("bodies", bodies::against_the_contract),
    ("control", bodies::control_message),
    ("filters", bodies::filter),
    ("images", archives::image),
    ("tarballs", archives::tarball),
    ("backups", archives::backup),
    ("metadata", archives::metadata),
    ("templates", archives::template),
    ("keys", texts::keys),
    ("idmaps", texts::idmaps),
    ("leases", texts::leases),
    ("mounts", texts::mounts),
    ("fdinfo", texts::fdinfo),
    ("streams", servers::stream),
    ("indexes", servers::index),
    ("replies", servers::reply),
    ("parts", servers::parts),
    ("addresses", servers::addresses),
    ("certificates", servers::certificates),
    ("tokens", servers::token),
    ("guests", sockets::guest),
    ("strangers", sockets::stranger),
    ("netlink", sockets::netlink),
    ("migrations", sockets::migration),
];

/// The target of a name.
pub fn find(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
