//! Limits of running containers: a change that cannot be made changes nothing.

use std::time::{Duration, Instant};

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

/// Where memory and processes end is felt by the guest alone, and moves while it runs.
#[test]
fn hogs_and_bombs_stay_inside() {
    let Some(sandbox) = Sandbox::start("hogs_and_bombs_stay_inside", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=64MiB", "-c", "limits.processes=60"]);
    // `tail` keeps what could be the last line.
    let hog = |bytes: u32| sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &format!("head -c {bytes} /dev/zero | tail -n 1 | wc -c")]);
    assert!(!hog(150_000_000).stdout.contains("150000000"), "it got more than its limit");
    assert_eq!(sandbox.state_of("c1"), "RUNNING");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.memory", "600MiB"]);
    assert!(hog(150_000_000).stdout.contains("150000000"), "{}", hog(150_000_000).report());

    let bomb = "i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i + 1)); done";
    let processes = |limit: u32| {
        drop(sandbox.lxc(&["exec", "c1", "--", "sh", "-c", bomb]));
        let count: u32 = group_file(&sandbox, "c1", "pids.current", "pids.current").parse().expect("a number");
        assert!(count <= limit && count > limit - 10, "{count} processes with a limit of {limit}");
    };
    processes(60);
    sandbox.lxc_ok(&["config", "set", "c1", "limits.processes", "100"]);
    processes(100);
    // Still there after a new daemon and a new start.
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    processes(100);
    assert!(!hog(900_000_000).stdout.contains("900000000"), "it got more than its limit");
    sandbox.finish();
}

/// Share of one processor that a busy container gets, in percent.
fn measured_share(sandbox: &Sandbox) -> f64 {
    let used = || sandbox.http("GET", "/1.0/instances/c1/state", None).metadata()["cpu"]["usage"].as_i64().expect("nanoseconds");
    let (start, before) = (Instant::now(), used());
    std::thread::sleep(Duration::from_secs(2));
    let (after, nanoseconds) = (used(), start.elapsed().as_nanos());
    (after - before) as f64 * 100.0 / nanoseconds as f64
}

#[test]
fn processor_time_is_what_was_allowed() {
    let Some(sandbox) = Sandbox::start("processor_time_is_what_was_allowed", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.cpu.allowance=20ms/100ms"]);
    let burn = || sandbox.exec_ok("c1", "setsid sh -c 'while :; do :; done' > /dev/null 2>&1 < /dev/null &");
    burn();
    let check = |percent: f64| {
        // Where others take the processors, it gets less for a time; never more.
        let tries: Vec<f64> =
            (0..6).map(|_| measured_share(&sandbox)).take_while(|share| (share - percent).abs() > percent / 10.0).collect();
        assert!(tries.len() < 6 && tries.iter().all(|share| *share < percent * 1.1), "{percent} % were allowed, it had {tries:?} %");
    };
    check(20.0);
    sandbox.lxc_ok(&["config", "set", "c1", "limits.cpu.allowance", "40ms/100ms"]);
    check(40.0);
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    burn();
    check(40.0);
    sandbox.finish();
}

#[test]
fn disks_are_throttled() {
    let Some(sandbox) = Sandbox::start("disks_are_throttled", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    // Measured in there, since starting a command takes its time, too.
    let seconds = |megabytes: u32, how: &str| -> f64 {
        let said = sandbox.exec_ok("c1", &format!("time -p dd bs=1M count={megabytes} {how} 2>&1"));
        let real = said.lines().find_map(|line| line.strip_prefix("real "));
        real.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("time said {said}"))
    };
    // What shares the machine may slow it down for a moment.
    let is_free = |megabytes: u32, how: &str, limited: f64| (0..3).any(|_| seconds(megabytes, how) < limited);
    let written = |megabytes: u32| seconds(megabytes, "if=/dev/zero of=/big oflag=direct");
    // Version 1 throttles direct accesses only; all file systems that can be below here know those.
    if !sandbox.lxc(&["exec", "c1", "--", "dd", "if=/dev/zero", "of=/big", "bs=4k", "count=1", "oflag=direct"]).ok() {
        testkit::skip("disks_are_throttled", "the file system knows no direct accesses");
        return;
    }
    sandbox.lxc_ok(&["config", "device", "override", "c1", "root", "limits.write=8MB"]);
    let limited = written(24);
    assert!((2.4..12.0).contains(&limited), "24 MB at 8 MB/s took {limited} s");
    assert!(is_free(24, "if=/big of=/dev/null iflag=direct", 2.4), "reading is limited, too");
    if sandbox.sh("grep -qw io /sys/fs/cgroup/cgroup.controllers").ok() {
        let buffered = seconds(24, "if=/dev/zero of=/big2 conv=fsync");
        assert!((2.0..12.0).contains(&buffered), "24 MB at 8 MB/s through the cache took {buffered} s");
    }
    sandbox.lxc_ok(&["config", "device", "set", "c1", "root", "limits.write=16MB", "limits.read=12MB"]);
    let faster = written(24);
    assert!((1.2..limited).contains(&faster), "24 MB at 16 MB/s took {faster} s");
    let read = seconds(24, "if=/big of=/dev/null iflag=direct");
    assert!((1.6..12.0).contains(&read), "24 MB at 12 MB/s took {read} s to read");
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert!(written(24) > 1.2, "forgotten at a restart");
    sandbox.lxc_ok(&["config", "device", "unset", "c1", "root", "limits.write"]);
    assert!(is_free(24, "if=/dev/zero of=/big oflag=direct", 1.2), "still limited");
    // What is on no disk cannot be limited, which is said.
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "shm", "disk", "source=/dev/shm", "path=/x", "limits.max=1MB"]);
    assert!(said.contains("disk 'shm' cannot be limited") && said.contains("/dev/shm"), "{said}");
    sandbox.finish();
}

#[test]
fn network_cards_have_their_rates() {
    let Some(sandbox) = Sandbox::start("network_cards_have_their_rates", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "fast", "nic", "nictype=p2p", "name=fast", "host_name=vfast", "limits.max=20Mbit"]);
    sandbox.lxc_ok(&["start", "c1"]);
    let connect = || {
        sandbox.exec_ok("c1", "ip addr add 10.99.0.2/24 dev fast && ip link set fast up");
        sandbox.sh_ok("ip addr replace 10.99.0.1/24 dev vfast");
        sandbox.exec_ok(
            "c1",
            "printf '#!/bin/sh\\ncat /dev/zero\\n' > /send; printf '#!/bin/sh\\ncat > /dev/null\\n' > /take; chmod 755 /send /take; \
             setsid nc -ll -p 5001 -e /send > /dev/null 2>&1 < /dev/null & setsid nc -ll -p 5000 -e /take > /dev/null 2>&1 < /dev/null &",
        );
    };
    // Megabits per second that pass through the card in a while.
    let rate = |direction: &str| {
        let transfer =
            if direction == "rx" { "cat /dev/zero > /dev/tcp/10.99.0.2/5000" } else { "cat < /dev/tcp/10.99.0.2/5001 > /dev/null" };
        let counter = || {
            let text = sandbox.exec_ok("c1", &format!("cat /sys/class/net/fast/statistics/{direction}_bytes"));
            (Instant::now(), text.parse::<f64>().expect("a number"))
        };
        let mut running =
            sandbox.command("timeout", ["3.5", "bash", "-c", &format!("until {transfer}; do sleep 0.1; done")]).spawn().expect("bash");
        std::thread::sleep(Duration::from_secs(1));
        let (start, before) = counter();
        std::thread::sleep(Duration::from_secs(2));
        let (end, after) = counter();
        // Connections that are cut off in the middle would keep the guest's network namespace for minutes.
        running.wait().expect("end");
        (after - before) * 8.0 / 1e6 / (end - start).as_secs_f64()
    };
    let check = |direction: &str, megabits: f64| {
        let measured = rate(direction);
        assert!((megabits * 0.7..megabits * 1.2).contains(&measured), "{direction} at {megabits} Mbit: {measured} Mbit");
    };
    connect();
    check("rx", 20.0);
    check("tx", 20.0);
    sandbox.lxc_ok(&["config", "device", "set", "c1", "fast", "limits.egress", "60Mbit"]);
    check("rx", 20.0);
    check("tx", 60.0);
    // In place: the card has kept its address. Then without a limit, and gone.
    sandbox.kill_daemon();
    sandbox.start_daemon();
    for key in ["limits.max", "limits.egress"] {
        sandbox.lxc_ok(&["config", "device", "unset", "c1", "fast", key]);
    }
    assert!(rate("rx") > 100.0 && rate("tx") > 100.0, "still limited");
    sandbox.lxc_ok(&["config", "device", "set", "c1", "fast", "limits.egress", "30Mbit"]);
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    connect();
    check("tx", 30.0);
    sandbox.exec_ok("c1", "kill $(pidof nc); sleep 0.2");
    let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "mv", "nic", "nictype=macvlan", "parent=lo", "limits.max=1Mbit"]);
    assert!(said.contains("only supported on bridged and p2p"), "{said}");
    sandbox.finish();
}

#[test]
fn kernel_limits() {
    let Some(sandbox) = Sandbox::start("kernel_limits", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.kernel.nofile=512:700", "-c", "limits.kernel.core=0"]);
    let shown = "grep 'open files' /proc/1/limits | awk '{ print $4, $5 }'; ulimit -Sn; ulimit -Hn; ulimit -c";
    assert_eq!(sandbox.exec_ok("c1", shown), "512 700\n512\n700\n0");
    let said = sandbox.lxc_fails(&["config", "set", "c1", "limits.kernel.files", "1"]);
    assert!(said.contains("limits.kernel.files") && said.contains("nofile"), "{said}");
    let weights = sandbox.sh_ok(
        "ls -d /sys/fs/cgroup/*/lxd*/c1/blkio.weight /sys/fs/cgroup/*/lxd*/c1/blkio.bfq.weight /sys/fs/cgroup/lxd*/c1/io.weight \
         /sys/fs/cgroup/lxd*/c1/io.bfq.weight 2>/dev/null | head -1",
    );
    if weights.is_empty() {
        let said = sandbox.lxc_fails(&["config", "set", "c1", "limits.disk.priority", "3"]);
        assert!(said.contains("limits.disk.priority") || said.contains("weight"), "{said}");
    } else {
        for (priority, weight) in [("3", "300"), ("0", "10")] {
            sandbox.lxc_ok(&["config", "set", "c1", "limits.disk.priority", priority]);
            let shown = sandbox.sh_ok(&format!("cat {weights}"));
            assert!(shown.split_whitespace().any(|word| word == weight), "{weights}: {shown}");
        }
    }
    if sandbox
        .sh_ok("cat /sys/fs/cgroup/unified/cgroup.controllers /sys/fs/cgroup/cgroup.controllers 2>/dev/null || true")
        .contains("hugetlb")
    {
        sandbox.lxc_ok(&["config", "set", "c1", "limits.hugepages.2MB", "4MB"]);
        assert_eq!(sandbox.sh_ok("cat $(find /sys/fs/cgroup -path '*/c1/hugetlb.2MB.max' | head -1)"), "4194304");
        sandbox.lxc_ok(&["config", "unset", "c1", "limits.hugepages.2MB"]);
        assert_eq!(sandbox.sh_ok("cat $(find /sys/fs/cgroup -path '*/c1/hugetlb.2MB.max' | head -1)"), "max");
    }
    sandbox.finish();
}
