//! `/1.0/instances`, and under its old name `/1.0/containers`: the instances themselves.

use api::instances::{Instance, InstanceFull, InstancePost, InstancePut, InstancesPost};
use axum::http::header::CONTENT_TYPE;
use schemars::JsonSchema;

use crate::caller::Access::Trusted;
use crate::endpoint::Handler::{Blocking, Streaming};
use crate::endpoint::Verb::{Delete, Get, Patch, Post, Put};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::filter::{FILTER, Filter};
use crate::request::Request;
use crate::router::{blocking, read_body};
use crate::shape::Parameter;

const URL: &str = "/1.0/instances";
const ONE: &str = "/1.0/instances/{name}";

/// What an uploaded backup is to become.
const IMPORT_HEADERS: &[Parameter] = &[
    ("X-LXD-name", "Name of the instance; absent: the one in the backup."),
    ("X-LXD-pool", "Storage pool; absent: the one in the backup, or the profiles'."),
];

/// What clients that can do more send when they rename or migrate, and when they move to elsewhere.
pub(super) const MOVE_IGNORED: &[&str] = &["allow_inconsistent"];
pub(super) const MOVE_UNSERVED: &[&str] = &["pool", "project"];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, URL, Trusted, Blocking(list), "List the instances").lists::<Instance>().query(&[FILTER]),
    row(
        Post,
        URL,
        Trusted,
        Streaming(|request, http| Box::pin(create(request, http))),
        "Create an instance, here or from another server, bring one back from a backup, or a copy up to date",
    )
    .takes::<InstancesPost>()
    .takes_bytes("a backup")
    .headers(IMPORT_HEADERS)
    .requires(&["source.type"])
    .ignores::<Instance>()
    .ignores_fields(&["restore", "source.base-image", "source.allow_inconsistent"])
    .unserved(&["source.project"])
    .begins("progress of what it takes"),
    row(Get, ONE, Trusted, Streaming(|request, _| Box::pin(get(request))), "Show an instance")
        .query(&[("recursion", "1: with state and snapshots, and then without ETag.")])
        .gives_tagged::<Shown>(),
    row(Put, ONE, Trusted, Blocking(update), "Replace the configuration of an instance, or restore a snapshot")
        .takes::<InstancePut>()
        .ignores::<Instance>()
        .begins(""),
    row(Patch, ONE, Trusted, Blocking(patch), "Change parts of the configuration of an instance")
        .takes::<InstancePut>()
        .ignores::<Instance>()
        .confirms(),
    row(Post, ONE, Trusted, Blocking(rename), "Rename an instance, or send it to another server")
        .takes::<InstancePost>()
        .ignores_fields(MOVE_IGNORED)
        .unserved(MOVE_UNSERVED)
        .begins("for a migration that waits for the other server, the secrets of its websockets: `control` and `fs`"),
    row(Delete, ONE, Trusted, Blocking(delete), "Delete an instance and its snapshots").begins(""),
];

/// What GET of one gives, for the description alone.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "InstanceOrFull")]
#[expect(dead_code, reason = "only described")]
enum Shown {
    Plain(Box<Instance>),
    Full(Box<InstanceFull>),
}

fn list(request: &Request) -> Outcome {
    let instances = request.engine.instances();
    let filter = Filter::of(request)?;
    let mut list = envelope::List::new(&filter);
    match request.recursion() {
        0 if filter.is_empty() => return envelope::sync(&super::urls(request.flavour.url(), instances.names())),
        0 => {
            let mut shown = Vec::new();
            instances.each(|instance| shown.push(instance));
            let names = filter.keep(shown)?.into_iter().map(|instance: Instance| instance.name);
            return envelope::sync(&super::urls(request.flavour.url(), names));
        }
        1 => instances.each(|instance| list.push(&instance)),
        _ => {
            let parts = instances.shares_full(|instances| {
                let mut part = envelope::List::new(&filter);
                for mut full in instances {
                    name_snapshots(request, &mut full);
                    part.push(&full);
                }
                part
            });
            parts.into_iter().for_each(|part| list.append(part));
        }
    }
    list.finish()
}

/// A body of bytes is a backup, anything else says in JSON what to make: scripts send that as a form.
async fn create(mut request: Request, http: HttpRequest) -> Outcome {
    let kind = request.header(CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default().trim();
    if kind == "application/octet-stream" {
        return super::instance_backups::import(request, http).await;
    }
    request.body = read_body(http.into_body()).await?;
    blocking(move || {
        let post: InstancesPost = request.json()?;
        envelope::operation(&*request.engine.instances().create(post)?)
    })
    .await
}

/// What is in memory is answered at once; a look at the running instance takes a thread.
async fn get(request: Request) -> Outcome {
    if request.recursion() > 0 {
        return crate::router::blocking(move || get_full(&request)).await;
    }
    let instance = request.engine.instances().get(request.param("name"))?;
    envelope::sync_with_etag(&instance.value, &instance.etag)
}

fn get_full(request: &Request) -> Outcome {
    let mut full = request.engine.instances().get_full(request.param("name"))?;
    name_snapshots(request, &mut full);
    envelope::sync(&full)
}

fn name_snapshots(request: &Request, full: &mut InstanceFull) {
    for snapshot in full.snapshots.iter_mut().flatten() {
        snapshot.name = super::snapshots::shown_name(request.flavour, &full.instance.name, &snapshot.name);
    }
}

fn update(request: &Request) -> Outcome {
    let put: InstancePut = request.json()?;
    envelope::operation(&*request.engine.instances().update(request.param("name"), put, request.if_match())?)
}

fn patch(request: &Request) -> Outcome {
    request.engine.instances().patch(request.param("name"), request.json()?, request.if_match())?;
    envelope::empty()
}

fn rename(request: &Request) -> Outcome {
    let post: InstancePost = request.json()?;
    let (instances, name) = (request.engine.instances(), request.param("name"));
    envelope::operation(&*if post.migration { instances.migrate(name, None, &post)? } else { instances.rename(name, post)? })
}

fn delete(request: &Request) -> Outcome {
    envelope::operation(&*request.engine.instances().delete(request.param("name"))?)
}
