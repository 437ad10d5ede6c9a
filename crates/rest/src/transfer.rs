//! Bodies to files and files to bodies, in bounded memory, holding no thread while a peer is slow.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::task::JoinHandle;

use crate::error::Error;

/// Bytes read from or written to a file at once.
const PIECE_BYTES: usize = 512 * 1024;
/// What stays free of the daemon's own disk, or less of a very small one.
const RESERVE_BYTES: u64 = 64 << 20;
/// How long a sender may be silent in the middle of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Most bytes, and the longest time, that the rest of an unwanted body is taken in.
const DISCARD_BYTES: usize = 1 << 30;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a stream to a file, the next piece being received while one is written. Returns the size.
pub(crate) async fn receive<E>(stream: impl Stream<Item = Result<Bytes, E>>, file: File) -> Result<u64, Error>
where
    E: std::fmt::Display,
{
    write_all(stream, Writer { file: Arc::new(file), running: None, keeps_reserve: false }).await
}

/// The same on the daemon's own disk, which must not become full of what somebody sends: its records are there, too.
pub(crate) async fn receive_upload<E>(stream: impl Stream<Item = Result<Bytes, E>>, file: File) -> Result<u64, Error>
where
    E: std::fmt::Display,
{
    write_all(stream, Writer { file: Arc::new(file), running: None, keeps_reserve: true }).await
}

async fn write_all<E>(stream: impl Stream<Item = Result<Bytes, E>>, mut writer: Writer) -> Result<u64, Error>
where
    E: std::fmt::Display,
{
    let mut stream = std::pin::pin!(stream);
    let mut total = 0;
    loop {
        let (pieces, count) = next_pieces(&mut stream).await?;
        let is_end = pieces.is_empty();
        let written = if is_end { writer.settle().await } else { writer.write(pieces).await };
        if let Err(error) = written {
            discard(stream).await;
            return Err(error);
        }
        if is_end {
            return Ok(total);
        }
        total += count;
    }
}

/// Collects pieces worth writing, and their size; none at the end of the stream.
async fn next_pieces<E>(stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> Result<(Vec<Bytes>, u64), Error>
where
    E: std::fmt::Display,
{
    let (mut pieces, mut count) = (Vec::new(), 0);
    while count < PIECE_BYTES {
        let next = tokio::time::timeout(STALL_TIMEOUT, stream.next()).await;
        match next.map_err(|_| Error::bad_request("The upload stopped in the middle"))? {
            Some(Ok(bytes)) => {
                count += bytes.len();
                pieces.push(bytes);
            }
            Some(Err(error)) => return Err(Error::bad_request(format!("The upload broke off: {error}"))),
            None => break,
        }
    }
    Ok((pieces, count as u64))
}

/// Takes in what is left of a body that nobody wants: clients read the reply only after they have
/// sent everything. Bounded, then the connection is closed on them.
pub(crate) async fn discard<E>(stream: impl Stream<Item = Result<Bytes, E>>) {
    let mut stream = std::pin::pin!(stream);
    let rest = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(bytes)) = stream.next().await
            && left > 0
        {
            left = left.saturating_sub(bytes.len());
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

struct Writer {
    file: Arc<File>,
    running: Option<JoinHandle<io::Result<()>>>,
    keeps_reserve: bool,
}

impl Writer {
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        self.settle().await?;
        let (file, keeps_reserve) = (self.file.clone(), self.keeps_reserve);
        self.running = Some(tokio::task::spawn_blocking(move || {
            if keeps_reserve {
                check_reserve(&file)?;
            }
            pieces.iter().try_for_each(|piece| (&*file).write_all(piece))
        }));
        Ok(())
    }

    /// Waits for the piece that is being written.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.await.map_err(io::Error::other).flatten().map_err(|error| Error::internal(format!("store the upload: {error}")))
    }
}

/// Refuses to write on a disk of which little is left.
fn check_reserve(file: &File) -> io::Result<()> {
    let (total, available) = sys::fs::fs_space_of(file)?;
    if available < RESERVE_BYTES.min(total / 16) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "No space left on device but what is kept free"));
    }
    Ok(())
}

/// The first `size` bytes of a file, or all that it holds, the next piece being read while one is sent.
pub(crate) fn file_stream(file: File, size: impl Into<Option<u64>>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let reader = Reader { file: Arc::new(file), left: size.into().map_or(Left::UntilItsEnd, Left::Bytes), ahead: None };
    futures_util::stream::try_unfold(reader, async |mut reader| Ok(reader.next().await?.map(|piece| (piece, reader))))
}

/// What is still to be sent of a file.
#[derive(Clone, Copy)]
enum Left {
    Bytes(u64),
    UntilItsEnd,
}

struct Reader {
    file: Arc<File>,
    left: Left,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(piece) = self.ahead.take().or_else(|| self.start()) else { return Ok(None) };
        let piece = piece.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Ok(None);
        }
        self.ahead = self.start();
        Ok(Some(piece))
    }

    /// Begins to read the next piece; `None` at the end.
    fn start(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let file = self.file.clone();
        match &mut self.left {
            Left::UntilItsEnd => Some(tokio::task::spawn_blocking(move || read_up_to(&file, PIECE_BYTES as u64))),
            Left::Bytes(left) => {
                let count = (*left).min(PIECE_BYTES as u64);
                *left -= count;
                (count > 0).then(|| tokio::task::spawn_blocking(move || read_piece(&file, count)))
            }
        }
    }
}

fn read_up_to(file: &File, count: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(usize::try_from(count).map_err(io::Error::other)?);
    file.take(count).read_to_end(&mut piece)?;
    Ok(piece.into())
}

fn read_piece(file: &File, count: u64) -> io::Result<Bytes> {
    let piece = read_up_to(file, count)?;
    // The length has been promised already: the connection must break rather than say less.
    if (piece.len() as u64) < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
}

/// A raw reply, of a size if it is known, offered under a file name.
pub(crate) fn raw(body: Body, size: impl Into<Option<u64>>, filename: Option<&str>) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(size) = size.into() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    if let Some(value) = filename.and_then(disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// `inline;filename=…`, unless the name would need more than a plain token.
fn disposition(filename: &str) -> Option<HeaderValue> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"\\;,".contains(c);
    let name = filename.rsplit('/').next().unwrap_or_default();
    (!name.is_empty() && name.chars().all(is_plain)).then(|| HeaderValue::from_str(&format!("inline;filename={name}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use futures_util::TryStreamExt;

    use super::*;

    fn scratch() -> File {
        tempfile::tempfile().expect("temporary file")
    }

    #[tokio::test]
    async fn what_is_received_is_what_is_sent() {
        let content: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        let pieces: Vec<io::Result<Bytes>> = content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut file = scratch();
        let copy = file.try_clone().expect("clone");
        assert_eq!(receive(futures_util::stream::iter(pieces), copy).await.expect("receive"), 3_000_001);
        file.rewind().expect("rewind");
        let sent: Vec<Bytes> = file_stream(file, 3_000_001).try_collect().await.expect("send");
        assert_eq!(sent.concat(), content);
    }

    #[tokio::test]
    async fn a_broken_upload_is_an_error() {
        let pieces = [Ok(Bytes::from_static(b"abc")), Err(io::Error::other("reset"))];
        let error = receive(futures_util::stream::iter(pieces), scratch()).await.expect_err("broken");
        assert_eq!((error.status().as_u16(), error.message()), (400, "The upload broke off: reset"));
    }

    #[tokio::test]
    async fn a_file_that_shrinks_breaks_the_download() {
        let mut file = scratch();
        file.write_all(b"abc").expect("write");
        file.rewind().expect("rewind");
        let sent: io::Result<Vec<Bytes>> = file_stream(file, 4).try_collect().await;
        assert_eq!(sent.expect_err("short").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_file_of_no_size_is_read_to_its_end() {
        let file = File::open("/proc/self/status").expect("open");
        assert_eq!(file.metadata().expect("stat").len(), 0);
        let sent: Vec<Bytes> = file_stream(file, None).try_collect().await.expect("send");
        assert!(sent.concat().starts_with(b"Name:"));
        let mut long = scratch();
        long.write_all(&vec![7; PIECE_BYTES * 2 + 5]).expect("write");
        long.rewind().expect("rewind");
        let sent: Vec<Bytes> = file_stream(long, None).try_collect().await.expect("send");
        assert_eq!(sent.concat().len(), PIECE_BYTES * 2 + 5);
    }

    #[tokio::test]
    async fn a_full_disk_is_told() {
        let full = File::options().write(true).open("/dev/full").expect("open");
        let error = receive(futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"abc"))]), full).await.expect_err("full");
        assert!(error.message().contains("No space left"), "{error}");
    }

    #[test]
    fn file_names_cannot_break_headers() {
        assert_eq!(disposition("/etc/passwd").expect("plain"), "inline;filename=passwd");
        assert!(disposition("/a\nb").is_none() && disposition("x;y").is_none() && disposition("/").is_none());
    }
}
