//! A connection that is read at a bounded rate, whatever the other end makes of its bytes: also the smallest
//! pieces of requests and websockets cost work.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::pace::Pace;

/// A stream and the pace of its bytes, which others may share.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    /// Until something may be read again.
    wait: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, wait: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let count = u32::try_from(buffer.filled().len() - before).unwrap_or(u32::MAX);
        let next = self.pace.use_up(count);
        if next > Instant::now() {
            self.wait = Some(Box::pin(tokio::time::sleep_until(next)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::pace::Rate;

    #[tokio::test]
    async fn bytes_come_at_their_rate() {
        let (mut guest, stream) = UnixStream::pair().expect("socket pair");
        guest.write_all(&[7; 4000]).await.expect("write");
        let mut paced = Paced::new(stream, Arc::new(Pace::new(Rate::new(Duration::from_micros(100), 1000))));
        let began = Instant::now();
        let mut piece = [0; 500];
        for _ in 0..8 {
            paced.read_exact(&mut piece).await.expect("read");
        }
        assert!(piece == [7; 500] && began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        paced.write_all(b"yes").await.expect("write");
        let mut said = [0; 3];
        guest.read_exact(&mut said).await.expect("read");
        assert_eq!(&said, b"yes");
    }
}
