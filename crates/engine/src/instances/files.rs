//! Files inside an instance, as the guest sees them.

use std::os::fd::OwnedFd;

use keys::instance::volatile;
use runtime::{FileAttrs, FileKind, FileTree};
use storage::VolumeRef;

use super::admission::{Action, Permit};
use super::expand::expand_record;
use super::start::runtime_rootfs;
use super::{FileAttributes, FileContent, FileEntry, Instances};
use crate::error::Context;
use crate::{Error, ErrorKind, Result};

/// An opened tree; of a stopped instance it holds the permit, so that nobody starts or deletes it
/// while the call lasts.
struct Tree {
    files: FileTree,
    _permit: Option<Permit>,
}

impl Instances {
    /// Opens what stands at `path`.
    pub fn read_file(&self, name: &str, path: &str) -> Result<FileEntry> {
        let tree = self.tree(name, path)?;
        let stat = tree.files.stat(path).map_err(|error| file_error(error, path))?;
        let entry = |content| FileEntry { uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777, size: Some(stat.size), content };
        match stat.kind {
            FileKind::Directory => Ok(entry(FileContent::Directory(tree.files.list(path).map_err(|error| file_error(error, path))?))),
            FileKind::Symlink => Ok(entry(FileContent::Symlink(tree.files.read_link(path).map_err(|error| file_error(error, path))?))),
            _ => {
                let (stat, file) = tree.files.read(path).map_err(|error| file_error(error, path))?;
                Ok(FileEntry {
                    uid: stat.uid,
                    gid: stat.gid,
                    mode: stat.mode & 0o7777,
                    size: (!sys::fs::has_made_up_sizes(&file).unwrap_or(false)).then_some(stat.size),
                    content: FileContent::File(OwnedFd::from(file)),
                })
            }
        }
    }

    /// Opens `path` for writing, truncated or for appending; the caller writes the content.
    pub fn write_file(&self, name: &str, path: &str, attributes: FileAttributes, append: bool) -> Result<OwnedFd> {
        let tree = self.tree(name, path)?;
        if tree.files.kind(path) == Some(FileKind::Directory) {
            return Err(Error::bad_request("Path already exists as a directory"));
        }
        let file = tree.files.write(path, attrs(attributes), append).map_err(|error| making_error(error, path))?;
        Ok(OwnedFd::from(file))
    }

    /// Makes a directory; an existing one gets the attributes.
    pub fn make_directory(&self, name: &str, path: &str, attributes: FileAttributes) -> Result<()> {
        self.tree(name, path)?.files.mkdir(path, attrs(attributes)).map_err(|error| making_error(error, path))
    }

    /// Makes a symbolic link.
    pub fn make_symlink(&self, name: &str, path: &str, target: &str, attributes: FileAttributes) -> Result<()> {
        self.tree(name, path)?.files.symlink(path, target, attrs(attributes)).map_err(|error| making_error(error, path))
    }

    /// Deletes a file or an empty directory.
    pub fn delete_file(&self, name: &str, path: &str) -> Result<()> {
        self.tree(name, path)?.files.delete(path).map_err(|error| file_error(error, path))
    }

    fn tree(&self, name: &str, path: &str) -> Result<Tree> {
        let engine = &self.engine;
        if path.is_empty() {
            return Err(Error::bad_request("missing path argument"));
        }
        if path.contains('\0') {
            return Err(Error::bad_request("a path has no NUL"));
        }
        self.record(name)?;
        if let Some(run) = engine.live.get(name) {
            let files = run.container.files().map_err(|error| unreachable(error, name))?;
            return Ok(Tree { files, _permit: None });
        }
        let permit = engine.gates.permit(name, Action::Copy)?;
        // It may have been started while this waited.
        if let Some(run) = engine.live.get(name) {
            let files = run.container.files().map_err(|error| unreachable(error, name))?;
            return Ok(Tree { files, _permit: None });
        }
        let record = self.record(name)?;
        let pool = engine.pool(&record.pool)?;
        let rootfs = runtime_rootfs(pool.rootfs(&VolumeRef::instance(name)).context(format!("look at the volume of `{name}`"))?);
        let config = expand_record(&engine.records, &record).config;
        let on_disk = volatile::LAST_STATE_IDMAP.text(&config).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let files = FileTree::stopped(&rootfs, &on_disk, false).context(format!("reach the files of `{name}`"))?;
        Ok(Tree { files, _permit: Some(permit) })
    }
}

fn attrs(attributes: FileAttributes) -> FileAttrs {
    FileAttrs { uid: attributes.uid, gid: attributes.gid, mode: attributes.mode }
}

fn unreachable(error: runtime::Error, name: &str) -> Error {
    let kind = match error {
        runtime::Error::Busy { .. } | runtime::Error::Silent { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("reach the files of `{name}`")).caused_by(error)
}

/// What is to be made is missing where its directory is.
fn making_error(error: runtime::Error, path: &str) -> Error {
    if error.is_not_found() {
        let parent = path.trim_end_matches('/').rsplit_once('/').map_or("/", |(parent, _)| parent);
        return Error::not_found(format!("{path}: there is no directory {parent}")).hint("`lxc file push --create-dirs` makes it");
    }
    file_error(error, path)
}

fn file_error(error: runtime::Error, path: &str) -> Error {
    if error.is_not_found() {
        return Error::not_found(format!("{path}: not found"));
    }
    let kind = match error {
        runtime::Error::File { .. } | runtime::Error::Sys(_) => ErrorKind::BadRequest,
        runtime::Error::Silent { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string())
}
