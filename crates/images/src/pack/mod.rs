//! Packing a stopped container into a unified image.

mod ids;
mod output;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::Root;
use sys::archive_io::{self, Entry, File, NodeKind, NodeStat};
use sys::idmap::{IdMap, Kind};
use sys::xattr;

use crate::archive::{Member, MemberKind, Sparse, TarWriter, is_guest_xattr};
use crate::formats::Encoder;
use crate::metadata::MAX_METADATA_BYTES;
use crate::{Error, Metadata, Result, metadata};
use output::Hashing;

pub use output::{Cancel, Packing};

/// Files smaller than this are never looked at for holes.
const SPARSE_FROM_BYTES: u64 = 64 << 10;
/// A file of more pieces between holes than this is written with its holes as zeros, if they are not much.
const MAX_PIECES: usize = 1 << 20;
/// How many times what it takes on the disk such a file may then have. A guest makes one of exabytes from a few blocks.
const MAX_UNFOLDING: u64 = 4;
/// What the paths may take that are kept for the sake of hard links, in bytes.
const MAX_LINK_BYTES: usize = 256 << 20;
/// How much of a file is read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// What is in a directory with a longer path is left out: an archive holds the whole path of each
/// member, and no reader takes paths of any length.
const MAX_PATH_BYTES: usize = 64 << 10;
/// The most names of one directory's metadata part.
const MAX_TEMPLATES: usize = 10_000;

/// What to pack.
#[derive(Clone, Copy, Debug)]
pub struct PackSource<'a> {
    /// The volume with `metadata.yaml` and `templates/`, either of which may be absent.
    pub volume: &'a Root,
    /// The root file system; for an overlay, the merged mount.
    pub rootfs: &'a Root,
    /// The map by which ids on disk were shifted, `None` if they are the guest's.
    pub ids: Option<&'a IdMap>,
    /// Architecture for a `metadata.yaml` that has to be made.
    pub architecture: &'a str,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the file in hex.
    pub fingerprint: String,
    /// Its size.
    pub size_bytes: u64,
}

/// Writes a unified image to `out`, at its current position. With `properties`, those of
/// `metadata.yaml` are replaced.
pub fn pack(source: &PackSource<'_>, properties: &BTreeMap<String, String>, out: &File, packing: impl Into<Packing>) -> Result<Packed> {
    let mut packer = Packer::new(out, packing.into())?;
    packer.ids = source.ids;
    let content = metadata_content(source, properties)?;
    packer.file("metadata.yaml", &content, unix_now())?;
    packer.templates(source.volume, "")?;
    packer.tree(source.rootfs, "rootfs")?;
    packer.finish()
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn metadata_content(source: &PackSource<'_>, properties: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let existing = match read_volume_file(source.volume, Path::new("metadata.yaml")) {
        Err(Error::Sys(error)) if error.is_not_found() => None,
        other => Some(other?),
    };
    match existing {
        Some(bytes) if properties.is_empty() => Ok(bytes),
        Some(bytes) => metadata::with_properties(&bytes, properties),
        None => {
            let made = Metadata {
                architecture: source.architecture.to_owned(),
                creation_date: unix_now(),
                properties: properties.clone(),
                ..Metadata::default()
            };
            Ok(made.to_yaml()?.into_bytes())
        }
    }
}

fn read_volume_file(volume: &Root, path: &Path) -> Result<Vec<u8>> {
    if archive_io::lstat_kind(volume, path)? != NodeKind::File {
        return Err(Error::refused(path.as_os_str().as_bytes(), "it is not a regular file"));
    }
    read_capped(volume.open_file(path)?, path)
}

/// A whole file that must not be larger than `metadata.yaml` may be.
pub(crate) fn read_capped(file: File, path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = file.take(MAX_METADATA_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::Read { file: path.display().to_string(), source })?;
    if bytes.len() > MAX_METADATA_BYTES {
        return Err(Error::Limit { what: "bytes of a metadata file or template", limit: MAX_METADATA_BYTES as u64 });
    }
    Ok(bytes)
}

/// Writes an archive member by member.
pub(crate) struct Packer<'a> {
    writer: TarWriter<BufWriter<Encoder<Hashing>>>,
    ids: Option<&'a IdMap>,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// What those paths take, in bytes.
    links_bytes: usize,
    /// What they may take.
    max_links_bytes: usize,
    cancel: Cancel,
    buffer: Vec<u8>,
    xattrs: xattr::Buffer,
}

fn write_error(source: io::Error) -> Error {
    Error::Write { file: "archive".to_owned(), source }
}

impl<'a> Packer<'a> {
    /// An archive to `out`, at its current position.
    pub(crate) fn new(out: &File, packing: Packing) -> Result<Self> {
        let hashing = Hashing::new(out.try_clone().map_err(write_error)?)?;
        let encoder = Encoder::new(hashing, packing.compression).map_err(write_error)?;
        Ok(Self {
            writer: TarWriter::new(BufWriter::with_capacity(BUFFER_BYTES, encoder)),
            ids: None,
            links: HashMap::new(),
            links_bytes: 0,
            max_links_bytes: MAX_LINK_BYTES,
            cancel: packing.cancel,
            buffer: vec![0; BUFFER_BYTES],
            xattrs: xattr::Buffer::default(),
        })
    }

    /// A small file.
    pub(crate) fn file(&mut self, path: &str, content: &[u8], mtime: i64) -> Result<()> {
        self.writer.file(path, content, mtime)
    }

    /// A whole volume below `prefix`; its `metadata.yaml` may be absent.
    pub(crate) fn volume(&mut self, source: &PackSource<'a>, prefix: &str) -> Result<()> {
        self.ids = source.ids;
        // No link leads from one volume to another.
        self.forget_links();
        match read_volume_file(source.volume, Path::new("metadata.yaml")) {
            Err(Error::Sys(error)) if error.is_not_found() => {}
            other => self.file(&format!("{prefix}/metadata.yaml"), &other?, unix_now())?,
        }
        self.templates(source.volume, &format!("{prefix}/"))?;
        self.tree(source.rootfs, &format!("{prefix}/rootfs"))
    }

    fn forget_links(&mut self) {
        self.links.clear();
        self.links_bytes = 0;
    }

    /// A directory tree as `prefix`, with ids as they are.
    pub(crate) fn bare_tree(&mut self, root: &Root, prefix: &str) -> Result<()> {
        self.ids = None;
        self.forget_links();
        self.tree(root, prefix)
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> Result<Packed> {
        let encoder = self.writer.finish()?.into_inner().map_err(|error| write_error(error.into_error()))?;
        let mut hashing = encoder.finish().map_err(write_error)?;
        hashing.flush().map_err(write_error)?;
        Ok(hashing.packed())
    }

    /// The templates as plain files, owned by root, without following anything.
    fn templates(&mut self, volume: &Root, prefix: &str) -> Result<()> {
        let root = match archive_io::plain_sub_root(volume, Path::new("templates")) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        for name in root.list("", MAX_TEMPLATES)? {
            let path = Path::new(&name);
            if archive_io::lstat_kind(&root, path)? != NodeKind::File {
                continue;
            }
            let content = read_capped(root.open_file(path)?, path)?;
            self.writer.file(&format!("{prefix}templates/{}", name.to_string_lossy()), &content, unix_now())?;
        }
        Ok(())
    }

    /// A directory and all that is below.
    fn tree(&mut self, root: &Root, prefix: &str) -> Result<()> {
        let top = archive_io::open_tree_dir(root, Path::new(""))?;
        let entry = archive_io::open_entry(&top, "".as_ref(), Path::new(prefix))?;
        self.entry(&entry, Path::new(prefix))?;
        drop((top, entry));
        archive_io::walk_tree(root, |dir, trail| {
            let mut below = Vec::new();
            if trail.length() > MAX_PATH_BYTES {
                tracing::warn!(path = %trail, "left out of the image: too deep");
                return Ok(below);
            }
            let path = Path::new(prefix).join(trail.to_path());
            for name in archive_io::read_dir(dir, &path)? {
                let shown = path.join(&name);
                let entry = archive_io::open_entry(dir, &name, &shown)?;
                self.entry(&entry, &shown)?;
                if entry.stat.kind == NodeKind::Directory {
                    below.push(name);
                }
            }
            Ok(below)
        })
    }

    fn entry(&mut self, entry: &Entry, path: &Path) -> Result<()> {
        self.cancel.check()?;
        let Some(mut member) = self.member(&entry.stat, path) else { return Ok(()) };
        if entry.stat.kind != NodeKind::Directory && entry.stat.links > 1 {
            if let Some(first) = self.links.get(&entry.stat.identity) {
                member.kind = MemberKind::HardLink;
                member.link = first.clone();
                member.data_bytes = 0;
                return self.writer.begin(&member);
            }
            self.links_bytes += member.path.len();
            if self.links_bytes > self.max_links_bytes {
                let reason = "there are too many files with several names, on too long paths".to_owned();
                return Err(Error::Unpackable { file: path.display().to_string(), reason });
            }
            self.links.insert(entry.stat.identity, member.path.clone());
        }
        if entry.stat.kind != NodeKind::Symlink {
            let xattrs = entry.xattrs(&mut self.xattrs).map_err(|error| unlistable(error, path))?;
            member.xattrs = xattrs
                .into_iter()
                .filter(|xattr| is_guest_xattr(&xattr.name))
                .filter_map(|xattr| ids::unshift_xattr(xattr, self.ids))
                .collect();
        }
        match entry.stat.kind {
            NodeKind::File => self.content(entry, member, path),
            NodeKind::Symlink => {
                member.link = entry.read_link(path)?.as_os_str().as_bytes().to_vec();
                self.writer.begin(&member)
            }
            _ => self.writer.begin(&member),
        }
    }

    /// The header of an entry, `None` for what an image cannot hold.
    fn member(&self, stat: &NodeStat, path: &Path) -> Option<Member> {
        let kind = match stat.kind {
            NodeKind::File => MemberKind::File,
            NodeKind::Directory => MemberKind::Directory,
            NodeKind::Symlink => MemberKind::Symlink,
            NodeKind::CharDevice => MemberKind::CharDevice,
            NodeKind::BlockDevice => MemberKind::BlockDevice,
            NodeKind::Fifo => MemberKind::Fifo,
            NodeKind::Socket => return None,
        };
        let id = |kind, id| self.ids.map_or(Some(id), |map| map.to_guest(kind, id));
        let (Some(uid), Some(gid)) = (id(Kind::Uid, stat.uid), id(Kind::Gid, stat.gid)) else {
            tracing::warn!(path = %path.display(), uid = stat.uid, gid = stat.gid, "left out of the image: owner outside the container's id map");
            return None;
        };
        let mut path = path.as_os_str().as_bytes().to_vec();
        if kind == MemberKind::Directory {
            path.push(b'/');
        }
        let data_bytes = if kind == MemberKind::File { stat.size_bytes } else { 0 };
        Some(Member {
            path,
            kind,
            data_bytes,
            mode: stat.mode,
            uid,
            gid,
            mtime: stat.mtime,
            link: Vec::new(),
            device: stat.device,
            xattrs: Vec::new(),
            sparse: None,
        })
    }

    fn content(&mut self, entry: &Entry, mut member: Member, path: &Path) -> Result<()> {
        if member.data_bytes == 0 {
            return self.writer.begin(&member);
        }
        let file = entry.open_file(path)?;
        let pieces = match pieces(&file, &entry.stat, path, MAX_PIECES)? {
            None => vec![(0, member.data_bytes)],
            Some(pieces) => {
                member.data_bytes = pieces.iter().map(|(_, length)| length).sum();
                member.sparse = Some(Sparse { file_bytes: entry.stat.size_bytes, pieces: pieces.clone() });
                pieces
            }
        };
        self.writer.begin(&member)?;
        for (mut offset, mut left) in pieces {
            while left > 0 {
                self.cancel.check()?;
                let count = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                archive_io::read_exact_at(&file, &mut self.buffer[..count], offset, path)?;
                self.writer.write_data(&self.buffer[..count])?;
                offset += count as u64;
                left -= count as u64;
            }
        }
        Ok(())
    }
}

/// Some file systems keep more attributes than the kernel can list.
fn unlistable(error: sys::Error, path: &Path) -> Error {
    if error.errno != sys::Errno::TOOBIG {
        return error.into();
    }
    let reason = "it has more extended attributes than can be listed: remove some".to_owned();
    Error::Unpackable { file: path.display().to_string(), reason }
}

/// The pieces of a file that are not holes; `None` if it has no holes worth the trouble.
fn pieces(file: &File, stat: &NodeStat, path: &Path, most: usize) -> Result<Option<Vec<(u64, u64)>>> {
    if stat.size_bytes < SPARSE_FROM_BYTES || stat.allocated_bytes >= stat.size_bytes {
        return Ok(None);
    }
    let (mut pieces, mut from) = (Vec::new(), 0);
    while from < stat.size_bytes
        && let Some((start, end)) = archive_io::next_extent(file, from, path)?
    {
        if pieces.len() == most {
            if stat.size_bytes / MAX_UNFOLDING <= stat.allocated_bytes {
                return Ok(None);
            }
            let size = stat.size_bytes;
            let reason = format!("of its {size} bytes few are there, in more than {most} pieces: remove it, or fill the holes");
            return Err(Error::Unpackable { file: path.display().to_string(), reason });
        }
        let end = end.min(stat.size_bytes);
        pieces.push((start, end.saturating_sub(start)));
        from = end.max(start + 1);
    }
    let is_whole = pieces == [(0, stat.size_bytes)];
    Ok(if is_whole { None } else { Some(pieces) })
}

#[cfg(test)]
mod tests;
