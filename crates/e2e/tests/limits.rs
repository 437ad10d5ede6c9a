//! Limits of running containers: a change that cannot be made changes nothing.

use testkit::{Options, Sandbox};

/// A file of the container's group, on whichever cgroup version the machine has.
fn group_file(sandbox: &Sandbox, name: &str, v1: &str, v2: &str) -> String {
    sandbox.sh_ok(&format!("cat $(ls -d /sys/fs/cgroup/*/lxd*/{name}/{v1} /sys/fs/cgroup/lxd*/{name}/{v2} 2>/dev/null | head -1)"))
}

fn cpus(sandbox: &Sandbox, name: &str) -> String {
    group_file(sandbox, name, "cpuset.cpus", "cpuset.cpus.effective")
}

fn memory(sandbox: &Sandbox, name: &str) -> String {
    group_file(sandbox, name, "memory.limit_in_bytes", "memory.max")
}

#[test]
fn memory_in_use_is_not_unlimited() {
    let Some(sandbox) = Sandbox::start("memory_in_use_is_not_unlimited", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=200MiB"]);
    let limit = (200 << 20).to_string();
    // Only version 1 refuses a limit below what cannot be reclaimed; version 2 kills.
    if sandbox.sh_ok("ls /sys/fs/cgroup/memory/lxd*/c1/memory.limit_in_bytes 2>/dev/null | wc -l") == "1" {
        sandbox.exec_ok("c1", "mkdir -p /ram && mount -t tmpfs ram /ram && head -c 100000000 /dev/zero > /ram/x");
        let said = sandbox.lxc_fails(&["config", "set", "c1", "limits.memory", "20MiB"]);
        assert!(said.contains("busy") || said.contains("uses more"), "{said}");
        assert_eq!(memory(&sandbox, "c1"), limit);
        assert_eq!(sandbox.lxc_ok(&["config", "get", "c1", "limits.memory"]), "200MiB");
        sandbox.exec_ok("c1", "rm /ram/x");
    }
    for mib in [300, 100] {
        sandbox.lxc_ok(&["config", "set", "c1", "limits.memory", &format!("{mib}MiB")]);
        assert_eq!(memory(&sandbox, "c1"), (mib << 20).to_string());
    }
    sandbox.lxc_ok(&["config", "unset", "c1", "limits.memory"]);
    assert_ne!(memory(&sandbox, "c1"), (100 << 20).to_string());
    sandbox.finish();
}

#[test]
fn processors_are_kept_and_given_back() {
    let Some(sandbox) = Sandbox::start("processors_are_kept_and_given_back", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("free");
    let all = cpus(&sandbox, "free");
    for name in ["c1", "c2"] {
        sandbox.lxc_ok(&["launch", "busybox", name, "-c", "limits.cpu=1"]);
    }
    let (first, second) = (cpus(&sandbox, "c1"), cpus(&sandbox, "c2"));
    // A machine with one processor has nothing to choose.
    assert!(first != second || all == first, "{first} {second} of {all}");
    sandbox.lxc_ok(&["config", "set", "c2", "limits.processes", "500"]);
    assert_eq!(cpus(&sandbox, "c2"), second, "moved by another limit");
    sandbox.lxc_ok(&["config", "unset", "c1", "limits.cpu"]);
    assert_eq!(cpus(&sandbox, "c1"), all);
    sandbox.finish();
}

/// What a container sees of memory and processors is what it may use.
#[test]
fn lxcfs_shows_the_limits() {
    let Some(sandbox) = Sandbox::start("lxcfs_shows_the_limits", Options::default()) else { return };
    sandbox.sh_ok("lxcfs /var/lib/lxcfs > /dev/null 2>&1 & until mountpoint -q /var/lib/lxcfs; do sleep 0.05; done");
    sandbox.mark();
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=64MB", "-c", "limits.cpu=1"]);
    assert_eq!(sandbox.exec_ok("c1", "awk '/MemTotal/ { print $2 }' /proc/meminfo; grep -c ^processor /proc/cpuinfo"), "65536\n1");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.memory", "128MB"]);
    assert_eq!(sandbox.exec_ok("c1", "awk '/MemTotal/ { print $2 }' /proc/meminfo"), "131072");
    sandbox.finish();
}
