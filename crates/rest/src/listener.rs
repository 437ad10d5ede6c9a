//! Unix sockets to listen on: made with the right owner and mode from the first moment on.

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sys::fs;

/// Owner and group may connect, nobody else.
const SOCKET_MODE: u32 = 0o660;

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers on it.
    #[error("LXD is already running")]
    AlreadyRunning,
    /// The group does not exist.
    #[error("The group {0:?} doesn't exist (create it with `groupadd --system {0}`)")]
    NoSuchGroup(String),
    /// Something else than a socket stands there.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("listen on {}: {error}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A step on the file failed.
    #[error(transparent)]
    File(#[from] sys::Error),
}

/// Listens on `path`, open to its owner and to `group`. A socket that a dead daemon left behind is
/// replaced; one that answers is not.
pub fn bind_unix(path: &Path, group: Option<&str>) -> Result<UnixListener, BindError> {
    let gid = group.map(group_id).transpose()?;
    refuse_if_answering(path)?;
    // Made under another name and renamed once nobody else can open it.
    let temporary = path.with_extension(format!("new{}", std::process::id()));
    fs::remove_file(&temporary)?;
    let listener = UnixListener::bind(&temporary).map_err(|error| BindError::Listen { path: path.to_owned(), error })?;
    let finish = || {
        fs::set_mode(&temporary, SOCKET_MODE)?;
        if let Some(gid) = gid {
            fs::chown(&temporary, 0, gid)?;
        }
        fs::rename(&temporary, path)
    };
    if let Err(error) = finish() {
        fs::remove_file(&temporary)?;
        return Err(error.into());
    }
    Ok(listener)
}

fn refuse_if_answering(path: &Path) -> Result<(), BindError> {
    match UnixStream::connect(path) {
        Ok(stream) if is_served(&stream) => Err(BindError::AlreadyRunning),
        // Somebody that a dead daemon was starting has the socket still, and no use for it.
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(()),
            ErrorKind::ConnectionRefused if is_socket(path)? => Ok(()),
            ErrorKind::ConnectionRefused => Err(BindError::NotASocket(path.to_owned())),
            // A full queue of a daemon that is too busy to accept.
            ErrorKind::WouldBlock => Err(BindError::AlreadyRunning),
            _ => Err(BindError::Listen { path: path.to_owned(), error }),
        },
    }
}

/// Whether the process that listens is alive.
fn is_served(stream: &UnixStream) -> bool {
    sys::socket::peer(stream).is_ok_and(|peer| sys::process::pidfd_is_alive(&peer.pidfd))
}

fn is_socket(path: &Path) -> Result<bool, BindError> {
    use std::os::unix::fs::FileTypeExt;
    Ok(fs::metadata(path)?.file_type().is_socket())
}

/// A group by name in `/etc/group`, or by number.
fn group_id(group: &str) -> Result<u32, BindError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let groups = fs::read_to_string("/etc/group")?;
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
        .ok_or_else(|| BindError::NoSuchGroup(group.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_living_socket_is_kept_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("unix.socket");
        let first = bind_unix(&path, None).expect("first");
        let second = bind_unix(&path, None).expect_err("somebody answers");
        assert_eq!(second.to_string(), "LXD is already running");
        drop(first);
        let third = bind_unix(&path, Some("0")).expect("stale socket is replaced");
        let metadata = std::fs::metadata(&path).expect("stat");
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (0o660, 0));
        UnixStream::connect(&path).expect("answers");
        drop(third);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1, "nothing else is left");
    }

    #[test]
    fn other_files_are_never_replaced() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("precious");
        std::fs::write(&path, "content").expect("write");
        assert!(matches!(bind_unix(&path, None), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "content");
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root").expect("root"), 0);
        assert!(group_id("no-such-group-here").expect_err("missing").to_string().contains("groupadd"));
    }
}
