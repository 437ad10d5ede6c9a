//! Real containers from a busybox tree, through the real helper program.
//!
//! They have no network cards, so nothing outside their own namespaces is touched but control
//! groups with a name of their own and temporary directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use runtime::{
    Bind, Container, ContainerSpec, ExecSession, ExecSpec, ExecStdio, Exit, ExitEvent, ExitTarget, FileAttrs, Limits, Recovered, Rootfs,
    Runtime, RuntimeConfig,
};
use sys::idmap::IdMap;

const INIT: &str = "#!/bin/sh
trap 'exit 0' PWR
echo booted on $(hostname)
while :; do sleep 1 & wait $!; done
";

struct Host {
    dir: tempfile::TempDir,
    tag: String,
    runtime: Arc<Runtime>,
    exits: Receiver<ExitEvent>,
}

impl Host {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tag = format!("lxd-test-{name}-{}", std::process::id());
        let (runtime, exits) = open(dir.path(), &tag);
        Self { dir, tag, runtime, exits }
    }

    /// A root file system of busybox in the temporary directory, owned by ids 0 and 0.
    fn rootfs(&self, init: &str) -> std::path::PathBuf {
        let root = self.dir.path().join("rootfs");
        for name in ["bin", "sbin", "etc", "root", "tmp"] {
            std::fs::create_dir_all(root.join(name)).expect("mkdir");
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in [
            "sh", "sleep", "cat", "id", "echo", "hostname", "true", "stty", "tty", "kill", "mount", "reboot", "ls", "dd", "head",
            "readlink", "grep", "rm",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("symlink");
        }
        std::fs::write(root.join("sbin/init"), init).expect("write");
        std::fs::set_permissions(root.join("sbin/init"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        root
    }

    fn spec(&self, init: &str) -> ContainerSpec {
        ContainerSpec {
            name: "c1".into(),
            hostname: "c1".into(),
            idmap: IdMap::contiguous(1_000_000, 1_000_000, 65_536),
            rootfs: Rootfs::Dir { path: self.rootfs(init) },
            idmapped: true,
            init: vec!["/sbin/init".into()],
            ..Default::default()
        }
    }

    fn no_leftovers(&self) {
        assert!(!self.dir.path().join("run/c1").exists(), "run directory");
        for hierarchy in &self.runtime.facts().layout.hierarchies {
            let group = hierarchy.mount_point.join(&self.tag);
            assert!(!group.exists(), "{} is left", group.display());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mounts.contains(&self.dir.path().display().to_string()), "a mount is left: {mounts}");
    }

    fn stop(&self, container: &Container) -> Exit {
        container.kill().expect("kill");
        let exit = container.wait_exit(Some(Duration::from_secs(10))).expect("it ends");
        self.exits.recv_timeout(Duration::from_secs(10)).expect("the exit is reported");
        wait_until(|| !self.dir.path().join("run/c1").exists());
        exit
    }
}

impl Drop for Host {
    /// A failed test must not leave its container behind.
    fn drop(&mut self) {
        if let Some(container) = self.runtime.get("c1") {
            drop(container.kill());
            container.wait_exit(Some(Duration::from_secs(10)));
        }
    }
}

fn open(dir: &Path, tag: &str) -> (Arc<Runtime>, Receiver<ExitEvent>) {
    let (sender, exits) = channel();
    let config = RuntimeConfig {
        run_dir: dir.join("run"),
        log_dir: dir.join("logs"),
        cgroup_tag: tag.to_owned(),
        cgroup_parent: Default::default(),
        apparmor_dir: None,
        helper: env!("CARGO_BIN_EXE_lxd-runtime").into(),
    };
    let runtime = Runtime::new(config, Box::new(move |event| drop(sender.send(event)))).expect("runtime");
    (runtime, exits)
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "timeout");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exec(container: &Container, command: &[&str]) -> (i32, String) {
    let session = start_exec(container, command, ExecStdio::Pipes);
    drop(session.stdin);
    let mut output = String::new();
    File::from(session.stdout.expect("stdout")).read_to_string(&mut output).expect("read");
    File::from(session.stderr.expect("stderr")).read_to_string(&mut output).expect("read");
    (session.process.wait(), output)
}

fn start_exec(container: &Container, command: &[&str], stdio: ExecStdio) -> ExecSession {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let spec = ExecSpec { command, env: BTreeMap::new(), cwd: None, uid: 0, gid: 0, stdio };
    container.exec(spec).expect("exec")
}

#[test]
fn a_container_starts_runs_commands_and_dies_without_a_trace() {
    let host = Host::new("basic");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    assert!(container.is_running() && host.runtime.get("c1").is_some());
    wait_until(|| container.console_log().is_ok_and(|log| String::from_utf8_lossy(&log).contains("booted on c1")));
    let (code, output) = exec(&container, &["sh", "-c", "id -u; hostname; echo $container; cat /proc/self/uid_map; exit 7"]);
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!((code, words), (7, vec!["0", "c1", "lxc", "0", "1000000", "65536"]));
    assert_eq!(exec(&container, &["no-such-program"]).0, 127);
    let (code, _) = exec(&container, &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(code, 128 + 15);
    let exit = host.stop(&container);
    assert_eq!(exit.target, ExitTarget::Halt);
    assert!(
        container
            .exec(ExecSpec { command: vec!["true".into()], env: BTreeMap::new(), cwd: None, uid: 0, gid: 0, stdio: ExecStdio::Pipes })
            .is_err()
    );
    host.no_leftovers();
}

#[test]
fn overlay_root_keeps_disk_ids_and_leaves_the_lower_layer_alone() {
    let host = Host::new("overlay");
    let mut spec = host.spec(INIT);
    let (upper, work) = (host.dir.path().join("c1/upper"), host.dir.path().join("c1/work"));
    std::fs::create_dir_all(&upper).expect("mkdir");
    std::fs::create_dir_all(&work).expect("mkdir");
    let lower = host.dir.path().join("rootfs");
    spec.rootfs = Rootfs::Overlay { lower: lower.clone(), upper: upper.clone(), work };
    let container = host.runtime.start(&spec).expect("start");
    let (code, output) = exec(&container, &["sh", "-c", "echo hello > /root/new && cat /root/new && ls -ld /root"]);
    assert_eq!(code, 0, "{output}");
    host.stop(&container);
    let metadata = std::fs::metadata(upper.join("root/new")).expect("the upper layer has the file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 0, "ids on disk are the guest's");
    assert!(!lower.join("root/new").exists());
    let files = runtime::FileTree::stopped(&spec.rootfs, &spec.idmap, true).expect("open");
    assert_eq!(files.list("/root").expect("list"), ["new"]);
    drop(files);
    host.no_leftovers();
}

#[test]
fn clean_stop_reboot_and_halt_are_told_apart() {
    let host = Host::new("stop");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    wait_until(|| container.console_log().is_ok_and(|log| String::from_utf8_lossy(&log).contains("booted")));
    container.request_stop().expect("ask");
    let exit = container.wait_exit(Some(Duration::from_secs(10))).expect("it ends");
    assert_eq!((exit.target, exit.code), (ExitTarget::Halt, Some(0)));
    host.exits.recv_timeout(Duration::from_secs(10)).expect("reported");
    let container = host
        .runtime
        .start(&ContainerSpec { init: vec!["/bin/sh".into(), "-c".into(), "reboot -f".into()], ..ContainerSpec::clone(&container.spec()) })
        .expect("start");
    let exit = container.wait_exit(Some(Duration::from_secs(10))).expect("it ends");
    assert_eq!(exit.target, ExitTarget::Reboot);
    host.exits.recv_timeout(Duration::from_secs(10)).expect("reported");
    wait_until(|| !host.dir.path().join("run/c1").exists());
    host.no_leftovers();
}

#[test]
fn terminals_belong_to_the_guest_and_hang_up() {
    let host = Host::new("pty");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    let session =
        start_exec(&container, &["sh", "-c", "tty; stty size; read line; echo got $line"], ExecStdio::Pty { width: 100, height: 40 });
    let mut terminal = File::from(session.pty.expect("terminal"));
    terminal.write_all(b"typed\n").expect("type");
    let mut output = Vec::new();
    let mut chunk = [0; 1024];
    // EIO ends a terminal, not end of file.
    while let Ok(count @ 1..) = terminal.read(&mut chunk) {
        output.extend_from_slice(&chunk[..count]);
    }
    let output = String::from_utf8_lossy(&output).into_owned();
    assert_eq!(session.process.wait(), 0);
    assert!(output.contains("/dev/pts/") && output.contains("40 100") && output.contains("got typed"), "{output}");
    let session = start_exec(&container, &["sleep", "1000"], ExecStdio::Pty { width: 0, height: 0 });
    session.process.release_terminal();
    drop(session.pty);
    assert_eq!(session.process.wait(), 128 + 1, "closing the terminal hangs up its session");
    host.stop(&container);
    host.no_leftovers();
}

#[test]
fn containers_survive_the_daemon() {
    let host = Host::new("recover");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    let pid = container.pid();
    let (second, exits) = open(host.dir.path(), &host.tag);
    let Recovered::Running(found) = second.recover("c1") else { panic!("not found again") };
    assert_eq!(found.pid(), pid);
    assert_eq!(exec(&found, &["true"]).0, 0);
    assert!(matches!(second.recover("c2"), Recovered::Nothing));
    found.kill().expect("kill");
    assert!(found.wait_exit(Some(Duration::from_secs(10))).is_some());
    exits.recv_timeout(Duration::from_secs(10)).expect("the second daemon is told");
    host.exits.recv_timeout(Duration::from_secs(10)).expect("and so is the first");
    wait_until(|| !host.dir.path().join("run/c1").exists());
    host.no_leftovers();
}

#[test]
fn failed_starts_say_why_and_leave_nothing() {
    let host = Host::new("fail");
    let spec = host.spec(INIT);
    let cases = [
        (ContainerSpec { init: vec!["/sbin/nothing".into()], ..spec.clone() }, "/sbin/nothing"),
        (ContainerSpec { rootfs: Rootfs::Dir { path: "/nonexistent/rootfs".into() }, ..spec.clone() }, "/nonexistent/rootfs"),
        (
            ContainerSpec {
                mounts: vec![Bind { source: "/nonexistent/share".into(), target: "/mnt".into(), ..Default::default() }],
                ..spec.clone()
            },
            "/nonexistent/share",
        ),
        (ContainerSpec { idmap: IdMap::contiguous(1_000_000, 1_000_000, 0), ..spec.clone() }, "id 0"),
        (ContainerSpec { limits: Limits { cpus: Some("4000".into()), ..Default::default() }, ..spec.clone() }, "cpuset.cpus"),
    ];
    for (spec, subject) in cases {
        let error = host.runtime.start(&spec).err().expect("must fail").to_string();
        assert!(error.contains(subject), "{error}");
        assert!(host.runtime.get("c1").is_none());
        host.no_leftovers();
    }
}

#[test]
fn limits_freeze_and_files_of_a_running_container() {
    let host = Host::new("limits");
    let limits = Limits { memory_bytes: Some(64 << 20), processes: Some(20), ..Default::default() };
    let share = host.dir.path().join("share");
    std::fs::create_dir(&share).expect("mkdir");
    std::fs::write(share.join("file"), "shared").expect("write");
    let mounts = vec![Bind { source: share.clone(), target: "/mnt/share".into(), read_only: true, ..Default::default() }];
    let container = host.runtime.start(&ContainerSpec { limits, mounts, ..host.spec(INIT) }).expect("start");
    let (code, output) = exec(&container, &["sh", "-c", "cat /mnt/share/file; echo x > /mnt/share/file"]);
    assert!(code != 0 && output.starts_with("shared"), "{code} {output}");
    let (_, output) =
        exec(&container, &["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do sleep 5 & done; echo done"]);
    assert!(output.contains("can't fork"), "{output}");
    let (code, _) = exec(&container, &["sh", "-c", "x=$(dd if=/dev/zero bs=1M count=200 | tr '\\0' x)"]);
    assert_ne!(code, 0, "a memory hog must die inside its limit");
    container.freeze().expect("freeze");
    assert!(container.is_frozen());
    container.thaw().expect("thaw");
    let files = container.files().expect("files");
    let attrs = FileAttrs { uid: Some(1), gid: Some(2), mode: Some(0o600) };
    files.write("/root/pushed", attrs, false).expect("open").write_all(b"pushed").expect("write");
    let (_, output) = exec(&container, &["sh", "-c", "ls -ln /root/pushed; cat /root/pushed"]);
    assert!(output.starts_with("-rw-------") && output.contains(" 1        2 ") && output.contains("pushed"), "{output}");
    files.symlink("/root/out", "/etc/../../../../etc/shadow", FileAttrs::default()).expect("symlink");
    assert!(files.read("/root/out").is_err(), "a link must not lead out of the container");
    drop(files);
    container.attach_bind(&Bind { source: share, target: "/late".into(), ..Default::default() }).expect("hot-plug");
    assert_eq!(exec(&container, &["cat", "/late/file"]), (0, "shared".into()));
    container.detach_bind(Path::new("/late")).expect("unplug");
    assert_ne!(exec(&container, &["cat", "/late/file"]).0, 0);
    assert!(container.counters().processes >= 1);
    host.stop(&container);
    host.no_leftovers();
}

#[test]
fn a_privileged_container_has_its_own_devices_only() {
    let host = Host::new("priv");
    let spec = ContainerSpec { idmap: IdMap::default(), ..host.spec(INIT) };
    let container = host.runtime.start(&spec).expect("start");
    let script = "mknod /root/disk b 254 0 && mknod /root/kmsg c 1 11 && mknod /root/zero c 1 5; \
        head -c 1 /root/zero | wc -c; head -c 1 /root/disk; head -c 1 /root/kmsg; echo x > /proc/sys/kernel/hostname";
    let (_, output) = exec(&container, &["/bin/busybox", "sh", "-c", script]);
    let refusals = output.matches("Operation not permitted").count() + output.matches("Read-only file system").count();
    assert!(output.starts_with('1') && refusals == 3, "{output}");
    // Nor may it write to what is mounted below /sys and /proc/sys.
    let below = "/bin/busybox awk '{ last[$2] = $4 } END { for (m in last) if (m ~ \"^/(sys/(fs/[bfp]|kernel)|proc/sys/)\" && last[m] !~ /^ro/) print m }' /proc/mounts";
    assert_eq!(exec(&container, &["sh", "-c", below]), (0, String::new()));
    host.stop(&container);
    host.no_leftovers();
}

#[test]
fn the_system_call_policy_holds_for_init_and_for_commands() {
    let host = Host::new("seccomp");
    let busybox =
        |words: &str| format!("/bin/busybox {words} >> /root/log 2>&1; echo {} $? >> /root/result;", words.split(' ').next().unwrap_or(""));
    let attempts = format!("{}{}{}", busybox("unshare -u true"), busybox("unshare -u -i true"), busybox("umount -f /dev/shm"));
    let attempts = format!("{attempts}{}", busybox("umount -f -l /dev/shm"));
    let init = format!("#!/bin/sh\ntrap 'exit 0' PWR\n{attempts}\nwhile :; do sleep 1 & wait $!; done\n");
    let container = host.runtime.start(&ContainerSpec { checkpointable: true, ..host.spec(&init) }).expect("start");
    let refused = "unshare 1\nunshare 0\numount 1\numount 1\n";
    wait_until(|| exec(&container, &["cat", "/root/result"]).1 == refused);
    let (_, output) = exec(&container, &["sh", "-c", &format!("rm /root/result; {attempts} cat /root/result /root/log")]);
    assert!(output.starts_with(refused) && output.contains("Operation not permitted"), "{output}");
    host.stop(&container);
    host.no_leftovers();
}

/// Parent of a container's init.
fn monitor_of(container: &Container) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
    status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok()).expect("a parent")
}

fn signal(pid: i32, signal: i32) {
    sys::process::pidfd_signal(sys::process::pidfd_open(pid).expect("pidfd"), signal).expect("signal");
}

#[test]
fn a_monitor_sleeps_while_nobody_holds_the_console() {
    let host = Host::new("idle");
    let init = "#!/bin/sh\nexec < /dev/null > /dev/null 2>&1\ntrap 'exit 0' PWR\nwhile :; do sleep 1000 & wait $!; done\n";
    let container = host.runtime.start(&host.spec(init)).expect("start");
    let fd = format!("/proc/{}/fd/0", container.pid());
    wait_until(|| std::fs::read_link(&fd).is_ok_and(|target| target == Path::new("/dev/null")));
    let wakes = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", monitor_of(&container))).expect("status");
        status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    std::thread::sleep(Duration::from_millis(200));
    let before = wakes();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(wakes(), before, "the monitor was awake");
    for word in ["first", "second"] {
        exec(&container, &["sh", "-c", &format!("echo {word} > /dev/console")]);
        wait_until(|| container.console_log().is_ok_and(|log| String::from_utf8_lossy(&log).contains(word)));
    }
    host.stop(&container);
    host.no_leftovers();
}

#[test]
fn a_monitor_that_does_not_answer_is_not_taken_for_dead() {
    let host = Host::new("silent");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    let monitor = monitor_of(&container);
    signal(monitor, 19);
    let (second, _exits) = open(host.dir.path(), &host.tag);
    // More attempts than the monitor's queue of connections is long.
    std::thread::scope(|scope| {
        let recovering: Vec<_> = (0..24).map(|_| scope.spawn(|| second.recover("c1"))).collect();
        for found in recovering {
            assert!(matches!(found.join().expect("thread"), Recovered::Unreachable(_)));
        }
    });
    assert!(container.console_log().is_err());
    assert!(container.is_running() && host.dir.path().join("run/c1").exists(), "it was touched");
    signal(monitor, 18);
    let Recovered::Running(found) = second.recover("c1") else { panic!("not found again") };
    assert_eq!(exec(&found, &["true"]).0, 0);
    drop(second);
    host.stop(&container);
    host.no_leftovers();
}

#[test]
fn nothing_is_executed_in_a_frozen_container() {
    let host = Host::new("frozen");
    let container = host.runtime.start(&host.spec(INIT)).expect("start");
    container.freeze().expect("freeze");
    let spec = ExecSpec { command: vec!["true".into()], env: BTreeMap::new(), cwd: None, uid: 0, gid: 0, stdio: ExecStdio::Pipes };
    let error = container.exec(spec).err().expect("refused").to_string();
    assert!(error.contains("frozen"), "{error}");
    container.thaw().expect("thaw");
    assert_eq!(exec(&container, &["true"]).0, 0);
    host.stop(&container);
    host.no_leftovers();
}

/// The session keyring of the calling process, printed by perl, whether on the host or in a container.
#[cfg(target_arch = "x86_64")]
const KEYRING: &str = "print syscall(250, 0, -3, 0)";

#[cfg(target_arch = "x86_64")]
#[test]
fn no_command_gets_the_keyring_of_the_host() {
    if !Path::new("/usr/bin/perl").exists() {
        return;
    }
    let host = Host::new("keyring");
    sys::process::new_session_keyring().expect("a keyring for this thread and what it starts");
    let own = std::process::Command::new("/usr/bin/perl").args(["-e", KEYRING]).output().expect("perl");
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert!(own.parse::<i32>().is_ok_and(|key| key > 0), "{own}");
    let mounts = vec![Bind { source: "/".into(), target: "/host".into(), read_only: true, ..Default::default() }];
    let container = host.runtime.start(&ContainerSpec { mounts, ..host.spec(INIT) }).expect("start");
    // From its standard input, since `perl -e` needs a /dev/null.
    let perl = |script: &str| exec(&container, &["sh", "-c", &format!("echo '{script}' | /bin/busybox chroot /host /usr/bin/perl")]).1;
    assert_ne!(perl(KEYRING), own);
    let fill = "$t = \"user\"; $v = \"x\"; for (1 .. 20000) { $n = \"k$_\"; last if syscall(248, $t, $n, $v, 1, -4) < 0 } print syscall(250, 1, 0) < 0 ? \"full\" : \"free\"";
    assert_eq!(perl(fill), "full", "the guest's quota of keys");
    let after = perl(KEYRING);
    assert!(after.parse::<i32>().is_ok_and(|key| key > 0) && after != own, "{after} {own}");
    host.stop(&container);
    host.no_leftovers();
}
