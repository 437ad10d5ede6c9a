//! What LXD *means*: instances, images, profiles, networks, pools, and the work done on them.
//!
//! Plain functions on threads; no HTTP, no async. Reads are answered from published state in
//! memory and touch no process; writes are durable in the store before they are reported; long
//! work is an [`operations::Operation`]. Streams leave as file descriptors.
//!
//! Entry point: [`Engine::open`], then a handle per resource: [`Engine::instances`],
//! [`Engine::images`], [`Engine::profiles`], [`Engine::networks`], [`Engine::storage_pools`],
//! [`Engine::server`], [`Engine::certificates`], [`Engine::warnings`].

mod backups;
pub mod certificates;
mod configuration;
mod criu;
mod devices;
mod engine;
pub mod error;
pub mod etag;
pub mod events;
mod expiry;
#[doc(hidden)]
pub mod fuzzing;
pub mod guest;
mod host;
mod hotplug;
mod https;
pub mod images;
pub mod instances;
mod intended;
mod leases;
mod live;
mod log_pruning;
pub mod migration;
pub mod networks;
pub mod operations;
mod patch;
mod points;
pub mod profiles;
mod records;
mod resources;
mod schedule;
pub mod server;
mod slots;
pub mod storage_pools;
pub mod storage_volumes;
mod sync;
mod undo;
pub mod warnings;

pub use configuration::configuration_metadata;
pub use engine::{Config, Engine};
pub use error::{Context, Error, ErrorKind, Result};
pub use etag::Tagged;
pub use https::Edge;
