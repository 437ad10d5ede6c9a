//! Clients on the network: TCP sockets to listen on, opened and closed while the server runs, and TLS.
//!
//! Strangers, and everybody until the end of the handshake, share few places, and one address can have only
//! some of those; so they can keep out neither those who are trusted nor the unix socket.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::Engine;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::caller::{Peer, Trust};
use crate::server::{ACCEPT_PAUSE, Ending, Shared, serve_http, told_to};

/// Most connections of strangers at a time, and most of one address.
const MAX_STRANGERS: usize = 1024;
const MAX_STRANGERS_OF_ONE: usize = 128;
/// Most connections of trusted clients at a time, websockets included.
const MAX_CLIENTS: usize = 8192;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// How long a stranger may take from one reply to the end of its next headers.
const STRANGER_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request that is being answered may go on when its client is trusted no longer.
const REVOKED_GRACE: Duration = Duration::from_secs(1);
/// A connection on which nothing comes is asked for life after this, and given up after some answers missed.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_PROBES: u32 = 4;

/// What all connections over the network share.
pub(crate) struct Network {
    shared: Shared,
    engine: Arc<Engine>,
    /// TLS, or why there is none.
    acceptor: Result<TlsAcceptor, String>,
    trust_changes: watch::Sender<()>,
    strangers: Arc<Semaphore>,
    clients: Arc<Semaphore>,
    crowd: Crowd,
}

impl Network {
    pub fn new(engine: Arc<Engine>, shared: Shared) -> Arc<Self> {
        let config = engine.tls_identity().map_err(str::to_owned).and_then(|identity| {
            crate::tls::server_config(identity).map_err(|error| format!("the server's certificate and key are of no use: {error}"))
        });
        Arc::new(Self {
            shared,
            acceptor: config.map(TlsAcceptor::from),
            engine,
            trust_changes: watch::Sender::default(),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
            crowd: Crowd::default(),
        })
    }

    /// Serves a socket that is there already, for as long as the server runs.
    pub fn serve(self: &Arc<Self>, listener: StdListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let (open, stop) = watch::channel(false);
        let task = accept_loop(TcpListener::from_std(listener)?, self.clone(), stop);
        tokio::spawn(async {
            task.await;
            drop(open);
        });
        Ok(())
    }
}

/// The seat of the edge in the engine.
pub(crate) struct Edge {
    network: Arc<Network>,
    runtime: Handle,
    /// Addresses of sockets that the service manager has opened.
    inherited: Vec<SocketAddr>,
    open: Mutex<Option<Open>>,
}

/// A socket that is served, until it is closed.
struct Open {
    wanted: Vec<SocketAddr>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Edge {
    /// To be made on the event loop.
    pub fn new(network: Arc<Network>, inherited: Vec<SocketAddr>) -> Self {
        Self { network, runtime: Handle::current(), inherited, open: Mutex::default() }
    }

    fn open(&self, wanted: &[SocketAddr]) -> io::Result<Open> {
        self.network.acceptor.as_ref().map_err(|reason| io::Error::other(reason.as_str()))?;
        let listener = StdListener::bind(wanted)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _on_event_loop = self.runtime.enter();
        let (stop, stopped) = watch::channel(false);
        let accepting = self.runtime.spawn(accept_loop(TcpListener::from_std(listener)?, self.network.clone(), stopped));
        tracing::info!(%address, "listening for clients on the network");
        Ok(Open { wanted: wanted.to_owned(), address, stop, accepting })
    }

    /// Closes a socket, for sure on return. Its connections end once their requests have.
    fn close(&self, open: Open) {
        let _ = open.stop.send(true);
        if let Err(error) = self.runtime.block_on(open.accepting) {
            tracing::warn!("stop accepting connections: {error}");
        }
        tracing::info!(address = %open.address, "not listening any more");
    }

    /// Closes the old socket, which is in the way of the new one; opens it again if that is not to be had.
    fn reopen(&self, old: Open, wanted: &[SocketAddr]) -> (Option<Open>, io::Result<()>) {
        let before = old.wanted.clone();
        self.close(old);
        match self.open(wanted) {
            Ok(new) => (Some(new), Ok(())),
            Err(error) => {
                let again = self.open(&before).inspect_err(|error| tracing::error!("listen on {before:?} again: {error}"));
                (again.ok(), Err(error))
            }
        }
    }
}

impl engine::Edge for Edge {
    fn listen(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let mut seat = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let old = seat.take();
        if old.as_ref().is_some_and(|old| old.wanted == addresses) {
            *seat = old;
            return Ok(());
        }
        if addresses.is_empty() || addresses.iter().any(|address| self.inherited.contains(address)) {
            old.into_iter().for_each(|old| self.close(old));
            return Ok(());
        }
        let (new, result) = match (self.open(addresses), old) {
            (Ok(new), old) => {
                old.into_iter().for_each(|old| self.close(old));
                (Some(new), Ok(()))
            }
            (Err(error), Some(old)) if error.kind() == io::ErrorKind::AddrInUse => self.reopen(old, addresses),
            (Err(error), old) => (old, Err(error)),
        };
        *seat = new;
        result
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.inherited.iter().copied().chain(open.as_ref().map(|open| open.address)).collect()
    }

    fn trust_changed(&self) {
        self.network.trust_changes.send_replace(());
    }
}

/// Accepts until told to stop; the socket is closed on return.
async fn accept_loop(listener: TcpListener, network: Arc<Network>, mut closed: watch::Receiver<bool>) {
    let mut stop = network.shared.stop();
    let accept = async || {
        let slot = network.strangers.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        Ok::<_, io::Error>((stream, address, slot))
    };
    let ended = closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            () = told_to(&mut stop) => return,
            () = told_to(&mut closed) => return,
        };
        match accepted {
            Ok((stream, address, slot)) => {
                let Some(place) = Crowd::enter(&network, address.ip()) else { continue };
                tokio::spawn(serve_stranger(stream, address, network.clone(), (slot, place), ended.clone()));
            }
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte on.
async fn serve_stranger(
    stream: TcpStream,
    address: SocketAddr,
    network: Arc<Network>,
    slot: (OwnedSemaphorePermit, Place),
    closed: watch::Receiver<bool>,
) {
    let Ok(acceptor) = &network.acceptor else { return };
    if let Err(error) = tune(&stream) {
        tracing::debug!("tune a connection: {error}");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, "TLS handshake: {error}"),
        Err(_) => return tracing::debug!(%address, "TLS handshake: not done in time"),
    };
    let peer = Arc::new(Peer { address, certificate: certificate_of(&stream) });
    let trust = Trust { engine: network.engine.clone(), peer, changes: network.trust_changes.subscribe() };
    let is_trusted = trust.caller().is_trusted();
    // Whoever is trusted makes room for other strangers.
    let client = if is_trusted { network.clients.clone().try_acquire_owned().ok() } else { None };
    let mut shared = network.shared.clone();
    let slot: crate::server::Slot = match client {
        Some(client) => Arc::new(client),
        None => Arc::new(slot),
    };
    if !is_trusted {
        shared.header_timeout = shared.header_timeout.min(STRANGER_HEADER_TIMEOUT);
    }
    let ending = leave(trust.clone(), shared.stop(), closed);
    let who = move |request: &mut hyper::Request<axum::body::Body>| {
        let caller = trust.caller();
        if caller.is_trusted() {
            request.extensions_mut().insert(trust.clone());
        }
        request.extensions_mut().insert(caller);
    };
    serve_http(stream, who, slot, shared, ending).await;
}

/// Completes when a connection is to end, and tells how.
async fn leave(trust: Trust, mut stop: watch::Receiver<bool>, mut closed: watch::Receiver<bool>) -> Ending {
    let revoked = async {
        if !trust.caller().is_trusted() {
            // A stranger has nothing to lose; what it gains later counts from its next connection on.
            std::future::pending::<()>().await;
        }
        trust.lost().await;
    };
    tokio::select! {
        () = told_to(&mut stop) => Ending::AfterRequest,
        () = told_to(&mut closed) => Ending::AfterRequest,
        () = revoked => Ending::Within(REVOKED_GRACE),
    }
}

/// The certificate that the client has proven to have the key of: the first, and no other.
fn certificate_of(stream: &TlsStream<TcpStream>) -> Option<pki::Certificate> {
    let first = stream.get_ref().1.peer_certificates()?.first()?;
    let read = pki::Certificate::from_der(first);
    read.inspect_err(|error| tracing::debug!("a client's certificate counts for nothing: {error}")).ok()
}

/// Small messages are not held back, and peers that have vanished are noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

/// How many connections of strangers each address has.
#[derive(Default)]
struct Crowd {
    of: Mutex<HashMap<IpAddr, usize>>,
}

/// A place in the crowd.
struct Place {
    network: Arc<Network>,
    address: IpAddr,
}

impl Crowd {
    /// A place for one more of an address, if it has not too many.
    fn enter(network: &Arc<Network>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut of = network.crowd.of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of.entry(address).or_default();
        if *count >= MAX_STRANGERS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place { network: network.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of = self.network.crowd.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
