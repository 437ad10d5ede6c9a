//! `/1.0/images/aliases`: names of images. A name may hold slashes, escaped or not.

use api::images::ImageAliasEntry;
use api::profiles::Rename;

use crate::caller::Access::{Public, Trusted};
use crate::endpoint::Handler::{Blocking, Quick};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;

const URL: &str = "/1.0/images/aliases";
const ONE: &str = "/1.0/images/aliases/{*name}";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Quick(list), "List the image aliases").lists::<ImageAliasEntry>(),
    row(Post, URL, Trusted, Blocking(create), "Create an image alias").takes::<ImageAliasEntry>().requires(&["name", "target"]).creates(),
    row(Get, ONE, Public, Quick(get), "Show an image alias").gives_tagged::<ImageAliasEntry>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace target and description of an image alias")
        .takes::<ImageAliasEntry>()
        .requires(&["target"])
        .confirms(),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of an image alias").takes::<ImageAliasEntry>().confirms(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename an image alias").takes::<Rename>().requires(&["name"]).creates(),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete an image alias").confirms(),
];

fn list(request: &Request) -> Outcome {
    let images = request.engine.images();
    if request.recursion() > 0 {
        return envelope::sync(&images.aliases());
    }
    envelope::sync(&super::urls(URL, images.alias_names()))
}

fn create(request: &Request) -> Outcome {
    let entry: ImageAliasEntry = request.json()?;
    let url = format!("{URL}/{}", super::url_component(&entry.name));
    request.engine.images().create_alias(entry)?;
    envelope::created(&url)
}

/// An alias of a private image is as invisible as the image.
fn get(request: &Request) -> Outcome {
    let images = request.engine.images();
    let alias = images.alias(request.param("name"));
    let is_public = || alias.as_ref().ok().and_then(|alias| images.get(&alias.value.target).ok()).is_some_and(|image| image.value.public);
    if !request.caller.is_trusted() && !is_public() {
        return Err(Error::not_found());
    }
    let alias = alias?;
    envelope::sync_with_etag(&alias.value, &alias.etag)
}

fn update(request: &Request) -> Outcome {
    let entry: ImageAliasEntry = request.json()?;
    request.engine.images().update_alias(request.param("name"), entry, request.if_match())?;
    envelope::empty()
}

fn patch(request: &Request) -> Outcome {
    request.engine.images().patch_alias(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn rename(request: &Request) -> Outcome {
    let rename: Rename = request.json()?;
    request.engine.images().rename_alias(request.param("name"), &rename.name)?;
    envelope::created(&format!("{URL}/{}", super::url_component(&rename.name)))
}

fn delete(request: &Request) -> Outcome {
    request.engine.images().delete_alias(request.param("name"))?;
    envelope::empty()
}
