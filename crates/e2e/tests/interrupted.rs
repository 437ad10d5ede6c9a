//! The daemon dies at named points of an action; the next one makes it whole or undoes it. Points
//! are there in debug builds only.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

/// Runs `lxc` with a daemon that dies at `point` on the way, then starts a daemon again.
fn die_at(sandbox: &Sandbox, point: &str, args: &[&str]) {
    restart_daemon_with(sandbox, &format!("{point}:die"));
    sandbox.lxc_fails(args);
    sandbox.wait_daemon_death();
    sandbox.start_daemon();
}

fn restart_daemon_with(sandbox: &Sandbox, point: &str) {
    sandbox.stop_daemon();
    sandbox.spawn_daemon_with_point(point);
    sandbox.wait_daemon_ready();
}

fn in_background(sandbox: &Sandbox, program: &str, args: &[&str]) -> Child {
    let all = ["60", program].into_iter().chain(args.iter().copied());
    let mut command = sandbox.command("timeout", all);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run a client")
}

fn config_of(sandbox: &Sandbox, name: &str) -> serde_json::Value {
    sandbox.http("GET", &format!("/1.0/instances/{name}"), None).metadata()["config"].clone()
}

#[test]
fn rename_and_create() {
    let Some(sandbox) = Sandbox::start("rename_and_create", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("a");
    sandbox.exec_ok("a", "echo precious > /root/data");
    sandbox.lxc_ok(&["snapshot", "a", "s1"]);
    sandbox.lxc_ok(&["stop", "--force", "a"]);
    die_at(&sandbox, "rename.moved", &["move", "a", "b"]);
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "a/root/data", "-"]), "precious");
    sandbox.lxc_ok(&["restore", "a", "s1"]);
    sandbox.lxc_ok(&["init", "busybox", "b"]);
    sandbox.lxc_ok(&["start", "a"]);
    assert_eq!(sandbox.exec_ok("a", "cat /root/data"), "precious");

    die_at(&sandbox, "create.filled", &["init", "busybox", "c"]);
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/storage-pools/default/containers | xargs"), "a b");
    sandbox.lxc_ok(&["init", "busybox", "c"]);

    // A volume of unknown origin is nobody's to remove.
    sandbox.lxc_ok(&["delete", "c"]);
    sandbox.sh_ok("mkdir -p $LXD_DIR/storage-pools/default/containers/c/rootfs/old");
    assert!(sandbox.lxc_fails(&["init", "busybox", "c"]).contains("already exists"));
    assert!(sandbox.lxc_fails(&["copy", "b", "c"]).contains("already exists"));
    sandbox.sh_ok("rmdir $LXD_DIR/storage-pools/default/containers/c/rootfs/old && rm -r $LXD_DIR/storage-pools/default/containers/c");
    sandbox.finish();
}

#[test]
fn snapshot_and_its_rename() {
    let Some(sandbox) = Sandbox::start("snapshot_and_its_rename", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("s");
    sandbox.exec_ok("s", "echo one > /root/state");
    die_at(&sandbox, "snapshot.taken", &["snapshot", "s"]);
    assert_eq!(sandbox.state_of("s"), "RUNNING");
    sandbox.lxc_ok(&["snapshot", "s"]);
    assert!(sandbox.lxc_ok(&["info", "s"]).contains("snap0"));
    die_at(&sandbox, "snapshot.renamed", &["move", "s/snap0", "s/kept"]);
    sandbox.exec_ok("s", "echo two > /root/state");
    sandbox.lxc_ok(&["restore", "s", "snap0"]);
    assert_eq!(sandbox.exec_ok("s", "cat /root/state"), "one");
    sandbox.lxc_ok(&["move", "s/snap0", "s/kept"]);
    sandbox.lxc_ok(&["delete", "s/kept"]);
    sandbox.finish();
}

#[test]
fn restart() {
    let Some(sandbox) = Sandbox::start("restart", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "stays", "-c", "boot.autostart=false"]);
    sandbox.lxc_ok(&["launch", "busybox", "melts", "--ephemeral"]);
    for point in ["restart.down", "restart.stopped", "start.stored", "start.launched"] {
        for name in ["stays", "melts"] {
            die_at(&sandbox, point, &["restart", name]);
            assert_eq!(sandbox.state_of(name), "RUNNING", "{name} after {point}");
            assert_eq!(sandbox.exec_ok(name, "echo up"), "up");
        }
    }
    // The intents are gone: an end is an end again.
    sandbox.exec_ok("stays", "poweroff");
    sandbox.wait_state("stays", "STOPPED");
    sandbox.exec_ok("melts", "poweroff");
    sandbox.wait_state("melts", "");
    sandbox.finish();
}

#[test]
fn restore_of_a_running_ephemeral_instance() {
    let Some(sandbox) = Sandbox::start("restore_of_a_running_ephemeral_instance", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "melts", "--ephemeral"]);
    sandbox.exec_ok("melts", "echo one > /root/state");
    sandbox.lxc_ok(&["snapshot", "melts", "s1"]);
    for point in ["restore.down", "restore.exchanged", "restart.stopped"] {
        sandbox.exec_ok("melts", "echo two > /root/state");
        sandbox.lxc_ok(&["config", "set", "melts", "user.later", "1"]);
        die_at(&sandbox, point, &["restore", "melts", "s1"]);
        assert_eq!(sandbox.state_of("melts"), "RUNNING", "after {point}");
        assert_eq!(sandbox.exec_ok("melts", "cat /root/state"), "one", "after {point}");
        assert_eq!(config_of(&sandbox, "melts")["user.later"], serde_json::Value::Null, "after {point}");
    }
    sandbox.finish();
}

#[test]
fn start() {
    let Some(sandbox) = Sandbox::start("start", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    for point in ["start.stored", "start.launched"] {
        sandbox.lxc_ok(&["init", "busybox", "c1"]);
        die_at(&sandbox, point, &["start", "c1"]);
        assert_eq!(sandbox.state_of("c1"), "RUNNING", "after {point}");
        let config = config_of(&sandbox, "c1");
        assert_eq!(config["volatile.last_state.power"], "RUNNING", "{config}");
        assert_eq!(config["volatile.apply_template"], serde_json::Value::Null, "{config}");
        let mac = sandbox.exec_ok("c1", "cat /sys/class/net/eth0/address");
        assert_eq!(config["volatile.eth0.hwaddr"], mac.as_str(), "{config}");
        sandbox.lxc_ok(&["config", "set", "c1", "user.a", "1"]);
        assert_eq!(sandbox.exec_ok("c1", "cat /sys/class/net/eth0/address"), mac, "the card was replaced");
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
    }
    // A start that fails is not remembered.
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.sh_ok("rm -rf $LXD_DIR/storage-pools/default/containers/c1/upper/sbin; mkdir -p $LXD_DIR/storage-pools/default/containers/c1/upper/sbin/init");
    sandbox.lxc_fails(&["start", "c1"]);
    let config = config_of(&sandbox, "c1");
    assert_ne!(config["volatile.last_state.power"], "RUNNING", "{config}");
    assert_eq!(config["volatile.apply_template"], "create", "{config}");
    sandbox.finish();
}

#[test]
fn a_start_waits_until_the_last_end_is_settled() {
    let test = "a_start_waits_until_the_last_end_is_settled";
    let Some(sandbox) = Sandbox::start(test, Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("stays");
    sandbox.lxc_ok(&["launch", "busybox", "melts", "--ephemeral"]);
    let pids = [sandbox.init_pid("stays"), sandbox.init_pid("melts")];
    sandbox.kill_daemon();
    sandbox.sh_ok(&format!("kill -9 {} {}", pids[0], pids[1]));
    wait_until("the guests' end", Duration::from_secs(10), || !pids.iter().any(|pid| sandbox.process_runs(*pid)));
    sandbox.spawn_daemon_with_point("settle:pause");
    wait_until("the daemon's socket", Duration::from_secs(10), || sandbox.lxc(&["list"]).ok());
    sandbox.lxc_fails(&["start", "melts"]);
    sandbox.lxc_ok(&["start", "stays"]);
    sandbox.wait_daemon_ready();
    assert_eq!((sandbox.state_of("stays").as_str(), sandbox.state_of("melts").as_str()), ("RUNNING", ""));
    assert_eq!(sandbox.exec_ok("stays", "echo up"), "up");
    sandbox.finish();
}

/// Gives a stopped busybox container an init that does not listen.
fn make_deaf(sandbox: &Sandbox, name: &str) {
    let script = b"#!/bin/sh\nwhile :; do sleep 1; done\n";
    sandbox.sh_ok("rm -f $SANDBOX_DIR/init");
    let write = sandbox.run_with_input("sh", &["-c", "cat > $SANDBOX_DIR/init"], script);
    assert!(write.ok(), "{}", write.report());
    let init = sandbox.dir().join("init");
    sandbox.lxc_ok(&["file", "delete", &format!("{name}/sbin/init")]);
    sandbox.lxc_ok(&["file", "push", "--mode=0755", &init.to_string_lossy(), &format!("{name}/sbin/init")]);
}

#[test]
fn a_hung_restart_can_be_ended() {
    let Some(sandbox) = Sandbox::start("a_hung_restart_can_be_ended", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    make_deaf(&sandbox, "c1");
    let hang = || {
        let client = in_background(&sandbox, "lxc", &["restart", "c1"]);
        std::thread::sleep(Duration::from_millis(400));
        client
    };
    let quick = |args: &[&str]| {
        let outcome = sandbox.lxc(args);
        assert!(outcome.ok() && outcome.elapsed < Duration::from_secs(5), "{}", outcome.report());
    };
    sandbox.lxc_ok(&["start", "c1"]);
    let pid = sandbox.init_pid("c1");
    let mut client = hang();
    quick(&["restart", "--force", "c1"]);
    assert!(client.wait().expect("lxc").success());
    assert_ne!(sandbox.init_pid("c1"), pid);
    let mut client = hang();
    quick(&["stop", "--force", "c1"]);
    assert!(!client.wait().expect("lxc").success(), "the restart was not carried out");
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    sandbox.lxc_ok(&["start", "c1"]);
    let mut client = hang();
    quick(&["delete", "--force", "c1"]);
    client.wait().expect("lxc");
    assert_eq!(sandbox.state_of("c1"), "");
    sandbox.finish();
}

/// The daemon dies while the guest is on its way down, which it then goes on with by itself.
#[test]
fn a_restart_outlives_the_daemon_that_waits_for_it() {
    let test = "a_restart_outlives_the_daemon_that_waits_for_it";
    let Some(sandbox) = Sandbox::start(test, Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1", "--ephemeral"]);
    make_deaf(&sandbox, "c1");
    sandbox.lxc_ok(&["start", "c1"]);
    let pid = sandbox.init_pid("c1");
    let mut client = in_background(&sandbox, "lxc", &["restart", "c1"]);
    std::thread::sleep(Duration::from_millis(400));
    sandbox.kill_daemon();
    client.wait().expect("lxc");
    sandbox.start_daemon();
    assert_eq!(sandbox.init_pid("c1"), pid);
    sandbox.sh_ok(&format!("kill -9 {pid}"));
    wait_until("the start that belongs to the restart", Duration::from_secs(10), || ![0, pid].contains(&sandbox.init_pid("c1")));
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "");
    sandbox.finish();
}

#[test]
fn nothing_starts_during_a_shutdown() {
    let Some(sandbox) = Sandbox::start("nothing_starts_during_a_shutdown", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "early"]);
    sandbox.lxc_ok(&["init", "busybox", "late"]);
    restart_daemon_with(&sandbox, "start.stored:pause");
    let mut early = in_background(&sandbox, "lxc", &["start", "early"]);
    std::thread::sleep(Duration::from_millis(500));
    let mut shutdown = in_background(&sandbox, "lxd", &["shutdown", "--timeout=30"]);
    std::thread::sleep(Duration::from_millis(500));
    sandbox.lxc_fails(&["start", "late"]);
    assert!(shutdown.wait().expect("lxd").success());
    early.wait().expect("lxc");
    sandbox.wait_daemon_death();
    let facts = sandbox.facts();
    let monitors: Vec<_> = facts.of("process").filter(|(line, _)| line.contains("lxd-runtime")).collect();
    assert!(monitors.is_empty(), "left running: {monitors:?}");
    sandbox.start_daemon();
    assert_eq!((sandbox.state_of("early").as_str(), sandbox.state_of("late").as_str()), ("RUNNING", "STOPPED"));
    sandbox.finish();
}

/// The monitor is halted, so that the guest is dead and the daemon has not yet heard of it.
#[test]
fn stopping_what_has_just_died() {
    let Some(sandbox) = Sandbox::start("stopping_what_has_just_died", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    for (args, state) in
        [(["stop", "--force", "c1"], "STOPPED"), (["restart", "--force", "c1"], "RUNNING"), (["delete", "--force", "c1"], "")]
    {
        if sandbox.state_of("c1").is_empty() {
            sandbox.launch_busybox("c1");
        } else if sandbox.state_of("c1") == "STOPPED" {
            sandbox.lxc_ok(&["start", "c1"]);
        }
        let pid = sandbox.init_pid("c1");
        let monitor = sandbox.sh_ok(&format!("awk '/^PPid:/ {{ print $2 }}' /proc/{pid}/status"));
        sandbox.sh_ok(&format!("kill -STOP {monitor} && kill -9 {pid}"));
        wait_until("the guest's end", Duration::from_secs(5), || !sandbox.process_runs(pid));
        let mut client = in_background(&sandbox, "lxc", &args);
        std::thread::sleep(Duration::from_millis(300));
        sandbox.sh_ok(&format!("kill -CONT {monitor}"));
        assert!(client.wait().expect("lxc").success(), "{args:?}");
        assert_eq!(sandbox.state_of("c1"), state, "{args:?}");
    }
    sandbox.finish();
}

#[test]
fn ends_on_a_full_disk() {
    let options = Options { state: Some("tmpfs:48M"), ..Options::default() };
    let Some(sandbox) = Sandbox::start("ends_on_a_full_disk", options) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "melts", "--ephemeral"]);
    sandbox.launch_busybox("halts");
    sandbox.launch_busybox("reboots");
    let pid = sandbox.init_pid("reboots");
    sandbox.sh_ok("cat /dev/zero > $LXD_DIR/filler 2> /dev/null || true");
    // What room the database has within its files goes, too.
    let value = "x".repeat(60_000);
    let stored = (0..200).take_while(|number| sandbox.lxc(&["config", "set", "halts", &format!("user.fill{number}"), &value]).ok()).count();
    assert!(stored < 200, "the disk does not get full");
    sandbox.lxc_fails(&["stop", "--force", "halts"]);
    assert_eq!(sandbox.state_of("halts"), "STOPPED");
    // Without the image's own way of rebooting, which needs room, too; the command goes down with the guest.
    sandbox.lxc(&["exec", "reboots", "--", "reboot", "-f"]);
    wait_until("the end of the reboot's first half", Duration::from_secs(10), || !sandbox.process_runs(pid));
    // Deleting makes room by itself.
    sandbox.lxc_ok(&["stop", "--force", "melts"]);
    assert_eq!(sandbox.state_of("melts"), "");
    sandbox.sh_ok("rm $LXD_DIR/filler");
    sandbox.wait_state("reboots", "RUNNING");
    wait_until("the end being stored", Duration::from_secs(20), || config_of(&sandbox, "halts")["volatile.last_state.power"] == "STOPPED");
    sandbox.finish();
}
