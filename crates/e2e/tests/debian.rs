//! A whole Debian: systemd comes up to `running`, gets an address, and goes down cleanly.

use std::time::{Duration, Instant};

use testkit::{Options, Sandbox, wait_until};

#[test]
fn debian_runs_on_overlay() {
    let Some(sandbox) = Sandbox::start("debian_runs_on_overlay", Options::storage("overlay")) else { return };
    debian_runs(&sandbox);
    sandbox.finish();
}

#[test]
fn debian_runs_on_btrfs() {
    let Some(sandbox) = Sandbox::start("debian_runs_on_btrfs", Options::storage("btrfs")) else { return };
    debian_runs(&sandbox);
    sandbox.finish();
}

fn debian_runs(sandbox: &Sandbox) {
    sandbox.import_debian();
    sandbox.lxc_ok(&["launch", "debian", "d1"]);
    let system_state = || sandbox.lxc(&["exec", "d1", "--", "systemctl", "is-system-running"]).stdout.trim().to_owned();
    let end = Instant::now() + Duration::from_secs(60);
    while system_state() != "running" {
        if Instant::now() > end {
            let failed = sandbox.lxc(&["exec", "d1", "--", "systemctl", "--failed", "--no-pager"]).report();
            panic!("systemd is `{}`, not `running`\n{failed}\n{}", system_state(), sandbox.daemon_log());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_until("an address in lxc list", Duration::from_secs(20), || sandbox.lxc_ok(&["list", "-c", "n4"]).contains("(eth0)"));
    assert_eq!(sandbox.exec_ok("d1", "hostname; . /etc/os-release; echo $ID $VERSION_ID"), "d1\ndebian 12");
    assert_eq!(sandbox.exec_ok("d1", "getent hosts d1 | head -c 4").trim(), "127.");
    // Its own services may drop to users and write where they must.
    sandbox.exec_ok("d1", "systemctl is-active systemd-journald && su nobody -s /bin/sh -c 'test $(id -u) = 65534'");

    let before = Instant::now();
    sandbox.lxc_ok(&["stop", "d1"]);
    assert!(before.elapsed() < Duration::from_secs(20), "a clean stop took {:?}", before.elapsed());
    sandbox.lxc_ok(&["start", "d1"]);
    wait_until("systemd again", Duration::from_secs(60), || system_state() == "running");
}
