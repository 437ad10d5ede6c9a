//! Request bodies: nothing, bytes, or a stream read from a descriptor by a thread.

use std::io::Read;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;

use crate::error::{Error, Result};

/// Bytes of one chunk of a streamed body.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that may wait for the socket.
const CHUNKS_QUEUED: usize = 4;

pub(crate) type HttpBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a request carries.
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// What a reader yields; with its length if that is known.
    Reader {
        /// Read to its end by a thread of its own: it may block.
        reader: Box<dyn Read + Send>,
        /// Sent as `Content-Length`; without it the body is chunked.
        length: Option<u64>,
    },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Reader { length, .. } => write!(f, "Reader({length:?})"),
        }
    }
}

impl Body {
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Reader { length, .. } => *length,
        }
    }

    pub(crate) fn into_http(self) -> HttpBody {
        match self {
            Self::Empty => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Self::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Self::Reader { reader, .. } => read_in_thread(reader),
        }
    }
}

fn read_in_thread(mut reader: Box<dyn Read + Send>) -> HttpBody {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(CHUNKS_QUEUED);
    tokio::task::spawn_blocking(move || {
        loop {
            let chunk = read_chunk(&mut *reader);
            if matches!(&chunk, Ok(bytes) if bytes.is_empty()) {
                return;
            }
            let is_failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || is_failed {
                return;
            }
        }
    });
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|chunk| (chunk, receiver)) });
    BodyExt::boxed_unsync(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))))
}

fn read_chunk(reader: &mut dyn Read) -> std::io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    reader.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

/// A local writer fed from async code through a thread, so that a slow reader at its other end
/// never stalls the event loop.
#[derive(Debug)]
pub struct Sink {
    sender: Option<tokio::sync::mpsc::Sender<Bytes>>,
    thread: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Sink {
    /// Starts the thread that calls `write` for each chunk, in order.
    pub fn new(mut write: impl FnMut(&[u8]) -> std::io::Result<()> + Send + 'static) -> Self {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(2 * CHUNKS_QUEUED);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                write(&chunk)?;
            }
            Ok(())
        });
        Self { sender: Some(sender), thread }
    }

    /// Queues a chunk; false once the writer has failed ([`Sink::finish`] says how).
    pub async fn send(&self, chunk: Bytes) -> bool {
        match &self.sender {
            Some(sender) => sender.send(chunk).await.is_ok(),
            None => false,
        }
    }

    /// Waits until all is written.
    pub async fn finish(mut self) -> Result<()> {
        self.sender = None;
        let result = self.thread.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        result.map_err(|reason| Error::Local { operation: "write", reason })
    }
}
