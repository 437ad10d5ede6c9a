//! Files from one tree to another through the helper that shuts rsync in, and what a program can do that is shut in.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use runtime::transfer::{Direction, TransferOptions};
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

/// A root file system with a bit of everything.
fn fill(root: &Path) {
    std::fs::create_dir_all(root.join("dir/deep")).expect("mkdir");
    std::fs::write(root.join("dir/deep/file"), "content").expect("write");
    std::fs::hard_link(root.join("dir/deep/file"), root.join("dir/again")).expect("link");
    std::os::unix::fs::chown(root.join("dir/deep"), Some(1000), Some(1001)).expect("chown");
    std::fs::write(root.join("tool"), "#!/bin/sh").expect("write");
    std::fs::set_permissions(root.join("tool"), PermissionsExt::from_mode(0o4755)).expect("chmod");
    symlink("/etc/shadow", root.join("link")).expect("symlink");
    let mut nodes = Command::new("sh");
    nodes.arg("-c").arg("mknod null c 1 3 && mkfifo fifo && truncate -s 16M sparse && setfattr -n user.a -v b dir || :");
    assert!(nodes.current_dir(root).status().expect("sh").success());
}

/// Lets two rsyncs talk with each other.
fn run(runtime: &Arc<Runtime>, from: &Path, to: &Path, options: TransferOptions) -> [Result<(), String>; 2] {
    let rootfs = |path: &Path| Rootfs::Dir { path: path.to_owned() };
    let put = |beside: &sys::Root| beside.replace_file("metadata.yaml", b"architecture: x86_64", 0o644);
    let mut sender = runtime.transfer(&rootfs(from), Direction::Send, options, put).expect("start the sender");
    let mut receiver = runtime.transfer(&rootfs(to), Direction::Receive, options, |_| Ok(())).expect("start the receiver");
    let (to_sender, from_sender) = sender.take_streams().expect("streams");
    let (to_receiver, from_receiver) = receiver.take_streams().expect("streams");
    let copy = |mut from: File, mut to: File| std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    let threads = [copy(from_sender, to_receiver), copy(from_receiver, to_sender)];
    threads.into_iter().for_each(|thread| thread.join().expect("join"));
    let sent = sender.finish().map(drop).map_err(|error| error.to_string());
    let received = receiver.finish().map_err(|error| error.to_string()).map(|beside| {
        let mut metadata = String::new();
        beside.open_file("metadata.yaml").expect("metadata").read_to_string(&mut metadata).expect("read");
        assert_eq!(metadata, "architecture: x86_64");
    });
    [sent, received]
}

#[test]
fn a_tree_arrives_as_it_is() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = open(dir.path());
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for path in [&from, &to] {
        std::fs::create_dir(path).expect("mkdir");
    }
    fill(&from);
    let options = TransferOptions { xattrs: true, delete: true, compress: false, links_and_acls: true };
    assert_eq!(run(&runtime, &from, &to, options), [Ok(()), Ok(())]);
    let stat = |name: &str| std::fs::symlink_metadata(to.join(name)).expect(name);
    assert_eq!(std::fs::read_to_string(to.join("dir/again")).expect("read"), "content");
    assert_eq!(stat("dir/again").ino(), stat("dir/deep/file").ino());
    assert_eq!((stat("dir/deep").uid(), stat("dir/deep").gid()), (1000, 1001));
    assert_eq!(stat("tool").mode() & 0o7777, 0o4755);
    assert_eq!(std::fs::read_link(to.join("link")).expect("link"), Path::new("/etc/shadow"));
    assert!(stat("null").file_type().is_char_device() && stat("fifo").file_type().is_fifo());
    assert_eq!((stat("sparse").len(), stat("sparse").blocks() < 4096), (16 << 20, true));

    // Again, with what is gone, and what changed within the same second to the same length.
    std::fs::remove_file(from.join("tool")).expect("remove");
    std::fs::write(from.join("dir/deep/file"), "CONTENT").expect("write");
    assert_eq!(run(&runtime, &from, &to, options), [Ok(()), Ok(())]);
    assert!(!to.join("tool").exists());
    assert_eq!(std::fs::read_to_string(to.join("dir/again")).expect("read"), "CONTENT");

    // Every other agreement works, too.
    for (xattrs, delete, compress) in [(false, false, false), (true, true, true)] {
        let options = TransferOptions { xattrs, delete, compress, links_and_acls: false };
        assert_eq!(run(&runtime, &from, &to, options), [Ok(()), Ok(())], "{options:?}");
    }
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
