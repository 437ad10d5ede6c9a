//! Storage pools: made, used, full, removed; and what a launch from a cached image costs.

use testkit::{Options, Sandbox};

#[test]
fn pools_of_every_driver() {
    let Some(sandbox) = Sandbox::start("pools_of_every_driver", Options::default()) else { return };
    sandbox.build_busybox();
    let before = sandbox.facts();
    for driver in ["dir", "btrfs", "overlay"] {
        let pool = format!("pool-{driver}");
        let mut args = vec!["storage", "create", &pool, driver];
        if driver == "btrfs" {
            args.push("size=400MB");
        }
        sandbox.lxc_ok(&args);
        assert!(sandbox.lxc_ok(&["storage", "list"]).contains(&pool));
        sandbox.lxc_ok(&["launch", "busybox", "c1", "-s", &pool]);
        sandbox.exec_ok("c1", "echo data > /root/file && sync");
        let said = sandbox.lxc_fails(&["storage", "delete", &pool]);
        assert!(said.contains("use"), "{said}");
        sandbox.lxc_ok(&["restart", "--force", "c1"]);
        assert_eq!(sandbox.exec_ok("c1", "cat /root/file"), "data");
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
        sandbox.lxc_ok(&["storage", "delete", &pool]);
        assert!(!sandbox.lxc_ok(&["storage", "list"]).contains(&pool));
        sandbox.assert_unchanged_since(&before);
    }
    let disks = sandbox.sh_ok("find $LXD_DIR/disks -type f 2>/dev/null | wc -l");
    assert_eq!(disks, "0", "loop files stayed");
    sandbox.finish();
}

#[test]
fn pools_come_back_after_a_restart() {
    let Some(sandbox) = Sandbox::start("pools_come_back_after_a_restart", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "echo data > /root/file");
    sandbox.lxd_ok(&["shutdown", "--timeout=30"]);
    // As after a boot: nothing is mounted.
    sandbox.sh_ok("awk '{ print $5 }' /proc/self/mountinfo | grep -F $LXD_DIR/ | sort -r | xargs -r -n1 umount -l");
    sandbox.start_daemon();
    // It ran when the host went down, so it runs again.
    sandbox.wait_state("c1", "RUNNING");
    assert_eq!(sandbox.exec_ok("c1", "cat /root/file"), "data");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.lxc_ok(&["launch", "busybox", "c2"]);
    sandbox.mark();
    sandbox.finish();
}

#[test]
fn btrfs_quota_holds() {
    let Some(sandbox) = Sandbox::start("btrfs_quota_holds", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "override", "c1", "root", "size=20MB"]);
    let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "head -c 60000000 /dev/urandom > /root/big && sync"]);
    assert!(!outcome.ok(), "the quota did not hold: {}", outcome.report());
    sandbox.finish();
}

#[test]
fn a_cached_image_is_not_copied_again() {
    for backend in ["btrfs", "overlay"] {
        let test = "a_cached_image_is_not_copied_again";
        let options = Options { state: Some("ext4:2G"), ..Options::storage(backend) };
        let Some(sandbox) = Sandbox::start(test, options) else { return };
        sandbox.build_busybox();
        // Forty megabytes that a copy would have to write.
        sandbox.sh_ok(
            "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && \
             head -c 40000000 /dev/urandom > u/rootfs/ballast && tar -C u -cf big.tar . && lxc image import big.tar --alias big",
        );
        sandbox.lxc_ok(&["init", "big", "c0"]);
        let used = "sync; df --output=used -k $LXD_DIR $LXD_DIR/storage-pools/default | tail -n +2 | sort -n | tail -1";
        let before: i64 = sandbox.sh_ok(used).trim().parse().expect("a number");
        for number in 1..=5 {
            sandbox.lxc_ok(&["init", "big", &format!("c{number}")]);
        }
        let after: i64 = sandbox.sh_ok(used).trim().parse().expect("a number");
        assert!(after - before < 20_000, "{backend}: five containers took {} kB", after - before);
        sandbox.finish();
    }
}

#[test]
fn a_full_disk_during_unpack_leaves_nothing() {
    let options = Options { state: Some("ext4:64M"), ..Options::default() };
    let Some(sandbox) = Sandbox::start("a_full_disk_during_unpack_leaves_nothing", options) else { return };
    sandbox.build_busybox();
    // Compresses to nothing, unpacks to more than there is.
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && \
         yes lorem ipsum | head -c 200000000 > u/rootfs/ballast && tar -C u -czf big.tar.gz . && lxc image import big.tar.gz --alias big",
    );
    let free = || -> i64 { sandbox.sh_ok("sync; df --output=avail -k $LXD_DIR | tail -1").trim().parse().expect("a number") };
    let before = free();
    let said = sandbox.lxc_fails(&["launch", "big", "c1"]);
    assert!(said.to_lowercase().contains("disk space"), "{said}");
    assert_eq!(sandbox.state_of("c1"), "");
    assert!(before - free() < 2000, "{} kB stayed behind", before - free());
    // And the rest still works.
    sandbox.launch_busybox("c2");
    sandbox.finish();
}
