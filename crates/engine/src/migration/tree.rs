//! One tree of files on its way between two servers.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use migration::{Channel, Received, RsyncFeatures};
use runtime::transfer::{Direction, Transfer, TransferOptions};
use storage::{Pool, VolumeRef};
use sys::Root;
use sys::tree::FileType;

use super::Peer;
use crate::error::Context;
use crate::images::progress_text;
use crate::instances::runtime_rootfs;
use crate::operations::Operation;
use crate::sync::lock;
use crate::{Engine, Error, Result};

/// How often progress is shown, and the space that is left looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// The part of a file system, of its bytes and of its inodes, that what comes from other servers leaves free: one in so many.
const RESERVE: u64 = 50;
/// The largest message that is sent.
const CHUNK_BYTES: usize = 128 << 10;
/// What is beside a root file system and is known.
const METADATA: &str = "metadata.yaml";
const TEMPLATES: &str = "templates";
/// The longest metadata that is taken, bytes.
const MAX_METADATA_BYTES: u64 = 1 << 20;

/// Fails, and says what to do, where nothing could be transferred.
pub(crate) fn check_rsync() -> Result<()> {
    if sys::cmd::Cmd::is_installed("rsync") {
        return Ok(());
    }
    Err(Error::unavailable("the program `rsync` is not installed (Debian package `rsync`)")
        .hint("install it on this server: it transfers files between servers"))
}

/// What is shown of a transfer: how much has gone or come, and how fast.
pub(crate) struct Progress<'a> {
    operation: &'a Operation,
    label: String,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    bytes: u64,
    looked: Instant,
}

impl<'a> Progress<'a> {
    /// `label` is the name of what is transferred.
    pub fn new(operation: &'a Operation, label: String) -> Self {
        let now = Instant::now();
        Self { operation, label, started: now, state: Mutex::new(State { bytes: 0, looked: now }) }
    }

    /// So many bytes more. True now and then, when it is time to look at what else there is to watch.
    fn add(&self, bytes: usize) -> bool {
        let mut state = lock(&self.state);
        state.bytes += bytes as u64;
        if state.looked.elapsed() < INTERVAL {
            return false;
        }
        state.looked = Instant::now();
        drop(state);
        self.show();
        true
    }

    fn show(&self) {
        let bytes = lock(&self.state).bytes;
        self.operation.progress("fs_progress", progress_text(&self.label, (bytes, None), self.started.elapsed()));
    }
}

/// A volume whose files are sent or received.
pub(crate) struct Tree<'a> {
    pub engine: &'a Engine,
    pub pool: &'a dyn Pool,
    pub volume: &'a VolumeRef,
    pub features: RsyncFeatures,
}

impl Tree<'_> {
    /// Sends it. Nobody writes to it meanwhile.
    pub fn send(&self, peer: &Peer, progress: &Progress<'_>) -> Result<()> {
        let what = "send files";
        let dir = Root::open(self.pool.dir(self.volume)).context(what)?;
        let transfer = self.start(Direction::Send, |beside| put_beside(&dir, beside)).context(what)?;
        let count = |way: Way, bytes: usize| -> Result<()> {
            if way == Way::Out {
                progress.add(bytes);
            }
            Ok(())
        };
        let ended = exchange(&peer.data, transfer, &count).context(what);
        progress.show();
        ended.map(drop).map_err(|error| peer.explained(error))
    }

    /// Receives it: afterwards it is what the other server has.
    pub fn receive(&self, peer: &Peer, progress: &Progress<'_>) -> Result<()> {
        let what = "receive files";
        let dir = self.pool.dir(self.volume);
        let transfer = self.start(Direction::Receive, |_| Ok(())).context(what)?;
        let count =
            |way: Way, bytes: usize| -> Result<()> { if way == Way::In && progress.add(bytes) { check_space(&dir) } else { Ok(()) } };
        let received = exchange(&peer.data, transfer, &count).context(what);
        progress.show();
        let beside = received.map_err(|error| peer.explained(error))?;
        take_beside(&beside, &dir).context(what)
    }

    fn start(&self, direction: Direction, fill: impl FnOnce(&Root) -> sys::Result<()>) -> Result<Transfer> {
        let rootfs = runtime_rootfs(self.pool.rootfs(self.volume).context("find the root file system")?);
        let is = |feature: Option<bool>| feature.unwrap_or(false);
        let options = TransferOptions {
            xattrs: is(self.features.xattrs),
            delete: is(self.features.delete),
            compress: is(self.features.compress),
            links_and_acls: is(self.features.links_and_acls),
        };
        self.engine.runtime.transfer(&rootfs, direction, options, fill).context("start the transfer")
    }
}

/// Seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Is told of what goes and comes; an error ends the transfer.
type Count<'a> = &'a (dyn Fn(Way, usize) -> Result<()> + Sync);

/// Lets rsync talk with its like on the other server, to the end of both directions. What lies beside the tree comes back.
fn exchange(data: &Channel, mut transfer: Transfer, count: Count<'_>) -> Result<Root> {
    let (to, from) = transfer.take_streams().ok_or_else(|| Error::internal("a transfer is used twice"))?;
    std::thread::scope(|scope| {
        let inward = scope.spawn(|| bring_in(data, to, count));
        let outward = send_out(data, from, count);
        let finished = transfer.finish().context("transfer files");
        let was_cut_off = inward.is_finished();
        if finished.is_err() {
            // The other server might never end what it sends.
            data.close();
        }
        let inward = inward.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // rsync fails when its streams end; why they did is then what matters.
        if was_cut_off { inward.and(outward).and(finished) } else { finished.and_then(|beside| inward.and(outward).map(|()| beside)) }
    })
}

/// From the other server to rsync. What comes when rsync has ended already is of no use to anybody, but is waited for: the
/// next stream begins behind it.
fn bring_in(data: &Channel, to: File, count: Count<'_>) -> Result<()> {
    let mut to = Some(to);
    let mut buffer = Vec::new();
    loop {
        match data.receive(&mut buffer).context("receive from the other server")? {
            Received::End => return Ok(()),
            Received::Bytes => count(Way::In, buffer.len())?,
        }
        if to.as_mut().is_some_and(|to| to.write_all(&buffer).is_err()) {
            to = None;
        }
    }
}

/// From rsync to the other server.
fn send_out(data: &Channel, mut from: File, count: Count<'_>) -> Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.context("read from rsync")?,
        };
        if read == 0 {
            return data.end().context("send to the other server");
        }
        count(Way::Out, read)?;
        data.send(&chunk[..read]).context("send to the other server")?;
    }
}

fn check_space(dir: &Path) -> Result<()> {
    let full = |what: &str| {
        Err(Error::unavailable(format!("the storage pool has too few {what} left for what the other server sends"))
            .hint("make room on it, or choose another pool with --storage"))
    };
    let (total, available) = sys::fs::fs_space(dir).context("look at the space that is left")?;
    if available < total / RESERVE {
        return full("bytes");
    }
    match sys::fs::fs_inodes(dir).context("look at the space that is left")? {
        Some((total, available)) if available < total / RESERVE => full("inodes"),
        _ => Ok(()),
    }
}

/// Puts what is known beside a volume's root file system where it goes along.
fn put_beside(dir: &Root, beside: &Root) -> sys::Result<()> {
    if sys::tree::kind_of(dir, METADATA)? == Some(FileType::RegularFile) {
        beside.replace_file(METADATA, &read(dir)?, 0o644)?;
    }
    if sys::tree::kind_of(dir, TEMPLATES)? == Some(FileType::Directory) {
        beside.create_dir(TEMPLATES, 0o755)?;
        sys::copy::copy_tree(&dir.sub_root(TEMPLATES)?, &beside.sub_root(TEMPLATES)?, &[])?;
    }
    Ok(())
}

/// Takes what is known of what came along, in the place of what was there.
fn take_beside(beside: &Root, dir: &Path) -> sys::Result<()> {
    let to = Root::open(dir)?;
    match sys::tree::kind_of(beside, METADATA)? {
        Some(FileType::RegularFile) => to.replace_file(METADATA, &read(beside)?, 0o644)?,
        _ if sys::tree::kind_of(&to, METADATA)?.is_some() => to.remove_file(METADATA)?,
        _ => {}
    }
    if sys::tree::kind_of(&to, TEMPLATES)?.is_some() {
        sys::tree::remove(dir.join(TEMPLATES))?;
    }
    if sys::tree::kind_of(beside, TEMPLATES)? == Some(FileType::Directory) {
        to.create_dir(TEMPLATES, 0o755)?;
        sys::copy::copy_tree(&beside.sub_root(TEMPLATES)?, &to.sub_root(TEMPLATES)?, &[])?;
    }
    Ok(())
}

/// Metadata, of which a few kilobytes are usual.
fn read(dir: &Root) -> sys::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = dir.open_file(METADATA)?;
    file.take(MAX_METADATA_BYTES).read_to_end(&mut content).map_err(|error| sys::Error::io("read", METADATA, &error))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_taken_of_what_came_along() {
        let (from, to) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let put = |path: &str, text: &str| std::fs::write(from.path().join(path), text).expect("write");
        let beside = Root::open(from.path()).expect("root");
        std::fs::create_dir(from.path().join("templates")).expect("mkdir");
        put("templates/hosts.tpl", "hosts");
        put("metadata.yaml", "architecture: x86_64");
        put("backup.yaml", "container: {}");
        std::fs::create_dir(to.path().join("templates")).expect("mkdir");
        std::fs::write(to.path().join("templates/old.tpl"), "old").expect("write");
        take_beside(&beside, to.path()).expect("take");
        let mut names: Vec<_> = std::fs::read_dir(to.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["metadata.yaml", "templates"]);
        assert_eq!(std::fs::read_dir(to.path().join("templates")).expect("list").count(), 1);

        // Links are what they are, and lead nowhere.
        std::fs::remove_dir_all(from.path().join("templates")).expect("remove");
        std::os::unix::fs::symlink("/etc", from.path().join("templates")).expect("link");
        std::fs::remove_file(from.path().join("metadata.yaml")).expect("remove");
        std::os::unix::fs::symlink("/etc/passwd", from.path().join("metadata.yaml")).expect("link");
        take_beside(&beside, to.path()).expect("take");
        assert_eq!(std::fs::read_dir(to.path()).expect("list").count(), 0);
    }
}
