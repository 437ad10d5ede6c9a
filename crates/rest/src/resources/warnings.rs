//! `/1.0/warnings`: what goes wrong where nobody waits for an answer.

use api::warnings::{Warning, WarningPut};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/warnings";
const ONE: &str = "/1.0/warnings/{uuid}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the warnings").lists::<Warning>(),
    row(Get, ONE, Trusted, Quick(get), "Show a warning").gives_tagged::<Warning>(),
    row(Put, ONE, Trusted, Blocking(update), "Acknowledge a warning, or make it new again")
        .takes::<WarningPut>()
        .ignores::<Warning>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Acknowledge a warning, or make it new again")
        .takes::<WarningPut>()
        .ignores::<Warning>()
        .confirms(),
    row(Delete, ONE, Trusted, Blocking(delete), "Forget a warning").confirms(),
];

fn list(request: &Request) -> Outcome {
    let warnings = request.engine.warnings();
    if request.recursion() > 0 {
        return envelope::sync(&warnings.list());
    }
    envelope::sync(&super::urls(URL, warnings.ids()))
}

fn get(request: &Request) -> Outcome {
    let found = request.engine.warnings().get(request.param("uuid"))?;
    envelope::sync_with_etag(&found.value, &found.etag)
}

fn update(request: &Request) -> Outcome {
    let put: WarningPut = request.json()?;
    request.engine.warnings().update(request.param("uuid"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.warnings().patch(request.param("uuid"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn delete(request: &Request) -> Outcome {
    request.engine.warnings().delete(request.param("uuid"))?;
    envelope::empty()
}
