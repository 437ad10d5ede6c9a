//! What a program can do that is shut in, as rsync is when it works on bytes of another server.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::transfer::Direction;
use runtime::{Rootfs, Runtime, RuntimeConfig};

fn open(dir: &Path) -> Arc<Runtime> {
    let config = RuntimeConfig {
        run_dir: dir.join("run"),
        log_dir: dir.join("logs"),
        cgroup_tag: format!("lxd-test-transfer-{}", std::process::id()),
        cgroup_parent: Default::default(),
        apparmor_dir: None,
        helper: env!("CARGO_BIN_EXE_lxd-runtime").into(),
    };
    Runtime::new(config, Box::new(|_| ())).expect("runtime")
}

/// What an rsync could do that does what its peer wants: each line says what it got.
const ATTEMPTS: &str = r#"
cd /tree/rootfs
try() { name=$1; shift; if "$@" > /tree/out 2>&1; then echo "$name: done"; else echo "$name: refused"; fi; }
try write touch file
try own chown 5:6 file
try node mknod disk b 7 0
try nodes-content dd if=disk of=/tree/x bs=1 count=1
try link ln -s / link
try through-link ls link
try path-through-link touch link/planted
try execute sh -c 'cp /rsync x && ./x true'
try libraries touch /usr/lib/planted
try root touch /planted
try mount mount -t tmpfs none /tree
try remount mount -o remount,rw /
try unshare unshare -r true
try chroot chroot /tree true
try network ping -c 1 -W 1 127.0.0.1
try processes kill -9 2
try host ls /home /proc/self /sys/kernel /dev/null /etc/passwd
ls /
"#;

#[test]
fn a_program_that_is_shut_in_can_do_nothing_else() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = open(dir.path());
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    let program = (PathBuf::from("/bin/busybox"), ["busybox", "sh"].map(str::to_owned).to_vec());
    let mut shell = runtime.run_shut_in(program, &Rootfs::Dir { path: tree.clone() }, Direction::Receive, |_| Ok(())).expect("start");
    let (mut to, mut from) = shell.take_streams().expect("streams");
    // Its applets are found by the shell in the program itself.
    to.write_all(ATTEMPTS.as_bytes()).expect("write");
    drop(to);
    let mut said = String::new();
    from.read_to_string(&mut said).expect("read");
    drop(shell.finish());
    let allowed: Vec<&str> = said.lines().filter_map(|line| line.strip_suffix(": done")).collect();
    assert_eq!(allowed, ["write", "own", "node", "link"], "{said}");
    assert_eq!(said.matches(": refused").count(), 13, "{said}");
    let inside: Vec<&str> = said.lines().filter(|line| !line.contains(": ")).collect();
    assert!(inside.contains(&"rsync") && inside.contains(&"tree") && !inside.contains(&"lend") && !inside.contains(&"home"), "{said}");
    assert!(!Path::new("/planted").exists() && !Path::new("/usr/lib/planted").exists());
}

/// A daemon that goes away, or gives up, leaves no rsync behind.
#[test]
fn who_is_not_wanted_any_more_is_killed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = open(dir.path());
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    let program =
        (PathBuf::from("/bin/busybox"), ["busybox", "sh", "-c", "echo here; while :; do sleep 1; done"].map(str::to_owned).to_vec());
    let mut shell = runtime.run_shut_in(program, &Rootfs::Dir { path: tree }, Direction::Receive, |_| Ok(())).expect("start");
    let (_to, mut from) = shell.take_streams().expect("streams");
    let mut said = [0; 5];
    from.read_exact(&mut said).expect("it runs");
    drop(shell);
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).expect("its end of the pipe is closed");
}
