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

fn wait_systemd(sandbox: &Sandbox, container: &str) {
    let system_state = || sandbox.lxc(&["exec", container, "--", "systemctl", "is-system-running"]).stdout.trim().to_owned();
    let end = Instant::now() + Duration::from_secs(60);
    while system_state() != "running" {
        if Instant::now() > end {
            let failed = sandbox.lxc(&["exec", container, "--", "systemctl", "--failed", "--no-pager"]).report();
            panic!("systemd is `{}`, not `running`\n{failed}\n{}", system_state(), sandbox.daemon_log());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn debian_runs(sandbox: &Sandbox) {
    sandbox.import_debian();
    sandbox.lxc_ok(&["launch", "debian", "d1"]);
    wait_systemd(sandbox, "d1");
    wait_until("an address in lxc list", Duration::from_secs(20), || sandbox.lxc_ok(&["list", "-c", "n4"]).contains("(eth0)"));
    assert_eq!(sandbox.exec_ok("d1", "hostname; . /etc/os-release; echo $ID $VERSION_ID"), "d1\ndebian 12");
    assert_eq!(sandbox.exec_ok("d1", "getent hosts d1 | head -c 4").trim(), "127.");
    // Its own services may drop to users and write where they must.
    sandbox.exec_ok("d1", "systemctl is-active systemd-journald && su nobody -s /bin/sh -c 'test $(id -u) = 65534'");

    let before = Instant::now();
    sandbox.lxc_ok(&["stop", "d1"]);
    assert!(before.elapsed() < Duration::from_secs(20), "a clean stop took {:?}", before.elapsed());
    sandbox.lxc_ok(&["start", "d1"]);
    wait_systemd(sandbox, "d1");
}

/// What `make install` installs, on a machine with systemd: the daemon comes up at the first request,
/// containers come back at boot. The machine is a container itself.
#[test]
fn installed_on_a_machine_with_systemd() {
    let Some(sandbox) = Sandbox::start("installed_on_a_machine_with_systemd", Options::storage("overlay")) else { return };
    sandbox.import_debian();
    sandbox.build_busybox();
    sandbox.lxc_ok(&["launch", "debian", "host", "-c", "security.nesting=true"]);
    wait_systemd(&sandbox, "host");
    sandbox.sh_ok(&format!(
        "cd $SANDBOX_DIR && make -s -C {root} install RELEASE=$(dirname $(command -v lxd)) DESTDIR=$PWD/tree && cp {root}/packaging/configure-host.sh tree/ && \
         lxc image export busybox tree && tar -C tree -cf - . | lxc exec host -- tar -C / -xf -",
        root = env!("CARGO_MANIFEST_DIR").trim_end_matches("/crates/e2e")
    ));
    sandbox.exec_ok("host", "sh /configure-host.sh");
    assert_eq!(sandbox.exec_ok("host", "systemctl is-active lxd.service || true"), "inactive");
    sandbox.exec_ok("host", "lxc list > /dev/null && systemctl is-active lxd.service && stat -c %G /var/lib/lxd/unix.socket | grep -x lxd");
    let preseed = "storage_pools: [{name: p, driver: dir}]\nprofiles: [{name: default, devices: {root: {type: disk, path: /, pool: p}}}]\n";
    sandbox.exec_ok("host", &format!("printf '{preseed}' | lxd init --preseed && lxc image import /*.tar.* --alias busybox"));
    sandbox.exec_ok("host", "lxc launch busybox on -c boot.autostart=true && lxc launch busybox off -c boot.autostart=false");
    assert_eq!(sandbox.exec_ok("host", "lxc exec on -- hostname"), "on");
    sandbox.lxc_ok(&["restart", "host"]);
    wait_systemd(&sandbox, "host");
    assert_eq!(sandbox.exec_ok("host", "lxc list -c ns --format csv"), "off,STOPPED\non,RUNNING");
    sandbox.finish();
}
