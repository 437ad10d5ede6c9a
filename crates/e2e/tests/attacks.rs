//! Attacks, really tried: foreign trees with symbolic links, injected lines, ways out of a container.

use testkit::{Options, Sandbox};

/// Unpacks the exported busybox image into `$SANDBOX_DIR/u` for repacking, and makes a victim outside.
const PREPARE: &str =
    "cd $SANDBOX_DIR && mkdir -p x u victim && echo precious > victim/file && lxc image export busybox x && tar -C u -xf x/*";

/// Imports an archive made by `script` (in `$SANDBOX_DIR/u`), tries to launch it, and checks that the
/// directory outside was neither read into the container nor changed.
fn try_image(sandbox: &Sandbox, what: &str, script: &str) {
    let made =
        format!("cd $SANDBOX_DIR && rm -rf w evil.tar && cp -a u w && cd w && ( {script} ) && [ -e ../evil.tar ] || tar -cf ../evil.tar .");
    sandbox.sh_ok(&made);
    let imported = sandbox.sh("lxc image import $SANDBOX_DIR/evil.tar --alias evil");
    if imported.ok() {
        let launched = sandbox.lxc(&["launch", "evil", "c1"]);
        if launched.ok() {
            let seen = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "cat /stolen /stolen/file /etc/stolen /leak 2>/dev/null"]);
            assert!(!seen.stdout.contains("precious"), "{what}: the container read a file of the host");
        }
        sandbox.lxc(&["file", "pull", "c1/leak", "-"]);
        drop(sandbox.lxc(&["delete", "--force", "c1"]));
        sandbox.lxc_ok(&["image", "delete", "evil"]);
    }
    let victim = sandbox.sh_ok("cd $SANDBOX_DIR/victim && ls -A && cat file && stat -c '%u %a' file && stat -c '%u' .");
    assert_eq!(victim, "file\nprecious\n0 644\n0", "{what}: the host's directory was changed");
    assert!(sandbox.daemon_runs(), "{what}: the daemon died");
}

#[test]
fn images_that_point_outside() {
    let Some(sandbox) = Sandbox::start("images_that_point_outside", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(PREPARE);
    let victim = sandbox.dir().join("victim").to_string_lossy().into_owned();
    let cases = [
        ("rootfs is a symbolic link", format!("rm -r rootfs; ln -s {victim} rootfs")),
        ("metadata.yaml is a symbolic link", format!("cp metadata.yaml {victim}/../m; rm metadata.yaml; ln -s ../m metadata.yaml")),
        ("templates is a symbolic link", format!("rm -rf templates; ln -s {victim} templates")),
        ("a member with ../", "tar -cf ../evil.tar --transform='s,^./rootfs/etc/inittab,./rootfs/../../../../../victim/planted,' .".to_owned()),
        ("a member with an absolute path", format!("tar -cPf ../evil.tar --transform='s,^./rootfs/etc/inittab,{victim}/planted,' .")),
        (
            "writing through a planted link",
            format!("mkdir l f && ln -s {victim} l/hole && mkdir f/hole && echo x > f/hole/planted && \
                     tar -cf ../evil.tar metadata.yaml rootfs && tar -rf ../evil.tar --transform='s,^l/,rootfs/,' l/hole && \
                     tar -rf ../evil.tar --transform='s,^f/,rootfs/,' f/hole/planted"),
        ),
        (
            "a hard link to the outside",
            format!("ln {victim}/file rootfs/leak && ln {victim}/file aaa && tar -cPf ../evil.tar --transform='s,^aaa$,{victim}/file,hRS' aaa metadata.yaml rootfs"),
        ),
        (
            "a hard link by ../",
            format!("ln {victim}/file rootfs/leak && ln {victim}/file aaa && tar -cPf ../evil.tar --transform='s,^aaa$,../../../../../../victim/file,hRS' aaa metadata.yaml rootfs"),
        ),
        ("a template whose target leaves", "printf 'architecture: x86_64\\ncreation_date: 1\\ntemplates:\\n  /../../../../../victim/planted: {when: [create, start], template: t.tpl}\\n' > metadata.yaml; mkdir -p templates; echo x > templates/t.tpl".to_owned()),
        ("a template whose target is a link", format!("printf 'architecture: x86_64\\ncreation_date: 1\\ntemplates:\\n  /etc/out: {{when: [create, start], template: t.tpl}}\\n' > metadata.yaml; mkdir -p templates; echo x > templates/t.tpl; ln -s {victim}/planted rootfs/etc/out")),
        ("a template source that leaves", "printf 'architecture: x86_64\\ncreation_date: 1\\ntemplates:\\n  /leak: {when: [create, start], template: ../../../../victim/file}\\n' > metadata.yaml".to_owned()),
        ("a template source that is a link", format!("printf 'architecture: x86_64\\ncreation_date: 1\\ntemplates:\\n  /leak: {{when: [create, start], template: t.tpl}}\\n' > metadata.yaml; mkdir -p templates; ln -s {victim}/file templates/t.tpl")),
        ("links in place of directories of the root", format!("rm -rf rootfs/proc rootfs/dev; ln -s {victim} rootfs/proc; ln -s {victim} rootfs/dev")),
    ];
    for (what, script) in cases {
        try_image(&sandbox, what, &script);
    }
    sandbox.finish();
}

#[test]
fn file_transfer_stays_inside() {
    let Some(sandbox) = Sandbox::start("file_transfer_stays_inside", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("mkdir $SANDBOX_DIR/victim && echo precious > $SANDBOX_DIR/victim/file && echo x > $SANDBOX_DIR/x");
    let victim = sandbox.dir().join("victim").to_string_lossy().into_owned();
    sandbox.exec_ok("c1", &format!("ln -s {victim}/file /root/link; ln -s {victim} /root/dir; ln -s /proc/1/root/{victim} /root/magic"));
    let up = "../".repeat(12);
    let source = sandbox.dir().join("x").to_string_lossy().into_owned();
    for running in [true, false] {
        if !running {
            sandbox.lxc_ok(&["stop", "--force", "c1"]);
        }
        for path in ["root/link", "root/dir/file", "root/magic/file", &format!("{up}{victim}/file"), &format!("root/{up}{victim}/file")] {
            let pulled = sandbox.lxc(&["file", "pull", &format!("c1/{path}"), "-"]);
            assert!(!pulled.stdout.contains("precious"), "pull of {path} read the host (running: {running})");
            sandbox.lxc(&["file", "push", &source, &format!("c1/{path}")]);
            sandbox.lxc(&["file", "delete", &format!("c1/{path}")]);
            assert_eq!(
                sandbox.sh_ok("cat $SANDBOX_DIR/victim/file; ls $SANDBOX_DIR/victim"),
                "precious\nfile",
                "{path} (running: {running})"
            );
        }
    }
    sandbox.finish();
}

#[test]
fn a_guest_that_swaps_a_link_during_transfer() {
    let Some(sandbox) = Sandbox::start("a_guest_that_swaps_a_link_during_transfer", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("mkdir $SANDBOX_DIR/victim && echo precious > $SANDBOX_DIR/victim/file && echo x > $SANDBOX_DIR/x");
    let victim = sandbox.dir().join("victim").to_string_lossy().into_owned();
    sandbox.exec_ok("c1", &format!("mkdir /root/real; ln -s {victim} /root/evil; ln -s real /root/d; (while :; do ln -sfn real /root/d; ln -sfn evil /root/d; done) > /dev/null 2>&1 &"));
    let source = sandbox.dir().join("x").to_string_lossy().into_owned();
    for _ in 0..30 {
        sandbox.lxc(&["file", "push", &source, "c1/root/d/file"]);
        let pulled = sandbox.lxc(&["file", "pull", "c1/root/d/file", "-"]);
        assert!(!pulled.stdout.contains("precious"), "the guest's link led outside");
    }
    assert_eq!(sandbox.sh_ok("cat $SANDBOX_DIR/victim/file"), "precious");
    sandbox.finish();
}

#[test]
fn injected_lines_and_options() {
    let Some(sandbox) = Sandbox::start("injected_lines_and_options", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let bad: [&[&str]; 9] = [
        &["config", "set", "c1", "environment.A", "x\nlxc.hook.pre-start = /bin/false"],
        &["config", "set", "c1", "environment.A\nB", "x"],
        &["init", "busybox", "--", "--help"],
        &["init", "busybox", "c2\nserver=1.2.3.4"],
        &["init", "busybox", "c2,dhcp-script=/bin/false"],
        &["config", "device", "add", "c1", "e", "nic", "nictype=bridged", "parent=lxdbr0", "hwaddr=00:16:3e:00:00:01,evil"],
        &["config", "device", "add", "c1", "e", "nic", "nictype=bridged", "parent=lxdbr0", "name=eth0\nx"],
        &["config", "device", "add", "c1", "e", "nic", "nictype=bridged", "parent=lxdbr0; reboot"],
        &["network", "create", "br1", "dns.domain=lxd\ndhcp-script=/bin/false"],
    ];
    let before = sandbox.lxc_ok(&["config", "show", "c1"]);
    for args in bad {
        let outcome = sandbox.lxc(args);
        // A newline in the value of an environment variable is data, and may be accepted as such.
        if args.get(3) == Some(&"environment.A") {
            if outcome.ok() {
                sandbox.lxc_ok(&["config", "unset", "c1", "environment.A"]);
            }
            continue;
        }
        assert!(!outcome.ok(), "accepted: lxc {args:?}");
    }
    assert_eq!(sandbox.lxc_ok(&["config", "show", "c1"]), before);
    let published =
        serde_json::json!({"source": {"type": "instance", "name": "c1"}, "compression_algorithm": "gzip --help; touch /tmp/pwned"});
    let answer = sandbox.http("POST", "/1.0/images", Some(&published));
    if answer.status == 202 {
        let operation = answer.body["operation"].as_str().expect("an operation").to_owned();
        let ended = sandbox.http("GET", &format!("{operation}/wait"), None);
        assert_eq!(ended.metadata()["status_code"], 400, "{}", ended.body);
    } else {
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    sandbox.finish();
}

#[test]
fn ways_out_of_a_container() {
    let Some(sandbox) = Sandbox::start("ways_out_of_a_container", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let must_fail = [
        ("making a device", "mknod /root/sda b 8 0"),
        ("a memory device", "dd if=/dev/mem of=/dev/null bs=1 count=1"),
        ("the kernel's core pattern", "echo '|/bin/sh' > /proc/sys/kernel/core_pattern"),
        ("sysrq", "echo h > /proc/sysrq-trigger"),
        ("kernel memory", "head -c 1 /proc/kcore"),
        ("a uevent helper", "echo /bin/sh > /sys/kernel/uevent_helper"),
        ("loading a module", "echo x > /root/m.ko; ! insmod /root/m.ko 2>&1 | grep -q -e 'not permitted' -e 'not implemented'"),
        ("the host's clock", "date -s '2000-01-01 00:00:00' | grep -q 2000 && date | grep -q 2000"),
        ("mounting a block device", "mount -t ext4 /dev/vda /mnt || mount -t ext4 /dev/loop0 /mnt"),
        (
            "a release agent",
            "find /sys/fs/cgroup -name release_agent -exec sh -c 'echo /bin/sh > {}' ';' -print 2>&1 | grep -q . && find /sys/fs/cgroup -name release_agent -exec cat {} ';' | grep -q /bin/sh",
        ),
        ("processes of the host", "ls -d /proc/[0-9]*/exe | wc -l | awk '{ exit !($1 > 40) }'"),
        ("the host's message buffer", "dmesg -c"),
        ("swapping", "dd if=/dev/zero of=/root/s bs=1M count=2; mkswap /root/s; swapon /root/s"),
    ];
    for (what, script) in must_fail {
        let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", script]);
        assert!(!outcome.ok(), "{what} worked: {}", outcome.report());
    }
    // No descriptor, working directory or namespace of the host comes along.
    let fds = sandbox.exec_ok("c1", "ls -l /proc/self/fd | grep -c -- '->'");
    assert!(fds.parse::<u32>().is_ok_and(|count| count <= 4), "inherited descriptors: {fds}");
    let leaked =
        sandbox.exec_ok("c1", "for p in /proc/[0-9]*; do ls -l $p/fd; done 2>/dev/null | grep -F -e lxd-e2e -e unix.socket || true");
    assert_eq!(leaked, "", "descriptors of the host in the container");
    let mounts = sandbox.exec_ok("c1", "cat /proc/mounts");
    assert!(
        !mounts.contains("lxd-e2e")
            || mounts.lines().filter(|line| line.contains("lxd-e2e")).all(|line| line.contains(" / ") || line.starts_with("overlay ")),
        "{mounts}"
    );
    sandbox.finish();
}

#[test]
fn the_attach_helper_cannot_be_traced_or_overwritten() {
    let Some(sandbox) = Sandbox::start("the_attach_helper_cannot_be_traced_or_overwritten", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let before = sandbox.sh_ok("sha256sum $(dirname $(command -v lxd))/lxd-runtime");
    // The classic: a guest program that is the interpreter of itself, and one that writes to whatever runs it.
    sandbox.exec_ok("c1", "printf '#!/proc/self/exe\\n' > /root/evil; chmod +x /root/evil");
    for _ in 0..5 {
        sandbox.lxc(&["exec", "c1", "--", "/root/evil"]);
    }
    sandbox.exec_ok("c1", "(for i in $(seq 200); do for p in /proc/[0-9]*; do echo x > $p/exe; done; done) > /dev/null 2>&1 &");
    for _ in 0..10 {
        sandbox.lxc(&["exec", "c1", "--", "true"]);
    }
    assert_eq!(sandbox.sh_ok("sha256sum $(dirname $(command -v lxd))/lxd-runtime"), before);
    assert_eq!(sandbox.exec_ok("c1", "echo fine"), "fine");
    sandbox.finish();
}

#[test]
fn a_fork_bomb_can_be_stopped() {
    let Some(sandbox) = Sandbox::start("a_fork_bomb_can_be_stopped", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.processes=300"]);
    groups_are_bounded(&sandbox);
    sandbox.exec_ok("c1", "(b() { b | b & }; b) > /dev/null 2>&1 &");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let outcome = sandbox.lxc(&["stop", "--force", "c1"]);
    assert!(outcome.ok() && outcome.elapsed.as_secs() < 10, "{}", outcome.report());
    sandbox.finish();
}

/// Control groups take memory of the kernel: a guest makes so many of version 2, cannot say how many, and stops there.
fn groups_are_bounded(sandbox: &Sandbox) {
    let mounted = "awk '$3 == \"cgroup2\" { print $2; exit }' /proc/mounts";
    let Some(unified) = Some(sandbox.sh_ok(mounted)).filter(|path| !path.is_empty()) else { return };
    let group = sandbox.sh_ok(&format!("ls -d {unified}/lxd*/c1"));
    let file = format!("{group}/cgroup.max.descendants");
    assert_eq!(sandbox.sh_ok(&format!("cat {file}")), "10000");
    let inside = sandbox.exec_ok("c1", mounted);
    assert!(!sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &format!("echo max > {inside}/cgroup.max.descendants")]).ok());
    // The same bound, sooner reached.
    sandbox.sh_ok(&format!("echo $(( $(sed -n 's/nr_descendants //p' {group}/cgroup.stat) + 3 )) > {file}"));
    let bomb = format!("i=0; while [ $i -lt 9 ] && mkdir {inside}/bomb$i 2> /dev/null; do i=$((i + 1)); done; echo $i");
    assert_eq!(sandbox.exec_ok("c1", &bomb), "3");
}

#[test]
fn a_flooded_console_is_bounded() {
    let Some(sandbox) = Sandbox::start("a_flooded_console_is_bounded", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "head -c 30000000 /dev/zero | tr '\\0' x > /dev/console");
    let size = sandbox.sh_ok("du -sk --exclude=storage-pools --exclude=images --exclude=disks $LXD_DIR | cut -f1");
    assert!(size.parse::<u64>().is_ok_and(|kilobytes| kilobytes < 20_000), "the console's output filled the disk: {size} kB");
    sandbox.exec_ok("c1", "echo still here");
    sandbox.finish();
}

#[test]
fn secrets_are_not_for_everybody() {
    let Some(sandbox) = Sandbox::start("secrets_are_not_for_everybody", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let open = sandbox.sh_ok(
        "cd $LXD_DIR && find . -type f -o -type s | setpriv --reuid=65534 --regid=65534 --clear-groups \
         sh -c 'while read -r f; do if [ -r \"$f\" ] || [ -w \"$f\" ]; then echo \"$f\"; fi; done'",
    );
    // dnsmasq has an identity of its own and is told names and addresses, which it tells everybody. The server
    // shows its certificate to whoever connects.
    let is_public = |path: &str| path.starts_with("./networks/lxdbr0/dnsmasq.") || ["./run/.boot_id", "./server.crt"].contains(&path);
    let open: Vec<&str> = open.lines().filter(|path| !is_public(path)).collect();
    assert!(open.is_empty(), "open to everybody: {open:?}");
    assert_eq!(sandbox.sh_ok("stat -c %a $LXD_DIR/unix.socket $LXD_DIR/server.key $LXD_DIR/server.crt"), "660\n600\n644");
    let open = sandbox.sh_ok("cd $LXD_DIR/storage-pools/default && find . -maxdepth 2 -mindepth 2 -type d -perm /o=rw -print");
    assert_eq!(open, "", "containers' directories open to everybody on the host");
    sandbox.finish();
}

#[test]
fn a_read_only_disk_stays_read_only() {
    let Some(sandbox) = Sandbox::start("a_read_only_disk_stays_read_only", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("mkdir -m 777 $SANDBOX_DIR/ro && echo precious > $SANDBOX_DIR/ro/file && chmod 666 $SANDBOX_DIR/ro/file");
    let source = format!("source={}", sandbox.dir().join("ro").display());
    sandbox.lxc_ok(&["config", "device", "add", "c1", "ro", "disk", &source, "path=/mnt/ro", "readonly=true"]);
    let file = format!("{source}/file");
    sandbox.lxc_ok(&["config", "device", "add", "c1", "one", "disk", &file, "path=/mnt/one", "readonly=true", "shift=true"]);
    let attack = "mkdir -p /x; touch /y; mount --bind /mnt/ro /x; mount --bind /mnt/one /y; \
        for m in /mnt/ro /x /mnt/one /y; do mount -o remount,bind,rw none $m; done 2>/dev/null; \
        for f in /mnt/ro/file /x/file /mnt/one /y; do echo changed > $f; done 2>/dev/null; touch /mnt/ro/new /x/new 2>/dev/null; cat /mnt/ro/file";
    for how in ["hot-plugged", "started with"] {
        assert_eq!(sandbox.exec_ok("c1", attack), "precious", "{how}");
        assert_eq!(sandbox.sh_ok("cd $SANDBOX_DIR/ro && ls && cat file"), "file\nprecious", "{how}");
        sandbox.lxc_ok(&["restart", "--force", "c1"]);
    }
    sandbox.finish();
}

#[test]
fn device_nodes_do_not_outlive_privilege() {
    let Some(sandbox) = Sandbox::start("device_nodes_do_not_outlive_privilege", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "security.privileged=true"]);
    let prepare =
        "cd $SANDBOX_DIR && truncate -s 1M disk && echo precious | dd of=disk conv=notrunc status=none && losetup --find --show disk";
    let disk = sandbox.sh_ok(prepare);
    let minor = sandbox.sh_ok(&format!("echo $((16#$(stat -c %T {disk})))"));
    sandbox.exec_ok("c1", &format!("mknod -m 666 /root/disk b 7 {minor}; mknod -m 666 /root/zero c 1 5; ! head -c 8 /root/disk"));
    sandbox.lxc_ok(&["config", "set", "c1", "security.privileged", "false"]);
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    let attack = "mkdir -p /x; mount --bind / /x; mount -o remount,bind,dev none / 2>/dev/null; mount -o remount,bind,dev none /x 2>/dev/null; \
        for f in /root/disk /root/zero /x/root/disk /x/root/zero; do ! head -c 8 $f 2>/dev/null || exit 1; done; head -c 1 /dev/zero | wc -c";
    assert_eq!(sandbox.exec_ok("c1", attack), "1", "a node made by the privileged container works");
    // What is given on purpose works, and only while it is given.
    sandbox.lxc_ok(&["config", "device", "add", "c1", "disk", "unix-block", &format!("source={disk}"), "path=/dev/given", "mode=0666"]);
    assert_eq!(sandbox.exec_ok("c1", "head -c 8 /dev/given"), "precious");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "head -c 8 /dev/given"), "precious");
    let held = sandbox.exec_ok("c1", "mkdir -p /keep; touch /keep/disk; mount --bind /dev/given /keep/disk; head -c 8 /keep/disk");
    assert_eq!(held, "precious");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "disk"]);
    assert!(
        !sandbox.sh("[ -d /sys/fs/cgroup/devices ]").ok() || !sandbox.lxc(&["exec", "c1", "--", "head", "-c", "8", "/keep/disk"]).ok(),
        "a device that was taken away is still open to the guest"
    );
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.sh_ok(&format!("losetup -d {disk}"));
    sandbox.finish();
}

/// A file system in the guest, at `/host/mnt`, that never answers: perl of the host, whose root the guest
/// sees at `/host`, says hello to FUSE and then nothing more.
const HANG: &str = r#"exec 3<>/dev/fuse; echo '
    open(F, "+<&=3") or die; ($to, $type, $options) = ("/mnt", "fuse", "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other");
    syscall(165, $type, $to, $type, 0, $options) == 0 or die "mount: $!";
    exit 0 if fork; sysread(F, $b, 70000); my ($len, $op, $unique) = unpack("VVQ", $b);
    syswrite(F, pack("VlQ V4 vv V V vv V V7", 80, 0, $unique, 7, 31, 0, 0, 0, 0, 65536, 0, 0, 0, 0, (0) x 7)); sleep 1000' | chroot /host /usr/bin/perl > /root/log 2>&1 || { cat /root/log; exit 1; }"#;

#[test]
fn a_file_system_that_never_answers_holds_nobody_up() {
    let Some(sandbox) = Sandbox::start("a_file_system_that_never_answers_holds_nobody_up", Options::default()) else { return };
    if !cfg!(target_arch = "x86_64") || !sandbox.sh("[ -x /usr/bin/perl ] && [ -c /dev/fuse ]").ok() {
        testkit::skip("a_file_system_that_never_answers_holds_nobody_up", "needs x86_64, perl and /dev/fuse");
        return sandbox.finish();
    }
    sandbox.build_busybox();
    // A node for everybody, as distributions have it.
    sandbox.sh_ok("mknod -m 666 $SANDBOX_DIR/fuse c 10 229; chmod 666 $SANDBOX_DIR/fuse; mount --bind $SANDBOX_DIR/fuse /dev/fuse; mkdir $SANDBOX_DIR/disk");
    sandbox.launch_busybox("c1");
    let quick = |what: &str, args: &[&str]| {
        let outcome = sandbox.lxc(args);
        assert!(outcome.ok() && outcome.elapsed.as_secs() < 10, "{what}: {}", outcome.report());
    };
    for (what, script) in [
        ("pulling", "for i in 1 2 3 4 5 6 7 8; do lxc file pull c1/host/mnt/x - > /dev/null 2>&1 < /dev/null & done; sleep 1"),
        (
            "hot-plugging",
            "lxc config device add c1 d disk source=$SANDBOX_DIR/disk path=/host/mnt/x > /dev/null 2>&1 < /dev/null & sleep 1",
        ),
    ] {
        sandbox.lxc_ok(&["config", "device", "add", "c1", "host", "disk", "source=/", "path=/host"]);
        sandbox.exec_ok("c1", HANG);
        sandbox.sh_ok(&format!("PATH=$(dirname $(command -v lxd)):$PATH; {script}"));
        if what == "pulling" {
            let refused = sandbox.lxc(&["file", "pull", "c1/etc/inittab", "-"]);
            assert!(refused.stderr.contains("under way already") && refused.elapsed.as_secs() < 5, "{}", refused.report());
        }
        quick(what, &["list"]);
        quick(what, &["exec", "c1", "--", "true"]);
        quick(what, &["stop", "--force", "c1"]);
        quick(what, &["start", "c1"]);
        quick(what, &["config", "device", "remove", "c1", "host"]);
        quick(what, &["file", "pull", "c1/etc/inittab", "-"]);
    }
    quick("the end", &["delete", "--force", "c1"]);
    sandbox.sh_ok("umount /dev/fuse");
    sandbox.finish();
}

#[test]
fn recorded_output_ends_with_the_command() {
    let Some(sandbox) = Sandbox::start("recorded_output_ends_with_the_command", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let script = "ls -l /proc/self/fd/1; (sleep 1; while echo more; do :; done) & exit 3";
    let request = serde_json::json!({"command": ["sh", "-c", script], "record-output": true});
    let answer = sandbox.http("POST", "/1.0/instances/c1/exec", Some(&request));
    let operation = answer.body["operation"].as_str().expect("an operation").to_owned();
    let ended = sandbox.http("GET", &format!("{operation}/wait"), None);
    assert_eq!(ended.metadata()["metadata"]["return"], 3, "{}", ended.body);
    let size = || sandbox.sh_ok("cat $LXD_DIR/logs/c1/exec_*.stdout | wc -c");
    assert!(sandbox.sh_ok("cat $LXD_DIR/logs/c1/exec_*.stdout").contains("pipe:"), "the guest holds a file of the host");
    let before = size();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(size(), before, "the record grows after the end");
    sandbox.finish();
}

#[test]
fn guests_get_limits_of_their_own() {
    let Some(sandbox) = Sandbox::start("guests_get_limits_of_their_own", Options::default()) else { return };
    sandbox.build_busybox();
    // As the service may have it; not every machine lets root raise a limit.
    sandbox.sh("prlimit --pid $(cat $SANDBOX_DIR/daemon.pid) --memlock=unlimited");
    sandbox.launch_busybox("c1");
    for limits in [sandbox.exec_ok("c1", "cat /proc/1/limits"), sandbox.exec_ok("c1", "cat /proc/self/limits")] {
        let line = limits.lines().find(|line| line.starts_with("Max locked memory")).expect("a limit of locked memory");
        assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["8388608", "8388608"], "{line}");
    }
    sandbox.finish();
}
/// Names of interfaces are the guest's, descriptions an image's: neither steers the terminal of who lists them.
#[test]
fn terminal_escapes_are_shown_not_sent() {
    let Some(sandbox) = Sandbox::start("terminal_escapes_are_shown_not_sent", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok(
        "c1",
        "n=\"$(printf '\\033[2J\\033]0;X\\007')\"; ip link add \"$n\" type dummy || { ip link set eth0 down; ip link set eth0 name \"$n\"; }; \
         ip link set \"$n\" up; ip addr add 10.9.9.9/24 dev \"$n\"; mkdir /root/d; echo x > \"/root/d/$n\"",
    );
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && cd u && \
         printf 'architecture: x86_64\\ncreation_date: 1\\nproperties: {description: \"evil \\\\e[2J\\\\r\"}\\n' > metadata.yaml && tar -cf ../evil.tar .",
    );
    let imported = sandbox.sh("lxc image import $SANDBOX_DIR/evil.tar --alias evil");
    let list = sandbox.lxc_ok(&["list"]);
    assert!(list.contains("10.9.9.9 (\\u001b[2J"), "the name is shown: {list}");
    let mut shown = vec![list];
    let commands: [&[&str]; 8] = [
        &["list", "-f", "csv"],
        &["list", "-f", "compact"],
        &["list", "-f", "json"],
        &["list", "-f", "yaml"],
        &["info", "c1"],
        &["image", "list"],
        &["query", "/1.0/instances/c1/state"],
        &["query", "/1.0/images?recursion=1"],
    ];
    shown.extend(commands.map(|args| sandbox.lxc_ok(args)));
    if imported.ok() {
        shown.extend(["info", "show"].map(|verb| sandbox.lxc_ok(&["image", verb, "evil"])));
    }
    let failed =
        [sandbox.sh("lxc file pull -r c1/root/d/ $SANDBOX_DIR/x"), sandbox.sh("lxc config get \"$(printf 'c\\033[2J')\" a"), imported];
    shown.extend(failed.into_iter().flat_map(|outcome| [outcome.stdout, outcome.stderr]));
    for text in shown {
        let steering = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(steering, None, "{text:?}");
    }
    sandbox.finish();
}

/// A guest cannot keep its owner from saving, copying and removing it by nesting directories.
#[test]
fn directories_deeper_than_a_path() {
    let Some(sandbox) = Sandbox::start("directories_deeper_than_a_path", Options::storage("dir")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok(
        "c1",
        "p=$(seq 1000 | sed 's/.*/a/' | tr '\\n' '/'); mkdir /root/d; \
         for i in 1 2 3; do mkdir -p /root/n/$p && mv /root/d /root/n/$p && mv /root/n /root/d || exit 1; done",
    );
    let start = std::time::Instant::now();
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.lxc_ok(&["copy", "c1/s1", "c2"]);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    sandbox.lxc_ok(&["publish", "c1", "--alias", "deep"]);
    sandbox.lxc_ok(&["init", "deep", "c3"]);
    for name in ["c1", "c2", "c3"] {
        let count = sandbox.sh_ok(&format!("find $LXD_DIR/storage-pools/default/containers/{name}/rootfs/root -type d -name a | wc -l"));
        assert_eq!(count, "3000", "{name}");
    }
    sandbox.lxc_ok(&["delete", "c1", "c2", "c3"]);
    sandbox.lxc_ok(&["image", "delete", "deep"]);
    assert!(start.elapsed().as_secs() < 40, "{:?}", start.elapsed());
    sandbox.finish();
}

/// A backup is foreign: what it reaches of the host is said, it does not start by itself, and what no request could set it cannot.
#[test]
fn a_backup_that_wants_the_host() {
    let Some(sandbox) = Sandbox::start("a_backup_that_wants_the_host", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1", "-c", "boot.autostart=true"]);
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    let dir = sandbox.dir().to_string_lossy().into_owned();
    sandbox.lxc_ok(&["export", "c1", &format!("{dir}/c1.tar.gz")]);
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.sh_ok("mkdir $SANDBOX_DIR/b && tar -xzf $SANDBOX_DIR/c1.tar.gz -C $SANDBOX_DIR/b");
    let index = sandbox.dir().join("b/backup/index.yaml");
    let original = std::fs::read_to_string(&index).expect("the index");
    // Both records have the line: the first is the instance's, the last that is not expanded the snapshot's.
    let with = |keys: &str, from: &str| {
        let at = original.find(from).expect("the part of the records");
        let line = "boot.autostart: 'true'\n";
        let line = if original.contains(line) { line } else { "boot.autostart: \"true\"\n" };
        let place = at + original[at..].find(line).expect("the key") + line.len();
        let indent: String = original[..place].lines().last().unwrap_or_default().chars().take_while(|c| *c == ' ').collect();
        let keys: String = keys.lines().map(|key| format!("{indent}{key}\n")).collect();
        std::fs::write(&index, format!("{}{keys}{}", &original[..place], &original[place..])).expect("write");
        sandbox.sh_ok("cd $SANDBOX_DIR/b && tar -czf ../evil.tar.gz backup/index.yaml backup");
        sandbox.lxc(&["import", &format!("{dir}/evil.tar.gz")])
    };
    let (instance, snapshot) = ("  container:", "  snapshots:");
    for (part, keys, said) in [
        (instance, "raw.lxc: lxc.hook.pre-start = /bin/false", "lxc.hook"),
        (snapshot, "raw.lxc: lxc.hook.pre-start = /bin/false", "lxc.hook"),
        (snapshot, "security.no_such_key: x", "security.no_such_key"),
    ] {
        let refused = with(keys, part);
        assert!(!refused.ok() && refused.stderr.contains(said), "{keys}: {}", refused.report());
        assert_eq!(sandbox.lxc_ok(&["list", "--format", "csv"]), "");
    }
    // What a request may set is taken, and is not silent.
    let taken = with("security.privileged: 'true'\nraw.idmap: both 0 0\nraw.apparmor: 'mount,'", snapshot);
    assert!(taken.ok(), "{}", taken.report());
    for said in
        ["snapshot s1: security.privileged=true", "snapshot s1: raw.idmap=both 0 0", "raw.apparmor=mount,", "boot.autostart was left out"]
    {
        assert!(taken.stderr.contains(said), "{said}: {}", taken.report());
    }
    for path in ["1.0/instances/c1", "1.0/instances/c1/snapshots/s1"] {
        let shown = sandbox.http("GET", &format!("/{path}"), None);
        assert_eq!(shown.metadata()["config"].get("boot.autostart"), None, "{}", shown.body);
    }
    sandbox.lxc_ok(&["delete", "c1"]);
    // And what reaches nothing starts with the daemon as it did.
    let plain = sandbox.lxc(&["import", &format!("{dir}/c1.tar.gz")]);
    assert!(plain.ok() && !plain.stderr.contains("Warning"), "{}", plain.report());
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c1", "boot.autostart"]), "true");
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.finish();
}
