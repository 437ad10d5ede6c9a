//! `/1.0/instances/NAME/state`: what an instance uses, starting and stopping it.

use api::instances::{Checkpointability, StatePut};
use api::state::InstanceState;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Get, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/instances/{name}/state";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(get), "Show what an instance uses now").gives::<InstanceState>(),
    row(Put, URL, Trusted, Blocking(change), "Start, stop, restart, freeze or unfreeze an instance")
        .takes::<StatePut>()
        .requires(&["action"])
        .begins(""),
    row(Get, "/1.0/instances/{name}/state/checkpoint", Trusted, Blocking(checkpoint), "Show what keeps the running state from being saved")
        .gives::<Checkpointability>(),
];

fn get(request: &Request) -> Outcome {
    envelope::sync(&request.engine.instances().state(request.param("name"))?)
}

fn checkpoint(request: &Request) -> Outcome {
    envelope::sync(&request.engine.instances().checkpointability(request.param("name"))?)
}

fn change(request: &Request) -> Outcome {
    let put: StatePut = request.json()?;
    envelope::operation(&*request.engine.instances().set_state(request.param("name"), put)?)
}
