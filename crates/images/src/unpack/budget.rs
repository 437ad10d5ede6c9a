//! How much may be unpacked: counted before anything is made, and checked against what the file
//! system really has left while it is made.

use std::fmt::Display;
use std::path::Path;

use sys::Errno;

use crate::archive::Member;
use crate::{Error, Result};

/// The most members of one image.
const MAX_MEMBERS: u64 = 4_000_000;
/// The part of a file system, of its bytes and of its inodes, that unpacking leaves free, as a
/// divisor.
const RESERVE: u64 = 50;
/// What a file system takes for anything at least, and the unit in which it gives space. An
/// archive costs next to nothing for an empty directory or a byte in a hole; the disk does not.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// After so many bytes are charged the file system is asked again: others write to it too.
const CHECK_BYTES: u64 = 32 << 20;

/// What may still be unpacked into one target.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    target: &'a Path,
    bytes_left: u64,
    inodes_left: u64,
    members_left: u64,
    unchecked_bytes: u64,
    /// The bound that the caller set, if it is that and not the disk which bounds.
    limit: Option<u64>,
}

impl<'a> Budget<'a> {
    /// All that the file system of `target` has but for the reserve, or `limit` bytes if less.
    pub(crate) fn new(target: &'a Path, limit: Option<u64>) -> Result<Self> {
        let (total, available) = sys::fs::fs_space(target)?;
        let free = available.saturating_sub(total / RESERVE);
        let inodes_left = match sys::fs::fs_inodes(target)? {
            Some((total, available)) => available.saturating_sub(total / RESERVE),
            None => u64::MAX,
        };
        Ok(Self {
            target,
            bytes_left: limit.unwrap_or(free).min(free),
            inodes_left,
            members_left: MAX_MEMBERS,
            unchecked_bytes: 0,
            limit: limit.filter(|limit| *limit <= free),
        })
    }

    /// Takes one member with all that it occupies.
    pub(crate) fn take_member(&mut self, member: &Member, shown: &Path) -> Result<()> {
        let data = match &member.sparse {
            None => in_blocks(member.data_bytes),
            Some(sparse) => sparse.pieces.iter().map(|(_, length)| in_blocks(*length)).fold(0, u64::saturating_add),
        };
        let xattrs = member.xattrs.iter().map(|xattr| (xattr.name.as_bytes().len() + xattr.value.len()) as u64).sum();
        self.take_entry(data.saturating_add(in_blocks(xattrs)), shown.display())
    }

    /// Takes one entry with so many bytes of content.
    pub(crate) fn take_entry(&mut self, bytes: u64, shown: impl Display) -> Result<()> {
        self.members_left = self.members_left.checked_sub(1).ok_or(Error::Limit { what: "members", limit: MAX_MEMBERS })?;
        let bytes = in_blocks(bytes.max(1));
        let full = |operation| Error::Sys(sys::Error::new(operation, &shown, Errno::NOSPC));
        self.inodes_left = self.inodes_left.checked_sub(1).ok_or_else(|| full("create"))?;
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| match self.limit {
            Some(limit) => Error::Limit { what: "bytes", limit },
            None => full("write"),
        })?;
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(bytes);
        if self.unchecked_bytes >= CHECK_BYTES {
            self.unchecked_bytes = 0;
            if !self.has_room() {
                return Err(full("write"));
            }
        }
        Ok(())
    }

    /// How many entries without content could still be taken.
    pub(crate) fn entries_left(&self) -> u64 {
        self.members_left.min(self.inodes_left).min(self.bytes_left / BLOCK_BYTES)
    }

    /// Whether the file system still has its reserve. What cannot be asked is not full.
    pub(crate) fn has_room(&self) -> bool {
        let has = |counts: (u64, u64)| counts.1 >= counts.0 / RESERVE;
        sys::fs::fs_space(self.target).map_or(true, has) && sys::fs::fs_inodes(self.target).map_or(true, |counts| counts.is_none_or(has))
    }
}

/// Rounded up to what is occupied.
fn in_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}
