//! Websockets that this server opens on another one, which it knows by its certificate alone. It shows none of its own:
//! the secret is what opens them.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use client::{Client, Https, ServerTrust, Stream, Transport, WebSocket, path, with_query};
use engine::migration::Dial;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::{KEEPALIVE, KEEPALIVE_PROBES};
use crate::streams;

/// How long it may take until the websocket is there: a server has several addresses, and whoever waits gives up
/// after ten seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Opens it; the descriptor carries its messages as frames for as long as both ends live. Blocks.
pub(super) fn dial(runtime: &Handle, wanted: &Dial) -> Result<OwnedFd, String> {
    let socket = runtime.block_on(async {
        match tokio::time::timeout(TIMEOUT, open(wanted)).await {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(_) => Err(format!("https://{} does not answer", wanted.authority)),
        }
    })?;
    let (near, far) = sys::socket::stream_pair().map_err(|error| error.to_string())?;
    runtime.spawn(streams::carry(socket, far));
    Ok(near)
}

async fn open(wanted: &Dial) -> client::Result<WebSocket> {
    let https = Https::new(&format!("https://{}", wanted.authority), ServerTrust::Pinned(wanted.certificate.clone()), None)?;
    let client = Client::new(Transport::Https(https));
    let at = with_query(&path(&["operations", &wanted.operation, "websocket"]), &[("secret", wanted.secret.as_str())]);
    let socket = client.websocket(&at).await?;
    if let Stream::Tls(stream) = socket.get_ref()
        && let Err(error) = keep_alive(stream.get_ref().0)
    {
        tracing::debug!("tune a connection: {error}");
    }
    Ok(socket)
}

/// A server that has vanished is noticed.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
