//! What containers may use, where control groups are of version 2 alone: shown by its effect.

use std::time::Duration;

use testkit::{Options, Sandbox, skip, wait_until};

/// A sandbox, where the machine has version 2 and nothing else.
fn start(test: &str) -> Option<Sandbox> {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.contains("memory") {
        skip(test, "the kernel has no cgroup v2 controllers to itself");
        return None;
    }
    let sandbox = Sandbox::start(test, Options::storage("overlay"))?;
    sandbox.build_busybox();
    Some(sandbox)
}

fn group(sandbox: &Sandbox, name: &str) -> String {
    sandbox.sh_ok(&format!("ls -d /sys/fs/cgroup/lxd*/{name}"))
}

/// A file of the container's group.
fn file_of(sandbox: &Sandbox, name: &str, file: &str) -> String {
    sandbox.sh_ok(&format!("cat {}/{file}", group(sandbox, name)))
}

#[test]
fn devices() {
    let Some(sandbox) = start("devices") else { return };
    of_a_privileged_container(&sandbox);
    of_an_unprivileged_container(&sandbox);
    sandbox.finish();
}

fn of_a_privileged_container(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "security.privileged=true"]);
    // Nodes may be made of anything, and be used of what is allowed.
    sandbox.exec_ok("c1", "mknod /kmsg c 1 11; mknod /disk b 254 0; mknod /null c 1 3; mknod /loop b 7 0");
    let used = |node: &str| sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &format!("head -c 1 {node} > /copy")]);
    assert!(used("/null").ok());
    for node in ["/kmsg", "/disk", "/loop"] {
        let outcome = used(node);
        assert!(!outcome.ok() && outcome.stderr.contains("Operation not permitted"), "{node}: {}", outcome.report());
    }
    // Of what is added, and of nothing else, from then on and until it is taken away; whoever is the daemon.
    sandbox.lxc_ok(&["config", "device", "add", "c1", "log", "unix-char", "source=/dev/kmsg", "path=/dev/log0"]);
    assert!(used("/kmsg").ok() && used("/dev/log0").ok() && !used("/disk").ok());
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["config", "device", "add", "c1", "disk", "unix-block", "source=/dev/vda", "path=/dev/disk0"]);
    assert!(used("/dev/disk0").ok() && used("/kmsg").ok() && !used("/loop").ok());
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "log"]);
    assert!(!used("/kmsg").ok() && used("/dev/disk0").ok() && used("/null").ok());
    // The rules of raw.lxc stand beside those, and stay when a device goes.
    sandbox.lxc_ok(&["config", "set", "c1", "raw.lxc", "lxc.cgroup2.devices.allow = b 7:* rwm"]);
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert!(!used("/kmsg").ok() && used("/dev/disk0").ok() && used("/loop").ok());
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "disk"]);
    assert!(!used("/disk").ok() && used("/loop").ok());
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
}

/// It cannot make nodes, but it may be shown some that were made by others.
fn of_an_unprivileged_container(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "security.nesting=true"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "disk", "unix-block", "source=/dev/vda", "path=/dev/disk0", "mode=0666"]);
    sandbox.exec_ok("c1", "head -c 1 /dev/disk0 > /copy");
    // The node stays where the guest shows it to itself; the permission does not.
    sandbox.exec_ok("c1", "mkdir /kept && touch /kept/disk && mount --bind /dev/disk0 /kept/disk");
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "disk"]);
    let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "head -c 1 /kept/disk > /copy"]);
    assert!(!outcome.ok() && outcome.stderr.contains("Operation not permitted"), "{}", outcome.report());
    sandbox.exec_ok("c1", "umount /kept/disk");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
}

#[test]
fn limits() {
    let Some(sandbox) = start("limits") else { return };
    hold_and_change(&sandbox);
    allowance_and_usage(&sandbox);
    frozen_by_the_unified_hierarchy(&sandbox);
    the_tree_is_delegated(&sandbox);
    sandbox.finish();
}

fn hold_and_change(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=64MiB", "-c", "limits.processes=40", "-c", "limits.cpu=1"]);
    // A hog dies, and what is beside it does not.
    let hog = "head -c 200000000 /dev/zero | tail > /dev/null; test $? != 0 && echo died";
    assert_eq!(sandbox.exec_ok("c1", hog), "died");
    assert!(file_of(sandbox, "c1", "memory.events").contains("oom_kill 1"), "{}", file_of(sandbox, "c1", "memory.events"));
    assert_eq!(sandbox.exec_ok("c1", "cat /proc/1/comm"), "init");
    // A bomb stops at the limit.
    let bomb = "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i + 1)); done";
    let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", bomb]);
    assert!(outcome.stderr.contains("fork") || outcome.stderr.contains("Resource temporarily"), "{}", outcome.report());
    let processes = || sandbox.http("GET", "/1.0/instances/c1/state", None).metadata()["processes"].as_i64().unwrap_or_default();
    assert!(processes() <= 40, "{}", processes());
    assert_eq!(file_of(sandbox, "c1", "cpuset.cpus.effective").len(), 1);
    let all_cpus = sandbox.sh_ok("cat /sys/fs/cgroup/cpuset.cpus.effective");
    // Changed at once.
    for (key, value, name, expected) in [
        ("limits.memory", "100MiB", "memory.max", "104857600"),
        ("limits.memory.swap", "false", "memory.swap.max", "0"),
        ("limits.memory.enforce", "soft", "memory.high", "104857600"),
        ("limits.memory.enforce", "soft", "memory.max", "max"),
        ("limits.processes", "70", "pids.max", "70"),
        ("limits.cpu.allowance", "20ms/100ms", "cpu.max", "20000 100000"),
        ("limits.cpu.allowance", "50%", "cpu.weight", "51"),
        ("limits.cpu.allowance", "", "cpu.max", "max 100000"),
        ("limits.cpu", "", "cpuset.cpus.effective", &all_cpus),
    ] {
        sandbox.lxc_ok(&["config", "set", "c1", key, value]);
        assert_eq!(file_of(sandbox, "c1", name), expected, "{key}={value}");
    }
}

/// Its share of processor time, and what is told of its use.
fn allowance_and_usage(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c2", "-c", "limits.cpu.allowance=20ms/100ms"]);
    let used_ns = || sandbox.http("GET", "/1.0/instances/c2/state", None).metadata()["cpu"]["usage"].as_u64().unwrap_or_default();
    sandbox.exec_ok("c2", "(while :; do :; done) > /dev/null 2>&1 & true");
    let (before, start) = (used_ns(), std::time::Instant::now());
    std::thread::sleep(Duration::from_secs(4));
    let share = (used_ns() - before) as f64 / start.elapsed().as_nanos() as f64;
    // An emulated machine that is short of time itself gives less, never more.
    assert!((0.05..0.23).contains(&share), "{share}");
    let state = sandbox.http("GET", "/1.0/instances/c2/state", None);
    let memory = &state.metadata()["memory"];
    assert!(memory["usage"].as_u64().is_some_and(|bytes| bytes > 100_000), "{memory}");
}

fn frozen_by_the_unified_hierarchy(sandbox: &Sandbox) {
    sandbox.launch_busybox("c3");
    sandbox.exec_ok("c3", "(i=0; while :; do i=$((i + 1)); echo $i > /count; sleep 0.05; done) > /dev/null 2>&1 & sleep 0.3");
    let count = || sandbox.sh_ok("cat $(find $LXD_DIR/storage-pools -path '*upper*/count')");
    sandbox.lxc_ok(&["pause", "c3"]);
    assert!(file_of(sandbox, "c3", "cgroup.events").contains("frozen 1"));
    let stopped = count();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(count(), stopped);
    sandbox.lxc_ok(&["start", "c3"]);
    wait_until("it goes on", Duration::from_secs(10), || count() != stopped);
}

/// The guest has a tree of its own, with the controllers, and nothing above it.
fn the_tree_is_delegated(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c4", "-c", "limits.memory=100MiB"]);
    assert_eq!(sandbox.exec_ok("c4", "cat /proc/1/cgroup /proc/self/cgroup; grep -c cgroup2 /proc/mounts"), "0::/\n0::/.lxc\n1");
    let script = "cd /sys/fs/cgroup && mkdir inner leaf && for pid in $(cat cgroup.procs); do echo $pid > leaf/cgroup.procs; done; \
                  echo '+memory +pids' > cgroup.subtree_control && echo 5M > inner/memory.max && cat inner/memory.max";
    assert_eq!(sandbox.exec_ok("c4", script), (5 << 20).to_string());
    // What it sets in there holds there.
    let hog = "cd /sys/fs/cgroup/inner && sh -c 'echo $$ > cgroup.procs; head -c 30000000 /dev/zero | tail -n 1 > /hog'; \
               grep -c 'oom_kill [1-9]' memory.events";
    assert_eq!(sandbox.exec_ok("c4", hog), "1");
    // Its own limit is not its own to lift, and commands still find a place.
    let outcome = sandbox.lxc(&["exec", "c4", "--", "sh", "-c", "echo max > /sys/fs/cgroup/memory.max"]);
    assert!(!outcome.ok(), "{}", outcome.report());
    assert_eq!(sandbox.exec_ok("c4", "cat /proc/self/cgroup"), "0::/.lxc");
    sandbox.lxc_ok(&["config", "set", "c4", "limits.memory", "90MiB"]);
    assert_eq!(file_of(sandbox, "c4", "memory.max"), (90 << 20).to_string());
}

/// Runs a script of the machine's own, where the machine is for tests alone.
fn of_the_machine(test: &str, script: &str) -> bool {
    if std::env::var_os("LXD_TEST_MACHINE").is_none() {
        skip(test, "needs a machine of its own");
        return false;
    }
    let output = std::process::Command::new("bash").args(["-euc", script]).output().expect("run bash");
    assert!(output.status.success(), "$ {script}\n{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Beyond its memory a container has as much swap, or none.
#[test]
fn swap() {
    let Some(sandbox) = start("swap") else { return };
    let file = "/var/tmp/lxd-e2e-swap";
    let on = format!("fallocate -l 256M {file} && chmod 600 {file} && /sbin/mkswap -q {file} && /sbin/swapon {file}");
    if !of_the_machine("swap", &on) {
        return;
    }
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=40MiB"]);
    // `tail` keeps what could be the last line.
    let finds_room = || sandbox.exec_ok("c1", "head -c 50000000 /dev/zero | tail -n 1 | wc -c") == "50000000";
    assert!(finds_room(), "{}", file_of(&sandbox, "c1", "memory.events"));
    assert!(sandbox.sh_ok("awk '/^pswpout/ { print $2 }' /proc/vmstat") != "0");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.memory.swap", "false"]);
    assert!(!finds_room(), "it swapped all the same");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.memory.swap", "true"]);
    assert!(finds_room());
    sandbox.finish();
    of_the_machine("swap", &format!("/sbin/swapoff {file} && rm {file}"));
}
