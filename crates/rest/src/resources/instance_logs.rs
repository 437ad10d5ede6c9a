//! `/1.0/instances/NAME/logs`: log files of an instance.

use std::fs::File;

use api::Timestamp;
use axum::body::Body;
use axum::http::HeaderValue;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::transfer;

const URL: &str = "/1.0/instances/{name}/logs";
const ONE: &str = "/1.0/instances/{name}/logs/{file}";
/// When the log was last written to, RFC 3339 (extension `container_log_modified`): `Last-Modified` knows whole
/// seconds only, and which of two logs is newer may be a matter of less.
const MODIFIED: &str = "x-lxd-modified";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(list), "List the log files of an instance").gives::<Vec<String>>(),
    row(Get, ONE, Trusted, Blocking(get), "Read a log file of an instance").gives_bytes("the content, with `X-LXD-modified`"),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete a log file of an instance").confirms(),
];

fn list(request: &Request) -> Outcome {
    let name = request.param("name");
    let files = request.engine.instances().logs(name)?;
    envelope::sync(&super::urls(&format!("{}/{name}/logs", request.flavour.url()), files))
}

fn get(request: &Request) -> Outcome {
    let file = file_name(request)?;
    let log = File::from(request.engine.instances().log(request.param("name"), file)?);
    let meta = log.metadata().map_err(|error| Error::internal(format!("read the size of {file}: {error}")))?;
    let mut response = transfer::raw(Body::from_stream(transfer::file_stream(log, meta.len())), meta.len(), Some(file));
    if let Some(value) = meta.modified().ok().and_then(|time| HeaderValue::from_str(&Timestamp::from_system(time).to_string()).ok()) {
        response.headers_mut().insert(MODIFIED, value);
    }
    Ok(response)
}

fn delete(request: &Request) -> Outcome {
    request.engine.instances().delete_log(request.param("name"), file_name(request)?)?;
    envelope::empty()
}

/// The last component of the path; `%2F` in it could otherwise name other files.
fn file_name(request: &Request) -> Result<&str, Error> {
    let file = request.param("file");
    let is_plain = !file.contains(['/', '\0']) && file != "." && file != "..";
    if is_plain { Ok(file) } else { Err(Error::bad_request(format!("log file name {file} not valid"))) }
}
