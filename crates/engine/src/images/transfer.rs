//! Bytes from a server into files: counted, hashed, shown, bounded, and stopped when asked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fetch::multipart::{self, Event};
use fetch::{Client, Reply, Stop, shown_url};
use sha2::{Digest, Sha256};

use super::remote::{Offer, OfferFile, OfferFiles, unavailable};
use crate::error::Context;
use crate::leases::{Lease, Leases};
use crate::operations::Operation;
use crate::sync::{lock, wait_timeout};
use crate::{Error, Result};

/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;
/// What is left free on the file system of the images.
const RESERVE_BYTES: u64 = 64 << 20;
/// After how many bytes the free space is looked at again.
const SPACE_CHECK_BYTES: u64 = 16 << 20;
/// The least that a server must send, on average over a window.
const LEAST_BYTES_PER_SECOND: u64 = 1024;
const WINDOW: Duration = Duration::from_secs(60);
/// How long whoever cancels a transfer waits for what it leaves to be removed.
const CANCEL_PATIENCE: Duration = Duration::from_secs(15);
/// How often somebody who waits for another looks whether that is still wanted.
const TURN_CHECK: Duration = Duration::from_secs(1);
/// How often progress is shown at most.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// The key of an operation's metadata.
const PROGRESS: &str = "download_progress";

/// Who wants to see how far the download of which image is, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Audience(Mutex<HashMap<String, Vec<Arc<Operation>>>>);

/// An operation's place in the audience; left when dropped.
pub(super) struct Seat<'a> {
    audience: &'a Audience,
    fingerprint: &'a str,
    operation: &'a Arc<Operation>,
}

impl Audience {
    pub(super) fn join<'a>(&'a self, fingerprint: &'a str, operation: &'a Arc<Operation>) -> Seat<'a> {
        lock(&self.0).entry(fingerprint.to_owned()).or_default().push(operation.clone());
        Seat { audience: self, fingerprint, operation }
    }

    pub(super) fn show(&self, fingerprint: &str, text: &str) {
        let all = lock(&self.0).get(fingerprint).cloned().unwrap_or_default();
        all.iter().for_each(|operation| operation.progress(PROGRESS, text));
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.audience.0);
        if let Some(seats) = all.get_mut(self.fingerprint) {
            seats.retain(|seat| !Arc::ptr_eq(seat, self.operation));
            if seats.is_empty() {
                all.remove(self.fingerprint);
            }
        }
    }
}

/// Lets transfers be cancelled from another thread, or by the clock.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    deadline: Option<Instant>,
    state: Mutex<CancelState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CancelState {
    is_cancelled: bool,
    /// Whoever did the work has cleaned up.
    is_over: bool,
    stops: Vec<Stop>,
}

/// Says that the work is over when dropped.
pub(super) struct Working(pub Arc<Cancel>);

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.changed.notify_all();
    }
}

impl Cancel {
    /// With a time when all must be done, if there is one.
    pub(super) fn until(deadline: Option<Instant>) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// Breaks the transfers off, and waits a while until nothing is left of them.
    pub(super) fn cancel(&self) {
        let stops = {
            let mut state = lock(&self.state);
            state.is_cancelled = true;
            std::mem::take(&mut state.stops)
        };
        stops.iter().for_each(Stop::stop);
        let end = Instant::now() + CANCEL_PATIENCE;
        let mut state = lock(&self.state);
        while !state.is_over {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = wait_timeout(&self.changed, state, left);
        }
    }

    /// An error if it was cancelled, or its time is over.
    pub(super) fn check(&self) -> Result<()> {
        if lock(&self.state).is_cancelled {
            return Err(Error::bad_request("The transfer was cancelled"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::unavailable("the download takes too long and was given up"));
        }
        Ok(())
    }

    /// Holds a thing alone; waits for all others while that is wanted.
    pub(super) fn turn<'a>(&self, leases: &'a Leases, name: &str) -> Result<Lease<'a>> {
        loop {
            self.check()?;
            if let Some(lease) = leases.hold_within(name, TURN_CHECK) {
                return Ok(lease);
            }
        }
    }

    /// What is stopped when it is cancelled.
    pub(super) fn covers(&self, client: &Client) -> Result<()> {
        lock(&self.state).stops.push(client.stop_handle());
        self.check()
    }
}

/// The files of a downloaded image.
#[derive(Debug)]
pub(super) struct Fetched {
    pub metadata: PathBuf,
    pub rootfs: Option<PathBuf>,
    pub size_bytes: u64,
}

/// A download of one image.
pub(super) struct Transfer<'a> {
    pub client: &'a Client,
    pub cancel: &'a Cancel,
    /// Shows how far it is.
    pub show: &'a dyn Fn(&str),
    /// Where the files go: a directory of their own.
    pub dir: &'a Path,
}

impl Transfer<'_> {
    /// Fetches the files of an image, which has then the fingerprint that was offered.
    pub(super) fn fetch(&self, offer: &Offer) -> Result<Fetched> {
        let mut sink = Sink::new(self.dir);
        let fetched = match &offer.files {
            OfferFiles::Split(files) => self.fetch_split(files, &mut sink)?,
            OfferFiles::Export { url, size_bytes } => self.fetch_export(url, *size_bytes, &mut sink)?,
            OfferFiles::Whole { url } => {
                let reply = self.client.get(url).map_err(unavailable)?;
                let meter = Meter::new(self.show, "", reply.length_bytes());
                let metadata = self.fetch_file(reply, "metadata", &mut sink, meter)?;
                Fetched { metadata, rootfs: None, size_bytes: 0 }
            }
        };
        let (actual, size_bytes) = sink.finish();
        if actual != offer.fingerprint {
            return Err(Error::unavailable(format!(
                "the image that the server sent is not the one it offered: its fingerprint is {actual}, not {}",
                offer.fingerprint
            )));
        }
        Ok(Fetched { size_bytes, ..fetched })
    }

    fn fetch_split(&self, files: &[OfferFile; 2], sink: &mut Sink<'_>) -> Result<Fetched> {
        ensure_space(self.dir, files.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add))?;
        let mut paths = Vec::new();
        for file in files {
            let reply = self.client.get(&file.url).map_err(unavailable)?;
            let meter = Meter::new(self.show, file.label, Some(file.size_bytes));
            paths.push(self.fetch_file(reply, file.label, sink, meter)?);
            let actual = sink.hash_of_file();
            if !file.sha256.is_empty() && actual != file.sha256 {
                return Err(Error::unavailable(format!("Hash mismatch for {}: {actual} != {}", shown_url(&file.url), file.sha256)));
            }
        }
        let rootfs = paths.pop();
        let metadata = paths.pop().ok_or_else(|| Error::internal("an image of two files has no first one"))?;
        Ok(Fetched { metadata, rootfs, size_bytes: 0 })
    }

    /// Writes a reply to a file of its own; it must not be longer than the meter says.
    fn fetch_file(&self, mut reply: Reply, name: &str, sink: &mut Sink<'_>, mut meter: Meter<'_>) -> Result<PathBuf> {
        let path = sink.begin(name)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = reply.read(&mut piece).map_err(unavailable);
            self.cancel.check()?;
            let count = count?;
            if count == 0 {
                break;
            }
            meter.receive(count as u64)?;
            meter.add(count as u64)?;
            sink.write(&piece[..count])?;
        }
        meter.finish()?;
        Ok(path)
    }

    /// The reply of an LXD: one file, or two as parts.
    fn fetch_export(&self, url: &str, size_bytes: u64, sink: &mut Sink<'_>) -> Result<Fetched> {
        ensure_space(self.dir, size_bytes)?;
        let mut reply = self.client.get(url).map_err(unavailable)?;
        let mut meter = Meter::new(self.show, "", Some(size_bytes));
        let Some(boundary) = reply.header("content-type").and_then(multipart::boundary) else {
            let metadata = self.fetch_file(reply, "metadata", sink, meter)?;
            return Ok(Fetched { metadata, rootfs: None, size_bytes: 0 });
        };
        let mut parser = multipart::Parser::new(&boundary);
        let mut piece = vec![0; PIECE_BYTES];
        let mut paths: Vec<PathBuf> = Vec::new();
        loop {
            let count = reply.read(&mut piece).map_err(unavailable);
            self.cancel.check()?;
            let count = count?;
            if count == 0 {
                break;
            }
            meter.receive(count as u64)?;
            for event in parser.push(&piece[..count]).map_err(unavailable)? {
                match event {
                    Event::Part(part) => {
                        let expected = ["metadata", "rootfs"].get(paths.len()).copied().unwrap_or_default();
                        if part.name != expected {
                            return Err(Error::unavailable("Invalid multipart image"));
                        }
                        paths.push(sink.begin(expected)?);
                    }
                    Event::Content(content) => {
                        meter.add(content.len() as u64)?;
                        sink.write(&content)?;
                    }
                }
            }
        }
        if !parser.is_complete() || paths.len() != 2 {
            return Err(Error::unavailable("the server sent an incomplete image"));
        }
        meter.finish()?;
        let (rootfs, metadata) = (paths.pop(), paths.remove(0));
        Ok(Fetched { metadata, rootfs, size_bytes: 0 })
    }
}

/// Refuses what would not fit.
fn ensure_space(dir: &Path, size_bytes: u64) -> Result<()> {
    let (_, available) = sys::fs::fs_space(dir).context("look at the free space for images")?;
    if size_bytes.saturating_add(RESERVE_BYTES) <= available {
        return Ok(());
    }
    let shown = dir.parent().unwrap_or(dir).display();
    Err(Error::unavailable(format!(
        "the image has {} and {} are free in {shown}, of which {} are kept free",
        megabytes(size_bytes),
        megabytes(available),
        megabytes(RESERVE_BYTES)
    ))
    .hint("free some space, `lxc image list` shows what is there"))
}

/// Files being written, one after the other, and their hashes.
struct Sink<'a> {
    dir: &'a Path,
    file: Option<(File, PathBuf)>,
    of_file: Sha256,
    of_all: Sha256,
    total_bytes: u64,
    unchecked_bytes: u64,
}

impl<'a> Sink<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, file: None, of_file: Sha256::new(), of_all: Sha256::new(), total_bytes: 0, unchecked_bytes: 0 }
    }

    fn begin(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let file = sys::fs::create(&path, 0o600).context("store the image")?;
        self.of_file = Sha256::new();
        self.file = Some((file, path.clone()));
        Ok(path)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.unchecked_bytes += bytes.len() as u64;
        if self.unchecked_bytes >= SPACE_CHECK_BYTES {
            self.unchecked_bytes = 0;
            ensure_space(self.dir, 0)?;
        }
        let Some((file, _)) = &mut self.file else { return Err(Error::unavailable("the server sent an image without a beginning")) };
        file.write_all(bytes).context("store the image")?;
        self.of_file.update(bytes);
        self.of_all.update(bytes);
        self.total_bytes += bytes.len() as u64;
        Ok(())
    }

    fn hash_of_file(&self) -> String {
        hex(self.of_file.clone())
    }

    /// Hash and size of all files.
    fn finish(self) -> (String, u64) {
        (hex(self.of_all), self.total_bytes)
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts, and shows how far it is: `rootfs: 48% (12.30MB/s)`.
struct Meter<'a> {
    sink: &'a dyn Fn(&str),
    label: &'static str,
    /// As declared.
    size_bytes: Option<u64>,
    /// Of the image.
    done_bytes: u64,
    /// Of the reply, with what is around the image's files.
    received_bytes: u64,
    started: Instant,
    shown: Instant,
    shown_text: String,
    window: (Instant, u64),
}

impl<'a> Meter<'a> {
    fn new(sink: &'a dyn Fn(&str), label: &'static str, size_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let (done_bytes, received_bytes, shown_text) = (0, 0, String::new());
        let mut meter =
            Self { sink, label, size_bytes, done_bytes, received_bytes, started: now, shown: now, shown_text, window: (now, 0) };
        meter.show();
        meter
    }

    /// Counts what arrives, whatever it is.
    fn receive(&mut self, count: u64) -> Result<()> {
        self.received_bytes += count;
        self.check_size(self.received_bytes.saturating_sub(multipart::OVERHEAD_BYTES))?;
        let (since, before) = self.window;
        if since.elapsed() >= WINDOW {
            if self.received_bytes - before < LEAST_BYTES_PER_SECOND * WINDOW.as_secs() {
                return Err(Error::unavailable(format!("the server is too slow: less than {LEAST_BYTES_PER_SECOND} bytes a second")));
            }
            self.window = (Instant::now(), self.received_bytes);
        }
        Ok(())
    }

    /// Counts what belongs to the image.
    fn add(&mut self, count: u64) -> Result<()> {
        self.done_bytes += count;
        self.check_size(self.done_bytes)?;
        if self.shown.elapsed() >= SHOWN_EVERY {
            self.show();
        }
        Ok(())
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        match self.size_bytes.filter(|size| bytes > *size) {
            Some(size) => Err(Error::unavailable(format!("the server sends more than the {size} bytes that it declared"))),
            None => Ok(()),
        }
    }

    /// An error if there is less than declared.
    fn finish(mut self) -> Result<()> {
        if let Some(size) = self.size_bytes.filter(|size| self.done_bytes < *size) {
            return Err(Error::unavailable(format!("the server sent {} bytes of the {size} that it declared", self.done_bytes)));
        }
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        self.shown = Instant::now();
        let text = progress_text(self.label, (self.done_bytes, self.size_bytes), self.started.elapsed());
        if text != self.shown_text {
            (self.sink)(&text);
            self.shown_text = text;
        }
    }
}

/// How much of how much, and how fast, in words.
pub(crate) fn progress_text(label: &str, (done, size): (u64, Option<u64>), elapsed: Duration) -> String {
    let speed = (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let amount = match size.filter(|size| *size > 0) {
        // No size that anybody declares overflows in 128 bits.
        Some(size) => format!("{}%", u128::from(done) * 100 / u128::from(size)),
        None => megabytes(done),
    };
    let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
    format!("{label}{amount} ({}/s)", megabytes(speed))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2}MB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        let second = Duration::from_secs(1);
        assert_eq!(progress_text("rootfs", (48 << 20, Some(100 << 20)), 4 * second), "rootfs: 48% (12.00MB/s)");
        assert_eq!(progress_text("", (3 << 20, None), second), "3.00MB (3.00MB/s)");
        assert_eq!(progress_text("", (0, Some(u64::MAX)), Duration::ZERO), "0% (0.00MB/s)");
        assert_eq!(progress_text("", (u64::MAX / 2, Some(u64::MAX)), second), "49% (8796093022208.00MB/s)");
    }

    #[test]
    fn hashes_of_each_and_of_all() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut sink = Sink::new(dir.path());
        assert!(sink.write(b"x").is_err(), "nothing was begun");
        sink.begin("a").expect("begin");
        sink.write(b"ab").expect("write");
        assert_eq!(sink.hash_of_file(), hex(Sha256::new_with_prefix(b"ab")));
        let second = sink.begin("b").expect("begin");
        sink.write(b"c").expect("write");
        assert_eq!(sink.hash_of_file(), hex(Sha256::new_with_prefix(b"c")));
        assert_eq!(sink.finish(), (hex(Sha256::new_with_prefix(b"abc")), 3));
        assert_eq!(sys::fs::read(second).expect("read"), b"c");
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        ensure_space(dir.path(), 0).expect("there is some space");
        let error = ensure_space(dir.path(), 1 << 60).expect_err("an exabyte");
        assert!(error.report().contains("are free in"), "{}", error.report());
        ensure_space(dir.path(), u64::MAX).expect_err("no overflow");
    }

    #[test]
    fn what_arrives_has_bounds() {
        let mut meter = Meter::new(&|_| {}, "", Some(10));
        meter.receive(10 + multipart::OVERHEAD_BYTES).expect("what surrounds the files");
        meter.receive(1).expect_err("more than that");
        meter.add(10).expect("the image");
        meter.add(1).expect_err("more than declared");
        let mut meter = Meter::new(&|_| {}, "", Some(10));
        meter.receive(9).expect("some");
        meter.add(9).expect("some");
        meter.finish().expect_err("less than declared");
    }

    #[test]
    fn a_turn_is_not_waited_for_without_end() {
        let leases = Leases::default();
        let held = leases.hold("a");
        let late = Cancel::until(Some(Instant::now() + Duration::from_millis(50)));
        let error = late.turn(&leases, "a").expect_err("somebody has it");
        assert!(error.report().contains("takes too long"), "{}", error.report());
        drop(held);
        assert!(late.turn(&leases, "a").is_err(), "its time is over");
        drop(Cancel::default().turn(&leases, "a").expect("free"));
    }

    #[test]
    fn whoever_cancels_waits_for_the_work_to_end() {
        let cancel = Arc::new(Cancel::default());
        let working = Working(cancel.clone());
        std::thread::scope(|scope| {
            let canceller = scope.spawn(|| cancel.cancel());
            while cancel.check().is_ok() {
                std::thread::yield_now();
            }
            assert!(!canceller.is_finished());
            drop(working);
        });
        cancel.cancel();
    }
}
