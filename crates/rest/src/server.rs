//! Accepts connections and speaks HTTP/1.1 on them.
//!
//! Accepting never looks into a connection: a client that says nothing occupies one slot until the
//! header timeout, and delays nobody. Each connection is one task; a websocket keeps its slot.

use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use engine::Engine;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tower::Service;

use crate::caller::Caller;
use crate::envelope;
use crate::error::Error;
use crate::network::{Edge, Network};

/// Most local connections at a time, websockets included. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a client may take from one reply (or the connection) to the end of its next headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bound of the buffers of those who are trusted.
const BUFFER_BYTES: usize = 256 * 1024;
/// How long requests may take to end once the server has been told to stop.
const GRACE: Duration = Duration::from_millis(500);
/// Pause when accepting fails, as it does while descriptors are short.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Pause before an address that could not be had at the start is tried again.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// A place among the connections, kept by whatever keeps the connection.
pub(crate) type Slot = Arc<dyn std::any::Any + Send + Sync>;

/// What is listened on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Sockets of this host's processes.
    pub unix: Vec<StdListener>,
    /// Sockets of clients on the network that were opened by the service manager, for as long as `core.https_address`
    /// asks for no other.
    pub network: Vec<StdTcpListener>,
}

/// What every connection shares.
#[derive(Clone)]
pub(crate) struct Shared {
    router: Router,
    slots: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    /// What each connection holds until it ends; the receiver then knows that all are gone. Not what keeps them going:
    /// others keep this, too, and for longer.
    alive: mpsc::WeakSender<()>,
    pub(crate) header_timeout: Duration,
    /// Bound of the buffers for reading and writing. They start at 8 KiB and grow only when used.
    pub(crate) buffer_bytes: usize,
}

impl Shared {
    /// Tells when the server is to stop.
    pub(crate) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}

/// How a connection ends that is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// Once the request has been answered that is under way.
    AfterRequest,
    /// The same, if that does not take longer.
    Within(Duration),
}

/// Serves until `shutdown` completes, then lets running requests end (at most half a second).
/// Websockets are not waited for; they end with the runtime.
pub async fn serve(engine: Arc<Engine>, listeners: Listeners, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
    crate::guest::serve(&engine);
    let network = (engine.clone(), listeners.network);
    run(crate::router(engine), listeners.unix, Some(network), shutdown, HEADER_TIMEOUT).await
}

async fn run(
    router: Router,
    listeners: Vec<StdListener>,
    network: Option<(Arc<Engine>, Vec<StdTcpListener>)>,
    shutdown: impl Future<Output = ()>,
    header_timeout: Duration,
) -> std::io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let shared = Shared { router, slots, stop: stopped, alive: alive.downgrade(), header_timeout, buffer_bytes: BUFFER_BYTES };
    if let Some((engine, inherited)) = network {
        serve_network(engine, inherited, &shared)?;
    }
    for listener in listeners {
        listener.set_nonblocking(true)?;
        tokio::spawn(accept_loop(UnixListener::from_std(listener)?, shared.clone()));
    }
    shutdown.await;
    let _ = stop.send(true);
    drop(alive);
    // `None` once the last connection has dropped its sender.
    let _ = tokio::time::timeout(GRACE, all_gone.recv()).await;
    Ok(())
}

/// Serves clients on the network: on sockets that are there, and where the configuration says.
fn serve_network(engine: Arc<Engine>, inherited: Vec<StdTcpListener>, shared: &Shared) -> std::io::Result<()> {
    let network = Network::new(engine.clone(), shared.clone());
    engine.attach_edge(Box::new(Edge::new(network, inherited)?));
    let mut stop = shared.stop();
    tokio::spawn(async move {
        tokio::select! {
            () = listen_as_configured(engine) => {}
            () = told_to(&mut stop) => {}
        }
    });
    Ok(())
}

/// Listens where the configuration says. An address may come to the host only after the daemon has started,
/// so one that cannot be had is tried again.
async fn listen_as_configured(engine: Arc<Engine>) {
    let mut is_told = false;
    loop {
        let listening = engine.clone();
        match crate::router::blocking(move || listening.listen_as_configured()).await {
            Ok(()) => return,
            Err(error) if !is_told => tracing::error!("{error}; trying again every {} s", LISTEN_PAUSE.as_secs()),
            Err(error) => tracing::debug!("{error}"),
        }
        is_told = true;
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

async fn accept_loop(listener: UnixListener, shared: Shared) {
    let slots = shared.slots.clone();
    let mut stop = shared.stop.clone();
    let accept = async || {
        let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok::<_, std::io::Error>((stream, slot))
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            () = told_to(&mut stop) => return,
        };
        match accepted {
            Ok((stream, slot)) => drop(tokio::spawn(serve_connection(stream, slot, shared.clone()))),
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Completes once the server is to stop.
pub(crate) async fn told_to(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve_connection(stream: UnixStream, slot: OwnedSemaphorePermit, shared: Shared) {
    let caller = match Caller::of_unix(&stream) {
        Ok(caller) => caller,
        Err(error) => return tracing::warn!("find out who is calling: {error}"),
    };
    let mut stop = shared.stop();
    let ending = async move {
        told_to(&mut stop).await;
        Ending::AfterRequest
    };
    let slot: Slot = Arc::new(slot);
    let admit = move |request: &mut hyper::Request<Body>| {
        request.extensions_mut().insert(caller.clone());
        Some(slot.clone())
    };
    serve_http(stream, admit, shared, ending).await;
}

/// Speaks HTTP on a connection until it ends or `ending` wants it to. `admit` puts into each request who sends it, and
/// gives what is to be held until it has been answered, or the websocket has ended; `None` to refuse it.
pub(crate) async fn serve_http<S>(
    stream: S,
    admit: impl Fn(&mut hyper::Request<Body>) -> Option<Slot>,
    shared: Shared,
    ending: impl Future<Output = Ending>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Shared { router, alive, header_timeout, buffer_bytes, .. } = shared;
    // `None`: the server has ended.
    let Some(alive) = alive.upgrade() else { return };
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        let slot = admit(&mut request);
        // A router is always ready; calling a clone is what its contract asks for.
        let mut router = router.clone();
        async move {
            let Some(slot) = slot else {
                return Ok(envelope::failure(&Error::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many clients that are not trusted: try later",
                )));
            };
            request.extensions_mut().insert(slot.clone());
            let response = router.call(request).await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| holding(body, slot)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(buffer_bytes);
    // Scripts that grep headers know them like that.
    http.title_case_headers(true);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        ending = ending => {
            connection.as_mut().graceful_shutdown();
            match ending {
                Ending::AfterRequest => connection.await,
                Ending::Within(limit) => tokio::time::timeout(limit, connection).await.unwrap_or(Ok(())),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection ended: {error}");
    }
    drop(alive);
}

/// A body that holds a place until it has been sent.
fn holding(body: Body, slot: Slot) -> Body {
    Body::new(body.map_err(move |error| {
        // Only for this to be the closure's.
        let _held = &slot;
        error
    }))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: unix.socket\r\n\r\n";

    /// A server with a route that answers, and one that takes its time.
    fn start(dir: &Path, header_timeout: Duration) -> Started {
        start_with(dir, header_timeout, None)
    }

    type Started = (PathBuf, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>);

    fn start_with(dir: &Path, header_timeout: Duration, network: Option<(Arc<Engine>, Vec<StdTcpListener>)>) -> Started {
        let path = dir.join("unix.socket");
        let listener = crate::bind_unix(&path, None).expect("bind");
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/caller", get(async |axum::Extension(caller): axum::Extension<Caller>| format!("{caller:?}")))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(run(router, vec![listener], network, async { drop(stopped.await) }, header_timeout));
        (path, stop, server)
    }

    async fn ask(stream: &mut UnixStream, request: &[u8]) -> String {
        stream.write_all(request).await.expect("write");
        let mut reply = vec![0; 4096];
        let count = stream.read(&mut reply).await.expect("read");
        String::from_utf8_lossy(&reply[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_silent_client_blocks_nobody_and_is_dropped() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, _stop, _server) = start(dir.path(), Duration::from_millis(300));
        let mut silent = UnixStream::connect(&path).await.expect("connect");
        let mut slow = UnixStream::connect(&path).await.expect("connect");
        slow.write_all(b"GET / HT").await.expect("write");
        let mut stream = UnixStream::connect(&path).await.expect("connect");
        for _ in 0..2 {
            let reply = ask(&mut stream, REQUEST).await;
            assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("hello"), "{reply}");
        }
        for stuck in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(5), stuck.read_to_end(&mut rest)).await.expect("dropped in time");
            assert!(end.is_ok() || rest.is_empty());
        }
    }

    #[tokio::test]
    async fn the_caller_is_who_the_kernel_says() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, _stop, _server) = start(dir.path(), HEADER_TIMEOUT);
        let mut stream = UnixStream::connect(&path).await.expect("connect");
        let reply = ask(&mut stream, b"GET /caller HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(reply.contains(&format!("pid: Some({})", std::process::id())), "{reply}");
    }

    #[tokio::test]
    async fn stopping_waits_for_nobody_long() {
        let dir = tempfile::tempdir().expect("temporary directory");
        // Serving the network is no reason to wait.
        let (_engine_dir, engine) = crate::testing::engine();
        let inherited = StdTcpListener::bind("127.0.0.1:0").expect("bind");
        let (path, stop, server) = start_with(dir.path(), HEADER_TIMEOUT, Some((engine, vec![inherited])));
        let mut idle = UnixStream::connect(&path).await.expect("connect");
        ask(&mut idle, REQUEST).await;
        stop.send(()).expect("stop");
        let began = std::time::Instant::now();
        server.await.expect("join").expect("serve");
        assert!(began.elapsed() < GRACE / 2, "an idle connection is closed at once");

        // Elsewhere: what other tests are starting may have the first one's socket for a moment yet, and this process lives.
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, stop, server) = start(dir.path(), HEADER_TIMEOUT);
        let mut busy = UnixStream::connect(&path).await.expect("connect");
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send(()).expect("stop");
        tokio::time::timeout(GRACE * 4, server).await.expect("in time").expect("join").expect("serve");
    }
}
