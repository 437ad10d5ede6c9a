//! Storage pools: made, used, full, removed; and what a launch from a cached image costs.

use std::time::Duration;

use serde_json::json;
use testkit::{Options, Sandbox, wait_until};

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

/// Makes a subvolume in the directory that is descriptor 3, by perl of the host, whose root the guest sees at `/host`: as
/// anybody would, or with quota groups of its own choice (none).
const MAKE: &str = r#"exec 3< $1; echo '
    $none = pack("Q9");
    $request = "GROUPS" eq "own" ? 0x50009418 : 0x5000940e;
    $args = $request == 0x5000940e ? pack("q a4088", 0, "NAME")
        : pack("q Q6 a4040", 0, 0, 4, 72, unpack("Q", pack("p", $none)), 0, 0, "NAME");
    syscall(16, 3, $request | UPPER << 32, $args) == 0 or die "ioctl: $!\n";' | chroot /host /usr/bin/perl"#;

fn make_subvolume(sandbox: &Sandbox, dir: &str, name: &str, groups: &str) -> testkit::Outcome {
    let upper = if groups == "hidden" { "1" } else { "0" };
    let script = MAKE.replace("NAME", name).replace("GROUPS", if groups == "kept" { "kept" } else { "own" }).replace("UPPER", upper);
    sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &script, "sh", dir])
}

#[test]
fn btrfs_quota_holds() {
    let Some(sandbox) = Sandbox::start("btrfs_quota_holds", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1", "-c", "security.nesting=true"]);
    sandbox.lxc_ok(&["config", "device", "override", "c1", "root", "size=20MB"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "host", "disk", "source=/", "path=/host"]);
    sandbox.lxc_ok(&["start", "c1"]);
    let fits = |path: &str| {
        let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &format!("head -c 60000000 /dev/urandom > {path} && sync")]);
        sandbox.exec_ok("c1", &format!("rm -f {path}; sync"));
        outcome.ok()
    };
    assert!(!fits("/root/big"), "the quota did not hold");
    if cfg!(target_arch = "x86_64") && sandbox.sh("[ -x /usr/bin/perl ]").ok() {
        // Subvolumes that it makes inside its own count, and those that would not it cannot make.
        for (dir, name) in [("/root", "sub"), ("/root/sub", "deeper")] {
            let made = make_subvolume(&sandbox, dir, name, "kept");
            assert!(made.ok(), "{}", made.report());
            assert!(!fits(&format!("{dir}/{name}/big")), "the quota did not hold in {dir}/{name}");
        }
        for groups in ["own", "hidden"] {
            let refused = make_subvolume(&sandbox, "/root", "free", groups);
            assert!(!refused.ok() && refused.stderr.contains("Operation not permitted"), "{groups}: {}", refused.report());
        }
        sandbox.exec_ok("c1", "head -c 12000000 /dev/urandom > /root/sub/deeper/kept && sync");
        let state = sandbox.http("GET", "/1.0/instances/c1/state", None);
        assert!(state.metadata()["disk"]["root"]["usage"].as_u64().is_some_and(|usage| usage > 10_000_000), "{}", state.body);
        // Without a limit there is nothing to get around.
        sandbox.lxc_ok(&["config", "device", "unset", "c1", "root", "size"]);
        sandbox.lxc_ok(&["restart", "--force", "c1"]);
        let made = make_subvolume(&sandbox, "/root", "free", "own");
        assert!(made.ok(), "{}", made.report());
    }
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
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
    // And the rest still works; what does not fit when it is packed leaves others their room, and nothing of itself.
    sandbox.launch_busybox("c2");
    sandbox.exec_ok("c2", "head -c 30000000 /dev/urandom > /root/ballast");
    sandbox.lxc_ok(&["stop", "--force", "c2"]);
    let before = free();
    let file = sandbox.dir().join("c2.tar.gz");
    let said = sandbox.lxc_fails(&["export", "c2", &file.to_string_lossy()]);
    assert!(said.contains("no more than 2 % of the file system"), "{said}");
    assert!(before - free() < 2000 && before > 2000, "{} of {before} kB stayed behind", before - free());
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/backups $LXD_DIR/storage-pools/default/containers-snapshots | grep -v : | grep . || true"), "");
    sandbox.lxc_ok(&["start", "c2"]);
    sandbox.exec_ok("c2", "rm /root/ballast");
    sandbox.lxc_ok(&["export", "c2", &file.to_string_lossy()]);
    sandbox.finish();
}

/// A guest cannot make a backup that nobody can read: it is refused when it is made, with the name of the file.
#[test]
fn what_no_archive_holds_is_named() {
    let Some(sandbox) = Sandbox::start("what_no_archive_holds_is_named", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    // More names than can be listed; fewer with more content than a header holds; and what is well.
    for (name, count, length, value, said) in [
        ("names", 300, 240, 1, "more extended attributes than can be listed"),
        ("values", 80, 10, 15_000, "extended attributes take more than an archive holds"),
        ("fine", 20, 240, 15_000, ""),
    ] {
        let file = format!("$LXD_DIR/storage-pools/default/containers/c1/rootfs/root/{name}");
        sandbox.sh_ok(&format!(
            "touch {file}; python3 -c \"import os, sys\nfor i in range({count}): os.setxattr(sys.argv[1], 'user.' + str(i).zfill({length}), b'v' * {value})\" {file}"
        ));
        let archive = sandbox.dir().join(name);
        let outcome = sandbox.lxc(&["export", "c1", &archive.to_string_lossy()]);
        assert_eq!(outcome.ok(), said.is_empty(), "{}", outcome.report());
        if !said.is_empty() {
            assert!(outcome.stderr.contains(said) && outcome.stderr.contains(&format!("root/{name}`")), "{}", outcome.report());
            assert_eq!(sandbox.sh_ok(&format!("rm {file}; ls $LXD_DIR/backups")), "");
        }
    }
    sandbox.lxc_ok(&["import", &sandbox.dir().join("fine").to_string_lossy(), "c2"]);
    let count =
        "python3 -c 'import os, sys; print(len(os.listxattr(sys.argv[1])))' $LXD_DIR/storage-pools/default/containers/c2/rootfs/root/fine";
    assert_eq!(sandbox.sh_ok(count), "20");
    sandbox.finish();
}

/// Backups and images that somebody does not wait for are given up at once, and nothing of them stays.
#[test]
fn packing_can_be_cancelled() {
    let Some(sandbox) = Sandbox::start("packing_can_be_cancelled", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.lxc_ok(&["storage", "volume", "create", "default", "data"]);
    sandbox.lxc_ok(&["storage", "volume", "attach", "default", "data", "c1", "/data"]);
    // Many seconds of work for what compresses it, if it were not stopped.
    sandbox.exec_ok("c1", "head -c 60000000 /dev/urandom > /root/ballast; cp /root/ballast /data/ballast");
    let left =
        "ls -A $LXD_DIR/backups $LXD_DIR/storage-pools/default/*-snapshots/* | grep -v : | grep . || true; ls $LXD_DIR/images | wc -l";
    assert_eq!(sandbox.sh_ok(left), "1");
    let volume_backups = "/1.0/storage-pools/default/volumes/custom/data/backups";
    let image = json!({"compression_algorithm": "bzip2", "source": {"type": "instance", "name": "c1"}});
    for (url, body) in [
        ("/1.0/instances/c1/backups", json!({"compression_algorithm": "bzip2"})),
        (volume_backups, json!({"compression_algorithm": "bzip2"})),
        ("/1.0/images", image),
    ] {
        if url == "/1.0/images" {
            sandbox.lxc_ok(&["stop", "--force", "c1"]);
        }
        let begun = sandbox.http("POST", url, Some(&body));
        let operation = begun.body["operation"].as_str().expect("an operation").to_owned();
        wait_until("it can be cancelled", Duration::from_secs(20), || {
            sandbox.http("GET", &operation, None).metadata()["may_cancel"] == json!(true)
        });
        let cancelled = sandbox.http("DELETE", &operation, None);
        assert_eq!(cancelled.status, 200, "{url}: {}", cancelled.body);
        assert_eq!(sandbox.http("GET", &operation, None).metadata()["status"], "Cancelled", "{url}");
        assert_eq!(sandbox.sh_ok(left), "1", "{url}: something is left");
    }
    assert_eq!(sandbox.http("GET", volume_backups, None).metadata(), &json!([]));
    // What holds it is free again.
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.lxc_ok(&["storage", "volume", "delete", "default", "data"]);
    sandbox.finish();
}
