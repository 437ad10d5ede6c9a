//! Running external programs: the only place that spawns one.
//!
//! A program is named by a constant, its arguments are a vector (no shell), it has a deadline,
//! and a failure carries its exit status and the end of what it wrote to standard error.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed program's standard error is kept, in bytes.
const STDERR_KEPT_BYTES: usize = 4096;
/// How often [`Cmd::run_while`] asks whether to go on.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How much of a program's output is handed on at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CmdError {
    /// Not in PATH.
    #[error("the program `{program}` is not installed (Debian package `{package}`)")]
    Missing {
        /// Name of the program.
        program: &'static str,
        /// Debian package that ships it.
        package: &'static str,
    },
    /// It could not be started or waited for.
    #[error("run `{program}`: {source}")]
    Spawn {
        /// Name of the program.
        program: &'static str,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// It ran and failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// `exit status N` or `signal N`.
        status: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// It was killed at its deadline.
    #[error("`{command}` did not end within {seconds} s")]
    Deadline {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
    },
}

/// A program with its arguments.
#[derive(Debug)]
pub struct Cmd {
    program: &'static str,
    package: &'static str,
    path: Option<std::path::PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<std::path::PathBuf>,
    stdin: Stdin,
    stdout: Option<OwnedFd>,
    deadline: Duration,
}

#[derive(Debug)]
enum Stdin {
    Null,
    Bytes(Vec<u8>),
    Fd(OwnedFd),
}

/// What a successful program printed.
#[derive(Debug)]
pub struct Output {
    /// Standard output (empty when it was redirected).
    pub stdout: Vec<u8>,
    /// Standard error, its end.
    pub stderr: String,
}

impl Cmd {
    /// A program found in PATH, shipped by Debian's `package`.
    pub fn new(program: &'static str, package: &'static str) -> Self {
        Self {
            program,
            package,
            path: None,
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Stdin::Null,
            stdout: None,
            deadline: Duration::from_secs(60),
        }
    }

    /// A program at this path.
    pub fn at(path: impl Into<std::path::PathBuf>, program: &'static str, package: &'static str) -> Self {
        Self { path: Some(path.into()), ..Self::new(program, package) }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Feeds bytes to standard input (written from a thread, so any size is fine).
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Connects standard input to a descriptor.
    pub fn stdin_fd(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Stdin::Fd(fd.into());
        self
    }

    /// Connects standard output to a descriptor instead of collecting it.
    pub fn stdout_fd(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(fd.into());
        self
    }

    /// Changes the deadline (60 s).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether the program is in PATH.
    pub fn is_installed(program: &str) -> bool {
        find_in_path(program).is_some()
    }

    /// Runs to the end; a non-zero exit is an error.
    pub fn run(self) -> Result<Output, CmdError> {
        self.run_any(read_all, None)?.output()
    }

    /// Runs to the end as long as `go_on`, asked many times a second, says so; `None` if the
    /// program was killed because it did not.
    pub fn run_while(self, mut go_on: impl FnMut() -> bool) -> Result<Option<Output>, CmdError> {
        let ended = self.run_any(read_all, Some(&mut go_on))?;
        if matches!(ended.end, End::Stopped) { Ok(None) } else { ended.output().map(Some) }
    }

    /// Runs to the end and hands standard output to `sink` as it comes. When `sink` returns
    /// false the rest is not read, which ends the program, and the result is false.
    pub fn stream(self, mut sink: impl FnMut(&[u8]) -> bool + Send) -> Result<bool, CmdError> {
        let read = |mut pipe: ChildStdout| {
            let mut chunk = vec![0; CHUNK_BYTES];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                if !sink(&chunk[..count]) {
                    return false;
                }
            }
            true
        };
        let ended = self.run_any(read, None)?;
        let is_whole = ended.stdout.unwrap_or(true);
        if is_whole { ended.finish().map(|_| true) } else { Ok(false) }
    }

    /// Starts without waiting: for servers. The caller owns and reaps the child.
    pub fn spawn(mut self) -> Result<Child, CmdError> {
        let program = self.program;
        let stdin = self.stdin_stdio();
        let stdout = self.stdout.take();
        let mut command = self.command()?;
        command.stdin(stdin.0);
        match stdout {
            Some(fd) => {
                command.stderr(Stdio::from(fd.try_clone().map_err(|source| CmdError::Spawn { program, source })?));
                command.stdout(Stdio::from(fd));
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        command.spawn().map_err(|source| CmdError::Spawn { program, source })
    }

    /// Runs to the end on the terminal, for programs that talk with the user: standard streams are
    /// inherited and there is no deadline.
    pub fn run_foreground(self) -> Result<ExitStatus, CmdError> {
        let program = self.program;
        self.command()?.status().map_err(|source| CmdError::Spawn { program, source })
    }

    fn run_any<T: Send>(
        mut self,
        read: impl FnOnce(ChildStdout) -> T + Send,
        go_on: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Ended<T>, CmdError> {
        let (program, command_line) = (self.program, self.command_line());
        let (stdin, bytes) = self.stdin_stdio();
        let stdout = self.stdout.take();
        let mut command = self.command()?;
        command.stdin(stdin).stderr(Stdio::piped());
        command.stdout(stdout.map_or_else(Stdio::piped, Stdio::from));
        let spawn_error = |source| CmdError::Spawn { program, source };
        let mut child = command.spawn().map_err(spawn_error)?;
        drop(command);
        std::thread::scope(|scope| {
            if let Some((mut pipe, bytes)) = child.stdin.take().zip(bytes) {
                // A program may rightly stop reading early (EPIPE); its exit status decides.
                scope.spawn(move || drop(pipe.write_all(&bytes)));
            }
            let stdout = child.stdout.take().map(|pipe| scope.spawn(move || read(pipe)));
            let stderr = child.stderr.take().map(|pipe| scope.spawn(move || read_end(pipe)));
            let end = wait_until(&mut child, self.deadline, go_on).map_err(spawn_error)?;
            let stdout = stdout.and_then(|thread| thread.join().ok());
            let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
            let stderr = String::from_utf8_lossy(&stderr).into_owned();
            Ok(Ended { end, stdout, stderr, command: command_line, deadline: self.deadline })
        })
    }

    fn stdin_stdio(&mut self) -> (Stdio, Option<Vec<u8>>) {
        match std::mem::replace(&mut self.stdin, Stdin::Null) {
            Stdin::Null => (Stdio::null(), None),
            Stdin::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Stdin::Fd(fd) => (Stdio::from(fd), None),
        }
    }

    fn command(&self) -> Result<Command, CmdError> {
        let path = self.path.clone().or_else(|| find_in_path(self.program));
        let path = path.ok_or(CmdError::Missing { program: self.program, package: self.package })?;
        let mut command = Command::new(path);
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        Ok(command)
    }

    fn command_line(&self) -> String {
        let mut line = self.program.to_owned();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

/// The full path of a program: PATH, then the directories of administration programs, which a
/// user's or a unit's PATH may lack.
pub fn find_in_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().map(Into::into))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// How a program came to its end.
enum End {
    Exit(ExitStatus),
    Deadline,
    Stopped,
}

/// A program that has ended.
struct Ended<T> {
    end: End,
    stdout: Option<T>,
    stderr: String,
    command: String,
    deadline: Duration,
}

impl<T> Ended<T> {
    /// What it printed, if it succeeded.
    fn finish(self) -> Result<(Option<T>, String), CmdError> {
        let Self { end, stdout, stderr, command, deadline } = self;
        match end {
            End::Exit(status) if status.success() => Ok((stdout, stderr)),
            End::Exit(status) => Err(CmdError::Failed { command, status: status_text(status), stderr: stderr.trim().to_owned() }),
            End::Deadline | End::Stopped => Err(CmdError::Deadline { command, seconds: deadline.as_secs() }),
        }
    }
}

impl Ended<Vec<u8>> {
    fn output(self) -> Result<Output, CmdError> {
        let (stdout, stderr) = self.finish()?;
        Ok(Output { stdout: stdout.unwrap_or_default(), stderr })
    }
}

/// Waits for the end, or kills: at the limit, when `go_on` says no, and when it cannot wait.
fn wait_until(child: &mut Child, limit: Duration, go_on: Option<&mut dyn FnMut() -> bool>) -> std::io::Result<End> {
    let result = wait_for_exit(child, limit, go_on);
    if !matches!(result, Ok(End::Exit(_))) {
        child.kill()?;
        child.wait()?;
    }
    result
}

fn wait_for_exit(child: &mut Child, limit: Duration, mut go_on: Option<&mut dyn FnMut() -> bool>) -> std::io::Result<End> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let end = Instant::now() + limit;
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exit(status));
        }
        let mut left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(End::Deadline);
        }
        if let Some(go_on) = &mut go_on {
            if !go_on() {
                return Ok(End::Stopped);
            }
            left = left.min(WATCH_INTERVAL);
        }
        let timeout = Timespec { tv_sec: left.as_secs().min(3600) as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn read_all(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    drop(pipe.read_to_end(&mut bytes));
    bytes
}

/// Drains a pipe, keeping only its end.
fn read_end(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * STDERR_KEPT_BYTES {
            kept.drain(..kept.len() - STDERR_KEPT_BYTES);
        }
    }
    let excess = kept.len().saturating_sub(STDERR_KEPT_BYTES);
    kept.drain(..excess);
    kept
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collects_output_and_feeds_input() {
        let big = vec![b'x'; 1 << 20];
        let output = Cmd::new("cat", "coreutils").stdin_bytes(big.clone()).run().expect("cat");
        assert_eq!(output.stdout, big);
    }

    #[test]
    fn failure_carries_status_and_stderr() {
        // A directory below a file cannot exist.
        let error = Cmd::new("ls", "coreutils").arg("/proc/self/status/absent").run().expect_err("must fail");
        let text = error.to_string();
        assert!(text.contains("exit status 2") && text.contains("/proc/self/status/absent"), "{text}");
    }

    #[test]
    fn deadline_kills() {
        let start = Instant::now();
        let error = Cmd::new("sleep", "coreutils").arg("60").deadline(Duration::from_millis(100)).run();
        assert!(matches!(error, Err(CmdError::Deadline { .. })));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn endless_output_and_endless_work_can_be_cut_short() {
        let mut seen = 0;
        let is_whole = Cmd::new("cat", "coreutils").arg("/dev/zero").stream(|chunk| {
            seen += chunk.len();
            seen < 1 << 20
        });
        assert!(!is_whole.expect("cut short") && seen >= 1 << 20);
        assert!(Cmd::new("echo", "coreutils").arg("x").stream(|chunk| chunk == b"x\n").expect("whole"));
        let mut rounds = 0;
        let stopped = Cmd::new("sleep", "coreutils").arg("60").run_while(|| {
            rounds += 1;
            rounds < 3
        });
        assert!(stopped.expect("stopped").is_none());
        assert!(Cmd::new("true", "coreutils").run_while(|| true).expect("ended").is_some());
    }

    #[test]
    fn missing_program_names_its_package() {
        let error = Cmd::new("no-such-program", "some-package").run().expect_err("must fail");
        assert!(error.to_string().contains("some-package"));
    }
}
