//! How a server is reached: one enum of addresses, one enum of connected streams.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Result};
use crate::https::Https;

/// Address of a server.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A unix socket on this host.
    Unix(PathBuf),
    /// A server on the network.
    Https(Https),
}

/// A connection to a server.
#[derive(Debug)]
pub enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over the network, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// `$LXD_DIR/unix.socket`, or that of `/var/lib/lxd`.
pub fn default_socket() -> PathBuf {
    std::env::var_os("LXD_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| PathBuf::from("/var/lib/lxd"), PathBuf::from)
        .join("unix.socket")
}

impl Transport {
    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Stream> {
        match self {
            Self::Unix(socket) => UnixStream::connect(socket).await.map(Stream::Unix).map_err(|error| socket_error(socket, error)),
            Self::Https(server) => Ok(Stream::Tls(Box::new(server.connect().await?))),
        }
    }

    /// What stands in the `Host` header.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "unix.socket",
            Self::Https(server) => server.authority(),
        }
    }

    /// The address as users write it: `unix://`, `unix://PATH` if it is not the default, `https://HOST:PORT`.
    pub fn url(&self) -> String {
        match self {
            Self::Unix(socket) if *socket == default_socket() => "unix://".to_owned(),
            Self::Unix(socket) => format!("unix://{}", socket.display()),
            Self::Https(server) => format!("https://{}", server.authority()),
        }
    }
}

fn socket_error(socket: &Path, error: std::io::Error) -> Error {
    let socket = socket.to_owned();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::SocketMissing { socket },
        ErrorKind::ConnectionRefused => Error::ConnectionRefused { socket },
        ErrorKind::PermissionDenied => Error::PermissionDenied { socket },
        _ => Error::Connect { target: socket.display().to_string(), reason: error },
    }
}

/// A server that dies or cuts a connection says no goodbye at the level of TLS. HTTP and websockets know by
/// themselves whether something is missing.
fn end_without_goodbye(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => {
                let read = Pin::new(stream).poll_read(cx, buffer);
                read.map(|read| read.or_else(end_without_goodbye))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn what_the_kernel_says_of_a_socket() {
        let cases = [
            (ErrorKind::PermissionDenied, Kind::PermissionDenied, "Permission denied, are you in the lxd group?"),
            (ErrorKind::NotFound, Kind::SocketMissing, "LXD socket not found; is LXD installed and running?"),
        ];
        for (reason, kind, text) in cases {
            let error = socket_error(Path::new("/x"), reason.into());
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
        assert_eq!(socket_error(Path::new("/x"), ErrorKind::WouldBlock.into()).kind(), Kind::Transport);
    }

    #[test]
    fn urls() {
        assert_eq!(Transport::Unix(default_socket()).url(), "unix://");
        assert_eq!(Transport::Unix("/run/x".into()).url(), "unix:///run/x");
    }
}
