//! Files of instances: content with owner, mode and type in headers.

use hyper::Method;

use crate::body::Body;
use crate::error::{Error, Result};
use crate::path::{path, with_query};
use crate::{Client, Download, Request};

/// Largest listing of a directory that is read, bytes.
const LISTING_LIMIT_BYTES: usize = 64 << 20;
/// Largest target of a symbolic link, bytes.
const LINK_LIMIT_BYTES: usize = 64 << 10;

/// Owner and permissions that travel in headers; absent ones are left to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileHeaders {
    /// Owner inside the instance.
    pub uid: Option<u32>,
    /// Group inside the instance.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// What is written.
#[derive(Debug)]
pub enum FileContent {
    /// A regular file.
    File(Body),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
}

/// What was read.
#[derive(Debug)]
pub enum RemoteFile {
    /// A regular file, its content still to be read.
    File(FileHeaders, Download),
    /// A directory: the names in it.
    Directory(FileHeaders, Vec<String>),
    /// A symbolic link: its target.
    Symlink(String),
}

impl Client {
    /// Reads a file, a directory or a link of an instance.
    pub async fn read_file(&self, instance: &str, file: &str) -> Result<RemoteFile> {
        let download = self.download(Request::new(Method::GET, files_path(instance, file))).await?;
        let headers = file_headers(&download);
        match download.header("x-lxd-type") {
            Some("directory") => {
                let body = download.bytes(LISTING_LIMIT_BYTES).await?;
                let reply = crate::envelope::parse("GET files", 200, &body)?;
                Ok(RemoteFile::Directory(headers, reply.metadata()?))
            }
            Some("symlink") => {
                let target = download.bytes(LINK_LIMIT_BYTES).await?;
                Ok(RemoteFile::Symlink(String::from_utf8_lossy(&target).trim_end_matches('\n').to_owned()))
            }
            _ => Ok(RemoteFile::File(headers, download)),
        }
    }

    /// Writes a file, makes a directory or a link.
    pub async fn write_file(&self, instance: &str, file: &str, content: FileContent, headers: FileHeaders) -> Result<()> {
        let mut request = Request::new(Method::POST, files_path(instance, file));
        if let Some(uid) = headers.uid {
            request = request.header("X-LXD-uid", uid.to_string());
        }
        if let Some(gid) = headers.gid {
            request = request.header("X-LXD-gid", gid.to_string());
        }
        if let Some(mode) = headers.mode {
            request = request.header("X-LXD-mode", format!("{mode:04o}"));
        }
        let (kind, body) = match content {
            FileContent::File(body) => ("file", body),
            FileContent::Directory => ("directory", Body::Empty),
            FileContent::Symlink(target) => ("symlink", Body::Bytes(target.into())),
        };
        self.request(request.header("X-LXD-type", kind).body(body)).await.map(drop)
    }

    /// Deletes a file or an empty directory.
    pub async fn delete_file(&self, instance: &str, file: &str) -> Result<()> {
        self.delete(&files_path(instance, file)).await.map(drop)
    }
}

fn files_path(instance: &str, file: &str) -> String {
    with_query(&path(&["instances", instance, "files"]), &[("path", file)])
}

fn file_headers(download: &Download) -> FileHeaders {
    let number = |name, radix| u32::from_str_radix(download.header(name)?, radix).ok();
    FileHeaders { uid: number("x-lxd-uid", 10), gid: number("x-lxd-gid", 10), mode: number("x-lxd-mode", 8) }
}

impl RemoteFile {
    /// The content of a regular file; anything else is an error that says what it is.
    pub fn into_download(self, file: &str) -> Result<Download> {
        let what = match self {
            Self::File(_, download) => return Ok(download),
            Self::Directory(..) => "a directory",
            Self::Symlink(_) => "a symbolic link",
        };
        Err(Error::Protocol { request: file.to_owned(), reason: format!("is {what}") })
    }
}
