//! Files: what is in them must be of the same moment as what is in memory.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::control::Object;
use crate::ffi::{self, CLOCK_BOOTTIME, CLOCK_MONOTONIC, Numbers};
use crate::{Check, ffi::clock};

fn io<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

pub fn make(dir: &Path) -> Result<Vec<Box<dyn Object>>, String> {
    let named =
        |name: &str| -> Result<File, String> { io(name, OpenOptions::new().read(true).append(true).create_new(true).open(dir.join(name))) };
    let deleted = named("deleted")?;
    io("unlink", std::fs::remove_file(dir.join("deleted")))?;
    // SAFETY: a new descriptor of our own.
    let memfd = unsafe { File::from_raw_fd(ffi::check("memfd_create", ffi::memfd_create(c"checker".as_ptr(), 0))?) };
    let place = ["/dev/shm", "/run", "/tmp"].iter().find(|place| Path::new(place).is_dir()).unwrap_or(&"/");
    let path = PathBuf::from(place).join(format!("checker-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let volatile = io("open a file on tmpfs", OpenOptions::new().read(true).append(true).create_new(true).open(&path))?;
    Ok(vec![
        Box::new(Stored::new("deleted file", deleted, None)),
        Box::new(Stored::new("memfd", memfd, None)),
        Box::new(Stored::new("tmpfs file", volatile, Some(path))),
        Box::new(Stored::new("file", named("stored")?, Some(dir.join("stored")))),
        Box::new(Mapped::new(dir)?),
        Box::new(Identity::now()),
    ])
}

/// Counts in memory and on the disk, and looks at the clocks.
pub struct Ticks {
    path: PathBuf,
    file: File,
    count: u64,
    /// Monotonic and boot time of the last tick.
    last: (i64, i64),
    /// Longest pause since the last answer, in ns.
    gap: i64,
}

impl Ticks {
    pub fn new(dir: &Path) -> Result<Self, String> {
        let path = dir.join("ticks");
        let file = io("open", OpenOptions::new().create(true).append(true).open(&path))?;
        Ok(Self { path, file, count: 0, last: (clock(CLOCK_MONOTONIC), clock(CLOCK_BOOTTIME)), gap: 0 })
    }

    /// What the disk has, through a new descriptor.
    fn last_record(&self) -> Result<(u64, u64), String> {
        let file = io("open", File::open(&self.path))?;
        let length = io("stat", file.metadata())?.len();
        let mut record = [0; 16];
        if length >= 16 {
            io("read", file.read_exact_at(&mut record, length - 16))?;
        }
        Ok((length, u64::from_le_bytes(record[..8].try_into().unwrap_or_default())))
    }
}

impl Object for Ticks {
    fn name(&self) -> &'static str {
        "ticks"
    }

    fn tick(&mut self, _: u64) -> Check {
        let now = (clock(CLOCK_MONOTONIC), clock(CLOCK_BOOTTIME));
        if now.0 < self.last.0 || now.1 < self.last.1 {
            return Err(format!("a clock went back: {:?} after {:?}", now, self.last));
        }
        self.gap = self.gap.max(now.0 - self.last.0);
        self.last = now;
        let (length, record) = self.last_record()?;
        if (length, record) != (self.count * 16, self.count) {
            return Err(format!("memory has {} ticks, the file {} and {record} as the last", self.count, length / 16));
        }
        self.count += 1;
        let mut record = [0; 16];
        record[..8].copy_from_slice(&self.count.to_le_bytes());
        record[8..].copy_from_slice(&now.0.to_le_bytes());
        io("append", self.file.write_all(&record))
    }

    fn verify(&mut self) -> Check {
        let all = io("read", std::fs::read(&self.path))?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let mut before = 0;
        for (index, record) in all.chunks(16).enumerate() {
            if record.len() != 16 || number(&record[..8]) != index as u64 + 1 || number(&record[8..]) < before {
                return Err(format!("record {index} of the file is wrong"));
            }
            before = number(&record[8..]);
        }
        Ok(())
    }

    fn figures(&mut self) -> String {
        let gap = std::mem::take(&mut self.gap);
        // Looking at everything takes a while, too.
        self.last.0 = clock(CLOCK_MONOTONIC);
        format!("ticks={} gap_ms={}", self.count, gap / 1_000_000)
    }
}

/// A file that grows, by its descriptor and, where it has one, by its name.
struct Stored {
    name: &'static str,
    file: File,
    path: Option<PathBuf>,
    count: u64,
}

/// Bytes of a block.
const BLOCK: usize = 512;
/// Blocks until it stays as it is.
const MOST: u64 = 4000;

fn block(number: u64) -> [u8; BLOCK] {
    std::array::from_fn(|index| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32 % 64) as u8) ^ index as u8)
}

impl Stored {
    fn new(name: &'static str, file: File, path: Option<PathBuf>) -> Self {
        Self { name, file, path, count: 0 }
    }

    fn check_block(&self, file: &File, number: u64) -> Check {
        let mut found = [0; BLOCK];
        io("read", file.read_exact_at(&mut found, number * BLOCK as u64))?;
        if found == block(number) { Ok(()) } else { Err(format!("block {number} of {} has other content", self.count)) }
    }
}

impl Object for Stored {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tick(&mut self, n: u64) -> Check {
        let length = io("stat", self.file.metadata())?.len();
        if length != self.count * BLOCK as u64 {
            return Err(format!("it has {length} bytes, not {} blocks", self.count));
        }
        if n % 5 == 0 && self.count < MOST {
            io("write", self.file.write_all_at(&block(self.count), length))?;
            self.count += 1;
        }
        if self.count > 0 { self.check_block(&self.file, n % self.count) } else { Ok(()) }
    }

    fn verify(&mut self) -> Check {
        let again = match &self.path {
            Some(path) => Some(io("open again", File::open(path))?),
            None => None,
        };
        (0..self.count).try_for_each(|number| self.check_block(again.as_ref().unwrap_or(&self.file), number))
    }
}

/// A shared mapping of a file.
struct Mapped {
    file: File,
    numbers: Numbers,
    last: u64,
}

impl Mapped {
    fn new(dir: &Path) -> Result<Self, String> {
        let file = io("open", OpenOptions::new().read(true).write(true).create_new(true).open(dir.join("mapped")))?;
        io("grow", file.set_len(4096))?;
        Ok(Self { numbers: Numbers::map(Some(file.as_raw_fd()))?, file, last: 0 })
    }
}

impl Object for Mapped {
    fn name(&self) -> &'static str {
        "mapped file"
    }

    fn tick(&mut self, n: u64) -> Check {
        let mut bytes = [0; 8];
        io("read", self.file.read_exact_at(&mut bytes, 80))?;
        let found = (self.numbers.get(10), u64::from_le_bytes(bytes));
        if found != (self.last, self.last) {
            return Err(format!("it has {} and its file {}, not {}", found.0, found.1, self.last));
        }
        self.numbers.set(10, n);
        self.last = n;
        Ok(())
    }
}

/// What a process is known by.
#[derive(PartialEq, Debug)]
struct Facts {
    ids: [i32; 4],
    umask: u32,
    cwd: PathBuf,
    limits: String,
    environment: Vec<u8>,
    name: String,
}

struct Identity(Facts);

impl Identity {
    fn now() -> Self {
        // SAFETY: plain calls.
        let ids = unsafe { [std::process::id() as i32, ffi::getppid(), ffi::getsid(0), ffi::getpgid(0)] };
        // SAFETY: it is put back at once.
        let umask = unsafe {
            let mask = ffi::umask(0o22);
            ffi::umask(mask);
            mask
        };
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self(Facts {
            ids,
            umask,
            cwd: std::env::current_dir().unwrap_or_default(),
            limits: read("limits"),
            environment: std::fs::read("/proc/self/environ").unwrap_or_default(),
            name: read("comm"),
        })
    }
}

impl Object for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn tick(&mut self, _: u64) -> Check {
        Ok(())
    }

    fn verify(&mut self) -> Check {
        let now = Self::now().0;
        // Whoever started it may have ended since; then it is init's.
        let is_same = Facts { ids: [now.ids[0], self.0.ids[1], now.ids[2], now.ids[3]], ..now } == self.0;
        if is_same { Ok(()) } else { Err(format!("it is {:?} and was {:?}", Self::now().0, self.0)) }
    }
}
