//! `/1.0/networks`: managed bridges and the host's interfaces.

use api::networks::{Lease, Network, NetworkPut, NetworkState, NetworksPost};
use api::profiles::Rename;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/networks";
const ONE: &str = "/1.0/networks/{name}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(list), "List the networks").lists::<Network>(),
    row(Post, URL, Trusted, Blocking(create), "Create a bridge").takes::<NetworksPost>().requires(&["name"]).ignores::<Network>().creates(),
    row(Get, ONE, Trusted, Blocking(get), "Show a network").gives_tagged::<Network>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace description and configuration of a bridge")
        .takes::<NetworkPut>()
        .ignores::<Network>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of a bridge").takes::<NetworkPut>().ignores::<Network>().confirms(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a bridge that nothing uses").takes::<Rename>().requires(&["name"]).creates(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a bridge that nothing uses").confirms(),
    row(Get, "/1.0/networks/{name}/leases", Trusted, Blocking(leases), "List the DHCP leases of a bridge").gives::<Vec<Lease>>(),
    row(Get, "/1.0/networks/{name}/state", Trusted, Blocking(state), "Show addresses and counters of a network's interface")
        .gives::<NetworkState>(),
];

fn state(request: &Request) -> Outcome {
    envelope::sync(&request.engine.networks().state(request.param("name"))?)
}

fn list(request: &Request) -> Outcome {
    let networks = request.engine.networks();
    if request.recursion() > 0 {
        return envelope::sync(&networks.list()?);
    }
    envelope::sync(&super::urls(URL, networks.names()?))
}

fn create(request: &Request) -> Outcome {
    let post: NetworksPost = request.json()?;
    let url = format!("{URL}/{}", super::url_component(&post.name));
    request.engine.networks().create(post)?;
    envelope::created(&url)
}

fn get(request: &Request) -> Outcome {
    let network = request.engine.networks().get(request.param("name"))?;
    envelope::sync_with_etag(&network.value, &network.etag)
}

fn update(request: &Request) -> Outcome {
    let put: NetworkPut = request.json()?;
    request.engine.networks().update(request.param("name"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.networks().patch(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn rename(request: &Request) -> Outcome {
    let rename: Rename = request.json()?;
    request.engine.networks().rename(request.param("name"), &rename.name)?;
    envelope::created(&format!("{URL}/{}", super::url_component(&rename.name)))
}

fn delete(request: &Request) -> Outcome {
    request.engine.networks().delete(request.param("name"))?;
    envelope::empty()
}

fn leases(request: &Request) -> Outcome {
    envelope::sync(&request.engine.networks().leases(request.param("name"))?)
}
