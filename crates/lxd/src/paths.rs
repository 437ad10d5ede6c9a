//! Where things are: the state directory, the log directory, the socket, the helper program.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest name of a unix socket, see unix(7): 108 bytes with the final NUL.
const MAX_SOCKET_BYTES: usize = 107;
/// The program that sets containers up.
const RUNTIME: &str = "lxd-runtime";

/// The directories of one daemon.
#[derive(Clone, Debug)]
pub struct Paths {
    /// State.
    pub dir: PathBuf,
    /// Logs.
    pub log_dir: PathBuf,
}

/// The control group that the service manager keeps for containers, if it says so in the environment. Theirs
/// must not be below the daemon's own, which a new daemon could not enter while they are there.
pub fn cgroup_parent() -> PathBuf {
    std::env::var_os("LXD_CGROUP_PARENT").map(PathBuf::from).unwrap_or_default()
}

impl Paths {
    /// From `LXD_DIR`, which also moves the logs below it.
    pub fn from_environment() -> Result<Self> {
        let dir = std::env::var_os("LXD_DIR").filter(|dir| !dir.is_empty());
        Self::new(dir.map(PathBuf::from))
    }

    fn new(dir: Option<PathBuf>) -> Result<Self> {
        let paths = match dir {
            Some(dir) => Self { log_dir: dir.join("logs"), dir },
            None => Self { dir: "/var/lib/lxd".into(), log_dir: "/var/log/lxd".into() },
        };
        // The text counts `unix.sock`, as the original does.
        ensure!(
            paths.socket().as_os_str().len() <= MAX_SOCKET_BYTES,
            "LXD_DIR is too long, must be < {}",
            MAX_SOCKET_BYTES - "unix.sock".len()
        );
        ensure!(paths.dir.is_absolute(), "LXD_DIR must be an absolute path, not {}", paths.dir.display());
        Ok(paths)
    }

    /// The local socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("unix.socket")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.dir.join("database/lxd.db")
    }

    /// The file whose lock says that a daemon runs here.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lxd.lock")
    }
}

/// The program that sets containers up: beside this one, or where packages put it.
pub fn find_runtime() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    let candidates = [
        beside.join(RUNTIME),
        beside.join("../lib/lxd").join(RUNTIME),
        Path::new("/usr/lib/lxd").join(RUNTIME),
        Path::new("/usr/libexec/lxd").join(RUNTIME),
    ];
    let found = candidates.iter().find(|path| path.is_file());
    let list = || candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    found
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("the program {RUNTIME} is missing (looked for {}): the installation is incomplete", list()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_follow_the_state_directory() {
        let paths = Paths::new(Some("/tmp/x".into())).expect("short");
        assert_eq!(paths.log_dir, Path::new("/tmp/x/logs"));
        assert_eq!(Paths::new(None).expect("default").log_dir, Path::new("/var/log/lxd"));
    }

    #[test]
    fn the_socket_must_fit_its_address() {
        let long = format!("/{}", "x".repeat(94));
        assert!(Paths::new(Some(long.clone().into())).is_ok());
        let error = Paths::new(Some(format!("{long}x").into())).expect_err("too long").to_string();
        assert_eq!(error, "LXD_DIR is too long, must be < 98");
        assert!(Paths::new(Some("relative".into())).is_err());
    }
}
