//! The HTTP edge: listeners, who is calling, endpoint tables, envelopes, streams.
//!
//! What any request *does* is the engine's affair; a handler parses, calls the engine once, and
//! wraps what it returns. The engine is synchronous: calls that may block run on threads of the
//! runtime's pool, reads of published state run where they are. Streams of the engine are
//! descriptors, pumped to websockets here without holding a thread.
//!
//! Entry points: [`bind_unix`] and [`serve`]; [`ENDPOINTS`] is the table everything is derived from.

mod caller;
mod contract;
mod endpoint;
mod envelope;
mod error;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod listener;
mod network;
mod origin;
mod pace;
mod range;
mod request;
mod resources;
mod router;
mod server;
mod shape;
mod streams;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;

pub use caller::{Access, Caller, Peer};
pub use contract::{openapi, reference};
pub use endpoint::{Endpoint, Handler, Verb};
pub use error::Error;
pub use guest::{GUEST_ENDPOINTS, GuestEndpoint};
pub use listener::{BindError, bind_unix};
pub use request::{Flavour, Request};
pub use resources::ENDPOINTS;
pub use router::router;
pub use server::{Listeners, serve};
pub use shape::{Gives, Parameter, Shape, Takes};
