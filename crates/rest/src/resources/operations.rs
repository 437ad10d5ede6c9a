//! `/1.0/operations`: background work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::operations::Operation as Shown;
use engine::operations::Operation;
use schemars::JsonSchema;
use tokio::sync::oneshot;

use crate::caller::Access::{Public, Trusted};
use crate::endpoint::Handler::{Blocking, Quick, Streaming};
use crate::endpoint::Verb::{Delete, Get};
use crate::endpoint::{Endpoint, HttpRequest, Outcome, row};
use crate::envelope;
use crate::error::Error;
use crate::request::Request;
use crate::streams::{self, Upgrade, Use};

pub(super) static ENDPOINTS: &[Endpoint] = &[
    row(Get, "/1.0/operations", Trusted, Quick(list), "List the operations by status")
        .query(&[("recursion", "1: the operations themselves instead of their URLs.")])
        .gives::<BTreeMap<String, Vec<Listed>>>(),
    row(Get, "/1.0/operations/{id}", Trusted, Quick(get), "Show an operation").gives::<Shown>(),
    row(Delete, "/1.0/operations/{id}", Trusted, Blocking(cancel), "Cancel an operation").confirms(),
    // Of strangers only those who have sent an image, which gives them a secret.
    row(
        Get,
        "/1.0/operations/{id}/wait",
        Public,
        Streaming(|request, _| Box::pin(wait(request))),
        "Wait until an operation has ended, at most `timeout` seconds",
    )
    .query(&[
        ("timeout", "Seconds to wait; absent or -1: for ever."),
        ("secret", "Of an image that was sent by a secret: the one in the reply to that, for those who are not trusted."),
    ])
    .gives::<Shown>(),
    // The secret is the authorization.
    row(
        Get,
        "/1.0/operations/{id}/websocket",
        Public,
        Streaming(|request, http| Box::pin(connect(request, http))),
        "Connect a stream of an operation by its secret",
    )
    .query(&[("secret", "Which stream.")])
    .opens("bytes in binary messages, control messages as text; an empty text message ends a stream"),
];

/// One of a list, for the description alone.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only described")]
enum Listed {
    Url(String),
    Whole(Box<Shown>),
}

fn find(request: &Request) -> Result<Arc<Operation>, Error> {
    Ok(request.engine.operations().get(request.param("id"))?)
}

fn list(request: &Request) -> Outcome {
    let operations = request.engine.operations().list();
    if request.recursion() > 0 {
        let mut by_status: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
        for operation in operations {
            let shown = operation.render();
            by_status.entry(shown.status.to_lowercase()).or_default().push(shown);
        }
        return envelope::sync(&by_status);
    }
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for operation in operations {
        by_status.entry(operation.status().text().to_lowercase()).or_default().push(operation.url());
    }
    envelope::sync(&by_status)
}

fn get(request: &Request) -> Outcome {
    envelope::sync(&find(request)?.render())
}

fn cancel(request: &Request) -> Outcome {
    find(request)?.cancel()?;
    envelope::empty()
}

/// Holds no thread while it waits.
async fn wait(request: Request) -> Outcome {
    let timeout: i64 = match request.query("timeout") {
        None | Some("") => -1,
        Some(text) => text.parse().map_err(|_| Error::internal(format!("{text:?} is not a number of seconds")))?,
    };
    let operation = match find(&request) {
        operation if request.caller.is_trusted() => operation?,
        Ok(operation) if operation.is_of_upload_by(request.query("secret").unwrap_or_default()) => operation,
        _ => return Err(Error::forbidden()),
    };
    let (sender, ended) = oneshot::channel::<()>();
    // Dropping the sender tells as much as a message.
    operation.on_end(Box::new(move || drop(sender)));
    match u64::try_from(timeout) {
        Err(_) => drop(ended.await),
        Ok(seconds) => drop(tokio::time::timeout(Duration::from_secs(seconds), ended).await),
    }
    envelope::sync(&operation.render())
}

async fn connect(request: Request, http: HttpRequest) -> Outcome {
    let is_trusted = request.caller.is_trusted();
    // To a stranger an operation that there is looks like one that there is not.
    let concealed = |error: Error| if is_trusted { error } else { Error::forbidden() };
    let operation = find(&request).map_err(concealed)?;
    // First, so that a request that cannot become a websocket leaves the secret unused.
    let upgrade = Upgrade::of(http).await.map_err(concealed)?;
    let connection = operation.connect(request.query("secret").unwrap_or_default()).map_err(|error| concealed(error.into()))?;
    upgrade.relieve();
    Ok(upgrade.run(Use::of(&connection), move |socket, trust| streams::serve_connection(socket, connection, trust)))
}
