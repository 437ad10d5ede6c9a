//! Confinement by AppArmor: that it denies, that it follows the configuration, and that nothing of it stays.

use testkit::{Options, Sandbox, skip};

/// A sandbox, where the kernel can confine.
fn start(test: &str) -> Option<Sandbox> {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') {
        skip(test, "the kernel has no AppArmor, or it is off");
        return None;
    }
    let sandbox = Sandbox::start(test, Options::storage("overlay"))?;
    sandbox.build_busybox();
    Some(sandbox)
}

fn profiles(sandbox: &Sandbox) -> String {
    sandbox.sh_ok("grep -F \"$SANDBOX_DIR/\" /sys/kernel/security/apparmor/profiles || true")
}

/// Whether a script fails in a container for want of permission.
fn denied(sandbox: &Sandbox, name: &str, script: &str) -> bool {
    let outcome = sandbox.lxc(&["exec", name, "--", "sh", "-c", script]);
    assert!(outcome.ok() || outcome.stderr.to_lowercase().contains("denied"), "{}", outcome.report());
    !outcome.ok()
}

/// What became of each attempt in a container: `done`, or what was said. All are made by one command.
fn tried(sandbox: &Sandbox, name: &str, attempts: &[&str]) -> Vec<String> {
    let one = |attempt: &&str| format!("if said=$( {{ {attempt}; }} 2>&1 ); then echo done; else echo $said; fi");
    let lines = sandbox.exec_ok(name, &attempts.iter().map(one).collect::<Vec<_>>().join("\n"));
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn an_unprivileged_container() {
    let Some(sandbox) = start("an_unprivileged_container") else { return };
    rules_of_the_user(&sandbox);
    init_and_commands_are_confined(&sandbox);
    sandbox.finish();
}

fn init_and_commands_are_confined(sandbox: &Sandbox) {
    let label = format!("lxd-c1_<{}/lxd> (enforce)", sandbox.dir().display());
    assert_eq!(sandbox.exec_ok("c1", "cat /proc/1/attr/current; cat /proc/self/attr/current"), format!("{label}\n{label}"));
    assert_eq!(profiles(sandbox), label);
    let features = sandbox.http("GET", "/1.0", None).metadata()["environment"]["kernel_features"].clone();
    assert_eq!(features["apparmor"], "true");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_eq!(profiles(sandbox), "", "loaded although nothing runs");
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(profiles(sandbox), label);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.lxc_ok(&["rename", "c1", "c2"]);
    sandbox.lxc_ok(&["delete", "c2"]);
    assert_eq!(sandbox.sh_ok("find $LXD_DIR/security/apparmor -name 'lxd-*'"), "", "kept of what is gone");
}

/// What root of the host could do without it, in the same machine, is denied with it.
#[test]
fn a_privileged_container_is_held() {
    let Some(sandbox) = start("a_privileged_container_is_held") else { return };
    let attempts = [
        // What was mounted read-only for it, root could mount otherwise.
        "umount /proc/sysrq-trigger && echo h > /proc/sysrq-trigger",
        "umount -l /proc/sys; cat /proc/sys/kernel/core_pattern > /was && cat /was > /proc/sys/kernel/core_pattern",
        "mkdir -p /other && mount -t proc proc /other && umount /other",
        "mkdir -p /other && mount -t sysfs sysfs /other && umount /other",
        "mkdir -p /other && mount --bind /proc /other && umount /other",
        "mkdir -p /other && mount -t debugfs debugfs /other && umount /other",
        "mount -t tmpfs tmpfs /proc/tty && umount /proc/tty",
    ];
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "security.privileged=true"]);
    assert_eq!(profiles(&sandbox), format!("lxd-c1_<{}/lxd> (enforce)", sandbox.dir().display()));
    let held = tried(&sandbox, "c1", &attempts);
    assert!(held.len() == attempts.len() && held.iter().all(|said| said.to_lowercase().contains("denied")), "{held:#?}");
    // What is its own is not: other mounts, host name, network.
    sandbox.exec_ok("c1", "mkdir -p /other && mount -t tmpfs tmpfs /other && mount --bind /root /other && umount /other && umount /other");
    sandbox.exec_ok("c1", "hostname new && echo 1 > /proc/sys/net/ipv4/ip_forward; echo $$ > /sys/fs/cgroup/cgroup.procs; kill -0 1");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    // The same without: an attempt that fails anyway would show nothing.
    sandbox.stop_daemon();
    sandbox.spawn_daemon_without_apparmor();
    sandbox.wait_daemon_ready();
    let features = sandbox.http("GET", "/1.0", None).metadata()["environment"]["kernel_features"].clone();
    assert_eq!(features["apparmor"], "false");
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "security.privileged=true", "-c", "raw.apparmor=deny /root/** w,"]);
    assert_eq!(sandbox.exec_ok("c1", "cat /proc/self/attr/current"), "unconfined");
    assert_eq!(tried(&sandbox, "c1", &attempts), attempts.map(|_| "done"));
    sandbox.finish();
}

fn rules_of_the_user(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "raw.apparmor=deny /root/secret r,"]);
    sandbox.exec_ok("c1", "echo x > /root/secret; echo y > /root/other");
    assert!(denied(sandbox, "c1", "cat /root/secret") && !denied(sandbox, "c1", "cat /root/other"));
    // They change while it runs, for what runs, too.
    sandbox.exec_ok("c1", "(while :; do cat /root/secret > /read 2> /dev/null && break; sleep 0.1; done) > /dev/null 2>&1 &");
    sandbox.lxc_ok(&["config", "set", "c1", "raw.apparmor", "deny /root/other r,"]);
    assert!(!denied(sandbox, "c1", "cat /root/secret") && denied(sandbox, "c1", "cat /root/other"));
    testkit::wait_until("what ran before reads it, too", std::time::Duration::from_secs(10), || {
        sandbox.exec_ok("c1", "cat /read 2> /dev/null || true") == "x"
    });
    // What the parser does not understand is refused in its words, and all is as it was.
    for (wrong, word) in
        [("deny /root/x", "syntax error"), ("nonsense here,", "syntax error"), ("}\nprofile lxd-other {\n  file,", "lxd-other")]
    {
        let said = sandbox.lxc_fails(&["config", "set", "c1", "raw.apparmor", wrong]);
        assert!(said.contains(word), "{wrong}: {said}");
        let said = sandbox.lxc_fails(&["init", "busybox", "c2", "-c", &format!("raw.apparmor={wrong}")]);
        assert!(said.contains(word), "{wrong}: {said}");
    }
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c1", "raw.apparmor"]), "deny /root/other r,");
    sandbox.kill_daemon();
    sandbox.start_daemon();
    sandbox.lxc_ok(&["config", "unset", "c1", "raw.apparmor"]);
    assert!(!denied(sandbox, "c1", "cat /root/other"));
    let said = sandbox.lxc_fails(&["profile", "set", "default", "raw.apparmor", "deny /root/x"]);
    assert!(said.contains("syntax error") && said.contains("c1"), "{said}");
    // Rules of a profile that all share reach what runs.
    sandbox.lxc_ok(&["profile", "set", "default", "raw.apparmor", "deny /root/secret r,"]);
    assert!(denied(sandbox, "c1", "cat /root/secret"));
    sandbox.lxc_ok(&["profile", "unset", "default", "raw.apparmor"]);
}
