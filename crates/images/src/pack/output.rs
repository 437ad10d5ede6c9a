//! Where an archive goes: it is hashed and counted on the way, and it ends early when somebody cancels it, or before the disk is
//! full that others need, too.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use sys::archive_io::File;

use super::Packed;
use crate::formats::Compression;
use crate::{Error, Result, image};

/// The part of a file system that packing leaves free, as a divisor; the same as unpacking.
const RESERVE: u64 = 50;
/// After so many bytes the file system is asked again: others write to it too.
const CHECK_BYTES: u64 = 1 << 20;

/// Lets a packing be broken off from another thread.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The packing ends soon, with [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// How something is packed.
#[derive(Clone, Debug)]
pub struct Packing {
    /// How the archive is compressed.
    pub compression: Compression,
    /// Who may break it off.
    pub cancel: Cancel,
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        Self { compression, cancel: Cancel::default() }
    }
}

/// Hashes and counts what is written.
pub(super) struct Hashing {
    out: File,
    hash: Sha256,
    size_bytes: u64,
    unchecked_bytes: u64,
}

impl Hashing {
    pub(super) fn new(out: File) -> Result<Self> {
        let hashing = Self { out, hash: Sha256::new(), size_bytes: 0, unchecked_bytes: 0 };
        if hashing.has_room() { Ok(hashing) } else { Err(no_room()) }
    }

    pub(super) fn packed(self) -> Packed {
        Packed { fingerprint: image::hex(&self.hash.finalize()), size_bytes: self.size_bytes }
    }

    /// Whether the file system still has its reserve. What cannot be asked is not full.
    fn has_room(&self) -> bool {
        sys::fs::file_space(&self.out).map_or(true, |(total, available)| available >= total / RESERVE)
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size_bytes += count as u64;
        self.unchecked_bytes += count as u64;
        if self.unchecked_bytes >= CHECK_BYTES {
            self.unchecked_bytes = 0;
            if !self.has_room() {
                return Err(io::Error::other(no_room()));
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn no_room() -> Error {
    Error::NoRoom { reserve_percent: 100 / RESERVE }
}
