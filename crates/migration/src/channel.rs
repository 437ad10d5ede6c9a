//! One connection to the other server.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use prost::Message;

use crate::error::{Error, Result};
use crate::frame::{self, HEADER_BYTES, Kind};

/// Our end of a connection. Reading and writing may go on at once, on different threads; each by one at a time.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    patience: Duration,
}

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The bytes of a binary message, which are in the buffer.
    Bytes,
    /// The other direction of this stream is over.
    End,
}

impl Channel {
    /// A channel and the descriptor for whoever carries its frames over the network. `patience` is how long the other
    /// server may neither say anything nor take what is sent to it.
    pub fn pair(patience: Duration) -> std::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::new(ours.into(), patience)?, theirs.into()))
    }

    /// The channel of a connection that is there already.
    pub fn new(socket: OwnedFd, patience: Duration) -> std::io::Result<Self> {
        let socket = UnixStream::from(socket);
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Self { socket, patience })
    }

    /// Another handle on it, to close it from elsewhere.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, patience: self.patience })
    }

    /// Waits for the next message; the buffer holds its bytes and nothing else.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> Result<Received> {
        buffer.clear();
        let mut header = [0; HEADER_BYTES];
        self.read_exact(&mut header)?;
        match frame::parse(header) {
            Some(Kind::Binary(length)) => {
                buffer.resize(length, 0);
                self.read_exact(buffer)?;
                Ok(Received::Bytes)
            }
            Some(Kind::End) => Ok(Received::End),
            None => Err(Error::Malformed("a message that is too long".to_owned())),
        }
    }

    /// Sends one binary message.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.write_all(&frame::header(Kind::Binary(bytes.len())))?;
        self.write_all(bytes)
    }

    /// Says that our direction of this stream is over.
    pub fn end(&self) -> Result<()> {
        self.write_all(&frame::header(Kind::End))
    }

    /// Sends a protobuf as one message.
    pub fn send_message(&self, message: &impl Message) -> Result<()> {
        self.send(&message.encode_to_vec())
    }

    /// Waits for one binary message of the control connection.
    pub fn receive_message(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.receive(&mut bytes)? {
            Received::Bytes => Ok(bytes),
            Received::End => Err(Error::Malformed("a text where a message is expected".to_owned())),
        }
    }

    /// Waits no longer than this for the next messages.
    pub fn set_patience(&mut self, patience: Duration) -> std::io::Result<()> {
        self.patience = patience;
        self.socket.set_read_timeout(Some(patience))
    }

    /// Ends the connection; whoever reads or writes on it finds out at once.
    pub fn close(&self) {
        // Fails if it is closed already.
        drop(self.socket.shutdown(Shutdown::Both));
    }

    fn read_exact(&self, buffer: &mut [u8]) -> Result<()> {
        (&self.socket).read_exact(buffer).map_err(|error| self.failed(error))
    }

    fn write_all(&self, bytes: &[u8]) -> Result<()> {
        (&self.socket).write_all(bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Error::Closed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Silent { seconds: self.patience.as_secs() },
            _ => Error::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (Channel, Channel) {
        let (near, far) = Channel::pair(PATIENCE).expect("pair");
        (near, Channel::new(far, PATIENCE).expect("channel"))
    }

    #[test]
    fn messages_keep_their_boundaries_and_streams_their_ends() {
        let (near, far) = pair();
        let big = vec![7; 3 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                near.send(b"one").expect("send");
                near.send(&big).expect("send");
                near.send(b"").expect("send");
                near.end().expect("end");
                near.close();
            });
            let mut buffer = Vec::new();
            for expected in [b"one".as_slice(), &big, b""] {
                assert_eq!(far.receive(&mut buffer).expect("receive"), Received::Bytes);
                assert_eq!(buffer, expected);
            }
            assert_eq!(far.receive(&mut buffer).expect("receive"), Received::End);
            assert!(matches!(far.receive(&mut buffer), Err(Error::Closed)));
        });
        assert!(matches!(far.send(b"x").and_then(|()| far.send(b"x")), Err(Error::Closed)));
    }

    #[test]
    fn who_says_nothing_is_given_up() {
        let (mut near, _far) = pair();
        near.set_patience(Duration::from_millis(20)).expect("patience");
        assert!(matches!(near.receive_message(), Err(Error::Silent { .. })));
    }
}
