//! Real builds.

use super::*;
use crate::{apply_templates, read_image, unpack};

/// Builds and unpacks; returns the directory with `image` and `unpacked` and what was built.
fn build_and_unpack(recipe: &str, packages: &[&str]) -> (tempfile::TempDir, BuiltImage) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let work = dir.path().join("image");
    sys::fs::create_dir(&work, 0o700).expect("mkdir");
    let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
    let built = build(recipe, &packages, &work, &mut |line| tracing::info!(line)).expect("build");
    assert_eq!(sys::fs::list_dir(&work).expect("list"), ["image.tar.zst"], "only the image is left");
    let target = dir.path().join("unpacked");
    sys::fs::create_dir(&target, 0o755).expect("mkdir");
    unpack(&built.image, None, &target).expect("unpack");
    let facts = read_image(&built.image, None).expect("read");
    assert_eq!((&facts.fingerprint, facts.size_bytes, &facts.metadata), (&built.fingerprint, built.size_bytes, &built.metadata));
    (dir, built)
}

#[test]
fn busybox_boots_by_its_own_files() {
    let (dir, built) = build_and_unpack("busybox", &[]);
    assert_eq!(built.aliases, ["busybox"]);
    assert!(built.size_bytes < 4 << 20);
    let rootfs = dir.path().join("unpacked/rootfs");
    assert_eq!(sys::fs::read_link(rootfs.join("sbin/init")).expect("link"), Path::new("../bin/busybox"));
    let (volume, root) = (Root::open(dir.path().join("unpacked")).expect("root"), Root::open(&rootfs).expect("root"));
    let context = crate::TemplateContext { name: "tiny".to_owned(), ..Default::default() };
    apply_templates("create", &context, &volume, &root).expect("templates");
    let script = "cat /etc/hostname && mount -t proc proc /proc && sh -n /etc/init.d/rcS && sh -n /etc/init.d/rcK && sh -n /etc/udhcpc/default.script && stat -c %a /tmp /root";
    let output = sys::cmd::Cmd::new("unshare", "util-linux")
        .args(["--mount", "--pid", "--fork", "chroot"])
        .arg(&rootfs)
        .args(["/bin/sh", "-c", script])
        .run()
        .expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "tiny\n1777\n700\n");
}

/// The manager's stop signal must not take the two seconds that init sleeps; a request from
/// inside must end as what it was.
#[test]
fn busybox_stops_quickly_and_reboots() {
    let (dir, _) = build_and_unpack("busybox", &[]);
    let rootfs = dir.path().join("unpacked/rootfs");
    let run = |stop: &str| {
        // Init is ready when its first script has come to its end.
        let ready = rootfs.join("var/log/wtmp");
        sys::fs::remove_file(&ready).expect("remove");
        let script = format!(
            "mount -t proc proc $0/proc && mount -t tmpfs none $0/dev && mknod $0/dev/null c 1 3 && mknod $0/dev/console c 1 3
            (while ! [ -e $0/var/log/wtmp ]; do sleep 0.02; done; sleep 0.3; {stop}) &
            exec chroot $0 /sbin/init > /dev/null 2>&1"
        );
        let start = std::time::Instant::now();
        let ended = sys::cmd::Cmd::new("unshare", "util-linux")
            .args([
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
            ])
            .arg(&rootfs)
            .deadline(std::time::Duration::from_secs(20))
            .run();
        (format!("{ended:?}"), start.elapsed())
    };
    // unshare reports the signal by which the kernel ended the namespace: INT for halt, HUP for reboot.
    let (ended, took) = run("kill -PWR 1; sleep 100");
    assert!(ended.contains("signal 2") || ended.contains("130"), "{ended}");
    assert!(took < std::time::Duration::from_millis(1900), "{took:?}");
    let (ended, _) = run("exec chroot $0 /sbin/reboot");
    assert!(ended.contains("signal 1\"") || ended.contains("129"), "{ended}");
}

#[test]
#[ignore = "downloads some 70 MB and takes 20 s"]
fn debian_is_complete() {
    let release = std::env::var("IMAGES_TEST_RECIPE").unwrap_or_else(|_| "debian/12".to_owned());
    let start = std::time::Instant::now();
    let (dir, built) = build_and_unpack(&release, &[]);
    tracing::info!(seconds = start.elapsed().as_secs(), bytes = built.size_bytes, "built and unpacked");
    let rootfs = dir.path().join("unpacked/rootfs");
    let root = Root::open(&rootfs).expect("root");
    for path in ["sbin/init", "usr/bin/ping", "usr/sbin/ip", "etc/systemd/network/20-ethernet.network", "etc/apt/sources.list"] {
        assert!(root.exists(path), "{path}");
    }
    for path in ["etc/hostname", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"] {
        assert!(!root.exists(path), "{path}");
    }
    assert_eq!(sys::fs::read(rootfs.join("etc/machine-id")).expect("read"), b"");
    assert!(sys::fs::list_dir(rootfs.join("var/lib/apt/lists")).expect("list").len() <= 3);
    let shadow = sys::fs::read_to_string(rootfs.join("etc/shadow")).expect("read");
    assert!(shadow.lines().any(|line| line.starts_with("root:*:")), "root is locked");
    assert!(root.lstat("etc/systemd/system/multi-user.target.wants/systemd-networkd.service").is_ok());
}
