//! `/1.0/storage-pools/NAME/volumes/custom/VOLUME/backups`: a custom volume in one file, and how it comes back.

use std::fs::File;

use api::profiles::Rename;
use api::storage_volumes::{StorageVolumeBackup, StorageVolumeBackupsPost};
use axum::body::Body;
use engine::storage_volumes::{StorageVolumes, VolumeBackupUpload};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get, Post};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::router::blocking;
use crate::transfer;

const URL: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}/backups";
const ONE: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}/backups/{backup}";
const EXPORT: &str = "/1.0/storage-pools/{name}/volumes/custom/{volume}/backups/{backup}/export";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(list), "List the backups of a custom volume").lists::<StorageVolumeBackup>(),
    row(Post, URL, Trusted, Blocking(create), "Make a backup of a custom volume")
        .takes::<StorageVolumeBackupsPost>()
        .ignores::<StorageVolumeBackup>()
        .begins(""),
    row(Get, ONE, Trusted, Blocking(get), "Show a backup").gives::<StorageVolumeBackup>(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename a backup").takes::<Rename>().requires(&["name"]).begins(""),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a backup").begins(""),
    row(Get, EXPORT, Trusted, Blocking(export), "Download a backup").gives_bytes("the backup, a tar archive"),
];

fn volumes(request: &Request) -> Result<StorageVolumes, Error> {
    Ok(request.engine.storage_volumes(request.param("name"))?)
}

fn list(request: &Request) -> Outcome {
    let (pool, volume) = (request.param("name"), request.param("volume"));
    let backups = volumes(request)?.backups(volume)?;
    if request.recursion() > 0 {
        return envelope::sync(&backups);
    }
    let url = format!("/1.0/storage-pools/{}/volumes/custom/{}/backups", super::url_component(pool), super::url_component(volume));
    envelope::sync(&super::urls(&url, backups.into_iter().map(|backup| backup.name)))
}

fn create(request: &Request) -> Outcome {
    let post: StorageVolumeBackupsPost = request.json()?;
    envelope::operation(&*volumes(request)?.create_backup(request.param("volume"), post)?)
}

fn get(request: &Request) -> Outcome {
    envelope::sync(&volumes(request)?.backup(request.param("volume"), request.param("backup"))?)
}

fn rename(request: &Request) -> Outcome {
    let rename: Rename = request.json()?;
    envelope::operation(&*volumes(request)?.rename_backup(request.param("volume"), request.param("backup"), &rename.name)?)
}

fn delete(request: &Request) -> Outcome {
    envelope::operation(&*volumes(request)?.delete_backup(request.param("volume"), request.param("backup"))?)
}

fn export(request: &Request) -> Outcome {
    let export = volumes(request)?.export_backup(request.param("volume"), request.param("backup"))?;
    let content = Body::from_stream(transfer::file_stream(File::from(export.file), export.size));
    Ok(transfer::raw(content, export.size, Some(&export.filename)))
}

/// `POST /1.0/storage-pools/NAME/volumes/custom` with a backup as body; the volume's name may be given in a header.
pub(super) async fn import(request: Request, http: HttpRequest) -> Outcome {
    let engine = request.engine.clone();
    let dir = blocking(move || engine.images().upload_dir()).await?;
    let file = dir.path().join("backup");
    let path = file.clone();
    let out = blocking(move || sys::fs::create(path, 0o600)).await?;
    transfer::receive_upload(http.into_body().into_data_stream(), out).await?;
    let name = request.header("x-lxd-name").to_owned();
    blocking(move || envelope::operation(&*volumes(&request)?.import_backup(VolumeBackupUpload { dir, file, name })?)).await
}
