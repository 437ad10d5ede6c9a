//! Websockets of migrations: every message keeps its boundaries, in both directions, on its way from and to the engine.
//!
//! The same for websockets that were opened here and for those that this server opens on another one.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use migration::frame::{self, HEADER_BYTES, Kind, MAX_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::CLOSE_TIMEOUT;

/// What a message of a websocket means here.
pub(crate) enum Meaning {
    Bytes(Bytes),
    /// A direction of a stream is over.
    End,
    /// No more will come.
    Close,
    /// Nothing: the websocket's own business.
    Nothing,
}

/// A websocket library's message.
pub(crate) trait Wire: Sized {
    fn meaning(self) -> Meaning;
    fn bytes(bytes: Bytes) -> Self;
    fn end() -> Self;
    fn close() -> Self;
}

macro_rules! wire {
    ($message:ty, $text:expr) => {
        impl Wire for $message {
            fn meaning(self) -> Meaning {
                match self {
                    Self::Binary(bytes) => Meaning::Bytes(bytes),
                    // Texts have no content in this protocol.
                    Self::Text(_) => Meaning::End,
                    Self::Close(_) => Meaning::Close,
                    _ => Meaning::Nothing,
                }
            }

            fn bytes(bytes: Bytes) -> Self {
                Self::Binary(bytes)
            }

            fn end() -> Self {
                Self::Text($text)
            }

            fn close() -> Self {
                Self::Close(None)
            }
        }
    };
}

wire!(Message, Utf8Bytes::default());
wire!(client::Message, String::new().into());

/// Carries messages between a websocket and the engine until either has ended. What the engine has sent before it
/// ended still goes out.
pub(crate) async fn carry<M, E, S>(socket: S, engine: OwnedFd)
where
    M: Wire,
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    let engine = match stream_of(engine) {
        Ok(engine) => engine,
        Err(error) => return tracing::warn!("carry a migration: {error}"),
    };
    let (mut reader, mut writer) = engine.into_split();
    let (mut sink, mut stream) = socket.split();
    let is_peer_gone = {
        let mut incoming = pin!(receive::<M, E>(&mut stream, &mut writer));
        let mut outgoing = pin!(send::<M>(&mut reader, &mut sink));
        tokio::select! {
            () = incoming.as_mut() => true,
            () = outgoing.as_mut() => false,
        }
    };
    if is_peer_gone {
        // What has come is still to be read by the engine, which a socket that is closed with something unread would prevent.
        drop(writer.shutdown().await);
        drop(tokio::io::copy(&mut reader, &mut tokio::io::sink()).await);
        return;
    }
    let goodbye = async {
        // Fails if the peer was faster.
        drop(sink.send(M::close()).await);
        while let Some(Ok(_)) = stream.next().await {}
    };
    drop(tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await);
}

fn stream_of(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Websocket to engine, until the websocket has ended. An engine that does not listen any more is told nothing.
async fn receive<M: Wire, E>(stream: &mut (impl Stream<Item = Result<M, E>> + Unpin), writer: &mut OwnedWriteHalf) {
    let mut does_listen = true;
    while let Some(Ok(message)) = stream.next().await {
        let written = match message.meaning() {
            Meaning::Bytes(bytes) if bytes.len() > MAX_BYTES => return,
            Meaning::Bytes(bytes) if does_listen => write(writer, Kind::Binary(bytes.len()), &bytes).await,
            Meaning::End if does_listen => write(writer, Kind::End, &[]).await,
            Meaning::Close => return,
            _ => Ok(()),
        };
        does_listen &= written.is_ok();
    }
}

async fn write(writer: &mut OwnedWriteHalf, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(&frame::header(kind)).await?;
    writer.write_all(bytes).await
}

/// Engine to websocket, until the engine has ended or the websocket takes no more.
async fn send<M: Wire>(reader: &mut OwnedReadHalf, sink: &mut (impl Sink<M> + Unpin)) {
    loop {
        let mut header = [0; HEADER_BYTES];
        if reader.read_exact(&mut header).await.is_err() {
            return;
        }
        let message = match frame::parse(header) {
            Some(Kind::Binary(length)) => {
                let mut bytes = vec![0; length];
                if reader.read_exact(&mut bytes).await.is_err() {
                    return;
                }
                M::bytes(bytes.into())
            }
            Some(Kind::End) => M::end(),
            None => return,
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}
