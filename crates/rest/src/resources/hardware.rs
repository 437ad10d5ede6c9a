//! `/1.0/resources`: the hardware of the host.

use api::resources::HostResources;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::Get;
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

pub(super) static ENDPOINTS: &[Endpoint] =
    &[row(Get, "/1.0/resources", Trusted, Blocking(get), "Show processors, memory, disks and devices of the host")
        .gives::<HostResources>()];

fn get(request: &Request) -> Outcome {
    envelope::sync(&request.engine.resources())
}
