//! A second process that talks with the first, shares memory with it, and tries its locks; and a
//! third that is dead.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::Check;
use crate::control::{Object, note};
use crate::ffi::{self, Lock, Numbers};

/// Numbers on the way to the other process and back.
const DEPTH: u64 = 4;
const GET_LOCK: i32 = 5;
const SET_LOCK: i32 = 6;
const WRITE_LOCK: i16 = 1;
const EXCLUSIVE: i32 = 2;
const NO_WAIT: i32 = 4;

pub fn make(dir: &Path) -> Result<Vec<Box<dyn Object>>, String> {
    Ok(vec![Box::new(Zombie::new()?), Box::new(Peer::new(dir)?)])
}

/// What both have.
struct Shared {
    dir: PathBuf,
    /// System V's, POSIX's, and one without a name; the first number is ours, the second the other's.
    memories: Vec<(&'static str, Numbers)>,
}

impl Shared {
    fn new(dir: &Path) -> Result<Self, String> {
        // SAFETY: a new private segment.
        let id = ffi::check("shmget", unsafe { ffi::shmget(0, 4096, 0o1600) })?;
        let place = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { dir };
        let path = place.join(format!("checker-shared-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).map_err(|error| error.to_string())?;
        file.set_len(4096).map_err(|error| error.to_string())?;
        let memories = vec![
            ("System V shared memory", Numbers::attach(id)?),
            ("POSIX shared memory", Numbers::map(Some(file.as_raw_fd()))?),
            ("anonymous shared memory", Numbers::map(None)?),
        ];
        for name in ["lock", "flock"] {
            File::create(dir.join(name)).map_err(|error| error.to_string())?;
        }
        Ok(Self { dir: dir.to_owned(), memories })
    }

    fn open(&self, name: &str) -> Result<File, String> {
        OpenOptions::new().read(true).write(true).open(self.dir.join(name)).map_err(|error| error.to_string())
    }
}

fn lock() -> Lock {
    Lock { kind: WRITE_LOCK, whence: 0, start: 5, length: 10, pid: 0 }
}

struct Peer {
    shared: Shared,
    to: OwnedFd,
    from: OwnedFd,
    sent: u64,
    received: u64,
    _locks: [File; 2],
}

impl Peer {
    fn new(dir: &Path) -> Result<Self, String> {
        let shared = Shared::new(dir)?;
        let (mut pipe, mut sockets) = ([0; 2], [0; 2]);
        // SAFETY: both write two descriptors; there is one thread, so a forked process may do anything.
        unsafe {
            ffi::check("pipe", ffi::pipe2(&mut pipe, 0))?;
            ffi::check("socketpair", ffi::socketpair(1, 1, 0, &mut sockets))?;
        }
        let [exit, entrance] = pipe.map(|fd| ffi::owned("pipe", fd));
        let [ours, theirs] = sockets.map(|fd| ffi::owned("socketpair", fd));
        // SAFETY: there is one thread, so the forked process may do anything.
        if ffi::check("fork", unsafe { ffi::fork() })? == 0 {
            drop((entrance, ours));
            let parent = shared.dir.clone();
            if let Err(reason) = serve(&shared, &exit?, &theirs?) {
                note(&parent, "second process", &reason);
            }
            std::process::exit(0);
        }
        let (record, whole) = (shared.open("lock")?, shared.open("flock")?);
        // SAFETY: it reads the structure.
        ffi::check("lock", unsafe { ffi::fcntl(record.as_raw_fd(), SET_LOCK, &lock()) })?;
        // SAFETY: a plain call.
        ffi::check("flock", unsafe { ffi::flock(whole.as_raw_fd(), EXCLUSIVE | NO_WAIT) })?;
        Ok(Self { shared, to: entrance?, from: ours?, sent: 0, received: 0, _locks: [record, whole] })
    }
}

impl Object for Peer {
    fn name(&self) -> &'static str {
        "second process"
    }

    fn tick(&mut self, _: u64) -> Check {
        self.sent += 1;
        self.shared.memories.iter().for_each(|(_, memory)| memory.set(0, self.sent));
        ffi::write_all(self.to.as_raw_fd(), &self.sent.to_le_bytes())?;
        while self.sent - self.received > DEPTH {
            let mut number = [0; 8];
            ffi::read_exact(self.from.as_raw_fd(), &mut number)?;
            self.received += 1;
            if u64::from_le_bytes(number) != self.received {
                return Err(format!("it answered {}, not {}", u64::from_le_bytes(number), self.received));
            }
        }
        for (name, memory) in &self.shared.memories {
            if memory.get(0) != self.sent || memory.get(1) < self.received || memory.get(1) > self.sent {
                let found = [memory.get(0), memory.get(1)];
                return Err(format!("{name} has {found:?} when {} were sent and {} answered", self.sent, self.received));
            }
        }
        Ok(())
    }
}

/// The second process.
fn serve(shared: &Shared, from: &OwnedFd, to: &OwnedFd) -> Check {
    for expected in 1u64.. {
        let mut number = [0; 8];
        while !ffi::is_readable(from.as_raw_fd(), std::time::Duration::from_secs(3600)) {}
        if ffi::read_exact(from.as_raw_fd(), &mut number).is_err() {
            return Ok(());
        }
        if u64::from_le_bytes(number) != expected {
            return Err(format!("{} came where {expected} was due", u64::from_le_bytes(number)));
        }
        for (name, memory) in &shared.memories {
            if memory.get(0) < expected || memory.get(1) != expected - 1 {
                return Err(format!("{name} has {} and {} at message {expected}", memory.get(0), memory.get(1)));
            }
            memory.set(1, expected);
        }
        if expected % 10 == 0 {
            try_locks(shared)?;
        }
        if ffi::write_all(to.as_raw_fd(), &number).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn try_locks(shared: &Shared) -> Check {
    let (record, whole) = (shared.open("lock")?, shared.open("flock")?);
    let mut found = lock();
    // SAFETY: it writes the structure.
    ffi::check("look at the lock", unsafe { ffi::fcntl(record.as_raw_fd(), GET_LOCK, &mut found) })?;
    // SAFETY: a plain call.
    let parent = unsafe { ffi::getppid() };
    if (found.kind, found.start, found.length, found.pid) != (WRITE_LOCK, 5, 10, parent) {
        return Err(format!("the POSIX lock is {} at {} of {} by {}", found.kind, found.start, found.length, found.pid));
    }
    // SAFETY: a plain call.
    if unsafe { ffi::flock(whole.as_raw_fd(), EXCLUSIVE | NO_WAIT) } == 0 {
        return Err("the flock is lost".into());
    }
    Ok(())
}

/// A child that has ended and was not waited for.
struct Zombie(i32);

impl Zombie {
    fn new() -> Result<Self, String> {
        // SAFETY: one thread, and the child ends at once.
        match ffi::check("fork", unsafe { ffi::fork() })? {
            // SAFETY: it ends.
            0 => unsafe { ffi::_exit(42) },
            pid => Ok(Self(pid)),
        }
    }
}

impl Object for Zombie {
    fn name(&self) -> &'static str {
        "zombie"
    }

    fn tick(&mut self, n: u64) -> Check {
        let mut info = [0i32; 32];
        // SAFETY: it writes a siginfo_t; P_PID, WEXITED | WNOHANG | WNOWAIT.
        ffi::check("waitid", unsafe { ffi::waitid(1, self.0, &mut info, 4 | 1 | 0x0100_0000) })?;
        // The first tick may come before its end.
        if n < 50 || (info[4], info[6]) == (self.0, 42) { Ok(()) } else { Err(format!("it is {} with {}", info[4], info[6])) }
    }
}
