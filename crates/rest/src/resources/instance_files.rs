//! `/1.0/instances/NAME/files?path=`: reading and writing files inside an instance.

use std::fs::File;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use engine::instances::{FileAttributes, FileContent, FileEntry};

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Streaming};
use crate::endpoint::Verb::{Delete, Get, Post};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::router::{blocking, read_body};
use crate::shape::Parameter;
use crate::transfer;

const URL: &str = "/1.0/instances/{name}/files";

const UID: HeaderName = HeaderName::from_static("x-lxd-uid");
const GID: HeaderName = HeaderName::from_static("x-lxd-gid");
const MODE: HeaderName = HeaderName::from_static("x-lxd-mode");
const TYPE: HeaderName = HeaderName::from_static("x-lxd-type");
const WRITE: HeaderName = HeaderName::from_static("x-lxd-write");

const PATH: &[Parameter] = &[("path", "Where in the instance; from its root.")];
const ATTRIBUTES: &[Parameter] = &[
    ("X-LXD-uid", "Owner in the instance; absent: 0, or as it is."),
    ("X-LXD-gid", "Group in the instance; absent: 0, or as it is."),
    ("X-LXD-mode", "Permissions, octal with a leading 0; absent: 0640 (directories 0750), or as they are."),
    ("X-LXD-type", "`file` (also if absent), `directory`, `symlink`."),
    ("X-LXD-write", "`overwrite` (also if absent), `append`."),
];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(get), "Read a file, a directory or a link of an instance")
        .query(PATH)
        .gives_bytes("the content, with `X-LXD-uid`, `-gid`, `-mode`, `-type`; of a directory an envelope with names"),
    row(
        Post,
        URL,
        Trusted,
        Streaming(|request, http| Box::pin(write(request, http))),
        "Write a file, make a directory or a link in an instance",
    )
    .takes_bytes("the content, or the target of a link")
    .query(PATH)
    .headers(ATTRIBUTES)
    .confirms(),
    row(Delete, URL, Trusted, Blocking(delete), "Delete a file or an empty directory of an instance").query(PATH).confirms(),
];

fn path_of(request: &Request) -> Result<&str, Error> {
    request.query("path").filter(|path| !path.is_empty()).ok_or_else(|| Error::bad_request("missing path argument"))
}

fn get(request: &Request) -> Outcome {
    let path = path_of(request)?;
    let entry = request.engine.instances().read_file(request.param("name"), path)?;
    let (uid, gid, mode) = (entry.uid, entry.gid, entry.mode);
    let (kind, mut response) = entry_reply(entry, path)?;
    let headers = response.headers_mut();
    headers.insert(UID, HeaderValue::from(uid));
    headers.insert(GID, HeaderValue::from(gid));
    if let Ok(mode) = HeaderValue::from_str(&format!("{:04o}", mode & 0o7777)) {
        headers.insert(MODE, mode);
    }
    headers.insert(TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn entry_reply(entry: FileEntry, path: &str) -> Result<(&'static str, Response), Error> {
    Ok(match entry.content {
        FileContent::File(file) => {
            let stream = transfer::file_stream(File::from(file), entry.size);
            ("file", transfer::raw(Body::from_stream(stream), entry.size, Some(path)))
        }
        FileContent::Directory(names) => ("directory", envelope::sync(&names)?),
        FileContent::Symlink(target) => {
            let size = target.len() as u64;
            ("symlink", transfer::raw(Body::from(target), size, Some(path)))
        }
    })
}

async fn write(request: Request, http: HttpRequest) -> Outcome {
    let path = path_of(&request)?.to_owned();
    let name = request.param("name").to_owned();
    let attributes = attributes_of(&request);
    let instances = request.engine.instances();
    match request.header(TYPE.as_str()) {
        "" | "file" => {
            let is_append = match request.header(WRITE.as_str()) {
                "" | "overwrite" => false,
                "append" => true,
                other => return Err(Error::bad_request(format!("Bad file write mode: {other}"))),
            };
            let body = http.into_body().into_data_stream();
            match blocking(move || instances.write_file(&name, &path, attributes, is_append)).await {
                Ok(file) => drop(transfer::receive(body, File::from(file)).await?),
                Err(error) => {
                    transfer::discard(body).await;
                    return Err(error);
                }
            }
        }
        "directory" => blocking(move || instances.make_directory(&name, &path, attributes)).await?,
        "symlink" => {
            let target = read_body(http.into_body()).await?;
            let target = String::from_utf8(target.to_vec()).map_err(|_| Error::bad_request("The link's target is not UTF-8"))?;
            blocking(move || instances.make_symlink(&name, &path, &target, attributes)).await?;
        }
        other => return Err(Error::bad_request(format!("Bad file type: {other}"))),
    }
    envelope::empty()
}

/// Nonsense counts as absent, as it always did.
fn attributes_of(request: &Request) -> FileAttributes {
    let id = |header: &HeaderName| request.header(header.as_str()).parse().ok();
    FileAttributes { uid: id(&UID), gid: id(&GID), mode: parse_mode(request.header(MODE.as_str())) }
}

/// A leading 0 or `0o` means octal; only permission bits count.
fn parse_mode(text: &str) -> Option<u32> {
    let octal = text.strip_prefix("0o").or_else(|| text.starts_with('0').then_some(text));
    let mode = octal.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 8));
    mode.ok().map(|mode| mode & 0o777)
}

fn delete(request: &Request) -> Outcome {
    request.engine.instances().delete_file(request.param("name"), path_of(request)?)?;
    envelope::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(parse_mode("0644"), Some(0o644));
        assert_eq!(parse_mode("0o755"), Some(0o755));
        assert_eq!(parse_mode("420"), Some(0o644));
        assert_eq!(parse_mode("04755"), Some(0o755));
        assert_eq!(parse_mode("0"), Some(0));
        assert_eq!((parse_mode(""), parse_mode("rwx"), parse_mode("0999")), (None, None, None));
    }
}
