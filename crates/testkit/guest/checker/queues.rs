//! Whatever carries bytes from one end to the other, with some of them always on the way.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::Check;
use crate::control::Object;
use crate::ffi;

/// Numbers go in at one end and must come out at the other, each once and in order.
struct Queue {
    name: &'static str,
    entrance: OwnedFd,
    exit: OwnedFd,
    /// How many are on the way between ticks.
    depth: u64,
    sent: u64,
    received: u64,
}

impl Queue {
    fn new(name: &'static str, entrance: impl Into<OwnedFd>, exit: impl Into<OwnedFd>, depth: u64) -> Box<dyn Object> {
        Box::new(Self { name, entrance: entrance.into(), exit: exit.into(), depth, sent: 0, received: 0 })
    }
}

impl Object for Queue {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tick(&mut self, _: u64) -> Check {
        self.sent += 1;
        ffi::write_all(self.entrance.as_raw_fd(), &self.sent.to_le_bytes())?;
        while self.sent - self.received > self.depth {
            let mut number = [0; 8];
            ffi::read_exact(self.exit.as_raw_fd(), &mut number)?;
            self.received += 1;
            if u64::from_le_bytes(number) != self.received {
                return Err(format!("{} came where {} was due", u64::from_le_bytes(number), self.received));
            }
        }
        Ok(())
    }
}

pub fn make(dir: &Path) -> Result<Vec<Box<dyn Object>>, String> {
    let io = |error: std::io::Error| error.to_string();
    let mut all = Vec::new();
    let mut ends = [0; 2];
    // SAFETY: it writes two descriptors.
    ffi::check("pipe", unsafe { ffi::pipe2(&mut ends, 0) })?;
    all.push(Queue::new("pipe", ffi::owned("pipe", ends[1])?, ffi::owned("pipe", ends[0])?, 200));
    let (one, other) = UnixStream::pair().map_err(io)?;
    all.push(Queue::new("socketpair", one, other, 50));
    let (one, other) = UnixDatagram::pair().map_err(io)?;
    all.push(Queue::new("datagrams", one, other, 5));
    // SAFETY: as before; AF_UNIX, SOCK_SEQPACKET.
    ffi::check("socketpair", unsafe { ffi::socketpair(1, 5, 0, &mut ends) })?;
    all.push(Queue::new("packets", ffi::owned("socketpair", ends[0])?, ffi::owned("socketpair", ends[1])?, 5));
    all.push(fifo(dir)?);
    let udp = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    let sender = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    sender.connect(udp.local_addr().map_err(io)?).map_err(io)?;
    all.push(Queue::new("udp", sender, udp, 0));
    let (listener, client, server) = Unix::new(dir)?;
    all.push(Queue::new("unix connection", client, server, 50));
    all.push(Box::new(listener));
    let (listener, client, server) = Tcp::new()?;
    all.push(Queue::new("tcp connection", client.try_clone().map_err(io)?, server.try_clone().map_err(io)?, 50));
    all.push(Queue::new("tcp, the other way", server, client, 3));
    all.push(Box::new(listener));
    all.push(Box::new(Terminal::new()?));
    Ok(all)
}

fn fifo(dir: &Path) -> Result<Box<dyn Object>, String> {
    let path = dir.join("fifo");
    // SAFETY: a plain call.
    ffi::check("mkfifo", unsafe { ffi::mkfifo(ffi::text(&path).as_ptr(), 0o600) })?;
    let open = || std::fs::OpenOptions::new().read(true).write(true).open(&path).map_err(|error| error.to_string());
    Ok(Queue::new("fifo", open()?, open()?, 100))
}

/// How often, in ticks, a new connection is made.
const RENEWAL: u64 = 25;

/// A listening unix socket, also connected to by its name now and then.
struct Unix {
    path: PathBuf,
    listener: UnixListener,
}

impl Unix {
    fn new(dir: &Path) -> Result<(Self, UnixStream, UnixStream), String> {
        let path = dir.join("listener");
        let listener = UnixListener::bind(&path).map_err(|error| error.to_string())?;
        let this = Self { path, listener };
        let (client, server) = this.connect()?;
        Ok((this, client, server))
    }

    fn connect(&self) -> Result<(UnixStream, UnixStream), String> {
        let client = UnixStream::connect(&self.path).map_err(|error| format!("connect: {error}"))?;
        let (server, _) = self.listener.accept().map_err(|error| format!("accept: {error}"))?;
        Ok((client, server))
    }
}

impl Object for Unix {
    fn name(&self) -> &'static str {
        "unix listener"
    }

    fn tick(&mut self, n: u64) -> Check {
        if n % RENEWAL == 0 { self.connect().map(drop) } else { Ok(()) }
    }

    fn verify(&mut self) -> Check {
        self.connect().map(drop)
    }
}

struct Tcp(TcpListener);

impl Tcp {
    fn new() -> Result<(Self, TcpStream, TcpStream), String> {
        let this = Self(TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?);
        let (client, server) = this.connect()?;
        Ok((this, client, server))
    }

    fn connect(&self) -> Result<(TcpStream, TcpStream), String> {
        let address = self.0.local_addr().map_err(|error| error.to_string())?;
        let client = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
        client.set_nodelay(true).map_err(|error| error.to_string())?;
        let (server, _) = self.0.accept().map_err(|error| format!("accept: {error}"))?;
        Ok((client, server))
    }
}

impl Object for Tcp {
    fn name(&self) -> &'static str {
        "tcp listener"
    }

    fn tick(&mut self, _: u64) -> Check {
        Ok(())
    }

    // Seldom: connections that nobody has accepted yet are not saved.
    fn verify(&mut self) -> Check {
        self.connect().map(drop)
    }
}

/// A pair of pseudo terminals; one of them has a size and modes of its own.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    modes: ffi::Termios,
}

const SIZE: [u16; 4] = [33, 77, 0, 0];
const GET_SIZE: u64 = 0x5413;
const SET_SIZE: u64 = 0x5414;

impl Terminal {
    fn new() -> Result<Self, String> {
        let (master, slave) = ffi::pty()?;
        // SAFETY: it reads the four numbers.
        ffi::check("TIOCSWINSZ", unsafe { ffi::ioctl(slave.as_raw_fd(), SET_SIZE, &SIZE) })?;
        Ok(Self { modes: ffi::attributes(&slave)?, master, slave })
    }
}

impl Object for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn tick(&mut self, n: u64) -> Check {
        for (from, to) in [(&self.master, &self.slave), (&self.slave, &self.master)] {
            ffi::write_all(from.as_raw_fd(), &n.to_le_bytes())?;
            let mut found = [0; 8];
            ffi::read_exact(to.as_raw_fd(), &mut found)?;
            if found != n.to_le_bytes() {
                return Err(format!("{} came where {n} was due", u64::from_le_bytes(found)));
            }
        }
        Ok(())
    }

    fn verify(&mut self) -> Check {
        let mut size = [0u16; 4];
        // SAFETY: it writes the four numbers.
        ffi::check("TIOCGWINSZ", unsafe { ffi::ioctl(self.master.as_raw_fd(), GET_SIZE, &mut size) })?;
        if size != SIZE {
            return Err(format!("its size is {size:?}"));
        }
        let modes = ffi::attributes(&self.slave)?;
        if modes == self.modes { Ok(()) } else { Err(format!("its modes are {modes:?}, not {:?}", self.modes)) }
    }
}
