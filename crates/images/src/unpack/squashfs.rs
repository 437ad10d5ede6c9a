//! Unpacking a squashfs with `unsquashfs`.
//!
//! The program unpacks all or nothing: it knows no bound, and no choice of attributes or device
//! nodes. So its listing is counted before, the disk is watched meanwhile, and what an image must
//! not bring is taken out afterwards.

use std::path::Path;
use std::time::Duration;

use sys::Root;
use sys::archive_io::{self, NodeKind};
use sys::cmd::{Cmd, CmdError};
use sys::{Errno, xattr};

use super::DevicePolicy;
use super::budget::{BLOCK_BYTES, Budget};
use super::tarball::is_allowed;
use crate::archive::is_guest_xattr;
use crate::{Error, Result};

/// Memory for its queues, in MiB; the default is a quarter of the machine.
const QUEUE_MIB: &str = "64";
/// No file system image takes longer than this to unpack.
const DEADLINE: Duration = Duration::from_secs(1800);
/// A file system with less than this left is full.
const FULL_BYTES: u64 = 1 << 20;
/// How much of a line of the listing tells mode, owner and size.
const LINE_HEAD_BYTES: usize = 96;
/// The longest line of the listing: a path and the target of a link as long as the kernel has
/// them, and what stands before.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Unpacks `file` into `target/rootfs`.
pub(super) fn unpack(file: &Path, target: &Path, (devices, budget): (DevicePolicy, &mut Budget<'_>)) -> Result<()> {
    count(file, budget)?;
    let rootfs = target.join("rootfs");
    let result = Cmd::new("unsquashfs", "squashfs-tools")
        .args(["-force", "-no-progress", "-quiet", "-data-queue", QUEUE_MIB, "-frag-queue", QUEUE_MIB, "-dest"])
        .arg(&rootfs)
        .arg(file)
        .deadline(DEADLINE)
        .run_while(|| budget.has_room());
    let full = || Error::DiskFull { target: target.display().to_string() };
    match result {
        Ok(Some(_)) => clean(target, devices),
        Ok(None) => Err(full()),
        // Its exit status does not tell a full disk from a broken image.
        Err(CmdError::Failed { .. }) if sys::fs::fs_space(target)?.1 < FULL_BYTES => Err(full()),
        Err(error) => Err(error.into()),
    }
}

/// Charges all entries. One with several names is charged for each, since a listing does not tell.
fn count(file: &Path, budget: &mut Budget<'_>) -> Result<()> {
    let mut listing = Listing::default();
    let mut result = Ok(());
    let is_whole = Cmd::new("unsquashfs", "squashfs-tools").arg("-lln").arg(file).deadline(DEADLINE).stream(|chunk| {
        result = listing.charge(chunk, budget);
        result.is_ok()
    });
    result?;
    is_whole?;
    Ok(())
}

/// A listing as `unsquashfs -lln` prints it, a line an entry: mode, ids, size, date, path. A name
/// may contain line breaks: what follows them can only add to the count, never hide a line.
#[derive(Default)]
struct Listing {
    head: Vec<u8>,
    line_bytes: usize,
}

impl Listing {
    fn charge(&mut self, chunk: &[u8], budget: &mut Budget<'_>) -> Result<()> {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let wanted = LINE_HEAD_BYTES.saturating_sub(self.head.len()).min(part.len());
            self.head.extend_from_slice(&part[..wanted]);
            self.line_bytes += part.len();
            if self.line_bytes > MAX_LINE_BYTES {
                return Err(Error::Limit { what: "bytes of a path", limit: MAX_LINE_BYTES as u64 });
            }
            if part.ends_with(b"\n") {
                let shown = String::from_utf8_lossy(&self.head);
                budget.take_entry(file_bytes(&self.head), shown.trim_end())?;
                self.head.clear();
                self.line_bytes = 0;
            }
        }
        Ok(())
    }
}

/// The size that a line tells of a regular file. The whole size is charged even if the file has
/// holes; other entries have none worth counting.
fn file_bytes(line: &[u8]) -> u64 {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    match (fields.next(), fields.next(), fields.next()) {
        (Some(mode), Some(_ids), Some(size)) if mode.starts_with(b"-") => {
            std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).unwrap_or(BLOCK_BYTES)
        }
        _ => 0,
    }
}

/// Removes device nodes and attributes that an image must not bring.
fn clean(target: &Path, policy: DevicePolicy) -> Result<()> {
    let root = archive_io::plain_sub_root(&Root::open(target)?, Path::new("rootfs"))?;
    let mut buffer = xattr::Buffer::default();
    let top = archive_io::open_tree_dir(&root, Path::new(""))?;
    strip_attributes(&top, &mut buffer)?;
    archive_io::walk_tree(&root, |dir, _| {
        let mut dirs = Vec::new();
        for (name, kind) in archive_io::read_dir_kinds(dir, Path::new("rootfs"))? {
            let entry = archive_io::open_entry(dir, &name, Path::new(&name))?;
            let is_device = matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice);
            if is_device && !is_allowed(policy, entry.stat.kind, entry.stat.device) {
                archive_io::remove_entry(dir, &name)?;
                continue;
            }
            strip_attributes(&entry, &mut buffer)?;
            if kind == NodeKind::Directory {
                dirs.push(name);
            }
        }
        Ok(dirs)
    })
}

fn strip_attributes(object: impl std::os::fd::AsFd, buffer: &mut xattr::Buffer) -> Result<()> {
    for name in xattr::list(&object, buffer)?.into_iter().filter(|name| !is_guest_xattr(name)) {
        match xattr::remove(&object, &name) {
            // A label that the host's security module gave and does not let go.
            Err(error) if matches!(error.errno, Errno::ACCESS | Errno::NOTSUP) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_names_cannot_hide_them() {
        assert_eq!(file_bytes(b"-rw-r--r-- 0/0                     123 2022-03-01 00:00 squashfs-root/a"), 123);
        assert_eq!(file_bytes(b"drwxr-xr-x 100000/100000            71 2022-03-01 00:00 squashfs-root"), 0);
        assert_eq!(file_bytes(b"crw-r--r-- 0/0                   1,  3 2022-03-01 00:00 squashfs-root/n"), 0);
        assert_eq!(file_bytes(b"b"), 0);
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut budget = Budget::new(dir.path(), Some(6 * BLOCK_BYTES)).expect("budget");
        let mut listing = Listing::default();
        let text = b"-rw-r--r-- 0/0   5000 2022-03-01 00:00 squashfs-root/a\n-rw\n";
        for chunk in text.chunks(7) {
            listing.charge(chunk, &mut budget).expect("three blocks");
        }
        listing.charge(text, &mut budget).expect("three more");
        assert!(matches!(listing.charge(b"x\n", &mut budget), Err(Error::Limit { .. })));
        assert!(listing.charge(&[b'x'; MAX_LINE_BYTES + 1], &mut budget).is_err());
    }
}
