//! The daemon dies, at rest and in the middle of things; containers do not notice.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, Sandbox, wait_until};

#[test]
fn containers_outlive_the_daemon() {
    let Some(sandbox) = Sandbox::start("containers_outlive_the_daemon", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "(while :; do date +%s >> /root/ticks; sleep 0.2; done) > /dev/null 2>&1 &");
    let pid = sandbox.init_pid("c1");
    for signal in ["KILL", "TERM"] {
        sandbox.end_daemon(signal);
        assert!(sandbox.process_runs(pid), "SIG{signal} of the daemon took the container along");
        sandbox.start_daemon();
        assert_eq!(sandbox.state_of("c1"), "RUNNING");
        assert_eq!(sandbox.init_pid("c1"), pid);
        assert_eq!(sandbox.exec_ok("c1", "echo here"), "here");
    }
    let before = sandbox.exec_ok("c1", "wc -l < /root/ticks");
    wait_until("the guest's work going on", Duration::from_secs(5), || sandbox.exec_ok("c1", "wc -l < /root/ticks") != before);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert!(!sandbox.process_runs(pid));
    sandbox.finish();
}

#[test]
fn what_the_guest_did_while_the_daemon_was_away() {
    let test = "what_the_guest_did_while_the_daemon_was_away";
    let Some(sandbox) = Sandbox::start(test, Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    for name in ["halts", "reboots", "crashes"] {
        sandbox.launch_busybox(name);
    }
    sandbox.exec_ok("halts", "(sleep 2; poweroff) > /dev/null 2>&1 &");
    sandbox.exec_ok("reboots", "(sleep 2; reboot) > /dev/null 2>&1 &");
    let (halts, reboots, crashes) = (sandbox.init_pid("halts"), sandbox.init_pid("reboots"), sandbox.init_pid("crashes"));
    sandbox.kill_daemon();
    sandbox.sh_ok(&format!("kill -9 {crashes}"));
    wait_until("the guests' end", Duration::from_secs(15), || ![halts, reboots, crashes].iter().any(|pid| sandbox.process_runs(*pid)));
    sandbox.start_daemon();
    sandbox.wait_state("halts", "STOPPED");
    sandbox.wait_state("crashes", "STOPPED");
    sandbox.wait_state("reboots", "RUNNING");
    assert_eq!(sandbox.exec_ok("reboots", "echo up"), "up");
    sandbox.finish();
}

/// Killed at different moments of a launch, the daemon comes back with either the whole container or
/// none, and with nothing half-made.
#[test]
fn killed_in_the_middle_of_a_launch() {
    let Some(sandbox) = Sandbox::start("killed_in_the_middle_of_a_launch", Options::default()) else { return };
    sandbox.build_busybox();
    // The unpacked image is then in the pool, as in most launches.
    sandbox.launch_busybox("warm");
    sandbox.lxc_ok(&["delete", "--force", "warm"]);
    sandbox.mark();
    for delay_ms in [0, 5, 10, 15, 20, 30, 45, 60, 90, 150] {
        let mut client = sandbox.command("timeout", ["60", "lxc", "launch", "busybox", "c1"]);
        let mut child = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run lxc");
        std::thread::sleep(Duration::from_millis(10 + delay_ms));
        sandbox.kill_daemon();
        child.wait().expect("wait for lxc");
        sandbox.start_daemon();
        let state = sandbox.state_of("c1");
        assert!(["", "STOPPED", "RUNNING"].contains(&state.as_str()), "{delay_ms} ms: {state}");
        if !state.is_empty() {
            sandbox.lxc_ok(&["start", "c1"].map(|word| if state == "RUNNING" && word == "start" { "info" } else { word }));
            assert_eq!(sandbox.exec_ok("c1", "hostname"), "c1", "{delay_ms} ms");
            sandbox.lxc_ok(&["delete", "--force", "c1"]);
        }
        // The name is free again, and a full launch works.
        sandbox.launch_busybox("c1");
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
        sandbox.assert_no_leaks();
        assert_eq!(sandbox.sh_ok("ls $LXD_DIR/storage-pools/default/containers | wc -l"), "0", "{delay_ms} ms");
    }
    sandbox.finish();
}

#[test]
fn killed_in_the_middle_of_an_unpack() {
    let Some(sandbox) = Sandbox::start("killed_in_the_middle_of_an_unpack", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && mkdir u/rootfs/many && \
         cd u/rootfs/many && seq 20000 | xargs touch && cd ../.. && tar -czf ../many.tar.gz . && lxc image import ../many.tar.gz --alias many",
    );
    let mut client = sandbox.command("timeout", ["60", "lxc", "launch", "many", "c1"]);
    let mut child = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run lxc");
    std::thread::sleep(Duration::from_millis(150));
    sandbox.kill_daemon();
    child.wait().expect("wait for lxc");
    sandbox.start_daemon();
    let state = sandbox.state_of("c1");
    if !state.is_empty() {
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
    }
    sandbox.lxc_ok(&["launch", "many", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "ls /many | wc -l"), "20000", "a half-unpacked image was taken for whole");
    sandbox.finish();
}

#[test]
fn nothing_grows_over_many_lives() {
    let Some(sandbox) = Sandbox::start("nothing_grows_over_many_lives", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    let life = || {
        sandbox.launch_busybox("c1");
        sandbox.exec_ok("c1", "true");
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
    };
    (0..3).for_each(|_| life());
    std::thread::sleep(Duration::from_secs(1));
    let before = sandbox.facts();
    (0..12).for_each(|_| life());
    let mut after = sandbox.facts();
    for _ in 0..20 {
        if after.count("fd") <= before.count("fd") {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
        after = sandbox.facts();
    }
    assert!(after.count("fd") <= before.count("fd"), "descriptors grew from {} to {}", before.count("fd"), after.count("fd"));
    assert_eq!(after.count("zombie"), 0, "dead children that nobody reaped");
    sandbox.finish();
}

#[test]
fn silent_clients_block_nobody() {
    let Some(sandbox) = Sandbox::start("silent_clients_block_nobody", Options::default()) else { return };
    let socket = sandbox.seen_from_outside(sandbox.state_path("unix.socket"));
    let silent: Vec<_> = (0..20).map(|_| std::os::unix::net::UnixStream::connect(&socket).expect("connect")).collect();
    let outcome = sandbox.lxc(&["list"]);
    assert!(outcome.ok() && outcome.elapsed < Duration::from_secs(3), "{}", outcome.report());
    drop(silent);
    sandbox.finish();
}

#[test]
fn autostart_after_a_host_reboot() {
    let Some(sandbox) = Sandbox::start("autostart_after_a_host_reboot", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("ran");
    sandbox.lxc_ok(&["init", "busybox", "auto", "-c", "boot.autostart=true"]);
    sandbox.lxc_ok(&["launch", "busybox", "never", "-c", "boot.autostart=false"]);
    sandbox.lxc_ok(&["init", "busybox", "off"]);
    let source = sandbox.dir().join("source").display().to_string();
    sandbox.sh_ok(&format!("mkdir {source}"));
    sandbox.lxc_ok(&["init", "busybox", "broken", "-c", "boot.autostart=true"]);
    sandbox.lxc_ok(&["config", "device", "add", "broken", "data", "disk", &format!("source={source}"), "path=/data"]);
    sandbox.sh_ok(&format!("rmdir {source}"));
    sandbox.lxd_ok(&["shutdown", "--timeout=30"]);
    sandbox.start_daemon();
    sandbox.wait_state("ran", "RUNNING");
    sandbox.wait_state("auto", "RUNNING");
    assert_eq!(sandbox.state_of("never"), "STOPPED");
    assert_eq!(sandbox.state_of("off"), "STOPPED");
    warned_of_until_it_starts(&sandbox, &source);
    sandbox.finish();
}

/// The instance `broken` has not started with the daemon, since it lacks a source.
fn warned_of_until_it_starts(sandbox: &Sandbox, source: &str) {
    let warnings = || {
        let all = sandbox.http("GET", "/1.0/warnings?recursion=1", None).metadata().clone();
        let of_it = all.as_array().expect("a list").iter().filter(|warning| warning["entity_url"] == "/1.0/instances/broken");
        of_it.cloned().collect::<Vec<Value>>()
    };
    wait_until("the warning", Duration::from_secs(10), || warnings().len() == 1);
    let warning = &warnings()[0];
    assert_eq!((&warning["type"], &warning["count"]), (&json!("Failed to autostart instance"), &json!(1)), "{warning}");
    assert!(warning["last_message"].as_str().is_some_and(|text| text.contains(source)), "{warning}");
    let uuid = warning["uuid"].as_str().expect("text");
    assert!(sandbox.lxc_ok(&["warning", "list", "-c", "usS", "-f", "csv"]).contains(&format!("{uuid},LOW,NEW")));
    sandbox.lxc_ok(&["warning", "ack", uuid]);
    assert!(!sandbox.lxc_ok(&["warning", "list"]).contains(uuid));
    assert!(sandbox.lxc_ok(&["warning", "show", uuid]).contains("status: acknowledged"));
    let url = format!("/1.0/warnings/{uuid}");
    assert_eq!(sandbox.http("PUT", &url, Some(&json!({ "status": "resolved" }))).status, 400);
    assert_eq!(sandbox.http("PATCH", &url, Some(&json!({ "status": "new" }))).status, 200);
    sandbox.sh_ok(&format!("mkdir {source}"));
    sandbox.lxc_ok(&["start", "broken"]);
    assert_eq!(warnings()[0]["status"], "resolved");
    sandbox.lxc_ok(&["warning", "delete", uuid]);
    assert_eq!((warnings().len(), sandbox.http("GET", &url, None).status), (0, 404));
}
