//! `/1.0/instances/NAME/console`: the console of an instance and its log.

use api::instances::ConsolePost;
use axum::body::Body;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get, Post};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;
use crate::transfer;

const URL: &str = "/1.0/instances/{name}/console";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Post, URL, Trusted, Blocking(attach), "Attach to the console of an instance")
        .takes::<ConsolePost>()
        .begins("`fds`: secrets of the websockets `0` (the terminal) and `control`"),
    row(Get, URL, Trusted, Blocking(log), "Read what the console has shown").gives_bytes("the log"),
    row(Delete, URL, Trusted, Blocking(clear), "Empty the log of the console").confirms(),
];

fn attach(request: &Request) -> Outcome {
    let post: ConsolePost = request.json()?;
    envelope::operation(&*request.engine.instances().console(request.param("name"), post)?)
}

fn log(request: &Request) -> Outcome {
    let log = request.engine.instances().console_log(request.param("name"))?;
    let size = log.len() as u64;
    Ok(transfer::raw(Body::from(log), size, Some("console.log")))
}

fn clear(request: &Request) -> Outcome {
    request.engine.instances().clear_console_log(request.param("name"))?;
    envelope::empty()
}
