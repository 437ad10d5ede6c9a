//! `/1.0/storage-pools`: pools and what they hold.

use api::storage_pools::{Resources, StoragePool, StoragePoolPut, StoragePoolsPost, StorageVolume};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::request::Request;

const URL: &str = "/1.0/storage-pools";
const ONE: &str = "/1.0/storage-pools/{name}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the storage pools").lists::<StoragePool>(),
    row(Post, URL, Trusted, Blocking(create), "Create a storage pool")
        .takes::<StoragePoolsPost>()
        .requires(&["name", "driver"])
        .ignores::<StoragePool>()
        .creates(),
    row(Get, ONE, Trusted, Quick(get), "Show a storage pool").gives_tagged::<StoragePool>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace description and configuration of a storage pool")
        .takes::<StoragePoolPut>()
        .ignores::<StoragePool>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of a storage pool")
        .takes::<StoragePoolPut>()
        .ignores::<StoragePool>()
        .confirms(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a storage pool that nothing uses").confirms(),
    row(Get, "/1.0/storage-pools/{name}/resources", Trusted, Blocking(resources), "Show the space of a storage pool").gives::<Resources>(),
    row(Get, "/1.0/storage-pools/{name}/volumes", Trusted, Blocking(volumes), "List the volumes of a storage pool")
        .lists::<StorageVolume>(),
    row(Get, "/1.0/storage-pools/{name}/volumes/{type}", Trusted, Blocking(volumes), "List the volumes of one type")
        .lists::<StorageVolume>(),
    row(Get, "/1.0/storage-pools/{name}/volumes/{type}/{volume}", Trusted, Blocking(volume), "Show a volume").gives::<StorageVolume>(),
];

fn list(request: &Request) -> Outcome {
    let pools = request.engine.storage_pools();
    if request.recursion() > 0 {
        return envelope::sync(&pools.list());
    }
    envelope::sync(&super::urls(URL, pools.names()))
}

fn create(request: &Request) -> Outcome {
    let post: StoragePoolsPost = request.json()?;
    let url = format!("{URL}/{}", super::url_component(&post.name));
    request.engine.storage_pools().create(post)?;
    envelope::created(&url)
}

fn get(request: &Request) -> Outcome {
    let pool = request.engine.storage_pools().get(request.param("name"))?;
    envelope::sync_with_etag(&pool.value, &pool.etag)
}

fn update(request: &Request) -> Outcome {
    let put: StoragePoolPut = request.json()?;
    request.engine.storage_pools().update(request.param("name"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.storage_pools().patch(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn delete(request: &Request) -> Outcome {
    request.engine.storage_pools().delete(request.param("name"))?;
    envelope::empty()
}

fn resources(request: &Request) -> Outcome {
    envelope::sync(&request.engine.storage_pools().resources(request.param("name"))?)
}

/// Of all types, or of the one that the path names.
fn volumes(request: &Request) -> Outcome {
    let (pool, kind) = (request.param("name"), request.param("type"));
    let mut volumes = request.engine.storage_pools().volumes(pool)?;
    volumes.retain(|volume| kind.is_empty() || volume.kind == kind);
    if request.recursion() > 0 {
        return envelope::sync(&volumes);
    }
    let url = |kind: &str, name: &str| {
        let [pool, kind, name] = [pool, kind, name].map(super::url_component);
        format!("{URL}/{pool}/volumes/{kind}/{name}")
    };
    envelope::sync(&volumes.iter().map(|volume| url(&volume.kind, &volume.name)).collect::<Vec<_>>())
}

fn volume(request: &Request) -> Outcome {
    let (kind, name) = (request.param("type"), request.param("volume"));
    let volumes = request.engine.storage_pools().volumes(request.param("name"))?;
    let found = volumes.iter().find(|volume| volume.kind == kind && volume.name == name);
    let missing = || engine::Error::not_found(format!("Storage volume '{}/{kind}/{name}' not found", request.param("name")));
    envelope::sync(found.ok_or_else(missing)?)
}
