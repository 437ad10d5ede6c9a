//! Unpacking tar archives member by member.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sys::archive_io::{self, Attrs, NodeKind, Time, TreeWriter};
use sys::{Errno, Root};

use super::DevicePolicy;
use super::budget::Budget;
use crate::archive::{Member, MemberKind, TarReader, relative_path};
use crate::stream::Decompressed;
use crate::{Error, Metadata, Result, image, stream};

/// How many bytes of names of directories are remembered to set their times at the end.
const MAX_DIR_NAME_BYTES: usize = 64 << 20;

/// Which parts of an image an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Metadata, templates, and the root file system below `rootfs/`.
    All,
    /// Metadata and templates.
    Metadata,
    /// The root file system at the top.
    Rootfs,
}

/// What of an archive is unpacked, and where the root file system goes.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) parts: Parts,
    /// Only what is below this directory of the archive counts, as if it were at the top.
    pub(crate) prefix: PathBuf,
    /// Name of the root file system's directory in the target.
    pub(crate) rootfs: String,
}

impl Scope {
    /// A whole archive that is an image or part of one.
    pub(crate) fn of_image(parts: Parts) -> Self {
        Self { parts, prefix: PathBuf::new(), rootfs: "rootfs".to_owned() }
    }
}

/// Where a member belongs.
enum Place {
    Metadata,
    Templates(PathBuf),
    Rootfs(PathBuf),
    /// Nothing that an image needs.
    Elsewhere,
}

fn place(path: &Path, scope: &Scope) -> Place {
    let Ok(path) = path.strip_prefix(&scope.prefix) else { return Place::Elsewhere };
    if scope.parts == Parts::Rootfs {
        return Place::Rootfs(path.to_owned());
    }
    let mut components = path.components();
    let first = components.next();
    let rest = components.as_path().to_owned();
    match first {
        Some(Component::Normal(name)) if name == "metadata.yaml" && rest.as_os_str().is_empty() => Place::Metadata,
        Some(Component::Normal(name)) if name == "templates" => Place::Templates(rest),
        Some(Component::Normal(name)) if name == "rootfs" && scope.parts == Parts::All => Place::Rootfs(rest),
        _ => Place::Elsewhere,
    }
}

/// Unpacks `file` beneath `target`.
pub(crate) fn unpack(file: &Path, target: &Root, scope: Scope, limits: (DevicePolicy, &mut Budget<'_>)) -> Result<()> {
    Archive::open(file)?.unpack(target, scope, limits, &mut |_| Ok(())).map(drop)
}

/// An archive that is read once, part by part.
pub(crate) struct Archive {
    reader: TarReader<Decompressed>,
    /// The first member after the part that was unpacked last.
    next: Option<Member>,
}

impl Archive {
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let name = file.display().to_string();
        Ok(Self { reader: TarReader::new(stream::open_tar(sys::fs::open(file)?, &name)?, &name), next: None })
    }

    fn next(&mut self) -> Result<Option<(Member, PathBuf)>> {
        let member = match self.next.take() {
            Some(member) => Some(member),
            None => self.reader.next()?,
        };
        let Some(member) = member else { return Ok(None) };
        let path = relative_path(&member.path).map_err(|reason| Error::refused(&member.path, reason))?;
        Ok(Some((member, path)))
    }

    /// Looks at the names of all that is left.
    pub(crate) fn pass_rest(&mut self, passed: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
        while let Some((_, path)) = self.next()? {
            passed(&path)?;
        }
        Ok(())
    }

    /// Unpacks beneath `target`. With a prefix, `passed` is called with what comes before the first member below it, and nothing
    /// is read beyond the first after the last; false if there was no such member.
    pub(crate) fn unpack(
        &mut self,
        target: &Root,
        scope: Scope,
        (devices, budget): (DevicePolicy, &mut Budget<'_>),
        passed: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<bool> {
        let prefix = scope.prefix.clone();
        let is_whole = prefix.as_os_str().is_empty();
        let mut unpacker = Unpacker::new(target, scope, devices, budget);
        if is_whole && unpacker.scope.parts == Parts::Rootfs {
            unpacker.rootfs()?;
        }
        let mut has_begun = false;
        while let Some((member, path)) = self.next()? {
            if path.starts_with(&prefix) {
                has_begun = true;
                unpacker.member(&member, &path, &mut self.reader)?;
            } else if has_begun {
                self.next = Some(member);
                break;
            } else {
                passed(&path)?;
            }
        }
        unpacker.set_dir_times()?;
        Ok(has_begun)
    }
}

struct Unpacker<'a, 'b> {
    target: &'a Root,
    scope: Scope,
    devices: DevicePolicy,
    budget: &'a mut Budget<'b>,
    rootfs: Option<TreeWriter>,
    templates: Option<TreeWriter>,
    has_metadata: bool,
    dir_times: Vec<(PathBuf, Time)>,
    dir_name_bytes: usize,
}

impl<'a, 'b> Unpacker<'a, 'b> {
    fn new(target: &'a Root, scope: Scope, devices: DevicePolicy, budget: &'a mut Budget<'b>) -> Self {
        Self {
            target,
            scope,
            devices,
            budget,
            rootfs: None,
            templates: None,
            has_metadata: false,
            dir_times: Vec::new(),
            dir_name_bytes: 0,
        }
    }

    fn member<R: std::io::BufRead>(&mut self, member: &Member, path: &Path, reader: &mut TarReader<R>) -> Result<()> {
        // What is left out counts as well: it is nobody else's.
        self.budget.take_member(member, path)?;
        match place(path, &self.scope) {
            Place::Metadata => self.metadata(member, reader)?,
            Place::Templates(path) => self.template(member, &path, reader)?,
            Place::Rootfs(path) => self.rootfs_member(member, &path, reader)?,
            Place::Elsewhere => {}
        }
        self.take_implicit_dirs()
    }

    fn metadata<R: std::io::BufRead>(&mut self, member: &Member, reader: &mut TarReader<R>) -> Result<()> {
        if member.kind != MemberKind::File || member.sparse.is_some() {
            return Err(Error::refused(&member.path, "metadata.yaml must be a regular file"));
        }
        // The first is what was shown and checked before; a second one must not take its place.
        if std::mem::replace(&mut self.has_metadata, true) {
            return Err(Error::refused(&member.path, "metadata.yaml is there twice"));
        }
        let content = image::read_small(reader, member.data_bytes)?;
        Metadata::parse(&content)?;
        let mut writer = TreeWriter::new(self.target.sub_root("")?);
        let path = Path::new("metadata.yaml");
        let mut file = writer.create_file(path)?;
        file.write_all(&content).map_err(|source| write_error(path, source))?;
        archive_io::finish_file(&file, &attrs_of(0o644, member.mtime), path)?;
        Ok(())
    }

    fn template<R: std::io::BufRead>(&mut self, member: &Member, path: &Path, reader: &mut TarReader<R>) -> Result<()> {
        let (is_dir, is_top) = (member.kind == MemberKind::Directory, path.as_os_str().is_empty());
        if !is_dir && (is_top || member.kind != MemberKind::File || member.sparse.is_some()) {
            return Err(Error::refused(&member.path, "templates must be directories and regular files"));
        }
        let writer = part(&mut self.templates, (self.target, "templates"), self.budget)?;
        if is_dir {
            writer.create_dir(path, &attrs_of(0o755, member.mtime))?;
            return Ok(());
        }
        write_content(writer, member, (path, &attrs_of(0o644, member.mtime)), reader)
    }

    fn rootfs(&mut self) -> Result<&mut TreeWriter> {
        part(&mut self.rootfs, (self.target, &self.scope.rootfs), self.budget)
    }

    fn rootfs_member<R: std::io::BufRead>(&mut self, member: &Member, path: &Path, reader: &mut TarReader<R>) -> Result<()> {
        if path.as_os_str().is_empty() && member.kind != MemberKind::Directory {
            return Err(Error::refused(&member.path, "rootfs must be a directory"));
        }
        let attrs = attrs_for(member);
        match member.kind {
            MemberKind::File => {
                let writer = part(&mut self.rootfs, (self.target, &self.scope.rootfs), self.budget)?;
                write_content(writer, member, (path, &attrs), reader)
            }
            MemberKind::Directory => {
                self.rootfs()?.create_dir(path, &attrs)?;
                self.remember_time(path, member.mtime);
                Ok(())
            }
            MemberKind::Symlink => {
                let target = Path::new(std::ffi::OsStr::from_bytes(&member.link));
                Ok(self.rootfs()?.symlink(target, path, &attrs)?)
            }
            MemberKind::HardLink => self.hard_link(member, path),
            MemberKind::CharDevice | MemberKind::BlockDevice | MemberKind::Fifo => self.node(member, path, &attrs),
        }
    }

    fn hard_link(&mut self, member: &Member, path: &Path) -> Result<()> {
        let existing = relative_path(&member.link).map_err(|_| Error::refused(&member.path, "it is a hard link to outside the image"))?;
        match place(&existing, &self.scope) {
            Place::Rootfs(existing) if !existing.as_os_str().is_empty() => Ok(self.rootfs()?.hard_link(&existing, path)?),
            _ => Err(Error::refused(&member.path, "it is a hard link to outside the root file system")),
        }
    }

    fn node(&mut self, member: &Member, path: &Path, attrs: &Attrs) -> Result<()> {
        let kind = match member.kind {
            MemberKind::CharDevice => NodeKind::CharDevice,
            MemberKind::BlockDevice => NodeKind::BlockDevice,
            _ => NodeKind::Fifo,
        };
        if kind != NodeKind::Fifo && !is_allowed(self.devices, kind, member.device) {
            tracing::debug!(path = %path.display(), device = ?member.device, "device node of the image left out");
            return Ok(());
        }
        match self.rootfs()?.node(path, kind, member.device, attrs) {
            // In a user namespace no device can be made; the manager provides those that matter.
            Err(error) if error.errno == Errno::PERM && kind != NodeKind::Fifo => {
                tracing::debug!(path = %path.display(), "device node of the image left out: not permitted");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Directories that only the names of members called for.
    fn take_implicit_dirs(&mut self) -> Result<()> {
        let writers = [&mut self.rootfs, &mut self.templates];
        let made: u64 = writers.into_iter().flatten().map(TreeWriter::take_implicit_dirs).sum();
        (0..made).try_for_each(|_| self.budget.take_entry(0, "directory"))
    }

    fn remember_time(&mut self, path: &Path, time: Time) {
        self.dir_name_bytes += path.as_os_str().len();
        if self.dir_name_bytes <= MAX_DIR_NAME_BYTES {
            self.dir_times.push((path.to_owned(), time));
        }
    }

    /// Last, since every new entry changes the time of its directory.
    fn set_dir_times(self) -> Result<()> {
        let Some(mut rootfs) = self.rootfs else { return Ok(()) };
        for (path, time) in self.dir_times.iter().rev() {
            match rootfs.set_dir_time(path, *time) {
                // A later member took its place.
                Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The writer for one part, made with its directory when the first member comes.
fn part<'a>(writer: &'a mut Option<TreeWriter>, (target, name): (&Root, &str), budget: &Budget<'_>) -> Result<&'a mut TreeWriter> {
    if writer.is_none() {
        match target.create_dir(name, 0o755) {
            Err(error) if error.errno == Errno::EXIST => {}
            other => other?,
        }
        *writer = Some(TreeWriter::new(archive_io::plain_sub_root(target, Path::new(name))?));
    }
    let writer = writer.as_mut().ok_or_else(|| Error::Malformed("no writer".to_owned()))?;
    writer.limit_implicit_dirs(budget.entries_left());
    Ok(writer)
}

fn write_content<R: std::io::BufRead>(
    writer: &mut TreeWriter,
    member: &Member,
    (path, attrs): (&Path, &Attrs),
    reader: &mut TarReader<R>,
) -> Result<()> {
    let mut file = writer.create_file(path)?;
    match &member.sparse {
        None => reader.read_data(&mut |part| file.write_all(part).map_err(|source| write_error(path, source)))?,
        Some(sparse) => {
            archive_io::set_length(&file, member.file_bytes(), path)?;
            let mut pieces = sparse.pieces.iter().copied();
            let mut piece = (0, 0);
            reader.read_data(&mut |mut part| {
                while !part.is_empty() {
                    if piece.1 == 0 {
                        piece = pieces.next().ok_or_else(|| Error::Malformed("sparse file with too much data".to_owned()))?;
                    }
                    let count = part.len().min(usize::try_from(piece.1).unwrap_or(usize::MAX));
                    archive_io::write_all_at(&file, &part[..count], piece.0, path)?;
                    piece = (piece.0 + count as u64, piece.1 - count as u64);
                    part = &part[count..];
                }
                Ok(())
            })?;
        }
    }
    Ok(archive_io::finish_file(&file, attrs, path)?)
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::Write { file: path.display().to_string(), source }
}

fn attrs_of(mode: u32, mtime: Time) -> Attrs {
    Attrs { mode, mtime: Some(mtime), ..Attrs::default() }
}

fn attrs_for(member: &Member) -> Attrs {
    let xattrs = member.xattrs.iter().filter(|xattr| crate::archive::is_guest_xattr(&xattr.name)).cloned().collect();
    Attrs { mode: member.mode, uid: member.uid, gid: member.gid, mtime: Some(member.mtime), xattrs }
}

/// Character devices that give access to nothing of the host: whiteout; null, zero, full, random,
/// urandom; tty, console, ptmx; tun, fuse.
const HARMLESS: &[(u32, u32)] = &[(0, 0), (1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200), (10, 229)];
/// Major number of pseudo-terminals.
const PTS_MAJOR: u32 = 136;

pub(super) fn is_allowed(policy: DevicePolicy, kind: NodeKind, device: (u32, u32)) -> bool {
    match policy {
        DevicePolicy::All => true,
        DevicePolicy::Skip => false,
        DevicePolicy::Harmless => kind == NodeKind::CharDevice && (HARMLESS.contains(&device) || device.0 == PTS_MAJOR),
    }
}
