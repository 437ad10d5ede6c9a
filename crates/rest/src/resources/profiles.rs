//! `/1.0/profiles`: named sets of configuration and devices.

use api::profiles::{Profile, ProfilePut, Rename};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/profiles";
const ONE: &str = "/1.0/profiles/{name}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the profiles").lists::<Profile>(),
    row(Post, URL, Trusted, Blocking(create), "Create a profile").takes::<Profile>().requires(&["name"]).creates(),
    row(Get, ONE, Trusted, Quick(get), "Show a profile").gives_tagged::<Profile>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace description, configuration and devices of a profile")
        .takes::<ProfilePut>()
        .ignores::<Profile>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of a profile").takes::<ProfilePut>().ignores::<Profile>().confirms(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a profile").takes::<Rename>().requires(&["name"]).creates(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a profile that nothing uses").confirms(),
];

fn list(request: &Request) -> Outcome {
    let profiles = request.engine.profiles();
    if request.recursion() > 0 {
        return envelope::sync(&profiles.list());
    }
    envelope::sync(&super::urls(URL, profiles.names()))
}

fn create(request: &Request) -> Outcome {
    let profile: Profile = request.json()?;
    let url = format!("{URL}/{}", super::url_component(&profile.name));
    request.engine.profiles().create(profile)?;
    envelope::created(&url)
}

fn get(request: &Request) -> Outcome {
    let profile = request.engine.profiles().get(request.param("name"))?;
    envelope::sync_with_etag(&profile.value, &profile.etag)
}

fn update(request: &Request) -> Outcome {
    let put: ProfilePut = request.json()?;
    request.engine.profiles().update(request.param("name"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.profiles().patch(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn rename(request: &Request) -> Outcome {
    let rename: Rename = request.json()?;
    request.engine.profiles().rename(request.param("name"), &rename.name)?;
    envelope::created(&format!("{URL}/{}", super::url_component(&rename.name)))
}

fn delete(request: &Request) -> Outcome {
    request.engine.profiles().delete(request.param("name"))?;
    envelope::empty()
}
