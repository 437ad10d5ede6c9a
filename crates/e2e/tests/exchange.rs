//! Backups go to a real LXD and come back from it: Debian's 5.0.2, beside this daemon in the same sandbox.

use testkit::{Options, Sandbox, skip};

/// A word for LXD's own client: towards this daemon, or towards the other.
struct Pair<'a>(&'a Sandbox);

impl Pair<'_> {
    fn ours(&self, line: &str) -> String {
        self.0.sh_ok(&format!("cd $SANDBOX_DIR; export LXD_CONF=$SANDBOX_DIR/theirs-conf; /usr/bin/lxc {line}"))
    }

    fn theirs(&self, line: &str) -> String {
        self.0.sh_ok(&format!("{THEIRS}; /usr/bin/lxc {line}"))
    }
}

const THEIRS: &str = "cd $SANDBOX_DIR; export LXD_DIR=$SANDBOX_DIR/theirs LXD_CONF=$SANDBOX_DIR/theirs-conf";

/// LXD leaves mounts, and the helper that it transferred files with.
const END: &str = r#"/usr/bin/lxd shutdown --timeout=30
    for process in /proc/[0-9]*; do
        case "$(tr '\0' ' ' 2> /dev/null < $process/cmdline)" in "/usr/bin/lxd forkfile"*) kill ${process#/proc/} ;; esac
    done
    for dir in $(awk -v dir=$LXD_DIR/ 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r); do umount -l $dir; done"#;

#[test]
fn backups_go_to_lxd_and_come_back() {
    const TEST: &str = "backups_go_to_lxd_and_come_back";
    if !std::path::Path::new("/usr/bin/lxd").exists() || !std::path::Path::new("/usr/bin/lxc").exists() {
        return skip(TEST, "needs Debian's package lxd");
    }
    let Some(sandbox) = Sandbox::start(TEST, Options::storage("dir")) else { return };
    let pair = Pair(&sandbox);
    // It takes a second to start: meanwhile there is something to do.
    sandbox.sh_ok(&format!("mkdir $SANDBOX_DIR/theirs; {THEIRS}; setsid /usr/bin/lxd < /dev/null > theirs.log 2>&1 &"));
    sandbox.build_busybox();
    make_ours(&sandbox, &pair);
    sandbox.sh_ok(&format!("{THEIRS}; /usr/bin/lxd waitready --timeout=60"));
    pair.theirs("storage create default dir");
    pair.theirs("profile device add default root disk path=/ pool=default");

    pair.theirs("import c1.tar.gz");
    pair.theirs("storage volume import default v1.tar.gz v1");
    assert_eq!(pair.theirs("config get c1 user.note"), "mine");
    assert_eq!(pair.theirs("file pull c1/root/f -"), "new");
    assert_eq!(pair.theirs("query /1.0/storage-pools/default/volumes/custom/v1 | jq -r .config.'\"user.x\"'"), "1");
    pair.theirs("restore c1 s0");
    assert_eq!(pair.theirs("file pull c1/root/f -"), "old");
    assert!(pair.theirs("info c1").contains("s0"), "the snapshot is there");
    pair.theirs("export c1 c1-back.tar.gz");
    pair.theirs("storage volume export default v1 v1-back.tar.gz");
    sandbox.sh_ok(&format!("{THEIRS}; {END}"));
    come_back(&sandbox, &pair);
    sandbox.finish();
}

/// An instance with a snapshot and a volume with one, and their backups.
fn make_ours(sandbox: &Sandbox, pair: &Pair<'_>) {
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "user.note=mine", "-c", "limits.memory=64MiB"]);
    sandbox.lxc_ok(&["storage", "volume", "create", "default", "v1", "user.x=1"]);
    sandbox.lxc_ok(&["storage", "volume", "attach", "default", "v1", "c1", "/data"]);
    sandbox.exec_ok("c1", "echo old > /root/f; echo old > /data/f; chown 33:44 /root/f /data/f; chmod 4755 /root/f; ln /root/f /root/link");
    sandbox.lxc_ok(&["storage", "volume", "snapshot", "default", "v1", "vs0"]);
    sandbox.lxc_ok(&["storage", "volume", "detach", "default", "v1", "c1"]);
    sandbox.lxc_ok(&["snapshot", "c1", "s0"]);
    sandbox.exec_ok("c1", "echo new > /root/f");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    pair.ours("export c1 c1.tar.gz");
    pair.ours("storage volume export default v1 v1.tar.gz");
    sandbox.lxc_ok(&["delete", "c1"]);
    sandbox.lxc_ok(&["storage", "volume", "delete", "default", "v1"]);
}

/// What LXD has exported is what it was.
fn come_back(sandbox: &Sandbox, pair: &Pair<'_>) {
    pair.ours("import c1-back.tar.gz c2");
    pair.ours("storage volume import default v1-back.tar.gz v2");
    assert!(sandbox.lxc_ok(&["storage", "volume", "info", "default", "v2"]).contains("vs0 (taken at 2"), "the time of the snapshot");
    sandbox.lxc_ok(&["storage", "volume", "attach", "default", "v2", "c2", "/data"]);
    sandbox.lxc_ok(&["start", "c2"]);
    let state = "cat /root/f /data/f; stat -c '%u %g %a %h' /root/f; stat -c '%u %g' /data/f";
    assert_eq!(sandbox.exec_ok("c2", state), "old\nold\n33 44 4755 2\n33 44");
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c2", "limits.memory"]), "64MiB");
    sandbox.lxc_ok(&["stop", "--force", "c2"]);
    sandbox.lxc_ok(&["restore", "c2", "s0"]);
    sandbox.lxc_ok(&["storage", "volume", "restore", "default", "v2", "vs0"]);
    sandbox.lxc_ok(&["delete", "c2"]);
    sandbox.lxc_ok(&["storage", "volume", "delete", "default", "v2"]);
    // What only LXD's own storage drivers can read is refused before anything is made.
    let optimized = "mkdir o && tar -xzf c1-back.tar.gz -C o && sed -i 's/^optimized: false/optimized: true/' o/backup/index.yaml";
    sandbox.sh_ok(&format!("cd $SANDBOX_DIR; {optimized} && tar -C o -czf optimized.tar.gz backup/index.yaml backup"));
    let file = sandbox.dir().join("optimized.tar.gz");
    let said = sandbox.lxc_fails(&["import", &file.to_string_lossy()]);
    assert!(said.contains("only the storage driver dir knows") && said.contains("without --optimized-storage"), "{said}");
    assert_eq!(sandbox.lxc_ok(&["list", "--format", "csv"]), "");
}
