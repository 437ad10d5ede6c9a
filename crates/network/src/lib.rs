//! Managed bridges: from a network's configuration to links, addresses, firewall rules and one
//! dnsmasq for addresses and names.
//!
//! The configuration is read into typed [`Settings`] (pure), from which a [`Plan`] is made (pure),
//! which is carried out against the host so that doing it again changes nothing. Nothing here
//! keeps records: the caller stores the configuration, and facts are read from the host. The
//! bridge, its rules and its dnsmasq outlive the process; [`Network::up`] takes them over again.

mod bridge;
mod config;
mod defaults;
mod dnsmasq;
mod error;
mod filter;
mod hosts;
mod interfaces;
mod leases;
mod nft;
mod plan;
mod priority;
mod release;
mod sysctl;
mod watch;

#[cfg(test)]
mod tests;

pub use bridge::{BridgeSpec, Network};
pub use config::{Config, ConfigError, Dns, DnsMode, Ipv4, Ipv6, Settings, validate, validate_name};
pub use defaults::{fill_defaults, in_use};
pub use error::{Error, Result};
pub use filter::{CardFilter, remove_card_filter};
pub use hosts::Host;
pub use interfaces::{BridgeState, HostInterface, InterfaceKind, InterfaceState, host_interface, host_interfaces, interface_state};
pub use leases::{Lease, parse as parse_leases};
pub use plan::{Plan, plan};
pub use priority::{CardPriority, remove_card_priority};
