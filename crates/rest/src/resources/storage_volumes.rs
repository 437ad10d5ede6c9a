//! `/1.0/storage-pools/NAME/volumes/custom`: volumes that belong to no instance.

use api::storage_pools::StorageVolume;
use api::storage_volumes::{
    StorageVolumePost, StorageVolumePut, StorageVolumeSnapshot, StorageVolumeSnapshotPut, StorageVolumeSnapshotsPost, StorageVolumeState,
    StorageVolumesPost,
};
use axum::http::header::CONTENT_TYPE;
use engine::storage_volumes::{Done, StorageVolumes};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Streaming};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::router::{blocking, read_body};

const URL: &str = "/1.0/storage-pools/{name}/volumes/custom";
const ONE: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}";
const SNAPSHOTS: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}/snapshots";
const SNAPSHOT: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}/snapshots/{snapshot}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Post, "/1.0/storage-pools/{name}/volumes", Trusted, Blocking(create), "Create a custom volume")
        .takes::<StorageVolumesPost>()
        .requires(&["name"])
        .ignores::<StorageVolume>()
        .unserved(&["source.project", "source.refresh", "source.location"])
        .creates(),
    row(Get, URL, Trusted, Blocking(list), "List the custom volumes of a storage pool").lists::<StorageVolume>(),
    row(
        Post,
        URL,
        Trusted,
        Streaming(|request, http| Box::pin(create_or_import(request, http))),
        "Create a custom volume, here or from another server, or bring one back from a backup",
    )
    .takes::<StorageVolumesPost>()
    .takes_bytes("a backup")
    .headers(&[("X-LXD-name", "Name of the volume; absent: the one in the backup.")])
    .requires(&["name"])
    .ignores::<StorageVolume>()
    .unserved(&["source.project", "source.refresh", "source.location"])
    .creates(),
    row(Get, ONE, Trusted, Blocking(get), "Show a custom volume").gives_tagged::<StorageVolume>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace description and configuration of a custom volume, or restore a snapshot")
        .takes::<StorageVolumePut>()
        .ignores::<StorageVolume>()
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of a custom volume")
        .takes::<StorageVolumePut>()
        .ignores::<StorageVolume>()
        .confirms(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a custom volume, or move it to another pool or send it to another server")
        .takes::<StorageVolumePost>()
        .requires(&["name"])
        .unserved(&["project", "source"])
        .creates(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a custom volume that nothing uses").confirms(),
    row(Get, "/1.0/storage-pools/{name}/volumes/custom/{volume}/state", Trusted, Blocking(state), "Show the usage of a custom volume")
        .gives::<StorageVolumeState>(),
    row(Get, SNAPSHOTS, Trusted, Blocking(snapshots), "List the snapshots of a custom volume").lists::<StorageVolumeSnapshot>(),
    row(Post, SNAPSHOTS, Trusted, Blocking(create_snapshot), "Take a snapshot of a custom volume")
        .takes::<StorageVolumeSnapshotsPost>()
        .ignores::<StorageVolumeSnapshot>()
        .begins(""),
    row(Get, SNAPSHOT, Trusted, Blocking(snapshot), "Show a snapshot of a custom volume").gives_tagged::<StorageVolumeSnapshot>(),
    row(Put, SNAPSHOT, Trusted, Blocking(update_snapshot), "Change description and expiry of a snapshot")
        .takes::<StorageVolumeSnapshotPut>()
        .ignores::<StorageVolumeSnapshot>()
        .confirms(),
    row(Patch, SNAPSHOT, Trusted, Blocking(patch_snapshot), "Change parts of a snapshot")
        .takes::<StorageVolumeSnapshotPut>()
        .ignores::<StorageVolumeSnapshot>()
        .confirms(),
    row(
        Post,
        SNAPSHOT,
        Trusted,
        Blocking(rename_snapshot),
        "Rename a snapshot of a custom volume, or send it to another server as a volume",
    )
    .takes::<StorageVolumePost>()
    .requires(&["name"])
    .unserved(&["project", "source"])
    .begins(""),
    row(Delete, SNAPSHOT, Trusted, Blocking(delete_snapshot), "Delete a snapshot of a custom volume").begins(""),
];

fn volumes(request: &Request) -> Result<StorageVolumes, Error> {
    Ok(request.engine.storage_volumes(request.param("name"))?)
}

fn url(pool: &str) -> String {
    format!("/1.0/storage-pools/{}/volumes/custom", super::url_component(pool))
}

fn done(done: Done, location: &str) -> Outcome {
    match done {
        Done::Now => envelope::created(location),
        Done::Later(operation) => envelope::operation(&operation),
    }
}

fn list(request: &Request) -> Outcome {
    let volumes = volumes(request)?.list();
    if request.recursion() > 0 {
        return envelope::sync(&volumes);
    }
    envelope::sync(&super::urls(&url(request.param("name")), volumes.into_iter().map(|volume| volume.name)))
}

fn create(request: &Request) -> Outcome {
    let post: StorageVolumesPost = request.json()?;
    let location = format!("{}/{}", url(request.param("name")), super::url_component(&post.name));
    done(volumes(request)?.create(post)?, &location)
}

/// A body of bytes is a backup, anything else says in JSON what to make.
async fn create_or_import(mut request: Request, http: HttpRequest) -> Outcome {
    let kind = request.header(CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default().trim();
    if kind == "application/octet-stream" {
        return super::volume_backups::import(request, http).await;
    }
    request.body = read_body(http.into_body()).await?;
    blocking(move || create(&request)).await
}

fn get(request: &Request) -> Outcome {
    let volume = volumes(request)?.get(request.param("volume"))?;
    envelope::sync_with_etag(&volume.value, &volume.etag)
}

fn state(request: &Request) -> Outcome {
    envelope::sync(&volumes(request)?.state(request.param("volume"))?)
}

fn update(request: &Request) -> Outcome {
    let put: StorageVolumePut = request.json()?;
    volumes(request)?.update(request.param("volume"), put, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    let patch = request.json()?;
    volumes(request)?.patch(request.param("volume"), patch, request.if_match())?;
    envelope::empty()
}

fn rename(request: &Request) -> Outcome {
    let post: StorageVolumePost = request.json()?;
    let pool = if post.pool.is_empty() { request.param("name") } else { &post.pool };
    let location = format!("{}/{}", url(pool), super::url_component(&post.name));
    done(volumes(request)?.rename(request.param("volume"), post)?, &location)
}

fn delete(request: &Request) -> Outcome {
    volumes(request)?.delete(request.param("volume"))?;
    envelope::empty()
}

fn snapshots(request: &Request) -> Outcome {
    let volume = request.param("volume");
    let snapshots = volumes(request)?.snapshots(volume)?;
    if request.recursion() > 0 {
        return envelope::sync(&snapshots);
    }
    let names = snapshots.into_iter().map(|snapshot| snapshot.name.rsplit('/').next().unwrap_or_default().to_owned());
    envelope::sync(&super::urls(&format!("{}/{}/snapshots", url(request.param("name")), super::url_component(volume)), names))
}

fn create_snapshot(request: &Request) -> Outcome {
    let post: StorageVolumeSnapshotsPost = request.json()?;
    envelope::operation(&*volumes(request)?.create_snapshot(request.param("volume"), post)?)
}

fn snapshot(request: &Request) -> Outcome {
    let snapshot = request.param("snapshot");
    let mut shown = volumes(request)?.snapshot(request.param("volume"), snapshot)?;
    shown.value.name = snapshot.to_owned();
    envelope::sync_with_etag(&shown.value, &shown.etag)
}

fn update_snapshot(request: &Request) -> Outcome {
    let put: StorageVolumeSnapshotPut = request.json()?;
    volumes(request)?.update_snapshot(request.param("volume"), request.param("snapshot"), put, request.if_match())?;
    envelope::empty()
}

fn patch_snapshot(request: &Request) -> Outcome {
    let patch = request.json()?;
    volumes(request)?.patch_snapshot(request.param("volume"), request.param("snapshot"), patch, request.if_match())?;
    envelope::empty()
}

fn rename_snapshot(request: &Request) -> Outcome {
    let rename: StorageVolumePost = request.json()?;
    if rename.migration {
        let (volume, snapshot) = (request.param("volume"), request.param("snapshot"));
        return envelope::operation(&*volumes(request)?.migrate(volume, Some(snapshot), &rename)?);
    }
    envelope::operation(&*volumes(request)?.rename_snapshot(request.param("volume"), request.param("snapshot"), &rename.name)?)
}

fn delete_snapshot(request: &Request) -> Outcome {
    envelope::operation(&*volumes(request)?.delete_snapshot(request.param("volume"), request.param("snapshot"))?)
}
