//! Clients on the network: TCP sockets to listen on, opened and closed while the server runs, and TLS.
//!
//! Strangers, and everybody until the end of the handshake, are a crowd with few places, in which newcomers displace
//! others; so they can keep out neither those who are trusted nor the unix socket.

mod crowd;
mod dial;
mod drained;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Engine;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::caller::{Peer, Trust};
use crate::endpoint::HttpRequest;
use crate::server::{ACCEPT_PAUSE, Ending, Shared, Slot, serve_http, told_to};
use crowd::{Crowd, Place};
pub(crate) use drained::Relief;
use drained::{Drained, Patience};

/// Most connections of trusted clients at a time, websockets included.
const MAX_CLIENTS: usize = 8192;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// How long a stranger may take from one reply to the end of its next headers.
const STRANGER_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stranger's connection lasts, and how long a reply may go on that is being sent by then.
const STRANGER_AGE: Duration = Duration::from_secs(if cfg!(test) { 8 } else { 120 });
const STRANGER_LAST_REPLY: Duration = Duration::from_secs(3600);
/// Bound of the buffers of a stranger's connection, and so of its headers.
const STRANGER_BUFFER_BYTES: usize = 16 * 1024;
/// How long a stranger may not read what is sent to it, milliseconds.
const STALL_MS: u32 = if cfg!(test) { 2_000 } else { 30_000 };
/// How slowly it may read: an image of 50 MB takes an hour at that rate.
const STRANGER_PATIENCE: Patience = Patience { wait: Duration::from_secs(if cfg!(test) { 2 } else { 30 }), bytes_per_s: 16 << 10 };
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
    clients: Arc<Semaphore>,
    crowd: Arc<Crowd>,
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
            clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
            crowd: Crowd::new(),
        })
    }
}

/// The seat of the edge in the engine.
pub(crate) struct Edge {
    network: Arc<Network>,
    runtime: Handle,
    sockets: Mutex<Sockets>,
}

/// What is listened on.
struct Sockets {
    /// Those that the service manager has opened, which cannot be closed: it has them, too. They are served while the
    /// configuration asks for no other.
    inherited: Vec<Inherited>,
    /// The one that the configuration asks for.
    open: Option<Open>,
}

struct Inherited {
    listener: StdListener,
    address: SocketAddr,
    is_served: bool,
    accepting: Accepting,
}

/// A socket that is served, until it is closed.
struct Open {
    wanted: Vec<SocketAddr>,
    address: SocketAddr,
    accepting: Accepting,
}

/// A task that accepts connections until it is told to stop.
struct Accepting {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Edge {
    /// Serves the sockets that are there already. To be made on the event loop.
    pub fn new(network: Arc<Network>, inherited: Vec<StdListener>) -> io::Result<Self> {
        let edge = Self { network, runtime: Handle::current(), sockets: Mutex::new(Sockets { inherited: Vec::new(), open: None }) };
        let serve = |listener: StdListener| -> io::Result<Inherited> {
            listener.set_nonblocking(true)?;
            let (address, accepting) = (listener.local_addr()?, edge.accept(listener.try_clone()?, true)?);
            Ok(Inherited { listener, address, is_served: true, accepting })
        };
        let inherited = inherited.into_iter().map(serve).collect::<io::Result<_>>()?;
        edge.sockets().inherited = inherited;
        Ok(edge)
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections from now on, to serve or to close them.
    fn accept(&self, listener: StdListener, is_served: bool) -> io::Result<Accepting> {
        let _on_event_loop = self.runtime.enter();
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::from_std(listener)?;
        let task = self.runtime.spawn(accept_loop(listener, is_served, self.network.clone(), stopped));
        Ok(Accepting { stop, task })
    }

    fn open(&self, wanted: &[SocketAddr]) -> io::Result<Open> {
        self.network.acceptor.as_ref().map_err(|reason| io::Error::other(reason.as_str()))?;
        let listener = StdListener::bind(wanted)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let accepting = self.accept(listener, true)?;
        tracing::info!(%address, "listening for clients on the network");
        Ok(Open { wanted: wanted.to_owned(), address, accepting })
    }

    /// Closes a socket, for sure on return. Its connections end once their requests have.
    fn close(&self, open: Open) {
        self.stop(open.accepting);
        tracing::info!(address = %open.address, "not listening any more");
    }

    fn stop(&self, accepting: Accepting) {
        let _ = accepting.stop.send(true);
        if let Err(error) = self.runtime.block_on(accepting.task) {
            tracing::warn!("stop accepting connections: {error}");
        }
    }

    /// Serves the inherited sockets, or closes whatever connects to them, so that nobody waits there for an answer.
    fn serve_inherited(&self, sockets: &mut Sockets, is_served: bool) {
        for socket in sockets.inherited.iter_mut().filter(|socket| socket.is_served != is_served) {
            match socket.listener.try_clone().and_then(|listener| self.accept(listener, is_served)) {
                Ok(accepting) => {
                    self.stop(std::mem::replace(&mut socket.accepting, accepting));
                    socket.is_served = is_served;
                    tracing::info!(address = %socket.address, is_served, "the socket of the service manager");
                }
                Err(error) => tracing::error!(address = %socket.address, "change what is served on the service manager's socket: {error}"),
            }
        }
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
        let mut sockets = self.sockets();
        let old = sockets.open.take();
        if old.as_ref().is_some_and(|old| old.wanted == addresses) {
            sockets.open = old;
            return Ok(());
        }
        let is_inherited = sockets.inherited.iter().any(|socket| addresses.contains(&socket.address));
        let (new, result) = match old {
            old if addresses.is_empty() || is_inherited => {
                old.into_iter().for_each(|old| self.close(old));
                (None, Ok(()))
            }
            old => match (self.open(addresses), old) {
                (Ok(new), old) => {
                    old.into_iter().for_each(|old| self.close(old));
                    (Some(new), Ok(()))
                }
                (Err(error), Some(old)) if error.kind() == io::ErrorKind::AddrInUse => self.reopen(old, addresses),
                (Err(error), old) => (old, Err(error)),
            },
        };
        sockets.open = new;
        let is_alone = sockets.open.is_none();
        self.serve_inherited(&mut sockets, is_alone);
        result
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets();
        let inherited = sockets.inherited.iter().filter(|socket| socket.is_served).map(|socket| socket.address);
        inherited.chain(sockets.open.as_ref().map(|open| open.address)).collect()
    }

    fn dial(&self, wanted: &engine::migration::Dial) -> Result<std::os::fd::OwnedFd, String> {
        dial::dial(&self.runtime, wanted)
    }

    fn trust_changed(&self) {
        self.network.trust_changes.send_replace(());
    }
}

/// Accepts until told to stop, to serve or to close what is accepted; the socket is closed on return.
async fn accept_loop(listener: TcpListener, is_served: bool, network: Arc<Network>, mut closed: watch::Receiver<bool>) {
    let mut stop = network.shared.stop();
    let ended = closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told_to(&mut stop) => return,
            () = told_to(&mut closed) => return,
        };
        match accepted {
            Ok((stream, _)) if !is_served => drop(stream),
            Ok((stream, address)) => {
                let Some(place) = network.crowd.enter(address.ip()) else { continue };
                tokio::spawn(serve_stranger(stream, address, network.clone(), place, ended.clone()));
            }
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte on.
async fn serve_stranger(stream: TcpStream, address: SocketAddr, network: Arc<Network>, place: Place, closed: watch::Receiver<bool>) {
    let Some(stream) = shake_hands(stream, address, &network, &place).await else { return };
    let peer = Arc::new(Peer { address, certificate: certificate_of(&stream) });
    let trust = Trust { engine: network.engine.clone(), peer, changes: network.trust_changes.subscribe() };
    let is_trusted = trust.caller().is_trusted();
    let mut shared = network.shared.clone();
    let found_trusted = Arc::new(Notify::new());
    let ending = leave(trust.clone(), found_trusted.clone(), shared.stop(), closed);
    let who = move |request: &mut HttpRequest| {
        let caller = trust.caller();
        let is_trusted = caller.is_trusted();
        if is_trusted {
            request.extensions_mut().insert(trust.clone());
            found_trusted.notify_one();
        }
        request.extensions_mut().insert(caller);
        is_trusted
    };
    let client = if is_trusted { network.clients.clone().try_acquire_owned().ok() } else { None };
    if let Some(client) = client {
        // Whoever is trusted makes room for others, may take its time to read, and gets in more easily the next time.
        place.is_of_trusted();
        drop(place);
        if let Err(error) = sockopt::set_tcp_user_timeout(stream.get_ref().0, 0) {
            tracing::debug!("tune a connection: {error}");
        }
        let slot: Slot = Arc::new(client);
        let admit = move |request: &mut HttpRequest| {
            who(request);
            Some(slot.clone())
        };
        return serve_http(stream, admit, shared, ending).await;
    }
    shared.header_timeout = shared.header_timeout.min(STRANGER_HEADER_TIMEOUT);
    shared.buffer_bytes = STRANGER_BUFFER_BYTES;
    let place = Arc::new(place);
    let answered = place.clone();
    let relief = Relief::default();
    let granted = relief.clone();
    let admit = move |request: &mut HttpRequest| {
        let is_trusted = who(request);
        request.extensions_mut().insert(granted.clone());
        answered.begin(is_trusted).map(|busy| Arc::new(busy) as Slot)
    };
    let ending = async move {
        tokio::select! {
            ending = ending => ending,
            () = place.taken() => Ending::Within(Duration::ZERO),
        }
    };
    let stream = Drained::new(stream, STRANGER_PATIENCE).until(relief, |stream| {
        if let Err(error) = sockopt::set_tcp_user_timeout(stream.get_ref().0, 0) {
            tracing::debug!("tune a connection: {error}");
        }
    });
    serve_http(stream, admit, shared, ending).await;
}

/// TLS on a new connection, when it is its turn.
async fn shake_hands(stream: TcpStream, address: SocketAddr, network: &Network, place: &Place) -> Option<TlsStream<TcpStream>> {
    let acceptor = network.acceptor.as_ref().ok()?;
    if let Err(error) = tune(&stream) {
        tracing::debug!("tune a connection: {error}");
    }
    let handshake = async {
        tokio::time::sleep_until(place.turn()).await;
        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await
    };
    let done = tokio::select! {
        done = handshake => done,
        () = place.taken() => {
            tracing::debug!(%address, "TLS handshake: others need the place");
            return None;
        }
    };
    match done {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%address, "TLS handshake: {error}"),
        Err(_) => tracing::debug!(%address, "TLS handshake: not done in time"),
    }
    None
}

/// Completes when a connection is to end, and tells how.
async fn leave(trust: Trust, found_trusted: Arc<Notify>, mut stop: watch::Receiver<bool>, mut closed: watch::Receiver<bool>) -> Ending {
    let revoked = async {
        if !trust.caller().is_trusted() {
            // A stranger has nothing to lose, until it is trusted on this very connection.
            found_trusted.notified().await;
        }
        trust.clone().lost().await;
    };
    let has_aged = async {
        loop {
            tokio::time::sleep(STRANGER_AGE).await;
            if !trust.caller().is_trusted() {
                break;
            }
        }
    };
    tokio::select! {
        () = told_to(&mut stop) => Ending::AfterRequest,
        () = told_to(&mut closed) => Ending::AfterRequest,
        () = revoked => Ending::Within(REVOKED_GRACE),
        () = has_aged => Ending::Within(STRANGER_LAST_REPLY),
    }
}

/// The certificate that the client has proven to have the key of: the first, and no other.
fn certificate_of(stream: &TlsStream<TcpStream>) -> Option<pki::Certificate> {
    let first = stream.get_ref().1.peer_certificates()?.first()?;
    let read = pki::Certificate::from_der(first);
    read.inspect_err(|error| tracing::debug!("a client's certificate counts for nothing: {error}")).ok()
}

/// Small messages are not held back, and peers that have vanished, or do not read, are noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, STALL_MS)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests;
