//! `/1.0/instances/NAME/backups`: an instance in one file, and how it comes back.

use std::fs::File;

use api::instance_backups::{InstanceBackup, InstanceBackupsPost};
use api::profiles::Rename;
use axum::body::Body;
use engine::instances::BackupUpload;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get, Post};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::request::Request;
use crate::router::blocking;
use crate::transfer;

const URL: &str = "/1.0/instances/{name}/backups";
const ONE: &str = "/1.0/instances/{name}/backups/{backup}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(list), "List the backups of an instance").lists::<InstanceBackup>(),
    row(Post, URL, Trusted, Blocking(create), "Make a backup of an instance")
        .takes::<InstanceBackupsPost>()
        .ignores::<InstanceBackup>()
        .begins(""),
    row(Get, ONE, Trusted, Blocking(get), "Show a backup").gives::<InstanceBackup>(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a backup").takes::<Rename>().requires(&["name"]).begins(""),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a backup").begins(""),
    row(Get, "/1.0/instances/{name}/backups/{backup}/export", Trusted, Blocking(export), "Download a backup")
        .gives_bytes("the backup, a tar archive"),
];

fn list(request: &Request) -> Outcome {
    let name = request.param("name");
    let backups = request.engine.instances().backups(name)?;
    if request.recursion() > 0 {
        return envelope::sync(&backups);
    }
    let names = backups.into_iter().map(|backup| backup.name);
    envelope::sync(&super::urls(&format!("{}/{name}/backups", request.flavour.url()), names))
}

fn create(request: &Request) -> Outcome {
    let post: InstanceBackupsPost = request.json()?;
    envelope::operation(&*request.engine.instances().create_backup(request.param("name"), post)?)
}

fn get(request: &Request) -> Outcome {
    envelope::sync(&request.engine.instances().backup(request.param("name"), request.param("backup"))?)
}

fn rename(request: &Request) -> Outcome {
    let rename: Rename = request.json()?;
    envelope::operation(&*request.engine.instances().rename_backup(request.param("name"), request.param("backup"), &rename.name)?)
}

fn delete(request: &Request) -> Outcome {
    envelope::operation(&*request.engine.instances().delete_backup(request.param("name"), request.param("backup"))?)
}

fn export(request: &Request) -> Outcome {
    let export = request.engine.instances().export_backup(request.param("name"), request.param("backup"))?;
    let content = Body::from_stream(transfer::file_stream(File::from(export.file), export.size));
    Ok(transfer::raw(content, export.size, Some(&export.filename)))
}

/// `POST /1.0/instances` with a backup as body; name and pool may be given in headers.
pub(super) async fn import(request: Request, http: HttpRequest) -> Outcome {
    let images = request.engine.images();
    let dir = blocking(move || images.upload_dir()).await?;
    let file = dir.path().join("backup");
    let path = file.clone();
    let out = blocking(move || sys::fs::create(path, 0o600)).await?;
    transfer::receive_upload(http.into_body().into_data_stream(), out).await?;
    let (name, pool) = (request.header("x-lxd-name").to_owned(), request.header("x-lxd-pool").to_owned());
    blocking(move || envelope::operation(&*request.engine.instances().import_backup(BackupUpload { dir, file, name, pool })?)).await
}
