//! A second daemon in a sandbox, for what goes between two servers.

use crate::Sandbox;

/// Starts it in the sandbox's cgroups. The words: its directory, and a point where it dies.
const START: &str = r#"
for procs in /sys/fs/cgroup/host/cgroup.procs /sys/fs/cgroup/*/host/cgroup.procs; do
    [ ! -e "$procs" ] || echo 0 > "$procs"
done
export LXD_DIR=$1 LXD_TEST_POINT=$2
mkdir -p "$LXD_DIR"
setsid -f sh -c 'echo $$ > "$LXD_DIR.pid"; exec lxd --verbose' >> "$1.log" 2>&1 < /dev/null
exec lxd waitready --timeout=20"#;

impl Sandbox {
    /// Starts a daemon whose state is in `dir`, to die at `point` unless that is empty, and waits until it is ready. Its log is
    /// `DIR.log`, its process id in `DIR.pid`.
    pub fn start_second(&self, dir: &str, point: &str) {
        let outcome = self.run_with_input("bash", &["-c", START, "bash", dir, point], b"");
        assert!(outcome.ok(), "{}", outcome.report());
    }
}
