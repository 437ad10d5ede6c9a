//! Running state that is saved and brought back, as the programs in the guest see it: nothing is lost,
//! nothing comes twice, and files and memory are of the same moment.

use std::time::{Duration, Instant};

use testkit::{Figures, Options, Sandbox, wait_until};

const DIR: &str = "/root/check";
/// The program finds within this time what does not work any more.
const WHILE: Duration = Duration::from_millis(1500);

#[test]
fn all_objects_on_dir() {
    all_objects("all_objects_on_dir", "dir");
}

#[test]
fn all_objects_on_btrfs() {
    all_objects("all_objects_on_btrfs", "btrfs");
}

#[test]
fn all_objects_on_overlay() {
    all_objects("all_objects_on_overlay", "overlay");
}

fn verified(sandbox: &Sandbox, container: &str, what: &str) -> Figures {
    sandbox.verify(container, DIR).unwrap_or_else(|reason| panic!("{what}: {reason}\n{}", sandbox.daemon_log()))
}

/// A busybox with one of everything.
fn all_objects(test: &str, backend: &'static str) {
    let Some(sandbox) = Sandbox::start(test, Options::storage(backend)) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "migration.stateful=true"]);
    sandbox.push_checker("c1");
    sandbox.start_checker("c1", &format!("run {DIR}"));
    let before = verified(&sandbox, "c1", "at first").get("ticks");
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    let figures = verified(&sandbox, "c1", "after the snapshot");
    assert!(figures.get("ticks") > before, "it went on");
    assert!(figures.get("gap_ms") < 5000, "it stood still for {} ms", figures.get("gap_ms"));

    for round in ["restored", "restored again"] {
        std::thread::sleep(WHILE);
        let late = verified(&sandbox, "c1", "before the restore").get("ticks");
        sandbox.lxc_ok(&["restore", "c1", "s1"]);
        let back = verified(&sandbox, "c1", round).get("ticks");
        assert!(back >= before && back < late, "{round}: {back} ticks, {before} before the snapshot, {late} before it was restored");
    }
    std::thread::sleep(WHILE);
    let before = verified(&sandbox, "c1", "before the stop").get("ticks");

    sandbox.sh_ok("lxc exec c1 -- sh -c 'echo begun; sleep 1000' > $SANDBOX_DIR/session 2>&1 < /dev/null &");
    let session = || sandbox.sh_ok("cat $SANDBOX_DIR/session");
    wait_until("a session", Duration::from_secs(10), || session().contains("begun"));
    sandbox.lxc_ok(&["stop", "c1", "--stateful"]);
    wait_until("the session's end", Duration::from_secs(10), || session().contains("The session was ended"));
    sandbox.kill_daemon();
    sandbox.start_daemon();
    let info = sandbox.lxc_ok(&["info", "c1"]);
    assert!(info.contains("s1 ") && info.contains("(stateful)"), "{info}");
    sandbox.lxc_ok(&["start", "c1"]);
    assert!(verified(&sandbox, "c1", "after stop and start").get("ticks") >= before);
    std::thread::sleep(WHILE);
    verified(&sandbox, "c1", "a while after that");
    sandbox.finish();
}

/// Where the kernel tells which pages change, most of the memory is written while the guest still runs.
#[test]
fn memory_is_written_early() {
    let Some(sandbox) = Sandbox::start("memory_is_written_early", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "migration.stateful=true"]);
    sandbox.push_checker("c1");
    sandbox.start_checker("c1", &format!("eat {DIR} 200"));
    let tracks = "criu=$(ls /usr/local/libexec/lxd-criu/criu 2> /dev/null || echo criu); $criu check --feature mem_dirty_track";
    let tracks = sandbox.run_with_input("sh", &["-c", tracks], b"").ok();
    for round in 0..2 {
        let before = verified(&sandbox, "c1", "before the stop").get("ticks");
        sandbox.lxc_ok(&["stop", "c1", "--stateful"]);
        let images = sandbox.sh_ok("ls $LXD_DIR/storage-pools/default/containers/c1/state");
        assert_eq!(images.lines().any(|name| name == "before"), tracks, "round {round}: {images}");
        sandbox.lxc_ok(&["start", "c1"]);
        assert!(verified(&sandbox, "c1", "after the start").get("ticks") >= before);
    }
    sandbox.finish();
}

/// What cannot be saved is named, and goes on.
#[test]
fn a_message_queue_is_refused() {
    let Some(sandbox) = Sandbox::start("a_message_queue_is_refused", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.push_checker("c1");
    sandbox.start_checker("c1", &format!("run {DIR} mqueue"));
    for action in [&["snapshot", "c1", "s1", "--stateful"][..], &["stop", "c1", "--stateful"]] {
        let said = sandbox.lxc_fails(action);
        assert!(said.contains("(checker)") && said.contains("message queue"), "{said}");
    }
    verified(&sandbox, "c1", "after refusals");
    sandbox.finish();
}

#[test]
fn debian_on_overlay() {
    debian("debian_on_overlay", "overlay");
}

#[test]
fn debian_on_btrfs() {
    debian("debian_on_btrfs", "btrfs");
}

fn wait_systemd(sandbox: &Sandbox) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let state = sandbox.lxc(&["exec", "d1", "--", "systemctl", "is-system-running"]).stdout;
        if state.trim() == "running" {
            return;
        }
        let failed = || sandbox.lxc(&["exec", "d1", "--", "systemctl", "--failed", "--no-pager"]).report();
        assert!(Instant::now() < end, "systemd is `{}`, not `running`\n{}\n{}", state.trim(), failed(), sandbox.daemon_log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A Debian with limits, a disk, lxcfs and one of everything.
fn debian(test: &str, backend: &'static str) {
    let Some(sandbox) = Sandbox::start(test, Options::storage(backend)) else { return };
    sandbox.sh_ok("lxcfs /var/lib/lxcfs > /dev/null 2>&1 & until mountpoint -q /var/lib/lxcfs; do sleep 0.05; done");
    sandbox.mark();
    sandbox.import_debian();
    let settings = ["migration.stateful=true", "limits.memory=512MiB", "limits.processes=400"];
    sandbox.lxc_ok(&["launch", "debian", "d1", "-c", settings[0], "-c", settings[1], "-c", settings[2]]);
    wait_systemd(&sandbox);
    let mut address = String::new();
    wait_until("an address", Duration::from_secs(20), || {
        address = sandbox.lxc_ok(&["list", "d1", "-c", "4", "--format", "csv"]).split(' ').next().unwrap_or_default().to_owned();
        !address.is_empty()
    });
    sandbox.sh_ok("mkdir $SANDBOX_DIR/share && echo shared > $SANDBOX_DIR/share/file");
    let source = format!("source={}", sandbox.dir().join("share").display());
    sandbox.lxc_ok(&["config", "device", "add", "d1", "share", "disk", &source, "path=/mnt/share"]);
    sandbox.push_checker("d1");
    sandbox.start_checker("d1", &format!("run {DIR}"));
    sandbox.exec_ok("d1", "touch /run/of-this-boot");
    let (route, pids) = (sandbox.exec_ok("d1", "ip route"), services(&sandbox));

    sandbox.lxc_ok(&["snapshot", "d1", "s1", "--stateful"]);
    let whole = |what: &str| {
        verified(&sandbox, "d1", what);
        assert_eq!(sandbox.exec_ok("d1", "systemctl is-system-running; test -e /run/of-this-boot && echo same"), "running\nsame", "{what}");
        assert_eq!(services(&sandbox), pids, "{what}");
        check_surroundings(&sandbox, what, &address, &route);
    };
    whole("after the snapshot");
    sandbox.lxc_ok(&["stop", "d1", "--stateful"]);
    assert_eq!(sandbox.http("GET", "/1.0/instances/d1", None).metadata()["stateful"], true);
    sandbox.lxc_ok(&["start", "d1"]);
    assert_eq!(sandbox.http("GET", "/1.0/instances/d1", None).metadata()["stateful"], false);
    whole("after stop and start");
    sandbox.lxc_ok(&["restore", "d1", "s1"]);
    whole("restored");
    ends(&sandbox);
    sandbox.finish();
}

/// Main processes of what systemd runs.
fn services(sandbox: &Sandbox) -> String {
    let units = "systemd-journald systemd-networkd dbus checker";
    sandbox.exec_ok("d1", &format!("for unit in {units}; do systemctl show -p MainPID $unit 2> /dev/null; done"))
}

fn check_surroundings(sandbox: &Sandbox, what: &str, address: &str, route: &str) {
    assert_eq!(sandbox.exec_ok("d1", "ip route"), route, "{what}");
    assert!(sandbox.lxc_ok(&["list", "d1", "-c", "4", "--format", "csv"]).starts_with(address), "{what}");
    let gateway = route.split(' ').nth(2).expect("a default route");
    // The bridge's name server answers, and so does the guest.
    sandbox.exec_ok("d1", &format!("timeout 5 bash -c 'exec 3<> /dev/tcp/{gateway}/53'"));
    sandbox.sh_ok(&format!("busybox ping -c 1 -W 5 {address}"));
    let word = format!("console-{}", what.replace(' ', "-"));
    sandbox.exec_ok("d1", &format!("echo {word} > /dev/console"));
    let shows = || sandbox.lxc_ok(&["console", "d1", "--show-log"]).contains(&word);
    wait_until(&format!("the console's output {what}"), Duration::from_secs(5), shows);
    assert_eq!(sandbox.exec_ok("d1", "cat /mnt/share/file; awk '/MemTotal/ { print $2 }' /proc/meminfo"), "shared\n524288", "{what}");
    for (v1, v2, limit) in [("memory.limit_in_bytes", "memory.max", 512 << 20), ("pids.max", "pids.max", 400)] {
        let script = format!("cat $(ls -d /sys/fs/cgroup/*/lxd*/d1/{v1} /sys/fs/cgroup/lxd*/d1/{v2} 2> /dev/null | head -1)");
        assert_eq!(sandbox.sh_ok(&script), limit.to_string(), "{what}: {v1}");
    }
}

/// Ends by the guest's own will, and without its state: of a restored init, the monitor is the parent.
fn ends(sandbox: &Sandbox) {
    let init = sandbox.init_pid("d1");
    drop(sandbox.lxc(&["exec", "d1", "--", "systemctl", "reboot"]));
    wait_until("another init", Duration::from_secs(30), || {
        let answer = sandbox.http("GET", "/1.0/instances/d1/state", None);
        answer.metadata()["pid"].as_i64().is_some_and(|pid| pid > 0 && pid != init)
    });
    wait_systemd(sandbox);
    sandbox.exec_ok("d1", "test ! -e /run/of-this-boot && touch /run/of-this-boot");
    sandbox.lxc_ok(&["stop", "d1", "--stateful"]);
    sandbox.lxc_ok(&["start", "d1"]);
    sandbox.exec_ok("d1", "test -e /run/of-this-boot");
    drop(sandbox.lxc(&["exec", "d1", "--", "systemctl", "poweroff"]));
    sandbox.wait_state("d1", "STOPPED");
    sandbox.lxc_ok(&["start", "d1"]);
    wait_systemd(sandbox);
    sandbox.exec_ok("d1", "touch /run/of-this-boot");
    sandbox.lxc_ok(&["stop", "d1", "--stateful"]);
    sandbox.lxc_ok(&["start", "d1", "--stateless"]);
    wait_systemd(sandbox);
    sandbox.exec_ok("d1", "test ! -e /run/of-this-boot");
    assert_eq!(sandbox.http("GET", "/1.0/instances/d1", None).metadata()["stateful"], false);
}

/// Peers outside only wait: nothing of theirs is lost, and nobody tells them that the guest was away.
#[test]
fn connections_from_outside_go_on() {
    let Some(sandbox) = Sandbox::start("connections_from_outside_go_on", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.push_checker("c1");
    sandbox.start_checker("c1", &format!("serve {DIR} 7000"));
    let mut address = String::new();
    wait_until("an address", Duration::from_secs(20), || {
        address = sandbox.lxc_ok(&["list", "c1", "-c", "4", "--format", "csv"]).split(' ').next().unwrap_or_default().to_owned();
        !address.is_empty()
    });
    let clients = sandbox.dir().join("clients").display().to_string();
    let pid = sandbox.start_checker_outside(&format!("connect {clients} 40 {address} 7000"));
    let answers = || {
        let figures = sandbox.verify_outside(&clients).unwrap_or_else(|reason| panic!("clients: {reason}"));
        (0..40).map(|id| figures.get(&format!("client{id}"))).collect::<Vec<_>>()
    };
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    for round in 0..3 {
        let before = answers();
        // A network takes its time to go, and here as long as its clients need to try again.
        let init = sandbox.init_pid("c1");
        let network = (round == 0).then(|| sandbox.sh_ok(&format!("nsenter -t {init} -n sleep 100 > /dev/null 2>&1 & echo $!")));
        sandbox.lxc_ok(&["stop", "c1", "--stateful"]);
        if let Some(holder) = network {
            sandbox.sh_ok(&format!("nsenter -t {holder} -n nft flush ruleset && sleep 2 && kill {holder}"));
        }
        sandbox.lxc_ok(&["start", "c1"]);
        // TCP tries again after longer and longer times.
        wait_until("every client's next answers", Duration::from_secs(30), || {
            answers().iter().zip(&before).all(|(now, old)| *now > old + 10)
        });
    }
    verified(&sandbox, "c1", "the server");
    sandbox.sh_ok(&format!("kill {pid}"));
    sandbox.finish();
}
