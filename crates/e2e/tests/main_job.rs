//! The life of a container: launch, list, exec, stop, start, restart, pause, reboot from inside, delete.

use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

#[test]
fn life_of_a_container() {
    let Some(sandbox) = Sandbox::start("life_of_a_container", Options::default()) else { return };
    sandbox.build_busybox();
    let said = sandbox.lxc_ok(&["launch", "busybox", "c1"]);
    assert!(said.contains("Creating c1") && said.contains("Starting c1"), "{said}");
    let list = sandbox.lxc_ok(&["list"]);
    assert!(list.contains("| NAME ") && list.contains("| c1 ") && list.contains("| RUNNING "), "{list}");

    assert_eq!(sandbox.exec_ok("c1", "hostname; id -u"), "c1\n0");
    let map = sandbox.exec_ok("c1", "cat /proc/self/uid_map");
    let host_id: u64 = map.split_whitespace().nth(1).and_then(|id| id.parse().ok()).expect("an id map");
    assert!(host_id >= 65536, "root of the container must not be root outside: {map}");

    sandbox.lxc_ok(&["pause", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "FROZEN");
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "RUNNING");

    let first = sandbox.init_pid("c1");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_ne!(sandbox.init_pid("c1"), first);
    assert!(!sandbox.process_runs(first), "the old init still runs");

    sandbox.lxc_ok(&["stop", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    sandbox.lxc_ok(&["start", "c1"]);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    sandbox.lxc_ok(&["delete", "c1"]);
    assert_eq!(sandbox.state_of("c1"), "");
    sandbox.finish();
}

#[test]
fn exec_carries_everything_through() {
    let Some(sandbox) = Sandbox::start("exec_carries_everything_through", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    assert_eq!(sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    let missing = sandbox.lxc(&["exec", "c1", "--", "no-such-program"]);
    assert!(!missing.ok() && missing.code != 137, "{}", missing.report());

    let outcome = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    let big = vec![b'x'; 5_000_000];
    let outcome = sandbox.lxc_with_input(&["exec", "c1", "--", "cat"], &big);
    assert_eq!((outcome.code, outcome.stdout.len()), (0, big.len()));

    assert_eq!(sandbox.lxc_ok(&["exec", "c1", "--env", "COLOUR=green", "--", "sh", "-c", "echo $COLOUR $HOME $USER"]), "green /root root");
    sandbox.lxc_ok(&["config", "set", "c1", "environment.FRUIT", "fig"]);
    assert_eq!(sandbox.exec_ok("c1", "echo $FRUIT"), "fig");
    sandbox.finish();
}

#[test]
fn exec_on_a_terminal() {
    let Some(sandbox) = Sandbox::start("exec_on_a_terminal", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let terminal = sandbox.sh_ok("script -qec \"stty cols 91 rows 17; lxc exec c1 -- sh -c 'tty; stty size'\" /dev/null < /dev/null");
    assert!(terminal.contains("/dev/pts/") || terminal.contains("/dev/console"), "{terminal}");
    assert!(terminal.contains("17 91"), "{terminal}");
    let code = sandbox.sh("script -qec 'lxc exec c1 -- sh -c \"exit 9\"' /dev/null < /dev/null").code;
    assert_eq!(code, 9);
    sandbox.finish();
}

#[test]
fn reboot_and_halt_from_inside() {
    let Some(sandbox) = Sandbox::start("reboot_and_halt_from_inside", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    let first = sandbox.init_pid("c1");
    sandbox.exec_ok("c1", "reboot");
    wait_until("the rebooted container", Duration::from_secs(20), || {
        sandbox.state_of("c1") == "RUNNING" && ![0, -1, first].contains(&sandbox.init_pid("c1"))
    });
    assert_eq!(sandbox.exec_ok("c1", "echo up"), "up");
    sandbox.exec_ok("c1", "poweroff");
    sandbox.wait_state("c1", "STOPPED");
    sandbox.finish();
}

#[test]
fn ephemeral_containers_go_when_they_stop() {
    let Some(sandbox) = Sandbox::start("ephemeral_containers_go_when_they_stop", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "e1", "--ephemeral"]);
    // An image of it can be made all the same.
    sandbox.lxc_ok(&["publish", "e1", "--force", "--alias", "of-e1"]);
    assert_eq!(sandbox.lxc_ok(&["list", "e1", "-c", "st", "-f", "csv"]), "RUNNING,EPHEMERAL");
    sandbox.lxc_ok(&["stop", "--force", "e1"]);
    sandbox.wait_state("e1", "");
    sandbox.lxc_ok(&["launch", "busybox", "e2", "-e"]);
    sandbox.exec_ok("e2", "poweroff");
    sandbox.wait_state("e2", "");
    sandbox.finish();
}

#[test]
fn a_failed_start_says_why_and_leaves_nothing() {
    let Some(sandbox) = Sandbox::start("a_failed_start_says_why_and_leaves_nothing", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    let before = sandbox.facts();
    let source = sandbox.dir().join("share");
    let source = source.to_string_lossy();
    sandbox.sh_ok(&format!("mkdir {source}"));
    sandbox.lxc_ok(&["config", "device", "add", "c1", "share", "disk", &format!("source={source}"), "path=/mnt"]);
    sandbox.sh_ok(&format!("rmdir {source}"));
    let said = sandbox.lxc_fails(&["start", "c1"]);
    assert!(said.contains("share"), "{said}");
    assert_eq!(sandbox.state_of("c1"), "STOPPED");
    sandbox.assert_unchanged_since(&before);

    sandbox.lxc_ok(&["config", "device", "remove", "c1", "share"]);
    sandbox.lxc_ok(&["file", "delete", "c1/sbin/init"]);
    let said = sandbox.lxc_fails(&["start", "c1"]);
    assert!(said.contains("/sbin/init"), "{said}");
    sandbox.assert_unchanged_since(&before);
    sandbox.finish();
}

#[test]
fn limits_hold_and_change_live() {
    let Some(sandbox) = Sandbox::start("limits_hold_and_change_live", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "limits.memory=64MB", "-c", "limits.processes=30", "-c", "limits.cpu=1"]);
    assert_eq!(sandbox.exec_ok("c1", "grep Cpus_allowed_list /proc/self/status | wc -w"), "2");
    let bomb = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "for i in $(seq 60); do sleep 1 & done"]);
    assert!(bomb.report().contains("fork"), "the process limit did not hold: {}", bomb.report());
    std::thread::sleep(Duration::from_millis(1500));
    let hog = sandbox.lxc(&["exec", "c1", "--", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=190M count=1"]);
    assert!(!hog.ok() || hog.stderr.contains("Killed"), "memory limit did not hold: {}", hog.report());
    sandbox.lxc_ok(&["config", "set", "c1", "limits.memory", "512MB"]);
    sandbox.exec_ok("c1", "dd if=/dev/zero of=/dev/null bs=190M count=1");
    sandbox.finish();
}
