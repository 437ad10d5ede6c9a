//! The endpoints of the guest API.

use std::any::Any;
use std::sync::{Arc, OnceLock};

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
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::endpoint::{Answer, HttpRequest, Outcome};
use crate::error::Error;
use crate::pace::Pace;
use crate::streams::{Upgrade, Use};

/// Events that may wait for a follower. One that falls further behind is disconnected.
const QUEUE: usize = 128;

/// One path of the guest API; all of them are read with GET.
#[derive(Clone, Copy)]
pub struct GuestEndpoint {
    /// The path, with `{*name}` for the rest of it.
    pub path: &'static str,
    run: Run,
    /// What PATCH does, where it does something. May block.
    patch: Option<Change>,
    /// One line for the reference.
    pub doc: &'static str,
}

type Change = fn(&Guest, GuestPatch) -> Result<(), Error>;

#[derive(Clone, Copy)]
enum Run {
    /// Reads memory only. The text is the path's parameter.
    Quick(fn(&Guest, &str) -> Outcome),
    /// Keeps the connection.
    Lasting(fn(Guest, Call) -> Answer),
}

const fn row(path: &'static str, run: Run, doc: &'static str) -> GuestEndpoint {
    GuestEndpoint { path, run, patch: None, doc }
}

/// Body of `PATCH /1.0`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestPatch {
    /// `Ready` or `Started`.
    state: String,
}

/// Bytes of a body.
const BODY_BYTES: usize = 1 << 10;
/// What is written costs a guest as much as so many requests that only read.
const CHANGE_TURNS: usize = 20;
const STARTED: &str = "Started";
const READY: &str = "Ready";

/// Every endpoint.
pub static GUEST_ENDPOINTS: &[GuestEndpoint] = &[
    row("/", Run::Quick(|_, _| json(&["/1.0"])), "The versions of the API"),
    GuestEndpoint {
        patch: Some(set_state),
        ..row("/1.0", Run::Quick(version), "What this version is, and what the instance is; PATCH says that it is ready")
    },
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

/// The connection that a request came over. It takes its places until nothing keeps this.
#[derive(Clone)]
pub(super) struct Connected(Arc<Connection>);

struct Connection {
    _held: Box<dyn Any + Send + Sync>,
    pace: Arc<Pace>,
    /// Places of those that last, and its own once it does.
    lasting: Arc<Semaphore>,
    place: OnceLock<OwnedSemaphorePermit>,
    begun: Notify,
}

impl Connected {
    /// Takes what it holds, the pace of its instance, and the places of the instance's connections that last.
    pub(super) fn new(held: Box<dyn Any + Send + Sync>, pace: Arc<Pace>, lasting: Arc<Semaphore>) -> Self {
        Self(Arc::new(Connection { _held: held, pace, lasting, place: OnceLock::new(), begun: Notify::new() }))
    }

    /// Completes once the connection is to last.
    pub(super) async fn lasts(&self) {
        self.0.begun.notified().await;
    }

    /// From here on it has no age, if the instance has not too many of those.
    fn last(&self) -> Result<(), Error> {
        if self.0.place.get().is_none() {
            let place = self.0.lasting.clone().try_acquire_owned().map_err(|_| {
                Error::new(StatusCode::TOO_MANY_REQUESTS, "Too many downloads and followers of events at a time: end some of them")
            })?;
            // There is one request of a connection at a time.
            drop(self.0.place.set(place));
            self.0.begun.notify_one();
        }
        Ok(())
    }
}

/// The whole guest API, for requests that carry a [`Guest`] and a [`Connected`].
pub(crate) fn router() -> Router {
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
    match endpoint.patch {
        Some(patch) if http.method() == Method::PATCH => return change(guest, connected, http, patch).await,
        _ if http.method() != Method::GET => {
            return Err(Error::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} can only be read", endpoint.path)));
        }
        _ => {}
    }
    let (mut parts, body) = http.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|error| Error::bad_request(error.body_text()))?;
    let param = params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    match endpoint.run {
        Run::Quick(run) => run(&guest, &param),
        Run::Lasting(run) => run(guest, Call { param, connected, http: HttpRequest::from_parts(parts, body) }).await,
    }
}

async fn change(guest: Guest, connected: Connected, http: HttpRequest, patch: Change) -> Outcome {
    for _ in 0..CHANGE_TURNS {
        connected.0.pace.turn().await;
    }
    let bad = |error: &dyn std::fmt::Display| Error::bad_request(format!("the body is not valid: {error}"));
    let body = axum::body::to_bytes(http.into_body(), BODY_BYTES).await.map_err(|error| bad(&error))?;
    let body: GuestPatch = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
    crate::router::blocking(move || patch(&guest, body)).await?;
    Ok(raw(String::new()))
}

fn set_state(guest: &Guest, body: GuestPatch) -> Result<(), Error> {
    match body.state.as_str() {
        READY => Ok(guest.set_ready(true)?),
        STARTED => Ok(guest.set_ready(false)?),
        _ => Err(Error::bad_request(format!("state takes {READY} or {STARTED}"))),
    }
}

fn version(guest: &Guest, _: &str) -> Outcome {
    let state = if guest.is_ready()? { READY } else { STARTED };
    json(&serde_json::json!({ "api_version": "1.0", "location": "none", "instance_type": "container", "state": state }))
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
    let response = crate::router::blocking(move || crate::resources::export_reply(guest.image(&call.param)?, "")).await?;
    call.connected.last()?;
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
    connected.last()?;
    Ok(match upgrade {
        Some(upgrade) => upgrade.run(Use::Messages, async move |socket, _| {
            forward(socket, receiver, &connected).await;
            drop(subscription);
        }),
        None => lines(receiver, (subscription, connected)),
    })
}

type Held = (GuestSubscription, Connected);

/// Until the listener is dropped: nobody waits then for a guest to say goodbye. A guest that says anything
/// else ends it, too: it has nothing to say here.
async fn forward(mut socket: WebSocket, mut events: mpsc::Receiver<GuestFrame>, connected: &Connected) {
    loop {
        let is_over = tokio::select! {
            event = events.recv() => match event {
                Some(event) => tokio::select! {
                    sent = socket.send(Message::text(&*event)) => sent.is_err(),
                    () = given_up(&events) => true,
                },
                None => true,
            },
            message = socket.recv() => match message {
                // They have been answered: also that at the pace of requests.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    connected.0.pace.turn().await;
                    false
                }
                // The answer goes out with the next look.
                Some(Ok(Message::Close(_))) => false,
                Some(Ok(Message::Text(_) | Message::Binary(_)) | Err(_)) | None => true,
            },
        };
        if is_over {
            break;
        }
    }
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
    use std::time::Duration;

    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message as Sent;

    use super::*;
    use crate::pace::Rate;
    use crate::streams::tests::connect;

    #[test]
    fn the_table_is_sound() {
        let mut seen = std::collections::HashSet::new();
        for endpoint in GUEST_ENDPOINTS {
            assert!(seen.insert(endpoint.path) && !endpoint.doc.is_empty() && !endpoint.doc.ends_with('.'), "{}", endpoint.path);
        }
        // Axum panics on routes that contradict each other.
        drop(router());
    }

    fn connected(pace: Rate, lasting: usize) -> (Connected, Arc<Semaphore>) {
        let lasting = Arc::new(Semaphore::new(lasting));
        (Connected::new(Box::new(()), Arc::new(Pace::new(pace)), lasting.clone()), lasting)
    }

    #[tokio::test]
    async fn few_connections_of_an_instance_last() {
        let (first, places) = connected(Rate::new(Duration::from_millis(1), 1), 1);
        first.last().expect("a place");
        first.last().expect("it has one");
        first.lasts().await;
        let second = Connected::new(Box::new(()), first.0.pace.clone(), places);
        assert_eq!(second.last().expect_err("too many").status().as_u16(), 429);
        drop(first);
        second.last().expect("there is one again");
    }

    #[tokio::test]
    async fn a_follower_has_nothing_to_say_and_is_answered_slowly() {
        let interval = Duration::from_millis(20);
        let (events, receiver) = mpsc::channel::<GuestFrame>(1);
        let (connected, _) = connected(Rate::new(interval, 1), 1);
        let mut client = connect(Use::Messages, async move |socket| forward(socket, receiver, &connected).await).await;
        let began = std::time::Instant::now();
        for _ in 0..20 {
            client.send(Sent::Ping(Bytes::new())).await.expect("send");
        }
        for _ in 0..20 {
            assert!(matches!(client.next().await, Some(Ok(Sent::Pong(_)))));
        }
        assert!(began.elapsed() >= interval * 15, "{:?}", began.elapsed());
        client.send(Sent::text("hello")).await.expect("send");
        let ended = async { while let Some(Ok(_)) = client.next().await {} };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the session ends");
        assert!(events.is_closed());
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
