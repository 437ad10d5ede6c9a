//! Snapshots, restore, copies and renames, the same on every storage driver.

use testkit::{Options, Sandbox};

#[test]
fn snapshots_on_dir() {
    snapshots("snapshots_on_dir", "dir");
}

#[test]
fn snapshots_on_btrfs() {
    snapshots("snapshots_on_btrfs", "btrfs");
}

#[test]
fn snapshots_on_overlay() {
    snapshots("snapshots_on_overlay", "overlay");
}

fn snapshots(test: &str, backend: &'static str) {
    let Some(sandbox) = Sandbox::start(test, Options::storage(backend)) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "echo one > /root/state; mkdir /root/dir; ln -s state /root/link; chown 5:6 /root/dir; rm /etc/inittab");
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.exec_ok("c1", "echo two > /root/state; rm -r /root/dir; touch /root/new");
    sandbox.lxc_ok(&["snapshot", "c1", "s2"]);
    let info = sandbox.lxc_ok(&["info", "c1"]);
    assert!(info.contains("s1") && info.contains("s2"), "{info}");

    sandbox.lxc_ok(&["copy", "c1/s1", "c2"]);
    sandbox.lxc_ok(&["start", "c2"]);
    let first =
        "cat /root/state; stat -c '%u %g' /root/dir; readlink /root/link; test ! -e /root/new && test ! -e /etc/inittab && echo fine";
    assert_eq!(sandbox.exec_ok("c2", first), "one\n5 6\nstate\nfine");
    assert_eq!(sandbox.exec_ok("c2", "hostname"), "c2");

    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", first), "one\n5 6\nstate\nfine");

    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["move", "c1", "c3"]);
    sandbox.lxc_ok(&["start", "c3"]);
    assert_eq!(sandbox.exec_ok("c3", "hostname"), "c3");
    sandbox.lxc_ok(&["stop", "--force", "c3"]);
    sandbox.lxc_ok(&["restore", "c3", "s2"]);
    sandbox.lxc_ok(&["start", "c3"]);
    assert_eq!(sandbox.exec_ok("c3", "cat /root/state; test -e /root/new && echo fine"), "two\nfine");

    sandbox.lxc_ok(&["move", "c3/s2", "c3/later"]);
    sandbox.lxc_ok(&["delete", "c3/later"]);
    sandbox.lxc_fails(&["restore", "c3", "later"]);
    // The image may go while containers made of it live on.
    sandbox.lxc_ok(&["image", "delete", "busybox"]);
    assert_eq!(sandbox.exec_ok("c3", "cat /root/state"), "two");
    sandbox.finish();
}

#[test]
fn copies_share_nothing() {
    let Some(sandbox) = Sandbox::start("copies_share_nothing", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "echo mine > /root/file");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["copy", "c1", "c2"]);
    sandbox.lxc_ok(&["start", "c1"]);
    sandbox.lxc_ok(&["start", "c2"]);
    sandbox.exec_ok("c2", "echo other > /root/file");
    assert_eq!(sandbox.exec_ok("c1", "cat /root/file"), "mine");
    let mac = "cat /sys/class/net/eth0/address";
    assert_ne!(sandbox.exec_ok("c1", mac), sandbox.exec_ok("c2", mac), "a copy needs a hardware address of its own");
    sandbox.finish();
}
