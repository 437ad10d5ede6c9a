//! Synchronous rtnetlink: links, addresses and routes of one network namespace.
//!
//! A [`Netlink`] is one socket; it acts on the network namespace in which it was opened, from
//! whichever thread it is used later. Requests block until the kernel has answered, with a
//! bound on the time and on the number of replies. Messages are built with
//! `netlink-packet-route`; replies are read attribute by attribute, so that an attribute which a
//! newer kernel encodes differently cannot make a whole listing fail.
//!
//! This crate knows nothing of containers or bridges' purposes, and keeps no state.

mod addr;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod interfaces;
mod link;
mod mac;
mod socket;
mod tc;
#[cfg(test)]
mod tests;

pub use addr::{Addr, Route};
pub use error::{Error, Result};
pub use interfaces::{Interface, Tour, interfaces_in, tours};
pub use link::{BridgeOptions, Link, MacvlanSpec, Stats, VethSpec};
pub use mac::{format_mac, parse_mac};
pub use socket::Netlink;
