//! `/1.0/instances/NAME/snapshots`: snapshots of an instance.

use api::instances::InstancePost;
use api::snapshots::{Snapshot, SnapshotPut, SnapshotsPost};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::{Flavour, Request};
use crate::resources::instances::{MOVE_IGNORED, MOVE_UNSERVED};

const URL: &str = "/1.0/instances/{name}/snapshots";
const ONE: &str = "/1.0/instances/{name}/snapshots/{snapshot}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the snapshots of an instance").lists::<Snapshot>(),
    row(Post, URL, Trusted, Blocking(create), "Take a snapshot of an instance")
        .takes::<SnapshotsPost>()
        .unserved(&["expires_at"])
        .begins(""),
    row(Get, ONE, Trusted, Quick(get), "Show a snapshot").gives_tagged::<Snapshot>(),
    row(Put, ONE, Trusted, Blocking(update), "Change when a snapshot expires").takes::<SnapshotPut>().ignores::<Snapshot>().begins(""),
    row(Patch, ONE, Trusted, Blocking(update), "Change when a snapshot expires").takes::<SnapshotPut>().ignores::<Snapshot>().begins(""),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a snapshot, or send it to another server as an instance")
        .takes::<InstancePost>()
        .ignores_fields(MOVE_IGNORED)
        .unserved(MOVE_UNSERVED)
        .begins(""),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a snapshot").begins(""),
];

/// The old API names snapshots with their instance.
pub(super) fn shown_name(flavour: Flavour, instance: &str, snapshot: &str) -> String {
    match flavour {
        Flavour::Instances => snapshot.to_owned(),
        Flavour::Containers => format!("{instance}/{snapshot}"),
    }
}

fn list(request: &Request) -> Outcome {
    let name = request.param("name");
    if request.recursion() > 0 {
        let mut snapshots = request.engine.instances().snapshots(name)?;
        for snapshot in &mut snapshots {
            snapshot.name = shown_name(request.flavour, name, &snapshot.name);
        }
        return envelope::sync(&snapshots);
    }
    let names = request.engine.instances().snapshot_names(name)?;
    envelope::sync(&super::urls(&format!("{}/{name}/snapshots", request.flavour.url()), names))
}

fn create(request: &Request) -> Outcome {
    let post: SnapshotsPost = request.json()?;
    envelope::operation(&*request.engine.instances().create_snapshot(request.param("name"), post)?)
}

fn get(request: &Request) -> Outcome {
    let (name, snapshot) = (request.param("name"), request.param("snapshot"));
    let mut snapshot = request.engine.instances().snapshot(name, snapshot)?;
    snapshot.value.name = shown_name(request.flavour, name, &snapshot.value.name);
    envelope::sync_with_etag(&snapshot.value, &snapshot.etag)
}

fn update(request: &Request) -> Outcome {
    let put: SnapshotPut = request.json()?;
    let (name, snapshot) = (request.param("name"), request.param("snapshot"));
    envelope::operation(&*request.engine.instances().update_snapshot(name, snapshot, put, request.if_match())?)
}

fn rename(request: &Request) -> Outcome {
    let rename: InstancePost = request.json()?;
    if rename.migration {
        let (name, snapshot) = (request.param("name"), request.param("snapshot"));
        return envelope::operation(&*request.engine.instances().migrate(name, Some(snapshot), &rename)?);
    }
    if rename.name.is_empty() || rename.name.contains('/') {
        return Err(Error::bad_request("Snapshot names may not be empty or contain slashes"));
    }
    let (name, snapshot) = (request.param("name"), request.param("snapshot"));
    envelope::operation(&*request.engine.instances().rename_snapshot(name, snapshot, &rename.name)?)
}

fn delete(request: &Request) -> Outcome {
    let (name, snapshot) = (request.param("name"), request.param("snapshot"));
    envelope::operation(&*request.engine.instances().delete_snapshot(name, snapshot)?)
}
