//! `/1.0/instances/NAME/exec`: running a command.

use api::instances::ExecPost;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::Post;
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

pub(super) static ENDPOINTS: &[Endpoint] =
    &[row(Post, "/1.0/instances/{name}/exec", Trusted, Blocking(exec), "Run a command in an instance")
        .takes::<ExecPost>()
        .requires(&["command"])
        .begins("`return`: its exit status; before, with `wait-for-websocket`, `fds`: secrets of its streams")];

fn exec(request: &Request) -> Outcome {
    let post: ExecPost = request.json()?;
    envelope::operation(&*request.engine.instances().exec(request.param("name"), post)?)
}
