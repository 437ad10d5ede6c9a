//! `/` and `/1.0`: the server itself.

use api::metadata::MetadataConfiguration;
use api::server::{Server, ServerPut};

use crate::caller::Access::{Public, Trusted};
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Get, Patch, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, "/", Public, Quick(versions), "List the versions of the API").gives::<Vec<String>>(),
    row(Get, "/1.0", Public, Blocking(get), "Show configuration and facts of the server").gives_tagged::<Server>(),
    row(Put, "/1.0", Trusted, Blocking(update), "Replace the configuration of the server")
        .takes::<ServerPut>()
        .ignores::<Server>()
        .confirms(),
    row(Patch, "/1.0", Trusted, Blocking(patch), "Change keys of the configuration of the server")
        .takes::<ServerPut>()
        .ignores::<Server>()
        .confirms(),
    row(Get, "/1.0/metadata/configuration", Trusted, Blocking(configuration), "List every configuration key there is, with its meaning")
        .gives::<MetadataConfiguration>(),
    row(Get, "/1.0/openapi.json", Trusted, Blocking(description), "Describe this API (OpenAPI 3.1)").gives_bytes("the document"),
];

fn versions(_: &Request) -> Outcome {
    envelope::sync(&["/1.0"])
}

fn get(request: &Request) -> Outcome {
    let server = request.engine.server().get(request.caller.is_trusted());
    if !request.caller.is_trusted() {
        // The tag would tell a stranger when the configuration changes.
        return envelope::sync(&server.value);
    }
    envelope::sync_with_etag(&server.value, &server.etag)
}

fn update(request: &Request) -> Outcome {
    let put: ServerPut = request.json()?;
    request.engine.server().update(put.config, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    let put: ServerPut = request.json()?;
    request.engine.server().patch(put.config, request.if_match())?;
    envelope::empty()
}

/// Made for each who asks, since few do.
fn configuration(_: &Request) -> Outcome {
    envelope::sync(&engine::configuration_metadata())
}

/// The same here.
fn description(_: &Request) -> Outcome {
    envelope::document(&crate::openapi())
}
