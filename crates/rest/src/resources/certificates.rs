//! `/1.0/certificates`: clients that are trusted over the network.

use api::certificates::{Certificate, CertificatePut, CertificatesPost};
use engine::certificates::{Added, Applicant};

use crate::caller::Access::{Public, Trusted};
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/certificates";
const ONE: &str = "/1.0/certificates/{fingerprint}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the trusted certificates").lists::<Certificate>(),
    // A stranger needs the trust password or a token.
    row(Post, URL, Public, Blocking(create), "Trust a certificate, or (`token`) make a token that lets somebody in once")
        .takes::<CertificatesPost>()
        .creates(),
    row(Get, ONE, Trusted, Quick(get), "Show a trusted certificate").gives_tagged::<Certificate>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace the name of a trusted certificate")
        .takes::<CertificatePut>()
        .ignores::<Certificate>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change the name of a trusted certificate")
        .takes::<CertificatePut>()
        .ignores::<Certificate>()
        .confirms(),
    row(Delete, ONE, Trusted, Blocking(delete), "Trust a certificate no longer").confirms(),
];

fn list(request: &Request) -> Outcome {
    let certificates = request.engine.certificates();
    if request.recursion() > 0 {
        return envelope::sync(&certificates.list());
    }
    envelope::sync(&super::urls(URL, certificates.fingerprints()))
}

fn get(request: &Request) -> Outcome {
    let found = request.engine.certificates().get(request.param("fingerprint"))?;
    envelope::sync_with_etag(&found.value, &found.etag)
}

fn create(request: &Request) -> Outcome {
    let post: CertificatesPost = request.json()?;
    let peer = request.caller.peer();
    let applicant = Applicant {
        is_trusted: request.caller.is_trusted(),
        address: peer.map(|peer| peer.address.ip().to_canonical()),
        certificate: peer.and_then(|peer| peer.certificate.as_ref()),
    };
    match request.engine.certificates().create(post, applicant)? {
        Added::Certificate(fingerprint) => envelope::created(&format!("{URL}/{fingerprint}")),
        Added::Token(operation) => envelope::operation(&operation),
    }
}

fn update(request: &Request) -> Outcome {
    let put: CertificatePut = request.json()?;
    request.engine.certificates().update(request.param("fingerprint"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.certificates().patch(request.param("fingerprint"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn delete(request: &Request) -> Outcome {
    request.engine.certificates().delete(request.param("fingerprint"))?;
    envelope::empty()
}
