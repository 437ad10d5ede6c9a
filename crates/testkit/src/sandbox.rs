//! A sandbox with a daemon: start, drive, kill, compare, end.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Facts, Outcome, Response, facts, http, skip, wait_until};

/// How a sandbox is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// A way out to the Internet.
    pub uplink: bool,
    /// The state directory's own file system, as `scripts/sandbox.sh --state` takes it (`ext4:2G`).
    pub state: Option<&'static str>,
    /// Whether root has subordinate ids.
    pub id_range: bool,
    /// Arguments of `lxd init --auto`; `None` leaves the daemon as it comes up.
    pub init: Option<Vec<&'static str>>,
    /// PATH of the daemon instead of the test's own.
    pub path: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { uplink: false, state: None, id_range: true, init: Some(vec!["--storage-backend", "dir"]), path: None }
    }
}

impl Options {
    /// The default with another storage backend.
    pub fn storage(backend: &'static str) -> Self {
        Self { init: Some(vec!["--storage-backend", backend]), ..Self::default() }
    }

    /// A daemon that nobody has initialised.
    pub fn bare() -> Self {
        Self { init: None, ..Self::default() }
    }
}

/// A running sandbox. Dropping it kills all that runs in it; [`Sandbox::finish`] checks for leaks first.
#[derive(Debug)]
pub struct Sandbox {
    test: String,
    dir: PathBuf,
    holder: Child,
    /// Process 1 of the sandbox, as seen from here.
    pid: String,
    path: Option<String>,
    /// Process id of the daemon, as seen inside.
    daemon: Cell<Option<i32>>,
    baseline: RefCell<Option<Facts>>,
}

/// How long a command may take before it is killed and the test fails.
const COMMAND_LIMIT_SECONDS: u32 = 240;

impl Sandbox {
    /// A sandbox with a daemon, initialised as `options` say; `None` (after a loud skip) where the
    /// machine cannot have one.
    ///
    /// # Panics
    /// When the sandbox or the daemon does not come up.
    pub fn start(test: &str, options: Options) -> Option<Sandbox> {
        let sandbox = Self::empty(test, &options)?;
        sandbox.start_daemon();
        if let Some(init) = &options.init {
            let mut args = vec!["init", "--auto"];
            args.extend(init);
            sandbox.lxd_ok(&args);
        }
        sandbox.mark();
        Some(sandbox)
    }

    /// A sandbox where no daemon runs yet.
    ///
    /// # Panics
    /// When the sandbox does not come up.
    pub fn empty(test: &str, options: &Options) -> Option<Sandbox> {
        if !is_root() {
            skip(test, "needs root");
            return None;
        }
        if options.uplink && !crate::is_installed("slirp4netns") {
            skip(test, "needs slirp4netns");
            return None;
        }
        let dir = unique_dir();
        let mut command = Command::new(script());
        command.arg("--dir").arg(&dir);
        if options.uplink {
            command.arg("--uplink");
        }
        if let Some(state) = options.state {
            command.args(["--state", state]);
        }
        if !options.id_range {
            command.arg("--no-id-range");
        }
        // The sandbox ends when this process, which holds the other end of its input, does.
        command.args(["--", "sh", "-c", "echo ready; exec cat > /dev/null"]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run scripts/sandbox.sh");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read from the sandbox");
        assert_eq!(line.trim(), "ready", "{test}: the sandbox did not start; see its messages above");
        let pid = std::fs::read_to_string(dir.join("pid")).expect("the sandbox's pid file").trim().to_owned();
        let path = options.path.clone();
        let (daemon, baseline) = (Cell::new(None), RefCell::new(None));
        Some(Sandbox { test: test.to_owned(), dir, holder, pid, path, daemon, baseline })
    }

    /// The sandbox's directory, the same inside and outside (state directory excepted).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the state directory, as seen inside.
    pub fn state_path(&self, path: &str) -> String {
        self.dir.join("lxd").join(path).to_string_lossy().into_owned()
    }

    /// A path inside, as it can be opened from outside.
    pub fn seen_from_outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new("/proc").join(&self.pid).join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A program set up to run inside, without a time limit.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, program: &str, args: I) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid, "--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--"])
            .arg(program)
            .args(args)
            .current_dir("/")
            .env("PATH", self.search_path())
            .env("LXD_DIR", self.dir.join("lxd"))
            .env("LXD_CONF", self.dir.join("conf"))
            .env("SANDBOX_DIR", &self.dir)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program inside to its end.
    ///
    /// # Panics
    /// When it cannot be run at all.
    pub fn run_with_input(&self, program: &str, args: &[&str], input: &[u8]) -> Outcome {
        let limit = COMMAND_LIMIT_SECONDS.to_string();
        let all = ["-k", "5", &limit, program].into_iter().chain(args.iter().copied());
        let mut command = self.command("timeout", all);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().expect("run nsenter");
        let mut pipe = child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        // A program may rightly stop reading early; its outcome decides.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output().expect("wait for nsenter");
        writer.join().expect("the writer does not panic");
        let line = std::iter::once(program).chain(args.iter().copied()).collect::<Vec<_>>().join(" ");
        Outcome::new(line, &output, start.elapsed())
    }

    /// Runs a shell script inside.
    pub fn sh(&self, script: &str) -> Outcome {
        self.run_with_input("bash", &["-c", script], b"")
    }

    /// Runs a shell script inside that must succeed; its output without surrounding blanks.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh_ok(&self, script: &str) -> String {
        self.expect_ok(self.sh(script))
    }

    /// Runs `lxc`.
    pub fn lxc(&self, args: &[&str]) -> Outcome {
        self.lxc_with_input(args, b"")
    }

    /// Runs `lxc` with something on its standard input.
    pub fn lxc_with_input(&self, args: &[&str], input: &[u8]) -> Outcome {
        self.run_with_input(&binary("lxc"), args, input)
    }

    /// Runs `lxc`, which must succeed; its output without surrounding blanks.
    ///
    /// # Panics
    /// When it fails.
    pub fn lxc_ok(&self, args: &[&str]) -> String {
        self.expect_ok(self.lxc(args))
    }

    /// Runs `lxc`, which must fail with exactly one clear message: what it wrote to standard error.
    ///
    /// # Panics
    /// When it succeeds, crashes, or says nothing.
    pub fn lxc_fails(&self, args: &[&str]) -> String {
        let outcome = self.lxc(args);
        assert!((1..=2).contains(&outcome.code), "{}: should have failed:\n{}", self.test, self.report(&outcome));
        assert!(!outcome.stderr.trim().is_empty(), "{}: failed without a word:\n{}", self.test, self.report(&outcome));
        assert!(!outcome.stderr.contains("panicked"), "{}: crashed:\n{}", self.test, self.report(&outcome));
        outcome.stderr
    }

    /// Runs `lxd` with a subcommand.
    pub fn lxd(&self, args: &[&str]) -> Outcome {
        self.run_with_input(&binary("lxd"), args, b"")
    }

    /// Runs `lxd` with a subcommand, which must succeed; its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn lxd_ok(&self, args: &[&str]) -> String {
        self.expect_ok(self.lxd(args))
    }

    /// Runs a command in a container through `lxc exec`, which must succeed; its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn exec_ok(&self, container: &str, script: &str) -> String {
        self.lxc_ok(&["exec", container, "--", "sh", "-c", script])
    }

    /// The one container's state as `lxc list` shows it, upper case; empty if there is no such container.
    ///
    /// # Panics
    /// When the list is not to be had.
    pub fn state_of(&self, container: &str) -> String {
        let answer = self.http("GET", "/1.0/instances?recursion=1", None);
        let found = answer.metadata().as_array().and_then(|all| all.iter().find(|one| one["name"] == container));
        found.and_then(|one| one["status"].as_str()).unwrap_or_default().to_ascii_uppercase()
    }

    /// Waits until a container has a state.
    ///
    /// # Panics
    /// When it has not within 20 s.
    pub fn wait_state(&self, container: &str, state: &str) {
        wait_until(&format!("{container} {state}"), Duration::from_secs(20), || self.state_of(container) == state);
    }

    /// Process id of a running container's init, as seen in the sandbox.
    ///
    /// # Panics
    /// When the container is not there.
    pub fn init_pid(&self, container: &str) -> i64 {
        let answer = self.http("GET", &format!("/1.0/instances/{container}/state"), None);
        assert_eq!(answer.status, 200, "state of {container}: {}", answer.body);
        answer.metadata()["pid"].as_i64().unwrap_or_default()
    }

    /// One REST request over the unix socket.
    ///
    /// # Panics
    /// When the daemon does not answer in HTTP.
    pub fn http(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        match http::request(&self.socket(), method, path, body) {
            Ok(response) => response,
            Err(error) => panic!("{}: {method} {path}: {error}\n{}", self.test, self.daemon_log()),
        }
    }

    /// A `POST` that starts an operation, and how that ended.
    ///
    /// # Panics
    /// When it is refused.
    pub fn post_and_wait(&self, path: &str, body: &Value) -> Value {
        let answer = self.http("POST", path, Some(body));
        assert_eq!(answer.status, 202, "{}: POST {path}: {}", self.test, answer.body);
        self.wait_operation(answer.body["operation"].as_str().expect("an operation"))
    }

    /// How an operation ended.
    pub fn wait_operation(&self, operation: &str) -> Value {
        self.http("GET", &format!("{operation}/wait"), None).metadata().clone()
    }

    /// Makes and starts an instance of a source through the API, and how that ended.
    pub fn launch_from(&self, name: &str, source: &Value) -> Value {
        self.post_and_wait("/1.0/instances", &serde_json::json!({ "name": name, "source": source, "start": true }))
    }

    /// One with headers of its own; `line` is `METHOD PATH`.
    ///
    /// # Panics
    /// When the daemon does not answer in HTTP.
    pub fn http_with(&self, line: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        match http::request_with(&self.socket(), line, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{}: {line}: {error}\n{}", self.test, self.daemon_log()),
        }
    }

    /// Raw bytes over the unix socket; what came back until the daemon closed.
    pub fn raw_http(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        http::exchange(&self.socket(), bytes)
    }

    fn socket(&self) -> PathBuf {
        self.seen_from_outside(self.state_path("unix.socket"))
    }

    /// Starts `lxd` and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within 20 s.
    pub fn start_daemon(&self) {
        self.spawn_daemon(&[]);
        self.wait_daemon_ready();
    }

    /// Starts `lxd` with further variables in its environment, and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within 20 s.
    pub fn start_daemon_with(&self, environment: &[(&str, &str)]) {
        self.spawn_daemon_in(&[], environment);
        self.wait_daemon_ready();
    }

    /// Starts `lxd` so that it dies or pauses at one of the engine's named points: `NAME:die`,
    /// `NAME:pause`. Does not wait until it is ready.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn spawn_daemon_with_point(&self, point: &str) {
        self.spawn_daemon_in(&[], &[("LXD_TEST_POINT", point)]);
    }

    /// Starts `lxd` told to leave AppArmor alone. Does not wait until it is ready.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn spawn_daemon_without_apparmor(&self) {
        self.spawn_daemon_in(&[], &[("LXD_SECURITY_APPARMOR", "false")]);
    }

    /// Waits until the daemon is ready.
    ///
    /// # Panics
    /// When it is not within 20 s.
    pub fn wait_daemon_ready(&self) {
        let outcome = self.lxd(&["waitready", "--timeout=20"]);
        assert!(outcome.ok(), "{}: the daemon did not come up:\n{}", self.test, self.report(&outcome));
    }

    /// Starts `lxd` with extra arguments, in the background, in the sandbox's own cgroups.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn spawn_daemon(&self, args: &[&str]) {
        self.spawn_daemon_in(args, &[]);
    }

    fn spawn_daemon_in(&self, args: &[&str], environment: &[(&str, &str)]) {
        let script = r#"exec setsid -f bash -c 'echo $$ > "$SANDBOX_DIR/daemon.pid"; exec "$@" < /dev/null >> "$SANDBOX_DIR/daemon.log" 2>&1' bash "$@""#;
        let lxd = binary("lxd");
        let all = ["-c", script, "bash", &lxd, "--verbose"].into_iter().chain(args.iter().copied());
        let pid_file = self.dir.join("daemon.pid");
        drop(std::fs::remove_file(&pid_file));
        let mut command = self.in_its_groups(&self.command("bash", all));
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.envs(environment.iter().copied());
        let status = command.stdin(Stdio::null()).status().expect("run nsenter");
        assert!(status.success(), "{}: start lxd", self.test);
        let pid = || std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok();
        wait_until("the daemon's pid", Duration::from_secs(10), || pid().is_some());
        self.daemon.set(pid());
    }

    /// The same command, begun in the sandbox's own control groups. It moves there before it enters the namespaces: where
    /// these bound delegation, nobody comes in later.
    fn in_its_groups(&self, inner: &Command) -> Command {
        let script = r#"while read -r _ point path _; do
    echo 0 > "$point${path%/}/${SANDBOX_DIR##*/}/host/cgroup.procs"
done < "$SANDBOX_DIR/hierarchies"
exec "$@""#;
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).arg(inner.get_program()).args(inner.get_args()).current_dir("/");
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    /// Whether the daemon's process is there.
    pub fn daemon_runs(&self) -> bool {
        self.daemon.get().is_some_and(|pid| self.process_runs(pid.into()))
    }

    /// Whether a process (by its id inside) is there and not dead.
    pub fn process_runs(&self, pid: i64) -> bool {
        std::fs::read_to_string(self.seen_from_outside(format!("/proc/{pid}/stat")))
            .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
    }

    /// Sends the daemon a signal and waits until it is gone.
    ///
    /// # Panics
    /// When it does not run, or is still there after 20 s.
    pub fn end_daemon(&self, signal: &str) {
        let pid = self.daemon.get().expect("the daemon runs");
        self.sh_ok(&format!("kill -{signal} {pid}"));
        wait_until("the daemon's end", Duration::from_secs(20), || !self.process_runs(pid.into()));
        self.daemon.set(None);
    }

    /// Waits until the daemon has died by itself.
    ///
    /// # Panics
    /// When it is still there after 20 s.
    pub fn wait_daemon_death(&self) {
        let pid = self.daemon.take().expect("the daemon runs");
        wait_until("the daemon's death", Duration::from_secs(20), || !self.process_runs(pid.into()));
    }

    /// Kills the daemon as a crash would.
    pub fn kill_daemon(&self) {
        self.end_daemon("KILL");
    }

    /// Ends the daemon as an upgrade would; containers go on.
    pub fn stop_daemon(&self) {
        self.end_daemon("TERM");
    }

    /// The end of what the daemon logged.
    pub fn daemon_log(&self) -> String {
        let log = std::fs::read(self.dir.join("daemon.log")).unwrap_or_default();
        let start = log.len().saturating_sub(6000);
        format!("--- end of the daemon's log\n{}", String::from_utf8_lossy(&log[start..]))
    }

    /// What exists inside now.
    ///
    /// # Panics
    /// When that cannot be found out.
    pub fn facts(&self) -> Facts {
        let pid = self.daemon.get().map_or_else(String::new, |pid| pid.to_string());
        let mut command = self.command("bash", ["-c", facts::SCRIPT]);
        let output = command.env("SANDBOX_FACTS", "1").env("DAEMON_PID", pid).output().expect("run nsenter");
        assert!(output.status.success(), "facts: {}", String::from_utf8_lossy(&output.stderr));
        Facts::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Takes what exists now as what must exist at the end.
    pub fn mark(&self) {
        *self.baseline.borrow_mut() = Some(self.facts());
    }

    /// Waits until nothing exists that did not at the last [`Sandbox::mark`].
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_no_leaks(&self) {
        let baseline = self.baseline.borrow().clone().expect("marked before");
        self.assert_unchanged_since(&baseline);
    }

    /// Waits until nothing exists that did not in `before`: the kernel takes a network namespace
    /// with its links down a moment after the last process.
    ///
    /// # Panics
    /// When something stays for more than 8 s.
    pub fn assert_unchanged_since(&self, before: &Facts) {
        let end = Instant::now() + Duration::from_secs(8);
        loop {
            let grown = self.facts().grown_since(before);
            if grown.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{}: leaked:\n  {}\n{}", self.test, grown.join("\n  "), self.daemon_log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Deletes all containers, checks for leaks, shuts the daemon down, and checks again.
    ///
    /// # Panics
    /// When something stays behind.
    pub fn finish(self) {
        let listed = self.http("GET", "/1.0/instances?recursion=1", None);
        for instance in listed.metadata().as_array().into_iter().flatten() {
            self.lxc_ok(&["delete", "--force", instance["name"].as_str().unwrap_or_default()]);
        }
        self.assert_no_leaks();
        self.lxd_ok(&["shutdown", "--timeout=30"]);
        let daemon = self.daemon.get().expect("the daemon runs");
        wait_until("the daemon's end after shutdown", Duration::from_secs(10), || !self.process_runs(daemon.into()));
        self.daemon.set(None);
        let facts = self.facts();
        let runtime: Vec<_> = facts.of("process").filter(|(line, _)| line.contains("lxd-runtime")).collect();
        assert!(runtime.is_empty(), "{}: monitors after shutdown: {runtime:?}", self.test);
        let cgroups: Vec<_> = facts.of("cgroup").filter(|(path, _)| !path.ends_with("/host")).collect();
        assert!(cgroups.is_empty(), "{}: cgroups after shutdown: {cgroups:?}", self.test);
    }

    pub(crate) fn expect_ok(&self, outcome: Outcome) -> String {
        assert!(outcome.ok(), "{}: {}", self.test, self.report(&outcome));
        outcome.stdout.trim().to_owned()
    }

    fn report(&self, outcome: &Outcome) -> String {
        format!("{}\n{}", outcome.report(), self.daemon_log())
    }

    fn search_path(&self) -> String {
        let own = std::env::var("PATH").unwrap_or_default();
        format!("{}:{own}:/usr/sbin:/sbin", bin_dir().display())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // End of input ends the sandbox.
        drop(self.holder.stdin.take());
        let status = self.holder.wait().expect("wait for the sandbox");
        if !std::thread::panicking() {
            assert!(status.success(), "{}: the sandbox left something behind on the host ({status})", self.test);
        }
    }
}

/// The full path of one of the product's programs.
///
/// # Panics
/// When it is not built.
pub(crate) fn binary(name: &str) -> String {
    let path = bin_dir().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build` first", path.display());
    path.to_string_lossy().into_owned()
}

/// `$LXD_BIN_DIR`, else the directory above the test binary's (`target/debug/deps`).
fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("LXD_BIN_DIR") {
        return dir.into();
    }
    let test = std::env::current_exe().expect("path of the test");
    let dir = test.parent().expect("the test is in a directory");
    if dir.ends_with("deps") { dir.with_file_name("") } else { dir.to_owned() }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace exists")
}

fn script() -> PathBuf {
    workspace().join("scripts/sandbox.sh")
}

fn unique_dir() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/var/tmp/lxd-e2e.{}.{number}", std::process::id()))
}
