//! Accepts the connections of instances and speaks HTTP/1.1 on them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use engine::Engine;
use engine::guest::{Guest, Port};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

use super::endpoints::{self, Connected};
use super::paced::Paced;
use crate::error::Error;
use crate::pace::{Pace, Rate};

/// Most connections of one instance. Further ones wait in its socket's queue.
const MAX_CONNECTIONS: usize = 32;
/// Most of these that may last: followers of events and downloads.
const MAX_LASTING: usize = 8;
/// Most connections of all instances together: descriptors of the daemon are shared.
const MAX_CONNECTIONS_OF_ALL: usize = 2048;
/// Time between requests of one instance in the long run, and how many may come at once.
const REQUESTS: Rate = Rate::new(Duration::from_millis(2), 200);
/// Bytes that one instance sends: some 250 kB a second, and a megabyte at once.
const BYTES: Rate = Rate::new(Duration::from_micros(4), 1 << 20);
/// How long an instance may take to the end of its next request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last in all, so that nobody keeps its places by reading slowly. Followers of events
/// and downloads of images have theirs until they end.
const MAX_AGE: Duration = Duration::from_secs(120);
/// Bound of the buffers for reading and writing.
const BUFFER_BYTES: usize = 16 * 1024;
/// Pause when accepting fails, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one instance share. While anything of it is held, the port is in use.
struct Shared {
    port: Port,
    router: Router,
    pace: Arc<Pace>,
    bytes: Arc<Pace>,
    slots: Arc<Semaphore>,
    lasting: Arc<Semaphore>,
    slots_of_all: Arc<Semaphore>,
}

/// Serves every port that the engine has or opens, on the runtime that this is called on.
pub(crate) fn serve(engine: &Arc<Engine>) {
    let runtime = tokio::runtime::Handle::current();
    let slots_of_all = Arc::new(Semaphore::new(MAX_CONNECTIONS_OF_ALL));
    let router = endpoints::router();
    engine.guests().serve(Box::new(move |port| {
        let (stop, stopped) = watch::channel(());
        let shared = Shared {
            port,
            router: router.clone(),
            pace: Arc::new(Pace::new(REQUESTS)),
            bytes: Arc::new(Pace::new(BYTES)),
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            lasting: Arc::new(Semaphore::new(MAX_LASTING)),
            slots_of_all: slots_of_all.clone(),
        };
        runtime.spawn(serve_port(Arc::new(shared), stopped));
        Box::new(move || drop(stop))
    }));
}

/// Until the engine wants the port back: then nothing of it is kept.
async fn serve_port(shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    // Its tasks are aborted when it is dropped.
    let mut connections = JoinSet::new();
    let instance = shared.port.instance().to_owned();
    tokio::select! {
        failed = accept_loop(shared, &mut connections) => {
            if let Err(error) = failed {
                tracing::error!(instance, "listen on the guest API: {error}");
            }
        }
        // Nothing is ever sent: the other end was dropped.
        _ = stopped.changed() => {}
    }
}

async fn accept_loop(shared: Arc<Shared>, connections: &mut JoinSet<()>) -> std::io::Result<()> {
    let listener = UnixListener::from_std(shared.port.listener().try_clone()?)?;
    loop {
        while connections.try_join_next().is_some() {}
        let slot = take(&shared.slots).await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Only now: a port that nobody calls on takes nothing from the others.
                let slots = (slot, take(&shared.slots_of_all).await?);
                connections.spawn(serve_connection(stream, shared.clone(), slots));
            }
            Err(error) => {
                tracing::warn!(instance = shared.port.instance(), "accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn take(slots: &Arc<Semaphore>) -> std::io::Result<OwnedSemaphorePermit> {
    slots.clone().acquire_owned().await.map_err(std::io::Error::other)
}

/// A connection's places, kept by whatever keeps the connection.
type Slots = (OwnedSemaphorePermit, OwnedSemaphorePermit);

async fn serve_connection(stream: UnixStream, shared: Arc<Shared>, slots: Slots) {
    // Also those that are turned away are counted.
    shared.pace.turn().await;
    let guest = shared.port.identify(&stream).map_err(|error| {
        tracing::debug!(instance = shared.port.instance(), "guest API: {}", error.report());
        Error::from(error)
    });
    let guest = Arc::new(guest);
    let connected = Connected::new(Box::new((slots, shared.clone())), shared.pace.clone(), shared.lasting.clone());
    let stream = Paced::new(stream, shared.bytes.clone());
    let calls = connected.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (shared, guest, connected) = (shared.clone(), guest.clone(), calls.clone());
        async move { Ok::<_, std::convert::Infallible>(answer(&shared, &guest, connected, request.map(Body::new)).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER_BYTES).title_case_headers(true);
    let connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut connection = connection;
    let is_lasting = tokio::select! {
        _ = connection.as_mut() => return,
        () = connected.lasts() => true,
        () = tokio::time::sleep(MAX_AGE) => false,
    };
    if is_lasting {
        // Its end is a matter of debugging at most.
        let _ = connection.await;
    }
}

async fn answer(shared: &Shared, guest: &Result<Guest, Error>, connected: Connected, mut request: axum::extract::Request) -> Response {
    shared.pace.turn().await;
    match guest {
        Err(error) => endpoints::failure(error),
        Ok(guest) => {
            request.extensions_mut().insert(guest.clone());
            request.extensions_mut().insert(connected);
            // A router is always ready; calling a clone is what its contract asks for.
            shared.router.clone().call(request).await.unwrap_or_else(|never| match never {})
        }
    }
}
