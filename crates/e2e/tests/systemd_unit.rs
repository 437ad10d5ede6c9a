//! The daemon as the system's service, installed as a user has it: containers outlive it.
//!
//! It takes a machine that is for tests alone, whose process 1 is systemd: `make test-vm`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{skip, wait_until};

/// What a shell script prints, which must succeed.
fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-euc", script]).output().expect("run bash");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let failed = || format!("$ {script}\n{}\n{}\n{}", text(&output.stdout), text(&output.stderr), journal());
    assert!(output.status.success(), "{}", failed());
    text(&output.stdout)
}

fn journal() -> String {
    let output = Command::new("journalctl").args(["--no-pager", "-n", "60", "-u", "lxd*"]).output().expect("run journalctl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As `make install` does, with the programs that are tested.
const INSTALL: &str = r#"
install -D -m 0755 -t /usr/bin "$LXD_BIN_DIR/lxd" "$LXD_BIN_DIR/lxc"
install -D -m 0755 -t /usr/libexec/lxd "$LXD_BIN_DIR/lxd-runtime"
for unit in packaging/systemd/*.service packaging/systemd/*.socket; do
    sed 's,@PREFIX@,/usr,g' "$unit" > "/etc/systemd/system/${unit##*/}"
done
install -D -m 0644 packaging/systemd/lxd.sysusers /etc/sysusers.d/lxd.conf
systemd-sysusers /etc/sysusers.d/lxd.conf
packaging/configure-host.sh
"#;

const GROUP: &str = "/sys/fs/cgroup/system.slice/lxd-guests.service/lxd";

fn state(name: &str) -> String {
    sh(&format!("lxc list {name} -c s --format csv"))
}

#[test]
fn containers_outlive_the_service() {
    if std::env::var_os("LXD_TEST_MACHINE").is_none() {
        skip("containers_outlive_the_service", "needs a machine of its own");
        return;
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    sh(&format!("cd {} && {INSTALL}", workspace.display()));
    sh("lxd init --auto --storage-backend dir && lxc image build busybox");
    sh("lxc launch busybox c1 -c limits.memory=64MiB");
    // Their groups are in a unit of their own, with the controllers.
    assert_eq!(sh(&format!("cat {GROUP}/c1/memory.max")), (64 << 20).to_string());
    assert_eq!(sh("systemctl is-active lxd.socket lxd.service lxd-guests.service lxd-containers.service | sort -u"), "active");
    let init = || sh(&format!("head -1 {GROUP}/c1/cgroup.procs"));
    let before = init();

    for restart in
        ["systemctl restart lxd.service", "systemctl daemon-reload; systemctl kill -s KILL lxd.service", "systemctl stop lxd.service"]
    {
        sh(restart);
        // The next request starts it again, by the socket.
        assert_eq!(state("c1"), "RUNNING", "{restart}");
        assert_eq!(init(), before, "{restart}");
        assert_eq!(sh("lxc exec c1 -- cat /proc/self/cgroup"), "0::/.lxc", "{restart}");
        assert_eq!(sh("systemctl is-failed lxd.service || true"), "active", "{restart}");
    }
    sh("lxc config set c1 limits.memory 70MiB && lxc launch busybox c2");
    assert_eq!(sh(&format!("cat {GROUP}/c1/memory.max; ls -d {GROUP}/c?")), format!("{}\n{GROUP}/c1\n{GROUP}/c2", 70 << 20));

    // The host goes down and comes up again.
    sh("lxc stop --force c2 && systemctl stop lxd-containers.service");
    assert_eq!(sh(&format!("ls {GROUP} 2> /dev/null | wc -l")), "0");
    sh("systemctl start lxd-containers.service");
    wait_until("c1 runs again", Duration::from_secs(60), || state("c1") == "RUNNING");
    assert_eq!(state("c2"), "STOPPED");
    sh("lxc delete --force c1 c2 && systemctl stop lxd.socket lxd.service lxd-containers.service lxd-guests.service");
    assert_eq!(sh("find /sys/fs/cgroup -path '*lxd*' | wc -l; pgrep lxd-runtime | wc -l"), "0\n0");
}
