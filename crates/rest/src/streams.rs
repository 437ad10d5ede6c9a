//! Websockets on one side, descriptors of the engine on the other.
//!
//! On a data stream every read becomes one **binary** frame, and an empty **text** frame says that
//! a direction is over; the connection stays for the other one. A control socket carries JSON in
//! text frames to the engine. An idle session holds a task and no thread, and no buffer.

mod frames;

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use engine::operations::{Connection, ControlMessage, DataStream, StreamFds};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::Semaphore;

use crate::caller::Trust;
use crate::endpoint::HttpRequest;
use crate::error::Error;
use crate::network::Relief;
use crate::server::Slot;

pub(crate) use frames::carry;

/// First and smallest read, enough for a keystroke's echo.
const SMALL_BYTES: usize = 4 * 1024;
/// Largest read, and so the largest frame sent.
const LARGE_BYTES: usize = 128 * 1024;
/// What a pipe of bulk output may hold, so that writer and reader work side by side.
const PIPE_BYTES: usize = 256 * 1024;
/// What is taken from a stream after its process has ended. Whatever was written before is in a
/// buffer of the kernel, and those are smaller; only a process left behind could give more.
const DRAIN_BYTES: usize = 1 << 20;
/// How long the end of the output is waited for after the process has ended, where something else
/// holds the stream open: what is written to a terminal arrives a moment later.
const DRAIN_TIME: Duration = Duration::from_millis(50);
/// A stream silent for so long gives its buffer back.
const IDLE: Duration = Duration::from_secs(1);
/// How long a peer may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest message accepted on a data socket.
const MAX_DATA_BYTES: usize = 16 << 20;
/// Largest message accepted on a control or event socket.
const MAX_CONTROL_BYTES: usize = 64 * 1024;

/// Threads that may wait for streams that do not exist yet.
static WAITING: Semaphore = Semaphore::const_new(32);
/// How often a connection beyond those looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a websocket is used for: decides its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Bulk data.
    Data,
    /// Small messages.
    Messages,
}

impl Use {
    /// The use of a connection of an operation.
    pub(crate) fn of(connection: &Connection) -> Self {
        match connection {
            Connection::Data(_) | Connection::Messages(_) => Self::Data,
            Connection::Control(_) => Self::Messages,
        }
    }
}

/// A websocket that is about to be.
pub(crate) struct Upgrade {
    upgrade: WebSocketUpgrade,
    slot: Option<Slot>,
    /// Of a trusted client on the network.
    trust: Option<Trust>,
    /// For a client that is not trusted.
    relief: Option<Relief>,
}

impl Upgrade {
    /// Checks that the request asks for a websocket.
    pub(crate) async fn of(http: HttpRequest) -> Result<Self, Error> {
        let (mut parts, _) = http.into_parts();
        let slot = parts.extensions.remove::<Slot>();
        let trust = parts.extensions.remove::<Trust>();
        let relief = parts.extensions.remove::<Relief>();
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
            .await
            .map_err(|error| Error::bad_request(format!("This is a websocket endpoint: {}", error.body_text())))?;
        Ok(Self { upgrade, slot, trust, relief })
    }

    /// Whoever it is has shown a secret that opens the websocket, and may take its time with what comes.
    pub(crate) fn relieve(&self) {
        if let Some(relief) = &self.relief {
            relief.grant();
        }
    }

    /// The reply that makes it a websocket, which `session` then owns. The connection's slot is
    /// held until the session ends, and it is to end when the second value says that the trust in the client is lost.
    pub(crate) fn run<F>(self, kind: Use, session: impl FnOnce(WebSocket, TrustLost) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (read_bytes, max_bytes) = match kind {
            Use::Data => (LARGE_BYTES / 2, MAX_DATA_BYTES),
            Use::Messages => (SMALL_BYTES, MAX_CONTROL_BYTES),
        };
        let Self { upgrade, slot, trust, .. } = self;
        upgrade.read_buffer_size(read_bytes).write_buffer_size(0).max_frame_size(max_bytes).max_message_size(max_bytes).on_upgrade(
            async move |socket| {
                session(socket, TrustLost(trust)).await;
                drop(slot);
            },
        )
    }
}

/// Tells a session when its client is trusted no longer.
pub(crate) struct TrustLost(Option<Trust>);

impl TrustLost {
    /// Completes then.
    pub(crate) async fn wait(self) {
        match self.0 {
            Some(trust) => trust.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// Serves one connection of an operation until it ends, or its client is trusted no longer.
pub(crate) async fn serve_connection(socket: WebSocket, connection: Connection, trust: TrustLost) {
    match connection {
        Connection::Data(stream) => tokio::select! {
            () = serve_stream(socket, stream) => {}
            () = trust.wait() => {}
        },
        Connection::Messages(engine) => tokio::select! {
            () = carry(socket, engine) => {}
            () = trust.wait() => {}
        },
        Connection::Control(mut sink) => {
            let finished = Finished::new(sink.finished.take());
            tokio::select! {
                () = serve_control(socket, &finished, |message| sink.message(message)) => {}
                () = trust.wait() => sink.message(ControlMessage::Lost),
            }
        }
    }
}

async fn serve_stream(socket: WebSocket, stream: DataStream) {
    match take_fds(stream).await {
        Ok(fds) => serve_data(socket, fds).await,
        Err(error) => {
            tracing::debug!("{error}");
            close(socket).await;
        }
    }
}

/// The descriptors; they may only come to be once every socket of the operation is connected. A
/// bounded number of connections waits on a thread, for speed; further ones look now and then.
async fn take_fds(stream: DataStream) -> Result<StreamFds, Error> {
    if let Some(fds) = stream.try_take() {
        return Ok(fds?);
    }
    if let Ok(_waiting) = WAITING.try_acquire() {
        return crate::router::blocking(move || stream.wait()).await;
    }
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if let Some(fds) = stream.try_take() {
            return Ok(fds?);
        }
    }
}

/// Pumps both directions until the output is over, the process has ended, or the peer has gone.
/// Descriptors are closed on return: a peer that vanishes hangs up on its process.
async fn serve_data(socket: WebSocket, fds: StreamFds) {
    let (mut sink, mut stream) = socket.split();
    let is_over = {
        let finished = Finished::new(fds.finished);
        let read = fds.read;
        let output = async {
            match read {
                Some(read) => pump_out(read, &finished, &mut sink).await,
                None => {
                    finished.wait().await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            output = output => output.is_ok(),
            () = pump_in(&mut stream, fds.write) => false,
        }
    };
    if is_over && let Ok(socket) = sink.reunite(stream) {
        close(socket).await;
    }
}

/// Descriptor to websocket, up to and including the frame that says it is over.
async fn pump_out(read: OwnedFd, finished: &Finished, sink: &mut SplitSink<WebSocket, Message>) -> Result<(), SocketError> {
    let reader = match Output::new(read) {
        Ok(reader) => Some(reader),
        Err(error) => {
            tracing::warn!("read a stream: {error}");
            None
        }
    };
    if let Some(mut reader) = reader {
        while let Some(bytes) = reader.next(finished).await {
            sink.send(Message::Binary(bytes)).await?;
        }
    }
    sink.send(Message::Text(Utf8Bytes::default())).await
}

/// Reads in pieces that grow with the flow.
struct Output {
    reader: Receiver,
    buffer: BytesMut,
    size_bytes: usize,
    /// Set once the process has ended: bytes that may still be taken, and until when.
    drain_bytes: Option<usize>,
    drain_end: Option<tokio::time::Instant>,
}

impl Output {
    fn new(read: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&read, true)?;
        // Fails on what is not a pipe, and where the kernel's limit for pipes is reached: then it stays small.
        let _ = rustix::pipe::fcntl_setpipe_size(&read, PIPE_BYTES);
        let reader = Receiver::from_owned_fd_unchecked(read)?;
        Ok(Self { reader, buffer: BytesMut::new(), size_bytes: SMALL_BYTES, drain_bytes: None, drain_end: None })
    }

    /// The next bytes; `None` at the end: end of file, EIO (a pty whose other side is closed), or
    /// nothing left after the process has ended.
    async fn next(&mut self, finished: &Finished) -> Option<Bytes> {
        loop {
            if self.drain_bytes == Some(0) {
                return None;
            }
            self.buffer.reserve(self.size_bytes);
            match self.reader.try_read_buf(&mut (&mut self.buffer).limit(self.size_bytes)) {
                Ok(0) => return None,
                Ok(count) => return Some(self.taken(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.drain_end {
                    None => self.wait(finished).await,
                    Some(end) => drop(tokio::time::timeout_at(end, self.reader.readable()).await.ok()?),
                },
                Err(_) => return None,
            }
        }
    }

    fn taken(&mut self, count: usize) -> Bytes {
        if count >= self.size_bytes {
            self.size_bytes = (self.size_bytes * 4).min(LARGE_BYTES);
        }
        if let Some(left) = &mut self.drain_bytes {
            *left = left.saturating_sub(count);
        }
        self.buffer.split().freeze()
    }

    /// Waits until there is something to read or the process has ended.
    async fn wait(&mut self, finished: &Finished) {
        let reader = &self.reader;
        let event = async {
            tokio::select! {
                _ = reader.readable() => false,
                () = finished.wait() => true,
            }
        };
        let mut event = std::pin::pin!(event);
        let is_finished = match tokio::time::timeout(IDLE, event.as_mut()).await {
            Ok(is_finished) => is_finished,
            Err(_) => {
                self.buffer = BytesMut::new();
                self.size_bytes = SMALL_BYTES;
                event.await
            }
        };
        if is_finished {
            self.drain_bytes = Some(DRAIN_BYTES);
            self.drain_end = Some(tokio::time::Instant::now() + DRAIN_TIME);
        }
    }
}

/// Websocket to descriptor until the peer has gone. An empty text frame closes the descriptor; one
/// that nobody reads any more swallows the rest.
async fn pump_in(stream: &mut SplitStream<WebSocket>, write: Option<OwnedFd>) {
    let mut writer = write.and_then(|write| match new_sender(write) {
        Ok(writer) => Some(writer),
        Err(error) => {
            tracing::warn!("write a stream: {error}");
            None
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match &message {
            Message::Binary(bytes) => &bytes[..],
            Message::Text(text) if text.is_empty() => {
                writer = None;
                continue;
            }
            Message::Text(text) => text.as_bytes(),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if let Some(open) = &mut writer
            && open.write_all(bytes).await.is_err()
        {
            writer = None;
        }
    }
}

fn new_sender(write: OwnedFd) -> io::Result<Sender> {
    rustix::io::ioctl_fionbio(&write, true)?;
    Sender::from_owned_fd_unchecked(write)
}

/// Tells when the process behind a stream has ended.
struct Finished(Option<Receiver>);

impl Finished {
    fn new(fd: Option<OwnedFd>) -> Self {
        Self(fd.and_then(|fd| {
            rustix::io::ioctl_fionbio(&fd, true).ok()?;
            Receiver::from_owned_fd_unchecked(fd).ok()
        }))
    }

    /// Completes once it has; never if that cannot be known.
    async fn wait(&self) {
        match &self.0 {
            Some(fd) => drop(fd.readable().await),
            None => std::future::pending().await,
        }
    }
}

/// Hands the messages of a control socket on until either side ends it.
async fn serve_control(mut socket: WebSocket, finished: &Finished, deliver: impl Fn(ControlMessage<'_>)) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = finished.wait() => return close(socket).await,
        };
        match message {
            Some(Ok(Message::Text(text))) => deliver(ControlMessage::Text(&text)),
            Some(Ok(Message::Binary(bytes))) => {
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    deliver(ControlMessage::Text(text));
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => {
                deliver(ControlMessage::Closed);
                return close(socket).await;
            }
            Some(Err(_)) | None => return deliver(ControlMessage::Lost),
        }
    }
}

/// Says goodbye and waits for the answer, so that the peer reads an end and not an error.
pub(crate) async fn close(mut socket: WebSocket) {
    let goodbye = async {
        // Fails if the peer was faster.
        let _ = socket.send(Message::Close(None)).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
}

#[cfg(test)]
pub(crate) mod tests;
