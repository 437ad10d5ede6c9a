//! Devices that come and go, on the host and in containers.

use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

#[test]
fn device_nodes() {
    let Some(sandbox) = Sandbox::start("device_nodes", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "one", "unix-char", "source=/dev/zero", "path=/dev/one", "mode=0666"]);
    // Below `/` itself, there before the start and while it runs.
    sandbox.sh_ok("echo shown > $SANDBOX_DIR/file && mknod -m 666 $SANDBOX_DIR/node c 10 237");
    let source = |name: &str| format!("source={}", sandbox.dir().join(name).display());
    let top = |when: &str| {
        let (file, node) = (format!("path=/file-{when}"), format!("path=/node-{when}"));
        sandbox.lxc_ok(&["config", "device", "add", "c1", &format!("f{when}"), "disk", &source("file"), &file]);
        sandbox.lxc_ok(&["config", "device", "add", "c1", &format!("n{when}"), "unix-char", &node, "major=1", "minor=5"]);
    };
    top("cold");
    sandbox.lxc_ok(&["config", "device", "add", "c1", "shown-cold", "disk", &source("node"), "path=/root/cold"]);
    sandbox.lxc_ok(&["start", "c1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "two", "unix-char", "source=/dev/full", "path=/dev/two"]);
    assert_eq!(sandbox.exec_ok("c1", "head -c 3 /dev/one | wc -c; test -c /dev/two && echo two"), "3\ntwo");
    top("hot");
    for when in ["cold", "hot"] {
        assert_eq!(sandbox.exec_ok("c1", &format!("cat /file-{when}; head -c 3 /node-{when} | wc -c")), "shown\n3", "{when}");
        sandbox.lxc_ok(&["config", "device", "remove", "c1", &format!("f{when}"), &format!("n{when}")]);
        assert_eq!(sandbox.exec_ok("c1", &format!("cat /file-{when}; test -c /node-{when} || echo gone")), "gone", "{when}");
    }
    // A node of the host shown as a disk is of use, for as long as it is shown.
    sandbox.exec_ok("c1", ": < /root/cold");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "shown-cold"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "shown-hot", "disk", &source("node"), "path=/root/hot"]);
    sandbox.exec_ok("c1", ": < /root/hot && touch /kept && mount -o bind /root/hot /kept && : < /kept");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "shown-hot"]);
    let said = sandbox.lxc_fails(&["exec", "c1", "--", "sh", "-c", ": < /kept"]);
    assert!(said.contains("not permitted"), "{said}");
    // A privileged guest, who could have made the node, gets nothing by it.
    sandbox.lxc_ok(&["launch", "busybox", "p1", "-c", "security.privileged=true"]);
    sandbox.lxc_ok(&["config", "device", "add", "p1", "shown", "disk", &source("node"), "path=/root/shown"]);
    let said = sandbox.lxc_fails(&["exec", "p1", "--", "sh", "-c", ": < /root/shown"]);
    assert!(said.contains("not permitted"), "{said}");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "one"]);
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "two"]);
    assert_eq!(sandbox.exec_ok("c1", "test -c /dev/one || test -c /dev/two || echo none"), "none");
    sandbox.finish();
}

/// What a guest puts in the way of a node keeps nobody from taking the device away; nor is the node of use to
/// users of the host.
#[test]
fn a_guest_that_holds_on_to_a_device() {
    let Some(sandbox) = Sandbox::start("a_guest_that_holds_on_to_a_device", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "one", "unix-char", "source=/dev/zero", "major=1", "minor=12", "path=/dev/one/node"]);
    let keep =
        "touch /kept && mount -o bind /dev/one/node /kept && mv /dev/one /dev/two && ln -s /dev/loop /dev/loop && ln -s loop /dev/one";
    sandbox.lxc_ok(&["exec", "c1", "--", "sh", "-c", keep]);
    assert_eq!(sandbox.sh_ok("stat -c %a $LXD_DIR/devices"), "700");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "one"]);
    assert_eq!(sandbox.sh_ok("find $LXD_DIR/devices -type c | wc -l"), "0");
    let said = sandbox.lxc_fails(&["exec", "c1", "--", "sh", "-c", "head -c 1 /kept"]);
    assert!(said.contains("not permitted"), "{said}");
    sandbox.finish();
}

#[test]
fn lent_interfaces_come_home() {
    let Some(sandbox) = Sandbox::start("lent_interfaces_come_home", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok("ip link add lent0 type veth peer name far0 && ip link add lent1 type veth peer name far1");
    let home = || sandbox.sh_ok("ls /sys/class/net | grep -c ^lent");
    let lend = |name: &str, number: &str| {
        let (parent, inside) = (format!("parent=lent{number}"), format!("name=lan{number}"));
        sandbox.lxc_ok(&["config", "device", "add", name, &format!("card{number}"), "nic", "nictype=physical", &parent, &inside]);
    };
    // Both are lent at the start of a container that has no init.
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    lend("c1", "0");
    lend("c1", "1");
    let init = sandbox.sh_ok("find $LXD_DIR/storage-pools/default -path '*/sbin/init' | head -1");
    sandbox.sh_ok(&format!("mv {init} {init}.away"));
    sandbox.lxc_fails(&["start", "c1"]);
    assert_eq!(home(), "2", "lost in a failed start");
    sandbox.sh_ok(&format!("mv {init}.away {init}"));
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "card1"]);
    sandbox.lxc_ok(&["start", "c1"]);
    // One more while it runs, and the daemon forgets everything.
    lend("c1", "1");
    assert_eq!(sandbox.exec_ok("c1", "ls -d /sys/class/net/lan0 /sys/class/net/lan1 | wc -l"), "2");
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_eq!(home(), "2", "lost at the container's end");
    sandbox.sh_ok("ip link delete lent0 && ip link delete lent1");
    sandbox.finish();
}

#[test]
fn a_source_that_vanished() {
    let Some(sandbox) = Sandbox::start("a_source_that_vanished", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("mkdir $SANDBOX_DIR/share $SANDBOX_DIR/other && touch $SANDBOX_DIR/other/here");
    let source = |name: &str| format!("source={}", sandbox.dir().join(name).display());
    sandbox.lxc_ok(&["config", "device", "add", "c1", "gone", "disk", &source("share"), "path=/gone"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "eth5", "nic", "nictype=p2p", "name=eth5"]);
    sandbox.sh_ok("rmdir $SANDBOX_DIR/share");
    for round in ["one", "two"] {
        sandbox.lxc_ok(&["config", "set", "c1", "limits.processes", "200"]);
        sandbox.lxc_ok(&["config", "device", "add", "c1", round, "disk", &source("other"), &format!("path=/{round}")]);
        sandbox.exec_ok("c1", &format!("test -e /{round}/here && test -e /sys/class/net/eth5"));
        // A new daemon takes the devices from what it finds.
        sandbox.kill_daemon();
        sandbox.start_daemon();
    }
    for device in ["gone", "one", "two", "eth5"] {
        sandbox.lxc_ok(&["config", "device", "remove", "c1", device]);
    }
    assert_eq!(
        sandbox.exec_ok("c1", "grep -cE ' /(gone|one|two) ' /proc/self/mountinfo; ls /sys/class/net | grep -c eth5 || true"),
        "0\n0"
    );
    sandbox.finish();
}

#[test]
fn a_profile_that_its_users_cannot_follow() {
    let Some(sandbox) = Sandbox::start("a_profile_that_its_users_cannot_follow", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["storage", "create", "second", "dir"]);
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let before = sandbox.lxc_ok(&["profile", "show", "default"]);
    for change in
        [&["profile", "device", "set", "default", "root", "pool", "second"][..], &["profile", "device", "remove", "default", "root"]]
    {
        let said = sandbox.lxc_fails(change);
        assert!(said.contains("'c1'"), "{said}");
        assert_eq!(sandbox.lxc_ok(&["profile", "show", "default"]), before, "saved all the same");
    }
    sandbox.lxc_ok(&["config", "set", "c1", "user.x", "y"]);
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.lxc_ok(&["profile", "device", "set", "default", "root", "pool", "second"]);
    sandbox.lxc_ok(&["profile", "device", "set", "default", "root", "pool", "default"]);
    sandbox.lxc_ok(&["storage", "delete", "second"]);
    sandbox.finish();
}

/// Nodes that come and go on the host come and go in the container.
#[test]
fn plugged_in_while_it_runs() {
    let Some(sandbox) = Sandbox::start("plugged_in_while_it_runs", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let source = format!("source={}", sandbox.dir().join("hub/stick").display());
    sandbox.lxc_ok(&["config", "device", "add", "c1", "stick", "unix-char", &source, "path=/dev/stick", "required=false", "mode=0666"]);
    let has = |wanted: bool| {
        let what = if wanted { "the device in the container" } else { "no device in the container" };
        wait_until(what, Duration::from_secs(20), || sandbox.lxc(&["exec", "c1", "--", "test", "-c", "/dev/stick"]).ok() == wanted);
    };
    has(false);
    for round in ["first", "second"] {
        sandbox.sh_ok("mkdir -p $SANDBOX_DIR/hub && mknod $SANDBOX_DIR/hub/stick c 1 5");
        has(true);
        assert_eq!(sandbox.exec_ok("c1", "head -c 3 /dev/stick | wc -c"), "3", "{round}");
        sandbox.sh_ok("rm -r $SANDBOX_DIR/hub");
        has(false);
        // A new daemon watches, too.
        sandbox.kill_daemon();
        sandbox.start_daemon();
    }
    // What is not there when it starts comes later.
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    sandbox.sh_ok("mkdir -p $SANDBOX_DIR/hub && mknod $SANDBOX_DIR/hub/stick c 1 5");
    has(true);
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "stick"]);
    has(false);
    sandbox.finish();
}

#[test]
fn what_is_not_there_is_named() {
    let Some(sandbox) = Sandbox::start("what_is_not_there_is_named", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    // The sandbox's view of the machine, whatever that has.
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "gpu", "gpu", "vendorid=ffff"]);
    assert!(said.contains("device 'gpu': no such device") && said.contains("vendorid=ffff"), "{said}");
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "key", "usb", "vendorid=ffff", "productid=fffe", "required=true"]);
    assert!(said.contains("device 'key': no such device") && said.contains("productid=fffe"), "{said}");
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "card", "nic", "nictype=bridged", "parent=nowhere"]);
    assert!(said.contains("Missing parent 'nowhere' for nic 'card'"), "{said}");
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "card", "nic", "nictype=bridged", "parent=lo"]);
    assert!(said.contains("the parent 'lo' of nic 'card' is no bridge"), "{said}");
    // One that may come later is no failure.
    sandbox.lxc_ok(&["config", "device", "add", "c1", "key", "usb", "vendorid=ffff"]);
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "key"]);
    // What stood in the way of a start is in the log, also where nothing was launched.
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    for module in ["no_such_module", "nor_this_one"] {
        sandbox.lxc_ok(&["config", "set", "c1", "linux.kernel_modules", module]);
        sandbox.lxc_fails(&["start", "c1"]);
        let shown = sandbox.lxc_ok(&["info", "c1", "--show-log"]);
        assert!(shown.contains(&format!("\nLog:\n\nERROR Failed to load kernel module '{module}'")), "{shown}");
    }
    let before = sandbox.lxc_ok(&["query", "--raw", "/1.0/instances/c1/logs/lxc.log.old"]);
    assert!(before.contains("'no_such_module'"), "{before}");
    sandbox.finish();
}

/// Mounts that the host makes later, and what a mount refuses.
#[test]
fn propagation_and_mount_options() {
    let Some(sandbox) = Sandbox::start("propagation_and_mount_options", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.sh_ok("cd $SANDBOX_DIR && mkdir share && mount -t tmpfs share share && mount --make-shared share && mkdir share/sub");
    sandbox.mark();
    let source = format!("source={}", sandbox.dir().join("share").display());
    let add = |name: &str, options: &[&str]| {
        let path = format!("path=/{name}");
        sandbox.lxc_ok(&[&["config", "device", "add", "c1", name, "disk", &source, &path][..], options].concat());
    };
    add("apart", &[]);
    add("slave", &["propagation=rslave", "recursive=true"]);
    add("options", &["raw.mount.options=noexec,nosuid,noatime"]);
    let sees = || {
        sandbox.sh_ok("cd $SANDBOX_DIR && mount -t tmpfs late share/sub && touch share/sub/here");
        let seen = sandbox.exec_ok("c1", "ls /apart/sub /slave/sub | grep -c here; ls /apart/sub | grep -c here; true");
        sandbox.sh_ok("umount $SANDBOX_DIR/share/sub");
        seen
    };
    assert_eq!(sees(), "1\n0");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_eq!(sees(), "1\n0");
    let flags = sandbox.exec_ok("c1", "awk '$5 == \"/options\" { print $6 }' /proc/self/mountinfo");
    assert!(["noexec", "nosuid", "noatime"].iter().all(|flag| flags.split(',').any(|word| word == *flag)), "{flags}");
    // What was set, the guest's root cannot take back.
    assert!(!sandbox.lxc(&["exec", "c1", "--", "mount", "-o", "remount,bind,exec", "/options"]).ok());
    let said = sandbox.lxc_fails(&["config", "device", "set", "c1", "options", "raw.mount.options", "discard"]);
    assert!(said.contains("discard") && said.contains("block devices"), "{said}");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.sh_ok("umount $SANDBOX_DIR/share");
    sandbox.finish();
}

/// Settings in liblxc's words do what they say, or are refused by name.
#[test]
fn raw_lxc() {
    let Some(sandbox) = Sandbox::start("raw_lxc", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok("mkdir $SANDBOX_DIR/share && echo shown > $SANDBOX_DIR/share/file");
    let raw = format!(
        "# settings\nlxc.environment = ROLE=web\nlxc.prlimit.nofile = 500:600\nlxc.sysctl.net.ipv4.ip_forward = 1\n\
         lxc.mount.entry = {} mnt/share none bind,ro,create=dir 0 0\nlxc.cap.drop = net_raw\n\
         lxc.proc.oom_score_adj = 300\nlxc.cgroup.pids.max = 77\nlxc.cgroup2.pids.max = 77\n\
         lxc.cgroup.devices.allow = c 10:228 rwm\nlxc.signal.halt = SIGUSR2\nlxc.apparmor.profile = unconfined",
        sandbox.dir().join("share").display()
    );
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", &format!("raw.lxc={raw}")]);
    let shown = "tr '\\0' '\\n' < /proc/1/environ | grep ROLE; echo $ROLE; awk '/open files/ { print $4, $5 }' /proc/1/limits; \
                 cat /proc/sys/net/ipv4/ip_forward /mnt/share/file; cat /proc/1/oom_score_adj; \
                 touch /mnt/share/x 2>/dev/null || echo read-only";
    assert_eq!(sandbox.exec_ok("c1", shown), "ROLE=web\nweb\n500 600\n1\nshown\n300\nread-only");
    let capabilities = |pid: &str| {
        let text = sandbox.exec_ok("c1", &format!("awk '/CapBnd/ {{ print $2 }}' /proc/{pid}/status"));
        u64::from_str_radix(&text, 16).expect("a number")
    };
    assert_eq!((capabilities("1") >> 13 & 1, capabilities("self") >> 13 & 1), (0, 0), "CAP_NET_RAW");
    let groups = "/sys/fs/cgroup/*/lxd*/c1 /sys/fs/cgroup/lxd*/c1";
    assert_eq!(sandbox.sh_ok(&format!("cat $(ls -d $(ls -d {groups} 2>/dev/null | sed 's,$,/pids.max,') 2>/dev/null | head -1)")), "77");
    let listed = sandbox.sh_ok(&format!("cat $(ls -d {groups} 2>/dev/null | sed 's,$,/devices.list,') 2>/dev/null || true"));
    assert!(listed.is_empty() || listed.contains("c 10:228 rwm"), "{listed}");
    // The one that busybox takes for switching the power off.
    sandbox.lxc_ok(&["stop", "c1", "--timeout", "20"]);
    // As for nested clusters: nothing is hidden or kept back from a privileged one.
    sandbox.lxc_ok(&["config", "set", "c1", "security.privileged", "true"]);
    sandbox.lxc_ok(&[
        "config",
        "set",
        "c1",
        "raw.lxc",
        "lxc.mount.auto=proc:rw sys:rw cgroup:rw\nlxc.cap.drop=\nlxc.cgroup.devices.allow=a\nlxc.init.cmd=/bin/sleep 1000\nlxc.uts.name=other",
    ]);
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(capabilities("1") >> 16 & 1, 1, "CAP_SYS_MODULE");
    sandbox.exec_ok("c1", "mknod /control c 10 237 && : < /control");
    assert_eq!(sandbox.exec_ok("c1", "grep -cE ' (/proc/sys|/sys|/proc/kcore) ro' /proc/self/mountinfo; hostname"), "0\nother");
    assert_eq!(sandbox.exec_ok("c1", "tr '\\0' ' ' < /proc/1/cmdline"), "/bin/sleep 1000");
    for (line, words) in [
        ("lxc.hook.start = /bin/true", "programs of the host are not run"),
        ("lxc.mount.entry = /srv / none bind", "Root disk"),
        ("lxc.sysctl.kernel.panic = 1", "the whole host"),
    ] {
        let said = sandbox.lxc_fails(&["config", "set", "c1", "raw.lxc", line]);
        assert!(said.contains(words), "{said}");
    }
    sandbox.finish();
}

#[test]
fn block_devices_are_mounted() {
    let Some(sandbox) = Sandbox::start("block_devices_are_mounted", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let attached = sandbox.sh("cd $SANDBOX_DIR && truncate -s 16M disk && mkfs.ext4 -q disk && losetup --find --show disk");
    if !attached.ok() {
        testkit::skip("block_devices_are_mounted", "no loop device");
        return;
    }
    let device = attached.stdout.trim();
    let source = format!("source={device}");
    let add =
        |options: &[&str]| sandbox.lxc(&[&["config", "device", "add", "c1", "data", "disk", &source, "path=/data"][..], options].concat());
    assert!(add(&["shift=true", "raw.mount.options=commit=30,noexec"]).ok());
    assert_eq!(sandbox.exec_ok("c1", "grep ' /data ' /proc/self/mountinfo | grep -c 'noexec.*commit=30'"), "1");
    sandbox.exec_ok("c1", "echo kept > /data/file && test $(stat -c %u /data/file) = 0");
    // It is nowhere on the host.
    assert_eq!(sandbox.sh_ok(&format!("grep -c {device} /proc/self/mountinfo || true")), "0");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /data/file"), "kept");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "data"]);
    assert!(add(&["readonly=true"]).ok());
    assert_eq!(sandbox.exec_ok("c1", "cat /data/file; touch /data/x 2>/dev/null || echo refused"), "kept\nrefused");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "data"]);
    sandbox.sh_ok(&format!("dd if=/dev/zero of={device} bs=1M count=1 2>/dev/null"));
    let said = add(&[]);
    assert!(!said.ok() && said.stderr.contains("no file system that is known"), "{}", said.report());
    sandbox.sh_ok(&format!("losetup -d {device}"));
    sandbox.finish();
}
