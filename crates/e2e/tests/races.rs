//! Things that happen at the same moment, and things that do not happen at all: nothing is lost, nothing
//! is half there, nobody waits for ever.

use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

/// Repacks the exported busybox as `$SANDBOX_DIR/other.tar`: another image, with a known file.
const OTHER: &str = "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && echo other > u/rootfs/etc/other && tar -C u -cf other.tar .";

#[test]
fn imports_of_one_image_at_once() {
    let Some(sandbox) = Sandbox::start("imports_of_one_image_at_once", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(OTHER);
    let fingerprint = sandbox.sh_ok("sha256sum $SANDBOX_DIR/other.tar | cut -d ' ' -f 1");
    for round in 0..6 {
        sandbox.sh_ok("cd $SANDBOX_DIR; for i in 1 2 3 4 5 6; do lxc image import other.tar & done 2> /dev/null; wait");
        sandbox.lxc_ok(&["image", "export", &fingerprint, &sandbox.dir().join(format!("copy{round}")).to_string_lossy()]);
        // A deletion and new imports together end with the image whole, or with nothing of it.
        let left = sandbox.sh_ok(&format!(
            "cd $SANDBOX_DIR; for i in 1 2 3; do lxc image import other.tar & lxc image delete {fingerprint} & done > /dev/null 2>&1; wait
             lxc query /1.0/images/{fingerprint} > /dev/null 2>&1 && echo record; [ ! -e $LXD_DIR/images/{fingerprint} ] || echo file"
        ));
        assert!(left.is_empty() || left == "record\nfile", "round {round}: {left}");
        if !left.is_empty() {
            sandbox.lxc_ok(&["image", "delete", &fingerprint]);
        }
    }
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/images | wc -l"), "1", "files without an image");
    sandbox.finish();
}

#[test]
fn a_pool_is_deleted_while_something_is_made_on_it() {
    let Some(sandbox) = Sandbox::start("a_pool_is_deleted_while_something_is_made_on_it", Options::default()) else { return };
    sandbox.build_busybox();
    for round in 0..8 {
        sandbox.lxc_ok(&["storage", "create", "p2", "dir"]);
        let delay = f64::from(round) * 0.03;
        sandbox.sh_ok(&format!("lxc init busybox c1 -s p2 > /dev/null 2>&1 & sleep {delay}; lxc storage delete p2 > /dev/null 2>&1; wait"));
        if sandbox.state_of("c1").is_empty() {
            sandbox.lxc(&["storage", "delete", "p2"]);
        } else {
            sandbox.lxc_ok(&["start", "c1"]);
            assert_eq!(sandbox.exec_ok("c1", "hostname"), "c1", "round {round}");
            sandbox.lxc_ok(&["delete", "--force", "c1"]);
            sandbox.lxc_ok(&["storage", "delete", "p2"]);
        }
        assert_eq!(sandbox.sh_ok("ls $LXD_DIR/storage-pools"), "default", "round {round}: something of the pool is left");
    }
    // A volume that no record speaks of is somebody's data.
    sandbox.lxc_ok(&["storage", "create", "p2", "dir"]);
    sandbox.sh_ok("mkdir $LXD_DIR/storage-pools/p2/containers/lost");
    let said = sandbox.lxc_fails(&["storage", "delete", "p2"]);
    assert!(said.contains("lost"), "{said}");
    sandbox.sh_ok("rmdir $LXD_DIR/storage-pools/p2/containers/lost");
    sandbox.lxc_ok(&["storage", "delete", "p2"]);
    sandbox.finish();
}

#[test]
fn a_pool_whose_disk_comes_late() {
    let Some(sandbox) = Sandbox::start("a_pool_whose_disk_comes_late", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok("cd $SANDBOX_DIR && mkdir real disk && mount -t tmpfs tmpfs real && mount --bind real disk");
    let source = format!("source={}", sandbox.dir().join("disk").display());
    sandbox.lxc_ok(&["storage", "create", "p2", "dir", &source]);
    sandbox.lxc_ok(&["init", "busybox", "c1", "-s", "p2"]);
    sandbox.stop_daemon();
    sandbox.sh_ok("umount $SANDBOX_DIR/disk && umount $LXD_DIR/storage-pools/default && mv $LXD_DIR/disks/default.img $SANDBOX_DIR");
    sandbox.start_daemon();
    assert_eq!(sandbox.http("GET", "/1.0/storage-pools/p2", None).metadata()["status"], "Unavailable");
    let said = sandbox.lxc_fails(&["init", "busybox", "c2", "-s", "p2"]);
    assert!(said.contains("is the disk mounted"), "{said}");
    assert_eq!(sandbox.sh_ok("ls -A $SANDBOX_DIR/disk"), "", "something was made under the mount point");
    // Both come back, and many ask at once.
    sandbox.sh_ok("mount --bind $SANDBOX_DIR/real $SANDBOX_DIR/disk && mv $SANDBOX_DIR/default.img $LXD_DIR/disks");
    sandbox.sh_ok("for i in 1 2 3 4 5 6 7 8; do lxc storage info default & done > /dev/null; wait");
    assert_eq!(sandbox.sh_ok("grep -c \" $LXD_DIR/storage-pools/default \" /proc/self/mountinfo"), "1", "mounted more than once");
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "hostname"), "c1");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.lxc_ok(&["storage", "delete", "p2"]);
    assert_eq!(sandbox.sh_ok("ls -A $SANDBOX_DIR/disk"), "", "left on the disk");
    sandbox.sh_ok("umount $SANDBOX_DIR/disk $SANDBOX_DIR/real");
    sandbox.finish();
}

#[test]
fn a_monitor_that_does_not_answer_holds_up_nobody() {
    let Some(sandbox) = Sandbox::start("a_monitor_that_does_not_answer_holds_up_nobody", Options::default()) else { return };
    sandbox.build_busybox();
    for name in ["c1", "c2"] {
        sandbox.launch_busybox(name);
    }
    let pid = sandbox.init_pid("c1");
    let monitor = sandbox.sh_ok(&format!("awk '/^PPid:/ {{ print $2 }}' /proc/{pid}/status"));
    sandbox.kill_daemon();
    sandbox.sh_ok(&format!("kill -STOP {monitor}"));
    sandbox.start_daemon();
    assert_eq!((sandbox.state_of("c1").as_str(), sandbox.state_of("c2").as_str()), ("ERROR", "RUNNING"));
    for args in [&["start", "c1"][..], &["stop", "--force", "c1"], &["delete", "--force", "c1"], &["exec", "c1", "--", "true"]] {
        let said = sandbox.lxc_fails(args);
        assert!(said.contains("cannot be reached"), "{args:?}: {said}");
    }
    assert_eq!(sandbox.exec_ok("c2", "echo here"), "here");
    sandbox.sh_ok(&format!("kill -CONT {monitor}"));
    sandbox.wait_state("c1", "RUNNING");
    assert_eq!(sandbox.init_pid("c1"), pid);
    assert_eq!(sandbox.exec_ok("c1", "echo here"), "here");
    sandbox.finish();
}

#[test]
fn commands_whose_client_does_not_come() {
    let Some(sandbox) = Sandbox::start("commands_whose_client_does_not_come", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let request = serde_json::json!({"command": ["sleep", "1000"], "wait-for-websocket": true});
    let operations: Vec<String> = (0..20)
        .map(|_| {
            let answer = sandbox.http("POST", "/1.0/instances/c1/exec", Some(&request));
            answer.body["operation"].as_str().expect("an operation").to_owned()
        })
        .collect();
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    wait_until("the operations' end", Duration::from_secs(5), || {
        operations.iter().all(|operation| {
            let answer = sandbox.http("GET", operation, None);
            answer.status == 404 || answer.metadata()["status_code"] == 400
        })
    });
    // Also checks that no descriptor of theirs is left.
    sandbox.finish();
}
