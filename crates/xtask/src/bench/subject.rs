//! One of the two managers under measurement: its programs, its daemon, its images and pools.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A manager with a running daemon. Dropping it shuts the daemon down.
pub struct Subject {
    /// Name, for messages.
    pub name: &'static str,
    bin: PathBuf,
    dir: PathBuf,
    daemon: Child,
    ready: Duration,
    /// Its pools, by driver; a pool has its driver's name.
    pub pools: Vec<&'static str>,
    /// What a monitor's command line contains.
    pub monitor: &'static str,
    /// Whether it is what the other is compared with.
    pub is_reference: bool,
}

impl Subject {
    /// The programs beside this one.
    pub fn ours(state: &Path) -> Result<Subject> {
        let program = std::env::current_exe().context("find this program")?;
        let bin = program.parent().context("find this program's directory")?.to_owned();
        let mut subject = Self::start("this", bin, state.join("ours"), "lxd-runtime")?;
        subject.lxd(&["init", "--auto", "--storage-backend", "btrfs"])?;
        subject.add_pools(&["btrfs", "overlay", "dir"])?;
        println!("building images ...");
        subject.lxc(&["image", "build", "busybox"])?;
        subject.lxc(&["image", "build", "debian/12"])?;
        Ok(subject)
    }

    /// Debian's own, if it is installed.
    pub fn debian(state: &Path, images: &Path) -> Result<Option<Subject>> {
        let bin = Path::new("/usr/bin");
        if !bin.join("lxd").is_file() || !bin.join("lxc").is_file() {
            println!("LXD 5.0.2 is not installed (Debian package lxd): its column shows figures measured before");
            return Ok(None);
        }
        let mut subject = Self::start("LXD 5.0.2", bin.to_owned(), state.join("theirs"), "[lxc monitor]")?;
        subject.is_reference = true;
        subject.add_pools(&["btrfs", "dir"])?;
        // `lxd init` looks for an unused subnet by ping, and the sandbox's way out answers for all.
        subject.lxc(&["network", "create", "lxdbr0", "ipv4.address=10.88.0.1/24", "ipv6.address=none"])?;
        subject.lxc(&["profile", "device", "add", "default", "root", "disk", "path=/", "pool=btrfs"])?;
        subject.lxc(&["profile", "device", "add", "default", "eth0", "nic", "network=lxdbr0", "name=eth0"])?;
        for (alias, dir) in [("busybox", "busybox"), ("debian/12", "debian")] {
            let mut files: Vec<_> = fs::read_dir(images.join(dir))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            files.sort_by_key(|file| !file.to_string_lossy().contains("/meta-"));
            let mut args: Vec<String> = vec!["image".into(), "import".into()];
            args.extend(files.iter().map(|file| file.to_string_lossy().into_owned()));
            args.extend(["--alias".into(), alias.into()]);
            subject.lxc(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(Some(subject))
    }

    fn start(name: &'static str, bin: PathBuf, dir: PathBuf, monitor: &'static str) -> Result<Subject> {
        fs::create_dir_all(&dir)?;
        let log = File::create(dir.with_extension("log"))?;
        let mut command = Command::new(bin.join("lxd"));
        command.env("LXD_DIR", &dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let daemon = command.spawn().with_context(|| format!("start {}", bin.join("lxd").display()))?;
        let mut subject = Subject { name, bin, dir, daemon, ready: Duration::ZERO, pools: Vec::new(), monitor, is_reference: false };
        while subject.get("/1.0").is_err() {
            ensure!(start.elapsed() < Duration::from_secs(30), "{name}: the daemon did not answer within 30 s");
            std::thread::sleep(Duration::from_millis(1));
        }
        subject.ready = start.elapsed();
        Ok(subject)
    }

    /// `lxd init` makes the pool `default`; each driver gets one of its own name.
    fn add_pools(&mut self, drivers: &[&'static str]) -> Result<()> {
        for driver in drivers {
            let mut args = vec!["storage", "create", driver, driver];
            if *driver == "btrfs" {
                args.push("size=6GB");
            }
            self.lxc(&args)?;
            self.pools.push(driver);
        }
        Ok(())
    }

    /// Writes both images out for the other subject.
    pub fn export_images(&self, target: &Path) -> Result<()> {
        for (alias, dir) in [("busybox", "busybox"), ("debian/12", "debian")] {
            let dir = target.join(dir);
            fs::create_dir_all(&dir)?;
            self.lxc(&["image", "export", alias, &dir.to_string_lossy()])?;
        }
        Ok(())
    }

    /// From exec of the daemon to its first answer, when it was started on an empty directory.
    pub fn ready(&self) -> Duration {
        self.ready
    }

    /// Removes the container that a failed measurement left.
    pub fn clean_up(&self) {
        for _ in 0..30 {
            if self.lxc(&["delete", "--force", "b1"]).is_ok() || self.lxc(&["info", "b1"]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Process id of the daemon.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Runs `lxc`, which must succeed: how long it took, and what it printed.
    pub fn lxc_output(&self, args: &[&str]) -> Result<(Duration, String)> {
        self.run("lxc", args)
    }

    /// Runs `lxc`, which must succeed: how long it took.
    pub fn lxc(&self, args: &[&str]) -> Result<Duration> {
        Ok(self.run("lxc", args)?.0)
    }

    fn lxd(&self, args: &[&str]) -> Result<Duration> {
        Ok(self.run("lxd", args)?.0)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(Duration, String)> {
        let mut path = OsString::from(&self.bin);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(self.bin.join(program));
        command.args(args).env("LXD_DIR", &self.dir).env("PATH", path);
        command.env("LXD_CONF", self.dir.with_extension("conf")).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().with_context(|| format!("run {program}"))?;
        let elapsed = start.elapsed();
        if !output.status.success() {
            let log = fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(10).collect();
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {program} {}: {}\n{}", self.name, args.join(" "), said.trim(), end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok((elapsed, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("unix.socket")
    }

    /// Where a pool's files are, which may be mounted for the daemon alone.
    pub fn pool_dir(&self, pool: &str) -> PathBuf {
        let dir = self.dir.strip_prefix("/").unwrap_or(&self.dir);
        Path::new("/proc").join(self.daemon_pid().to_string()).join("root").join(dir).join("storage-pools").join(pool)
    }

    /// One GET on a connection of its own: how long it took until the answer was whole.
    pub fn get(&self, path: &str) -> Result<Duration> {
        let start = Instant::now();
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lxd\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "GET {path}: {}", String::from_utf8_lossy(&answer));
        Ok(start.elapsed())
    }

    /// Process id of a running container's init.
    pub fn init_pid(&self, container: &str) -> Result<u32> {
        let (_, text) = self.lxc_output(&["list", container, "--format", "json"])?;
        let list: serde_json::Value = serde_json::from_str(&text).context("parse `lxc list --format json`")?;
        let pid = list[0]["state"]["pid"].as_u64().with_context(|| format!("{container} has no pid"))?;
        Ok(u32::try_from(pid)?)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // The sandbox's end kills whatever this cannot.
        drop(self.run("lxd", &["shutdown", "--timeout=60"]));
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}
