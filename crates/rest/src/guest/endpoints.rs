//! The endpoints of the guest API.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Extension, FromRequestParts, Query, RawPathParams};
use axum::http::header::{CONTENT_TYPE, HeaderValue, UPGRADE};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use engine::guest::{Guest, GuestFrame, GuestSubscription};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::endpoint::{Answer, HttpRequest, Outcome};
use crate::error::Error;
use crate::streams::{Upgrade, Use};

/// Events that may wait for a follower. One that falls further behind is disconnected.
const QUEUE: usize = 128;

/// One path of the guest API; all of them are read with GET.
#[derive(Clone, Copy)]
pub struct GuestEndpoint {
    /// The path, with `{*name}` for the rest of it.
    pub path: &'static str,
    run: Run,
    /// One line for the reference.
    pub doc: &'static str,
}

#[derive(Clone, Copy)]
enum Run {
    /// Reads memory only. The text is the path's parameter.
    Quick(fn(&Guest, &str) -> Outcome),
    /// Keeps the connection.
    Lasting(fn(Guest, Call) -> Answer),
}

const fn row(path: &'static str, run: Run, doc: &'static str) -> GuestEndpoint {
    GuestEndpoint { path, run, doc }
}

/// Every endpoint.
pub static GUEST_ENDPOINTS: &[GuestEndpoint] = &[
    row("/", Run::Quick(|_, _| json(&["/1.0"])), "The versions of the API"),
    row("/1.0", Run::Quick(version), "What this version is, and what the instance is"),
    row("/1.0/config", Run::Quick(keys), "URLs of the keys that the instance may read"),
    row("/1.0/config/{*name}", Run::Quick(value), "The value of one of these keys"),
    row("/1.0/devices", Run::Quick(|guest, _| json(&guest.devices()?)), "The devices of the instance"),
    row("/1.0/events", Run::Lasting(|guest, call| Box::pin(events(guest, call))), "Changes of keys and devices, as they happen"),
    row("/1.0/images/{fingerprint}/export", Run::Lasting(|guest, call| Box::pin(image(guest, call))), "Download an image of the host"),
    row("/1.0/meta-data", Run::Quick(|guest, _| Ok(raw(guest.meta_data()?))), "Meta-data for cloud-init"),
];

/// A request to an endpoint that keeps the connection.
struct Call {
    param: String,
    connected: Connected,
    http: HttpRequest,
}

/// The connection that a request came over.
#[derive(Clone)]
pub(super) struct Connected {
    /// The places that it takes.
    held: Arc<dyn Any + Send + Sync>,
    lasting: Arc<tokio::sync::Notify>,
}

impl Connected {
    pub(super) fn new(held: Arc<dyn Any + Send + Sync>, lasting: Arc<tokio::sync::Notify>) -> Self {
        Self { held, lasting }
    }
}

/// The whole guest API, for requests that carry a [`Guest`] and a [`Connected`].
pub(super) fn router() -> Router {
    let add = |router: Router, endpoint: &'static GuestEndpoint| {
        router.route(
            endpoint.path,
            any(move |Extension(guest): Extension<Guest>, Extension(connected): Extension<Connected>, request: HttpRequest| async move {
                dispatch(endpoint, guest, connected, request).await.unwrap_or_else(|error| failure(&error))
            }),
        )
    };
    GUEST_ENDPOINTS.iter().fold(Router::new(), add).fallback(async || failure(&Error::not_found()))
}

/// A failure in plain text.
pub(super) fn failure(error: &Error) -> Response {
    let mut response = text(format!("{}\n", error.message()), "text/plain; charset=utf-8");
    *response.status_mut() = error.status();
    response
}

async fn dispatch(endpoint: &GuestEndpoint, guest: Guest, connected: Connected, http: HttpRequest) -> Outcome {
    if http.method() != Method::GET {
        return Err(Error::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} can only be read", endpoint.path)));
    }
    let (mut parts, body) = http.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|error| Error::bad_request(error.body_text()))?;
    let param = params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    match endpoint.run {
        Run::Quick(run) => run(&guest, &param),
        Run::Lasting(run) => run(guest, Call { param, connected, http: HttpRequest::from_parts(parts, body) }).await,
    }
}

fn version(guest: &Guest, _: &str) -> Outcome {
    // Fails where the guest API was switched off.
    guest.keys()?;
    json(&serde_json::json!({ "api_version": "1.0", "location": "none", "instance_type": "container", "state": "Started" }))
}

fn keys(guest: &Guest, _: &str) -> Outcome {
    let urls: Vec<String> = guest.keys()?.into_iter().map(|key| format!("/1.0/config/{key}")).collect();
    json(&urls)
}

fn value(guest: &Guest, key: &str) -> Outcome {
    Ok(raw(guest.value(key)?))
}

/// An image as the host's API exports it.
async fn image(guest: Guest, call: Call) -> Outcome {
    let response = crate::router::blocking(move || crate::resources::export_reply(guest.image(&call.param)?)).await?;
    call.connected.lasting.notify_one();
    Ok(response)
}

/// Over a websocket, or as lines of a reply that does not end.
async fn events(guest: Guest, call: Call) -> Outcome {
    let Call { connected, http, .. } = call;
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(http.uri()).map_err(|error| Error::bad_request(error.body_text()))?;
    let types = query.into_iter().find(|(name, _)| name == "type").map(|(_, value)| value).unwrap_or_default();
    let upgrade = if http.headers().contains_key(UPGRADE) { Some(Upgrade::of(http).await?) } else { None };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let subscription = guest.subscribe(&types, Box::new(move |frame: &GuestFrame| sender.try_send(frame.clone()).is_ok()))?;
    connected.lasting.notify_one();
    let held = (subscription, connected.held);
    Ok(match upgrade {
        Some(upgrade) => upgrade.run(Use::Messages, move |socket, _| forward(socket, receiver, held)),
        None => lines(receiver, held),
    })
}

type Held = (GuestSubscription, Arc<dyn Any + Send + Sync>);

/// Until the listener is dropped: nobody waits then for a guest to say goodbye.
async fn forward(mut socket: WebSocket, mut events: mpsc::Receiver<GuestFrame>, held: Held) {
    loop {
        let is_over = tokio::select! {
            event = events.recv() => match event {
                Some(event) => tokio::select! {
                    sent = socket.send(Message::text(&*event)) => sent.is_err(),
                    () = given_up(&events) => true,
                },
                None => true,
            },
            message = socket.recv() => matches!(message, Some(Err(_)) | None),
        };
        if is_over {
            break;
        }
    }
    drop((socket, held));
}

/// Completes when the listener has been dropped, while a guest takes its time to read.
async fn given_up(events: &mpsc::Receiver<GuestFrame>) {
    while !events.is_closed() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn lines(events: mpsc::Receiver<GuestFrame>, held: Held) -> Response {
    let stream = futures_util::stream::unfold((events, held), async |(mut events, held)| {
        let event = events.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(format!("{event}\n"))), (events, held)))
    });
    let mut response = Response::new(Body::from_stream(stream.boxed()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json<T: Serialize + ?Sized>(content: &T) -> Outcome {
    let content = serde_json::to_string(content).map_err(|error| Error::internal(format!("write the reply: {error}")))?;
    Ok(text(content, "application/json"))
}

fn raw(content: String) -> Response {
    text(content, "application/octet-stream")
}

fn text(content: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(content));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut seen = std::collections::HashSet::new();
        for endpoint in GUEST_ENDPOINTS {
            assert!(seen.insert(endpoint.path) && !endpoint.doc.is_empty() && !endpoint.doc.ends_with('.'), "{}", endpoint.path);
        }
        // Axum panics on routes that contradict each other.
        drop(router());
    }

    #[test]
    fn failures_are_plain_text() {
        let response = failure(&Error::forbidden());
        assert_eq!(
            (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
            (403, &HeaderValue::from_static("text/plain; charset=utf-8"))
        );
    }
}
