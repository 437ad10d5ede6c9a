//! Reading members one after another from a stream.
//!
//! The `tar` crate parses single headers here; its own iterator is not used, since it reads
//! long names and extended headers whole into memory, however large an archive says they are.

use std::io::BufRead;

use sys::archive_io::Time;
use tar::{EntryType, Header};

use super::pax::{self, Extension};
use super::{BLOCK_BYTES, MAX_PAX_BYTES, Member, MemberKind, sparse};
use crate::{Error, Result};

/// The longest name or link target: several times what the kernel takes.
const MAX_NAME_BYTES: u64 = 16 << 10;
/// How many headers may describe one member.
const MAX_EXTENSIONS: usize = 16;

/// Reads an archive.
pub(crate) struct TarReader<R> {
    source: BlockSource<R>,
    /// Bytes of the current member still to come.
    data_left: u64,
    /// Bytes that fill its last block.
    padding: u64,
    ended: bool,
}

/// The stream below, with the archive's name for errors.
pub(super) struct BlockSource<R> {
    input: R,
    name: String,
}

impl<R: BufRead> BlockSource<R> {
    /// One whole block.
    pub(super) fn block(&mut self) -> Result<[u8; BLOCK_BYTES]> {
        self.block_or_end()?.ok_or_else(|| malformed("it ends in the middle of a member"))
    }

    /// One whole block, or nothing at the very end.
    fn block_or_end(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let available = self.input.fill_buf().map_err(|source| Error::Read { file: self.name.clone(), source })?;
            if available.is_empty() {
                break;
            }
            let count = available.len().min(BLOCK_BYTES - filled);
            block[filled..filled + count].copy_from_slice(&available[..count]);
            self.input.consume(count);
            filled += count;
        }
        match filled {
            0 => Ok(None),
            BLOCK_BYTES => Ok(Some(block)),
            _ => Err(malformed("it ends in the middle of a block")),
        }
    }

    /// Hands the next `count` bytes to `sink` piece by piece.
    fn pass(&mut self, mut count: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while count > 0 {
            let available = self.input.fill_buf().map_err(|source| Error::Read { file: self.name.clone(), source })?;
            if available.is_empty() {
                return Err(malformed("it ends in the middle of a member"));
            }
            let length = available.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            sink(&available[..length])?;
            self.input.consume(length);
            count -= length as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> TarReader<R> {
    /// Reads from `input`; `name` is for errors.
    pub(crate) fn new(input: R, name: impl Into<String>) -> Self {
        Self { source: BlockSource { input, name: name.into() }, data_left: 0, padding: 0, ended: false }
    }

    /// The next member; what is left of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let left = self.data_left.saturating_add(self.padding);
        self.source.pass(left, &mut |_| Ok(()))?;
        (self.data_left, self.padding) = (0, 0);
        let mut extension = Extension::default();
        for _ in 0..MAX_EXTENSIONS {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(self.long_name(&header)?),
                EntryType::GNULongLink => extension.link = Some(self.long_name(&header)?),
                EntryType::XHeader => {
                    let records = self.small(&header, MAX_PAX_BYTES as u64, "bytes of an extended header")?;
                    pax::parse(&records, &mut extension)?;
                }
                // For all members: a comment in practice; and the label of a volume.
                EntryType::XGlobalHeader => drop(self.small(&header, MAX_PAX_BYTES as u64, "bytes of an extended header")?),
                other if other.as_byte() == b'V' => {}
                _ => return self.member(&header, extension).map(Some),
            }
        }
        Err(malformed("too many headers for one member"))
    }

    /// Passes the content of the current member on, in the order of the archive.
    pub(crate) fn read_data(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let count = std::mem::take(&mut self.data_left);
        self.source.pass(count, sink)
    }

    /// The next header block; the end is two zero blocks, one, or the end of the file.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let block = self.source.block_or_end()?.filter(|block| block.iter().any(|byte| *byte != 0));
        let Some(block) = block else {
            self.ended = true;
            return Ok(None);
        };
        if !checksum_matches(&block) {
            return Err(malformed("wrong checksum of a header"));
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        Ok(Some(header))
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.small(header, MAX_NAME_BYTES, "bytes of a name")?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The whole data of a header that describes the next one.
    fn small(&mut self, header: &Header, limit: u64, what: &'static str) -> Result<Vec<u8>> {
        let size = header.entry_size().map_err(|error| malformed(&error.to_string()))?;
        if size > limit {
            return Err(Error::Limit { what, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        self.source.pass(size, &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        self.source.pass(padding(size), &mut |_| Ok(()))?;
        Ok(bytes)
    }

    fn member(&mut self, header: &Header, extension: Extension) -> Result<Member> {
        let bad = |error: std::io::Error| malformed(&error.to_string());
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind_of(header.entry_type(), &path)?;
        let id =
            |value: std::io::Result<u64>| value.map_err(bad).and_then(|id| u32::try_from(id).map_err(|_| malformed("owner out of range")));
        let declared = match extension.size {
            Some(size) => size,
            None => header.entry_size().map_err(bad)?,
        };
        // Some writers give a link the size of its file, without any data.
        self.data_left = if kind == MemberKind::File { declared } else { 0 };
        self.padding = padding(self.data_left);
        let sparse = self.sparse_map(header, &extension.sparse)?;
        let link = extension.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        // Not worth refusing an image for.
        let mtime = header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
        Ok(Member {
            path: extension.sparse.name.unwrap_or(path),
            kind,
            data_bytes: self.data_left,
            mode: header.mode().map_err(bad)? & 0o7777,
            uid: extension.uid.map_or_else(|| id(header.uid()), Ok)?,
            gid: extension.gid.map_or_else(|| id(header.gid()), Ok)?,
            mtime: extension.mtime.unwrap_or(Time { seconds: mtime, nanoseconds: 0 }),
            link,
            device: device(header, kind)?,
            xattrs: extension.xattrs,
            sparse,
        })
    }

    /// The map of a sparse member, read up to where its pieces begin.
    fn sparse_map(&mut self, header: &Header, keys: &pax::SparseKeys) -> Result<Option<sparse::Sparse>> {
        let map = if header.entry_type() == EntryType::GNUSparse {
            sparse::read_gnu(header, &mut self.source)?
        } else if keys.major == Some(1) {
            let (map, taken) = sparse::read_leading(keys, &mut self.source)?;
            self.data_left = self.data_left.checked_sub(taken).ok_or_else(|| malformed("map longer than its sparse file"))?;
            map
        } else if let Some(map) = &keys.map {
            sparse::from_keys(keys, map)?
        } else {
            return Ok(None);
        };
        map.check(self.data_left).map(Some)
    }
}

fn kind_of(entry_type: EntryType, path: &[u8]) -> Result<MemberKind> {
    Ok(match entry_type {
        // Archives from before POSIX mark a directory by its name alone.
        EntryType::Regular if path.ends_with(b"/") => MemberKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => MemberKind::File,
        EntryType::Directory => MemberKind::Directory,
        EntryType::Symlink => MemberKind::Symlink,
        EntryType::Link => MemberKind::HardLink,
        EntryType::Char => MemberKind::CharDevice,
        EntryType::Block => MemberKind::BlockDevice,
        EntryType::Fifo => MemberKind::Fifo,
        other => return Err(malformed(&format!("member of unknown type {:?}", char::from(other.as_byte())))),
    })
}

fn device(header: &Header, kind: MemberKind) -> Result<(u32, u32)> {
    if !matches!(kind, MemberKind::CharDevice | MemberKind::BlockDevice) {
        return Ok((0, 0));
    }
    let bad = |error: std::io::Error| malformed(&error.to_string());
    let major = header.device_major().map_err(bad)?;
    let minor = header.device_minor().map_err(bad)?;
    Ok((major.unwrap_or(0), minor.unwrap_or(0)))
}

/// The checksum counts its own field as spaces; very old tars summed signed bytes.
pub(super) fn checksum_matches(block: &[u8]) -> bool {
    let field = &block[148..156];
    let text: Vec<u8> = field.iter().copied().skip_while(|byte| *byte == b' ').take_while(u8::is_ascii_digit).collect();
    let Some(wanted) = std::str::from_utf8(&text).ok().and_then(|text| i64::from_str_radix(text, 8).ok()) else { return false };
    let (before, after) = (&block[..148], &block[156..]);
    let spaces = 8 * i64::from(b' ');
    let unsigned = spaces + before.iter().chain(after).map(|byte| i64::from(*byte)).sum::<i64>();
    let signed = spaces + before.iter().chain(after).map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    wanted == unsigned || wanted == signed
}

/// How many bytes fill the last block of a member.
fn padding(size: u64) -> u64 {
    (BLOCK_BYTES as u64 - size % BLOCK_BYTES as u64) % BLOCK_BYTES as u64
}

pub(super) fn malformed(reason: &str) -> Error {
    Error::Malformed(reason.to_owned())
}
