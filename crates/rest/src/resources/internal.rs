//! `/internal`: for the daemon's own commands.

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Quick, Streaming};
use crate::endpoint::Verb::{Get, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, "/internal/ready", Trusted, Streaming(|request, _| Box::pin(wait_ready(request))), "Wait until start-up is over").confirms(),
    row(Put, "/internal/shutdown", Trusted, Quick(shutdown), "Stop the instances and the daemon").takes_nothing().confirms(),
];

async fn wait_ready(request: Request) -> Outcome {
    if !request.engine.is_ready() {
        crate::router::blocking(move || Ok::<_, crate::Error>(request.engine.wait_ready(None))).await?;
    }
    envelope::empty()
}

/// Replies at once: the daemon does by itself what SIGPWR asks for.
fn shutdown(_: &Request) -> Outcome {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::POWER)
        .map_err(|errno| Error::internal(format!("signal the daemon: {errno}")))?;
    envelope::empty()
}
