//! Unix sockets that keep message boundaries and carry descriptors (`SOCK_SEQPACKET`, `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Context, Errno, Error, Result};

/// The most descriptors in one message.
const MAX_FDS: usize = 8;

/// A connected pair of message sockets.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

/// A connected pair of byte-stream sockets.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).context("socketpair", "")
}

/// Listens for message connections on a path, which must be free.
///
/// The path may be longer than a socket address holds: it is reached through its open directory.
pub fn listen_seqpacket(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        .on_path("socket", path)?;
    with_short_address(path, |address| rustix::net::bind(&socket, address))?;
    rustix::net::listen(&socket, 16).on_path("listen", path)?;
    Ok(socket)
}

/// Connects to a listening message socket, within `limit`, which then holds for every message, see
/// [`set_timeouts`]: a listener that does not accept soon has a full queue.
pub fn connect_seqpacket(path: &Path, limit: Duration) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).on_path("socket", path)?;
    set_timeouts(&socket, limit)?;
    with_short_address(path, |address| rustix::net::connect(&socket, address))?;
    Ok(socket)
}

/// How long a send or a receive may block before it fails with `EAGAIN`.
pub fn set_timeouts(socket: impl AsFd, limit: Duration) -> Result<()> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, direction, Some(limit)).context("set a time limit", "socket")?;
    }
    Ok(())
}

/// Listens for byte-stream connections on a path, in place of a socket that stood there before, so that
/// whoever sees the path may connect. At most `backlog` connections wait.
pub fn listen_stream(path: &Path, backlog: i32) -> Result<std::os::unix::net::UnixListener> {
    crate::fs::remove_file(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        .on_path("socket", path)?;
    with_short_address(path, |address| rustix::net::bind(&socket, address))?;
    crate::fs::set_mode(path, 0o666)?;
    rustix::net::listen(&socket, backlog).on_path("listen", path)?;
    Ok(socket.into())
}

/// Who connected a unix socket, as the kernel vouches for it: unix(7), `SO_PEERCRED`.
#[derive(Debug)]
pub struct Peer {
    /// Process id at the time of connecting.
    pub pid: i32,
    /// Effective user id at that time.
    pub uid: u32,
    /// The process. Where it is alive, `pid` is still its own.
    pub pidfd: OwnedFd,
}

/// The process that connected a unix socket. Fails where it is gone, or in no pid namespace that can be
/// seen from here.
pub fn peer(socket: impl AsFd) -> Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(&socket).context("find the peer", "socket")?;
    let pid = credentials.pid.as_raw_nonzero().get();
    // Before Linux 6.5 a number that was given to another process meanwhile cannot be told.
    let pidfd = peer_pidfd(socket.as_fd()).map_or_else(|| crate::process::pidfd_open(pid), Ok)?;
    Ok(Peer { pid, uid: credentials.uid.as_raw(), pidfd })
}

/// `SO_PEERPIDFD`; `None` where this kernel or peer has none.
fn peer_pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    use std::os::fd::{AsRawFd, FromRawFd};
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut length = std::mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int of the given length, which lives across the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            std::ptr::from_mut(&mut fd).cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    // SAFETY: on success it is a new descriptor that nobody else owns.
    (result == 0 && fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn with_short_address(path: &Path, call: impl FnOnce(&SocketAddrUnix) -> std::result::Result<(), Errno>) -> Result<()> {
    use std::os::fd::AsRawFd;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new("socket", path.display(), Errno::INVAL));
    };
    let dir = crate::fs::open(parent)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name.to_string_lossy())).on_path("socket", path)?;
    call(&address).on_path("socket", path)
}

/// Accepts one connection; `None` if none waits.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => Err(Error::new("accept", "", errno)),
    }
}

/// Waits for a connection and accepts it; `None` once the other end of the socket `until` is closed.
pub fn accept_next(listener: impl AsFd, until: impl AsFd) -> Result<Option<OwnedFd>> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut fds = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&until, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("poll", "", errno)),
        }
        let is_over = !fds[1].revents().is_empty();
        match accept(&listener)? {
            Some(socket) => return Ok(Some(socket)),
            None if is_over => return Ok(None),
            None => {}
        }
    }
}

/// Sends one message with descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::new("sendmsg (too many descriptors)", fds.len(), Errno::INVAL));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("sendmsg", format_args!("{} bytes", bytes.len()), errno)),
        }
    }
}

/// Receives one message of at most `limit` bytes; `None` at the end of the stream.
pub fn receive(socket: impl AsFd, limit: usize) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; limit];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.context("recvmsg", "")?,
        }
    };
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Error::new("recvmsg (message too long)", limit, Errno::MSGSIZE));
    }
    if message.bytes == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some((bytes, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_boundaries_and_carry_descriptors() {
        let (left, right) = seqpacket_pair().expect("pair");
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        send(&left, b"first", &[reader.as_fd()]).expect("send");
        send(&left, b"second", &[]).expect("send");
        drop(left);
        let (bytes, fds) = receive(&right, 64).expect("receive").expect("a message");
        assert_eq!((bytes.as_slice(), fds.len()), (b"first".as_slice(), 1));
        std::fs::File::from(writer).write_all(b"through").expect("write");
        let mut text = String::new();
        std::fs::File::from(fds.into_iter().next().expect("fd")).read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");
        assert_eq!(receive(&right, 64).expect("receive").expect("a message").0, b"second");
        assert!(receive(&right, 64).expect("receive").is_none());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("socket");
        let _listener = listen_seqpacket(&path).expect("listen");
        let limit = Duration::from_millis(20);
        let client = connect_seqpacket(&path, limit).expect("connect");
        assert_eq!(receive(&client, 8).expect_err("no answer").errno, Errno::AGAIN);
        let mut waiting = Vec::new();
        let refused = loop {
            match connect_seqpacket(&path, limit) {
                Ok(client) => waiting.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.errno, Errno::AGAIN);
    }

    #[test]
    fn waiting_for_a_connection_has_an_end() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("socket");
        let listener = listen_seqpacket(&path).expect("listen");
        let (ours, theirs) = seqpacket_pair().expect("pair");
        let _client = connect_seqpacket(&path, Duration::from_secs(1)).expect("connect");
        drop(ours);
        assert!(accept_next(&listener, &theirs).expect("accept").is_some(), "what is there comes first");
        assert!(accept_next(&listener, &theirs).expect("accept").is_none());
    }

    #[test]
    fn a_peer_is_who_connected() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sock");
        drop(listen_stream(&path, 4).expect("an earlier one"));
        let listener = listen_stream(&path, 4).expect("listen");
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("connect");
        let server = accept(&listener).expect("accept").expect("connection");
        let found = peer(&server).expect("peer");
        assert_eq!(found.pid, std::process::id() as i32);
        assert!(crate::process::pidfd_is_alive(&found.pidfd));
    }

    #[test]
    fn long_paths_work() {
        let dir = tempfile::tempdir().expect("dir");
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("mkdir");
        let listener = listen_seqpacket(&deep.join("socket")).expect("listen");
        let client = connect_seqpacket(&deep.join("socket"), Duration::from_secs(5)).expect("connect");
        let server = accept(&listener).expect("accept").expect("connection");
        send(&client, b"x", &[]).expect("send");
        assert_eq!(receive(&server, 8).expect("receive").expect("a message").0, b"x");
    }
}
