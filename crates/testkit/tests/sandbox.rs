//! The sandbox itself: it isolates, it sees leaks, and it goes without a trace.

use std::path::Path;

use testkit::{Options, Sandbox};

#[test]
fn sees_every_kind_of_leak() {
    let Some(sandbox) = Sandbox::empty("sees_every_kind_of_leak", &Options::default()) else { return };
    let before = sandbox.facts();
    assert_eq!(sandbox.facts().grown_since(&before), [""; 0], "facts must not see themselves");
    sandbox.sh_ok(
        "mkdir $SANDBOX_DIR/m && mount -t tmpfs tmpfs $SANDBOX_DIR/m && ip link add veth7 type veth peer name veth8 && \
         setsid -f sleep 1000 < /dev/null > /dev/null 2>&1; nft add table inet t7; \
         mkdir $(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup 2>/dev/null | tail -1)/c7 && \
         truncate -s 10M $SANDBOX_DIR/disk && mke2fs -q $SANDBOX_DIR/disk && mount -o loop $SANDBOX_DIR/disk $SANDBOX_DIR/m",
    );
    let grown = sandbox.facts().grown_since(&before).join("\n");
    for word in ["mount ", "link veth7", "link veth8", "process sleep 1000", "nft table inet t7", "/c7", "loop "] {
        assert!(grown.contains(word), "`{word}` is not in:\n{grown}");
    }
}

#[test]
fn isolates_and_goes_without_a_trace() {
    let options = Options { state: Some("tmpfs:16M"), id_range: false, ..Options::default() };
    let Some(sandbox) = Sandbox::empty("isolates_and_goes_without_a_trace", &options) else { return };
    let dir = sandbox.dir().to_owned();
    assert_eq!(sandbox.sh_ok("ls /sys/class/net | grep -v -e '^lo$' -e ifb -e tunl -e sit0 | wc -l"), "0");
    assert_eq!(sandbox.sh_ok("ls -d /proc/[0-9]* | wc -l").parse::<u32>().map(|count| count < 10), Ok(true));
    assert_eq!(sandbox.sh_ok("grep -c ^root: /etc/subuid || true"), "0");
    assert_eq!(sandbox.sh_ok("stat -f -c %T $LXD_DIR"), "tmpfs");
    sandbox.sh_ok("setsid -f sleep 1001 < /dev/null > /dev/null 2>&1; touch $LXD_DIR/file");
    assert!(dir.exists());
    assert!(sandbox.seen_from_outside(sandbox.state_path("file")).exists());
    drop(sandbox);
    assert!(!dir.exists(), "the directory stayed");
    let name = dir.file_name().expect("a name");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
        assert!(!hierarchy.path().join(name).exists(), "a cgroup stayed in {}", hierarchy.path().display());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*dir.to_string_lossy()));
    assert!(Path::new("/proc/self").exists());
}

#[test]
fn the_uplink_reaches_out() {
    let options = Options { uplink: true, ..Options::default() };
    let Some(sandbox) = Sandbox::empty("the_uplink_reaches_out", &options) else { return };
    assert!(sandbox.sh_ok("ip route").starts_with("default via 10.0.2.2"));
    assert!(sandbox.sh_ok("cat /etc/resolv.conf").contains("10.0.2.3"));
}
