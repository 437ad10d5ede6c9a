//! A connection whose other end has to take what is sent to it.
//!
//! Whoever reads a byte now and then would otherwise keep a place, and a reply in memory, for as long as a reply may
//! take. Time is only counted while something waits to be sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How slow the other end may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long in all it may keep what is sent waiting, less what its reading has earned.
    pub wait: Duration,
    /// Bytes that earn a second.
    pub bytes_per_s: u32,
}

/// Lifts the limit from a connection: whoever is at its other end has turned out to have business here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relief(Arc<AtomicBool>);

impl Relief {
    pub(crate) fn grant(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream and the patience that is left with its other end.
pub(super) struct Drained<S> {
    stream: S,
    patience: Patience,
    relief: Relief,
    /// What else is to be lifted then.
    on_relief: Option<fn(&S)>,
    /// What has been waited already, less what was earned.
    waited: Duration,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> Drained<S> {
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, relief: Relief::default(), on_relief: None, waited: Duration::ZERO, waiting: None }
    }

    /// There is no limit any more once `relief` is granted; then `on_relief` is called.
    pub(super) fn until(self, relief: Relief, on_relief: fn(&S)) -> Self {
        Self { relief, on_relief: Some(on_relief), ..self }
    }

    /// What an attempt to send comes to; `count` of what was sent tells how many bytes that is.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
        count: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if self.relief.0.load(Ordering::Relaxed) {
            if let Some(lift) = self.on_relief.take() {
                lift(&self.stream);
            }
            return attempt;
        }
        if let Poll::Ready(sent) = attempt {
            if let Some(waiting) = self.waiting.take() {
                self.waited += waiting.since.elapsed();
            }
            let bytes = u32::try_from(sent.as_ref().map_or(0, count)).unwrap_or(u32::MAX);
            let earned = Duration::from_secs_f64(f64::from(bytes) / f64::from(self.patience.bytes_per_s));
            self.waited = self.waited.saturating_sub(earned);
            return Poll::Ready(sent);
        }
        let left = self.patience.wait.saturating_sub(self.waited);
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, end: Box::pin(tokio::time::sleep_until(since + left)) }
        });
        waiting.end.as_mut().poll(context).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the other end reads too slowly")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Drained<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Drained<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, attempt, |count| *count)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, attempt, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, attempt, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, attempt, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Patience = Patience { wait: Duration::from_millis(400), bytes_per_s: 64 << 10 };

    /// What becomes of a reply of so many bytes to somebody who reads pieces with a pause after each.
    async fn send(bytes: usize, piece: usize, pause: Duration) -> io::Result<()> {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut near = Drained::new(near, PATIENCE);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; piece];
            while far.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(pause).await;
            }
        });
        let sent = near.write_all(&vec![7; bytes]).await;
        drop(near);
        reader.await.expect("the reader ends");
        sent
    }

    #[tokio::test]
    async fn who_reads_steadily_but_too_slowly_is_given_up() {
        let began = Instant::now();
        let error = send(1 << 20, 200, Duration::from_millis(20)).await.expect_err("100 seconds at that pace");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn whoever_has_business_here_may_take_its_time() {
        let (near, mut far) = tokio::io::duplex(4096);
        let relief = Relief::default();
        let mut near = Drained::new(near, PATIENCE).until(relief.clone(), |_| {});
        relief.grant();
        let reader = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE.wait * 2).await;
            tokio::io::copy(&mut far, &mut tokio::io::sink()).await
        });
        near.write_all(&[7; 64 << 10]).await.expect("nobody is in a hurry");
        drop(near);
        assert_eq!(reader.await.expect("join").expect("copy"), 64 << 10);
    }

    #[tokio::test]
    async fn who_pauses_and_catches_up_is_not() {
        // Waited for longer in all than the patience is, but earned again each time.
        send(128 << 10, 4096, Duration::from_millis(25)).await.expect("160 kB a second");
        send(8 << 20, 4096, Duration::ZERO).await.expect("at once");
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut near = Drained::new(near, PATIENCE);
        tokio::time::sleep(PATIENCE.wait * 2).await;
        near.write_all(b"reply").await.expect("nothing was waiting to be sent");
        let mut reply = [0; 5];
        far.read_exact(&mut reply).await.expect("read");
        assert_eq!(&reply, b"reply");
    }
}
