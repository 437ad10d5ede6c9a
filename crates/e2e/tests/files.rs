//! Files in and out of containers, running and stopped.

use testkit::{Options, Sandbox};

#[test]
fn push_pull_edit_delete() {
    let Some(sandbox) = Sandbox::start("push_pull_edit_delete", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    round_trip(&sandbox);
    // What has no size before it is read.
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c1/proc/version", "-"]), sandbox.exec_ok("c1", "cat /proc/version"));
    let file = "/sys/class/net/lo/address";
    assert_eq!(sandbox.lxc_ok(&["file", "pull", &format!("c1{file}"), "-"]), sandbox.exec_ok("c1", &format!("cat {file}")));
    sandbox.exec_ok("c1", "mkdir /snap");
    assert!(sandbox.lxc_ok(&["exec", "c1", "--", "env"]).contains("/bin:/snap/bin\n"));
    sandbox.exec_ok("c1", "rmdir /snap");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    round_trip(&sandbox);
    sandbox.finish();
}

fn round_trip(sandbox: &Sandbox) {
    let source = sandbox.dir().join("note");
    std::fs::write(&source, "hello\n").expect("write the source");
    sandbox.sh_ok("chmod 0644 $SANDBOX_DIR/note");
    let source = source.to_string_lossy();
    sandbox.lxc_ok(&["file", "push", "--uid=1000", "--gid=1001", "--mode=0640", &source, "c1/root/note"]);
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c1/root/note", "-"]), "hello");
    if sandbox.state_of("c1") == "RUNNING" {
        assert_eq!(sandbox.exec_ok("c1", "stat -c '%u %g %a' /root/note"), "1000 1001 640");
    }
    let edited = sandbox.lxc_with_input(&["file", "edit", "c1/root/note"], b"changed\n");
    assert!(edited.ok(), "{}", edited.report());
    let target = sandbox.dir().join("copy");
    sandbox.lxc_ok(&["file", "pull", "c1/root/note", &target.to_string_lossy()]);
    assert_eq!(std::fs::read_to_string(&target).expect("read the copy"), "changed\n");
    if sandbox.state_of("c1") == "RUNNING" {
        assert_eq!(sandbox.exec_ok("c1", "stat -c '%u %g %a' /root/note"), "1000 1001 640", "edit must keep owner and mode");
    }
    let pushed = sandbox.lxc_with_input(&["file", "push", "-", "c1/root/from-stdin"], b"piped");
    assert!(pushed.ok(), "{}", pushed.report());
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c1/root/from-stdin", "-"]), "piped");
    sandbox.lxc_ok(&["file", "delete", "c1/root/note"]);
    let said = sandbox.lxc_fails(&["file", "pull", "c1/root/note", "-"]);
    assert!(said.to_lowercase().contains("not found") || said.contains("No such file"), "{said}");
    let said = sandbox.lxc_with_input(&["file", "push", "-", "c1/bin/busybox/below"], b"x");
    assert!(!said.ok() && said.stderr.contains(" /bin/busybox/below: Not a directory"), "{}", said.report());
    let said = sandbox.lxc_with_input(&["file", "push", "-", "c1/missing/note"], b"x");
    assert!(!said.ok() && said.stderr.contains("there is no directory /missing"), "{}", said.report());
}

#[test]
fn whole_trees() {
    let Some(sandbox) = Sandbox::start("whole_trees", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("mkdir -p $SANDBOX_DIR/tree/a/b && echo 1 > $SANDBOX_DIR/tree/a/one && echo 2 > $SANDBOX_DIR/tree/a/b/two && ln -s one $SANDBOX_DIR/tree/a/link");
    let tree = sandbox.dir().join("tree");
    sandbox.lxc_ok(&["file", "push", "-r", &tree.to_string_lossy(), "c1/root/"]);
    assert_eq!(sandbox.exec_ok("c1", "cd /root/tree/a && cat one b/two && readlink link"), "1\n2\none");
    let back = sandbox.dir().join("back");
    std::fs::create_dir(&back).expect("make the target");
    sandbox.lxc_ok(&["file", "pull", "-r", "c1/root/tree", &back.to_string_lossy()]);
    sandbox.sh_ok("diff -r $SANDBOX_DIR/tree $SANDBOX_DIR/back/tree");
    sandbox.finish();
}

#[test]
fn large_file_is_whole() {
    let Some(sandbox) = Sandbox::start("large_file_is_whole", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("head -c 60000000 /dev/urandom > $SANDBOX_DIR/big");
    let big = sandbox.dir().join("big");
    sandbox.lxc_ok(&["file", "push", &big.to_string_lossy(), "c1/root/big"]);
    let here = sandbox.sh_ok("sha256sum < $SANDBOX_DIR/big");
    assert_eq!(sandbox.exec_ok("c1", "sha256sum < /root/big"), here);
    sandbox.lxc_ok(&["file", "pull", "c1/root/big", &sandbox.dir().join("big2").to_string_lossy()]);
    sandbox.sh_ok("cmp $SANDBOX_DIR/big $SANDBOX_DIR/big2");
    sandbox.finish();
}
