//! Snapshots, restore, copies and renames, the same on every storage driver.

use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

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
    exported_and_imported(&sandbox, first);
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

/// Snapshots are taken and deleted by themselves.
#[test]
fn snapshots_by_themselves() {
    let Some(sandbox) = Sandbox::start("snapshots_by_themselves", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "snapshots.schedule=@startup", "-c", "snapshots.pattern=auto%d"]);
    let names = || sandbox.lxc_ok(&["query", "/1.0/instances/c1/snapshots"]);
    assert!(names().contains("/auto0"), "{}", names());
    sandbox.lxc_ok(&["config", "set", "c1", "snapshots.expiry", "1S"]);
    sandbox.lxc_ok(&["snapshot", "c1", "short"]);
    for _ in 0..2 {
        sandbox.lxc_ok(&["snapshot", "c1", "kept", "--no-expiry", "--reuse"]);
    }
    let kept = sandbox.http("GET", "/1.0/instances/c1/snapshots/kept", None);
    assert!(kept.metadata()["expires_at"].as_str().is_some_and(|time| time.starts_with("0001")), "{}", kept.body);
    sandbox.lxc_ok(&["config", "unset", "c1", "snapshots.expiry"]);
    sandbox.lxc_ok(&["snapshot", "c1", "lasting"]);
    std::thread::sleep(Duration::from_millis(1100));
    // What has expired goes within a minute, and when the daemon starts.
    sandbox.kill_daemon();
    sandbox.start_daemon();
    wait_until("the end of what has expired", Duration::from_secs(20), || !names().contains("/short"));
    assert!(names().contains("/auto0") && names().contains("/lasting"), "{}", names());
    let said = sandbox.lxc_fails(&["config", "set", "c1", "snapshots.schedule", "61 * * * *"]);
    assert!(said.contains("Invalid schedule: 61 * * * *"), "{said}");
    sandbox.finish();
}

/// All of `c3` in one file, while it runs, and another container made of that.
fn exported_and_imported(sandbox: &Sandbox, first: &str) {
    let said = sandbox.sh_ok("cd $SANDBOX_DIR && lxc export c3 && lxc import c3.tar.gz c4");
    assert_eq!(said, "Backup exported successfully!\nContainer c4 imported");
    let again = sandbox.sh("cd $SANDBOX_DIR && lxc export c3");
    assert!(!again.ok() && again.stderr.contains("c3.tar.gz exists already"), "{}", again.report());
    sandbox.lxc_ok(&["start", "c4"]);
    assert_eq!(sandbox.exec_ok("c4", "cat /root/state; hostname"), "two\nc4");
    sandbox.lxc_ok(&["stop", "--force", "c4"]);
    sandbox.lxc_ok(&["restore", "c4", "s1"]);
    sandbox.lxc_ok(&["start", "c4"]);
    assert_eq!(sandbox.exec_ok("c4", first), "one\n5 6\nstate\nfine");

    sandbox.sh_ok("lxc export c4 - --instance-only --compression none | lxc import - c5");
    assert_eq!(sandbox.lxc_ok(&["list", "c5", "-c", "nsS", "--format", "csv"]), "c5,STOPPED,0");
    let half = sandbox.sh("cd $SANDBOX_DIR && head -c 400000 c3.tar.gz > half && lxc import half c6");
    assert!(!half.ok() && sandbox.state_of("c6").is_empty(), "{}", half.report());
    let full = sandbox.sh("lxc export c3 /dev/full");
    assert!(!full.ok() && full.stderr.contains("/dev/full"), "{}", full.report());
    assert_eq!(sandbox.http("GET", "/1.0/instances/c3/backups", None).metadata(), &serde_json::json!([]), "fetched or not, then deleted");
}
