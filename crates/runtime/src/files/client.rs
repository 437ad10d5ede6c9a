//! The daemon's side of file access.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sys::Root;
use sys::idmap::IdMap;

use super::crew::Place;
use super::ops::Tree;
use super::{FileAttrs, FileKind, FileReply, FileRequest, FileStat, stopped};
use crate::error::{Error, Result};
use crate::protocol::{self, FILES_PATIENCE, FilesMessage, FilesReply};
use crate::spec::Rootfs;

/// The files of one container.
pub struct FileTree(Access);

enum Access {
    Stopped { root: Root, ids: IdMap },
    Running(Mutex<Helper>),
}

/// A files helper inside a container. It ends with its socket.
pub(crate) struct Helper {
    socket: Option<Arc<OwnedFd>>,
    child: Option<Child>,
    place: Option<Place>,
    name: String,
    /// It may hang in a file system of the guest.
    lost: AtomicBool,
}

impl Helper {
    pub(crate) fn new((socket, child): (OwnedFd, Child), place: Place, name: &str) -> Self {
        let socket = Arc::new(socket);
        place.is_for(&socket);
        Self { socket: Some(socket), child: Some(child), place: Some(place), name: name.to_owned(), lost: AtomicBool::new(false) }
    }

    /// Sends one message and waits for its answer. A helper that did not answer in time is asked
    /// no more: the next answer would be to another question.
    pub(crate) fn ask(&self, message: &FilesMessage, fds: &[&OwnedFd]) -> Result<(FileReply, Option<OwnedFd>)> {
        let gone = || Error::Helper { program: "files helper", name: self.name.clone(), what: "has ended".into() };
        let socket = self.socket.as_ref().ok_or_else(gone)?;
        if self.lost.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        protocol::send(socket, message, &fds)?;
        let answer = protocol::receive_within::<FilesReply>(socket, FILES_PATIENCE, ("files helper", &self.name));
        let answer = answer.and_then(|answer| answer.ok_or_else(gone));
        let (reply, fds) = answer.inspect_err(|_| self.lost.store(true, Ordering::Relaxed))?;
        match reply {
            Ok(reply) => Ok((reply, fds.into_iter().next())),
            Err(failure) => Err(Error::File { message: failure.message, errno: failure.errno }),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.socket = None;
        let Some(mut child) = self.child.take() else { return };
        if self.lost.load(Ordering::Relaxed) {
            // One that hangs keeps its place until it is really gone.
            crate::runtime::dispose(child, self.place.take());
        } else {
            // It ends with its socket, so this takes no time.
            drop(child.wait());
        }
    }
}

impl FileTree {
    /// Files of a stopped container. `idmapped`: ids on disk are the guest's already.
    pub fn stopped(rootfs: &Rootfs, idmap: &IdMap, idmapped: bool) -> Result<Self> {
        let ids = if idmapped { IdMap::default() } else { idmap.clone() };
        // As in a running one, paths in errors are the guest's.
        let root = stopped::open_rootfs(rootfs)?.shown_as("/");
        Ok(Self(Access::Stopped { root, ids }))
    }

    pub(crate) fn running(helper: Helper) -> Self {
        Self(Access::Running(Mutex::new(helper)))
    }

    /// Facts of the path itself; a final link is not followed.
    pub fn stat(&self, path: &str) -> Result<FileStat> {
        match self.perform(FileRequest::Stat { path: path.into() })? {
            (FileReply::Stat(stat), _) => Ok(stat),
            _ => Err(unexpected()),
        }
    }

    /// Opens a regular file.
    pub fn read(&self, path: &str) -> Result<(FileStat, File)> {
        match self.perform(FileRequest::Read { path: path.into() })? {
            (FileReply::Stat(stat), Some(fd)) => Ok((stat, File::from(fd))),
            _ => Err(unexpected()),
        }
    }

    /// Names in a directory, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let (FileReply::List, Some(fd)) = self.perform(FileRequest::List { path: path.into() })? else {
            return Err(unexpected());
        };
        let mut text = Vec::new();
        File::from(fd).read_to_end(&mut text).map_err(|error| sys::Error::io("list", path, &error))?;
        Ok(text.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Text of a symbolic link.
    pub fn read_link(&self, path: &str) -> Result<String> {
        match self.perform(FileRequest::ReadLink { path: path.into() })? {
            (FileReply::Link(text), _) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// Opens a regular file for writing, made if missing; emptied unless `append`.
    pub fn write(&self, path: &str, attrs: FileAttrs, append: bool) -> Result<File> {
        match self.perform(FileRequest::Write { path: path.into(), attrs, append })? {
            (FileReply::Done, Some(fd)) => Ok(File::from(fd)),
            _ => Err(unexpected()),
        }
    }

    /// Makes a directory; an existing one only gets the attributes.
    pub fn mkdir(&self, path: &str, attrs: FileAttrs) -> Result<()> {
        self.perform(FileRequest::Mkdir { path: path.into(), attrs }).map(drop)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str, attrs: FileAttrs) -> Result<()> {
        self.perform(FileRequest::Symlink { path: path.into(), target: target.into(), attrs }).map(drop)
    }

    /// Removes a file, link or empty directory.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.perform(FileRequest::Delete { path: path.into() }).map(drop)
    }

    /// Whether something is there and what.
    pub fn kind(&self, path: &str) -> Option<FileKind> {
        self.stat(path).ok().map(|stat| stat.kind)
    }

    fn perform(&self, request: FileRequest) -> Result<(FileReply, Option<OwnedFd>)> {
        match &self.0 {
            Access::Stopped { root, ids } => {
                let result = Tree { root, ids, guest_mounts: false }.perform(&request);
                result.map_err(|error| Error::File { errno: error.errno.raw_os_error(), message: error.to_string() })
            }
            Access::Running(helper) => {
                let helper = helper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                helper.ask(&FilesMessage::Request(request), &[])
            }
        }
    }
}

fn unexpected() -> Error {
    Error::Invalid("the files helper gave an answer to another question".into())
}
