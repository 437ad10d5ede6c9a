//! Starting the manager's own small helper program from a sealed copy in memory.
//!
//! A process that enters a container must not run from a file that the container could reach
//! through `/proc/PID/exe` and overwrite. The copy is a memfd sealed against every write.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{Context, Errno, Result};

/// A program that can be started but not changed.
#[derive(Debug)]
pub struct SealedProgram {
    memfd: OwnedFd,
    name: &'static str,
}

/// The kernel refuses while anybody holds one of the pages, as it does itself for moments (reclaim,
/// compaction), and gives up waiting after a fraction of a second.
fn seal(memfd: &OwnedFd, seals: SealFlags) -> std::result::Result<(), Errno> {
    const ATTEMPTS: u32 = 20;
    for _ in 1..ATTEMPTS {
        match rustix::fs::fcntl_add_seals(memfd, seals) {
            Err(Errno::BUSY) => std::thread::sleep(std::time::Duration::from_millis(20)),
            other => return other,
        }
    }
    rustix::fs::fcntl_add_seals(memfd, seals)
}

impl SealedProgram {
    /// Copies the program at `path` into memory and seals it. `name` becomes its `argv[0]`.
    pub fn load(path: &Path, name: &'static str) -> Result<Self> {
        let mut bytes = Vec::new();
        crate::fs::open(path)?.read_to_end(&mut bytes).on_path("read", path)?;
        let memfd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).context("memfd_create", name)?;
        let mut file = std::fs::File::from(memfd);
        file.write_all(&bytes).context("write", name)?;
        let memfd = OwnedFd::from(file);
        rustix::fs::fchmod(&memfd, rustix::fs::Mode::from_raw_mode(0o500)).context("chmod", name)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        seal(&memfd, seals).context("seal", name)?;
        Ok(Self { memfd, name })
    }

    /// Starts it with `control` as standard input and nothing else: no other descriptor, no
    /// environment, the root directory as its working directory. `log` receives standard error.
    pub fn spawn(&self, args: &[&str], control: OwnedFd, log: Option<OwnedFd>) -> Result<Child> {
        Command::new(format!("/proc/self/fd/{}", self.memfd.as_raw_fd()))
            .arg0(self.name)
            .args(args)
            .env_clear()
            .stdin(Stdio::from(control))
            .stdout(Stdio::null())
            .stderr(log.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .context("start", self.name)
    }
}
