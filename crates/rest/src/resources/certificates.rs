//! `/1.0/certificates`: clients that are trusted over the network.

use api::certificates::Certificate;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Get, Post};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;

const URL: &str = "/1.0/certificates";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the trusted certificates").lists::<Certificate>(),
    row(Post, URL, Trusted, Blocking(create), "Trust a certificate")
        .takes::<Certificate>()
        .ignores_fields(&["password", "restricted", "projects", "token"])
        .creates(),
    row(Get, "/1.0/certificates/{fingerprint}", Trusted, Quick(get), "Show a trusted certificate").gives::<Certificate>(),
];

fn list(request: &Request) -> Outcome {
    let certificates = request.engine.server().certificates();
    if request.recursion() > 0 {
        return envelope::sync(&certificates);
    }
    envelope::sync(&super::urls(URL, certificates.into_iter().map(|certificate| certificate.fingerprint)))
}

fn get(request: &Request) -> Outcome {
    let wanted = request.param("fingerprint");
    let certificates = request.engine.server().certificates();
    let found = certificates.iter().find(|certificate| certificate.fingerprint.starts_with(wanted));
    envelope::sync(found.ok_or_else(Error::not_found)?)
}

fn create(request: &Request) -> Outcome {
    let _: Certificate = request.json()?;
    Err(Error::bad_request("This server has no network listener, so it trusts no certificates: use its unix socket"))
}
