//! Host ids: isolated ranges that never meet, and files whose owners must be rewritten.

use std::process::Stdio;
use std::time::Duration;

use testkit::{Options, Sandbox};

/// The host id of the container's root.
fn base_of(sandbox: &Sandbox, name: &str) -> String {
    let map = sandbox.exec_ok(name, "cat /proc/self/uid_map");
    map.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn isolated_ranges_never_meet() {
    let Some(sandbox) = Sandbox::start("isolated_ranges_never_meet", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["profile", "create", "apart"]);
    for name in ["c1", "c2"] {
        sandbox.lxc_ok(&["launch", "busybox", name, "-p", "default", "-p", "apart"]);
    }
    // A profile that says so only later counts from the next start.
    sandbox.lxc_ok(&["profile", "set", "apart", "security.idmap.isolated", "true"]);
    for name in ["c1", "c2"] {
        sandbox.lxc_ok(&["restart", "--force", name]);
        assert_eq!(sandbox.lxc_ok(&["config", "get", name, "volatile.idmap.base"]), base_of(&sandbox, name), "{name}");
    }
    // Nobody wants them apart any more, but they run on those ids.
    sandbox.lxc_ok(&["profile", "unset", "apart", "security.idmap.isolated"]);
    sandbox.lxc_ok(&["launch", "busybox", "c3", "-c", "security.idmap.isolated=true"]);
    // A snapshot says so again.
    sandbox.lxc_ok(&["init", "busybox", "c4", "-c", "security.idmap.isolated=true"]);
    sandbox.lxc_ok(&["snapshot", "c4", "s"]);
    sandbox.lxc_ok(&["config", "unset", "c4", "security.idmap.isolated"]);
    sandbox.lxc_ok(&["restore", "c4", "s"]);
    sandbox.lxc_ok(&["start", "c4"]);
    let mut bases: Vec<_> = ["c1", "c2", "c3", "c4"].iter().map(|name| base_of(&sandbox, name)).collect();
    bases.sort();
    bases.dedup();
    assert_eq!(bases.len(), 4, "two share a range: {bases:?}");
    sandbox.finish();
}

/// A sandbox whose state is on a file system that cannot map ids.
fn without_mapped_mounts(test: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::empty(test, &Options::default())?;
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && mkdir upper work && mount -t overlay -o lowerdir=$LXD_DIR,upperdir=$PWD/upper,workdir=$PWD/work overlay $LXD_DIR && \
         chmod 0711 $LXD_DIR",
    );
    sandbox.start_daemon();
    sandbox.lxd_ok(&["init", "--auto", "--storage-backend", "dir"]);
    sandbox.build_busybox();
    sandbox.mark();
    Some(sandbox)
}

const ROOTFS: &str = "$LXD_DIR/storage-pools/default/containers/c1/rootfs";

/// All files of the images here are root's.
fn assert_all_owned_by(sandbox: &Sandbox, base: &str) {
    let others = format!("find {ROOTFS} \\( ! -uid {base} -o ! -gid {base} \\) -printf '%U:%G %p\\n' | sort | uniq -c | head -5");
    assert_eq!(sandbox.sh_ok(&others), "", "not owned by {base}");
}

#[test]
fn failed_starts_shift_once() {
    let Some(sandbox) = without_mapped_mounts("failed_starts_shift_once") else { return };
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.sh_ok(&format!("mv {ROOTFS}/sbin/init {ROOTFS}/sbin/none"));
    for _ in 0..2 {
        sandbox.lxc_fails(&["start", "c1"]);
    }
    sandbox.sh_ok(&format!("mv {ROOTFS}/sbin/none {ROOTFS}/sbin/init"));
    sandbox.lxc_ok(&["start", "c1"]);
    let base = base_of(&sandbox, "c1");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_all_owned_by(&sandbox, &base);
    sandbox.finish();
}

#[test]
fn a_killed_shift_is_gone_on_with() {
    let Some(sandbox) = without_mapped_mounts("a_killed_shift_is_gone_on_with") else { return };
    sandbox.sh_ok(
        "cd $SANDBOX_DIR && mkdir x u && lxc image export busybox x && tar -C u -xf x/* && mkdir u/rootfs/many && \
         cd u/rootfs/many && seq 5000 | xargs touch && cd ../.. && tar -cf ../many.tar . && lxc image import ../many.tar --alias many",
    );
    sandbox.lxc_ok(&["init", "many", "c1"]);
    sandbox.mark();
    // Own ids become the shared map's, then those of a range within it, then the shared map's again.
    for (delay_ms, isolated) in [(40, "false"), (120, "true"), (250, "false")] {
        sandbox.lxc_ok(&["config", "set", "c1", "security.idmap.isolated", isolated]);
        let mut client = sandbox.command("timeout", ["60", "lxc", "start", "c1"]);
        let mut child = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run lxc");
        std::thread::sleep(Duration::from_millis(delay_ms));
        sandbox.kill_daemon();
        child.wait().expect("wait for lxc");
        sandbox.start_daemon();
        if sandbox.state_of("c1") != "RUNNING" {
            sandbox.lxc_ok(&["start", "c1"]);
        }
        let base = base_of(&sandbox, "c1");
        sandbox.lxc_ok(&["stop", "--force", "c1"]);
        assert_all_owned_by(&sandbox, &base);
    }
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.finish();
}
