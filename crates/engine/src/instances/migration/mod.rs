//! Instances that go to another server, and that come from one.
//!
//! ```text
//! pull   this server, the target, opens the websockets of the source's operation
//! push   the source opens those of the target's operation
//! relay  somebody opens those of both, and passes messages on: here that looks like being waited for
//! ```

mod arrive;
mod offer;
mod refresh;
mod send;

pub(super) use arrive::Arrival;
pub(crate) use offer::try_offer;
