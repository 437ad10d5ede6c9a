//! `/1.0/instances/NAME/metadata`: an image's metadata and templates in the volume of an instance.

use api::metadata::ImageMetadata;
use axum::body::Body;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::Blocking;
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::shape::Parameter;
use crate::transfer;

const URL: &str = "/1.0/instances/{name}/metadata";
const TEMPLATES: &str = "/1.0/instances/{name}/metadata/templates";

const PATH: &[Parameter] = &[("path", "Name of the template.")];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(get), "Show the image metadata of an instance").gives_tagged::<ImageMetadata>(),
    row(Put, URL, Trusted, Blocking(update), "Replace the image metadata of an instance").takes::<ImageMetadata>().confirms(),
    row(Patch, URL, Trusted, Blocking(patch), "Change parts of the image metadata of an instance").takes::<ImageMetadata>().confirms(),
    row(Get, TEMPLATES, Trusted, Blocking(templates), "List the templates of an instance, or read the one named by path")
        .query(PATH)
        .gives_bytes("the template; without `path` an envelope with names"),
    row(Post, TEMPLATES, Trusted, Blocking(write), "Write the template of an instance that path names")
        .takes_bytes("the template")
        .query(PATH)
        .confirms(),
    row(Delete, TEMPLATES, Trusted, Blocking(delete), "Delete the template of an instance that path names").query(PATH).confirms(),
];

fn get(request: &Request) -> Outcome {
    let metadata = request.engine.instances().metadata(request.param("name"))?;
    envelope::sync_with_etag(&metadata.value, &metadata.etag)
}

fn update(request: &Request) -> Outcome {
    let metadata: ImageMetadata = request.json()?;
    request.engine.instances().update_metadata(request.param("name"), metadata, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.instances().patch_metadata(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn path(request: &Request) -> Result<&str, Error> {
    request.query("path").filter(|path| !path.is_empty()).ok_or_else(|| Error::bad_request("missing path argument"))
}

fn templates(request: &Request) -> Outcome {
    let instances = request.engine.instances();
    let Ok(path) = path(request) else {
        return envelope::sync(&instances.templates(request.param("name"))?);
    };
    let content = instances.template(request.param("name"), path)?;
    let size = content.len() as u64;
    Ok(transfer::raw(Body::from(content), size, Some(path)))
}

fn write(request: &Request) -> Outcome {
    request.engine.instances().write_template(request.param("name"), path(request)?, &request.body)?;
    envelope::empty()
}

fn delete(request: &Request) -> Outcome {
    request.engine.instances().delete_template(request.param("name"), path(request)?)?;
    envelope::empty()
}
