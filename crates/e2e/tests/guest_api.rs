//! The guest API: what an instance learns of itself through `/dev/lxd/sock`, and that nobody else does.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Options, Sandbox, wait_until};

const CHECKER: &str = "/root/checker";
const SOCKET: &str = "/dev/lxd/sock";

/// Status and body of a GET by a user of a container.
fn ask_as(sandbox: &Sandbox, container: &str, user: &str, path: &str) -> (String, String) {
    let request = format!("GET {path}");
    let said = sandbox.lxc_ok(&["exec", container, "--user", user, "--", CHECKER, "ask", SOCKET, &request]);
    let (status, body) = said.split_once('\n').unwrap_or((&said, ""));
    (status.to_owned(), body.to_owned())
}

fn ask(sandbox: &Sandbox, container: &str, path: &str) -> (String, String) {
    ask_as(sandbox, container, "0", path)
}

fn reply(status: &str, body: &str) -> (String, String) {
    (status.to_owned(), body.to_owned())
}

/// A busybox with the asking program where every user may execute it.
fn launch(sandbox: &Sandbox, name: &str, options: &[&str]) {
    sandbox.lxc_ok(&[&["launch", "busybox", name][..], options].concat());
    sandbox.push_checker(name);
    sandbox.exec_ok(name, "chmod 755 /root");
}

/// Starts to follow the events of a container to a file in it.
fn follow(sandbox: &Sandbox, container: &str, kind: &str, path: &str, to: &str) {
    sandbox.exec_ok(container, &format!("setsid {CHECKER} follow {SOCKET} {kind} '{path}' {to} > /dev/null 2>&1 < /dev/null &"));
    wait_for_line(sandbox, container, to, "following");
}

fn wait_for_line(sandbox: &Sandbox, container: &str, file: &str, text: &str) {
    let found = || sandbox.lxc(&["exec", container, "--", "grep", "-F", text, file]).ok();
    wait_until(&format!("{text} in {file} of {container}"), Duration::from_secs(20), found);
}

#[test]
fn instances_read_their_own() {
    let Some(sandbox) = Sandbox::start("instances_read_their_own", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &["-c", "user.a=one", "-c", "user.meta-data=extra: 1", "-c", "cloud-init.user-data=#cloud-config"]);
    launch(&sandbox, "c2", &["-c", "user.a=two", "-c", "limits.processes=300"]);
    assert_eq!(ask(&sandbox, "c1", "/"), reply("200", r#"["/1.0"]"#));
    let (status, version) = ask(&sandbox, "c1", "/1.0");
    assert!(status == "200" && version.contains(r#""api_version":"1.0""#), "{version}");
    assert_eq!(
        ask(&sandbox, "c1", "/1.0/config"),
        reply("200", r#"["/1.0/config/cloud-init.user-data","/1.0/config/user.a","/1.0/config/user.meta-data"]"#)
    );
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/user.a"), reply("200", "one"));
    assert_eq!(ask(&sandbox, "c2", "/1.0/config/user.a"), reply("200", "two"));
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/cloud-init.user-data"), reply("200", "#cloud-config"));
    assert_eq!(ask(&sandbox, "c1", "/1.0/meta-data"), reply("200", "#cloud-config\ninstance-id: c1\nlocal-hostname: c1\nextra: 1"));
    let (_, devices) = ask(&sandbox, "c1", "/1.0/devices");
    assert!(devices.contains(r#""root":{"#) && devices.contains(r#""path":"/""#), "{devices}");
    for (path, status, text) in [
        ("/1.0/config/limits.processes", "403", "not authorized"),
        ("/1.0/config/volatile.uuid", "403", "not authorized"),
        ("/1.0/config/user.none", "404", "not found"),
        ("/1.0/instances", "404", "not found"),
        ("/2.0", "404", "not found"),
        ("/1.0/images/x/export", "403", "not authorized"),
    ] {
        let (got, said) = ask(&sandbox, "c2", path);
        assert!(got == status && said.starts_with(text), "{path}: {got} {said}");
    }

    // It says that it is ready, and that is its status, also for a new daemon and not for a new run.
    let say = |body: &str| {
        let said = sandbox.lxc_ok(&["exec", "c1", "--", CHECKER, "ask", SOCKET, &format!("PATCH /1.0\n{body}")]);
        said.lines().next().unwrap_or_default().to_owned()
    };
    let status = || sandbox.http("GET", "/1.0/instances/c1", None);
    assert_eq!(say(r#"{"state": "Ready"}"#), "200");
    sandbox.kill_daemon();
    sandbox.start_daemon();
    let shown = status();
    assert_eq!((&shown.metadata()["status"], &shown.metadata()["status_code"]), (&json!("Ready"), &json!(113)));
    assert_eq!(shown.metadata()["config"]["volatile.last_state.ready"], "true");
    assert!(ask(&sandbox, "c1", "/1.0").1.contains(r#""state":"Ready""#));
    for body in [r#"{"state": "Frozen"}"#, r#"{"status": "Ready"}"#, "", "[]"] {
        assert_eq!(say(body), "400", "{body}");
    }
    assert_eq!(say(r#"{"state": "Started"}"#), "200");
    assert_eq!(status().metadata()["status"], "Running");
    assert_eq!(say(r#"{"state": "Ready"}"#), "200");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert_eq!(status().metadata()["status"], "Running");

    // A profile counts, at once.
    sandbox.lxc_ok(&["profile", "set", "default", "user.b", "all"]);
    assert_eq!(ask(&sandbox, "c2", "/1.0/config/user.b"), reply("200", "all"));

    // A new daemon, and a new start.
    sandbox.kill_daemon();
    sandbox.start_daemon();
    assert_eq!(ask(&sandbox, "c2", "/1.0/config/user.a"), reply("200", "two"));
    sandbox.lxc_ok(&["restart", "--force", "c2"]);
    assert_eq!(ask(&sandbox, "c2", "/1.0/config/user.a"), reply("200", "two"));

    // Off and on again, while it runs.
    sandbox.lxc_ok(&["config", "set", "c1", "security.devlxd", "false"]);
    let refused = sandbox.lxc(&["exec", "c1", "--", CHECKER, "ask", SOCKET, "GET /"]);
    assert!(!refused.ok() && refused.stderr.contains("connect"), "{}", refused.report());
    sandbox.kill_daemon();
    sandbox.start_daemon();
    assert!(!sandbox.lxc(&["exec", "c1", "--", CHECKER, "ask", SOCKET, "GET /"]).ok());
    sandbox.lxc_ok(&["config", "set", "c1", "security.devlxd", "true"]);
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/user.a"), reply("200", "one"));
    sandbox.finish();
}

#[test]
fn changes_are_told() {
    let Some(sandbox) = Sandbox::start("changes_are_told", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &[]);
    launch(&sandbox, "c2", &[]);
    follow(&sandbox, "c1", "websocket", "/1.0/events", "/root/all");
    follow(&sandbox, "c1", "lines", "/1.0/events?type=device", "/root/devices");
    follow(&sandbox, "c2", "lines", "/1.0/events", "/root/all");
    sandbox.lxc_ok(&["config", "set", "c1", "user.x", "new"]);
    wait_for_line(&sandbox, "c1", "/root/all", r#""metadata":{"key":"user.x","old_value":"","value":"new"}"#);
    sandbox.lxc_ok(&["config", "set", "c1", "limits.processes", "400"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "zero", "unix-char", "source=/dev/zero", "path=/dev/zero2"]);
    for file in ["/root/all", "/root/devices"] {
        wait_for_line(&sandbox, "c1", file, r#""metadata":{"name":"zero","action":"added","config":{"#);
    }
    sandbox.lxc_ok(&["config", "device", "remove", "c1", "zero"]);
    wait_for_line(&sandbox, "c1", "/root/devices", r#""name":"zero","action":"removed""#);
    // Each has heard of its own and of nothing else.
    assert_eq!(sandbox.exec_ok("c1", "grep -c user.x /root/devices; grep -c limits /root/all; true"), "0\n0");
    assert_eq!(sandbox.exec_ok("c2", "cat /root/all"), "following");
    // Switched off, those who listen are disconnected.
    sandbox.lxc_ok(&["config", "set", "c1", "security.devlxd", "false"]);
    for file in ["/root/all", "/root/devices"] {
        wait_for_line(&sandbox, "c1", file, "end");
    }
    sandbox.finish();
}

#[test]
fn images_for_those_who_may() {
    let Some(sandbox) = Sandbox::start("images_for_those_who_may", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &["-c", "security.devlxd.images=true"]);
    let images = sandbox.http("GET", "/1.0/images", None);
    let fingerprint = images.metadata()[0].as_str().expect("an image").trim_start_matches("/1.0/images/").to_owned();
    let export = format!("/1.0/images/{fingerprint}/export");
    // A private one is not there for a guest, and a part of a name is no name.
    assert_eq!(ask(&sandbox, "c1", &export).0, "404");
    let public = serde_json::json!({ "public": true });
    assert_eq!(sandbox.http("PATCH", &format!("/1.0/images/{fingerprint}"), Some(&public)).status, 200);
    assert_eq!(ask(&sandbox, "c1", &format!("/1.0/images/{}/export", &fingerprint[..12])).0, "404");
    let script = format!("{CHECKER} ask {SOCKET} 'GET {export}' | wc -c");
    let size: u64 = sandbox.exec_ok("c1", &script).parse().expect("a number");
    assert!(size > 500_000, "only {size} bytes came");
    sandbox.lxc_ok(&["config", "unset", "c1", "security.devlxd.images"]);
    assert_eq!(ask(&sandbox, "c1", &export).0, "403");
    sandbox.finish();
}

#[test]
fn nobody_else_gets_it() {
    let Some(sandbox) = Sandbox::start("nobody_else_gets_it", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &["-c", "user.secret=precious"]);
    launch(&sandbox, "c2", &[]);
    // A user of the guest.
    let (status, said) = ask_as(&sandbox, "c1", "1000", "/1.0/config/user.secret");
    assert!(status == "401" && said.starts_with("Access denied for non-root user"), "{status} {said}");
    // A process of the host, even its root; the socket's directory is closed to its users.
    let socket = sandbox.state_path("devlxd/c1/sock");
    let from_host = sandbox.sh_ok(&format!("curl -s -w '%{{http_code}}' --unix-socket {socket} http://lxd/1.0/config/user.secret"));
    assert!(from_host.ends_with("500") && from_host.contains("pid not in container?"), "{from_host}");
    assert_eq!(sandbox.sh_ok("stat -c %a $LXD_DIR/devlxd"), "700");
    // Another container to which this one's directory is shown by mistake: the kernel tells who it is.
    let source = format!("source={}", sandbox.state_path("devlxd/c1"));
    sandbox.lxc_ok(&["config", "device", "add", "c2", "mistake", "disk", &source, "path=/stolen"]);
    let stolen = sandbox.lxc_ok(&["exec", "c2", "--", CHECKER, "ask", "/stolen/sock", "GET /1.0/config/user.secret"]);
    assert!(stolen.starts_with("500") && !stolen.contains("precious"), "{stolen}");
    // A name that says it is another does not help, nor do control groups that are called like another's.
    let script = "for group in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir -p $group/lxd/c1 2>/dev/null; done; \
                  hostname c1; cp /root/checker '/root/[lxc monitor] c1'; \
                  (for procs in $(find /sys/fs/cgroup -path '*/lxd/c1/cgroup.procs'); do echo 0 2>/dev/null > $procs; done; \
                  '/root/[lxc monitor] c1' ask /stolen/sock 'GET /1.0/config/user.secret'; \
                  '/root/[lxc monitor] c1' ask /dev/lxd/sock 'GET /1.0/meta-data')";
    let said = sandbox.lxc(&["exec", "c2", "--", "sh", "-c", script]).stdout;
    assert!(said.contains("instance-id: c2") && !said.contains("precious"), "{said}");
    sandbox.lxc_ok(&["config", "device", "remove", "c2", "mistake"]);
    // The guest cannot put anything in the socket's place.
    sandbox.exec_ok("c1", "! rm /dev/lxd/sock 2>/dev/null && ! touch /dev/lxd/x 2>/dev/null");
    sandbox.finish();
}

#[test]
fn floods_stay_inside() {
    let Some(sandbox) = Sandbox::start("floods_stay_inside", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &[]);
    launch(&sandbox, "c2", &["-c", "user.a=two"]);
    sandbox.exec_ok("c1", &format!("setsid {CHECKER} flood {SOCKET} 600 > /dev/null 2>&1 < /dev/null &"));
    // It has all its places now.
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(&sandbox, "c2", "/1.0/config/user.a"), reply("200", "two"));
        assert_eq!(sandbox.http("GET", "/1.0/instances", None).status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // What it uses of the daemon is bounded.
    let pid = sandbox.sh_ok("cat $SANDBOX_DIR/daemon.pid");
    let connections: u32 = sandbox.sh_ok(&format!("ls /proc/{pid}/fd | wc -l")).parse().expect("a number");
    assert!(connections < 150, "{connections} descriptors");
    let kilobytes: u32 = sandbox.sh_ok(&format!("awk '/VmRSS/ {{ print $2 }}' /proc/{pid}/status")).parse().expect("a number");
    assert!(kilobytes < 120_000, "{kilobytes} kB of memory");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    sandbox.finish();
}

/// What is connected is let go when the running state is saved, and the socket is there again after that.
#[test]
fn connections_do_not_keep_the_state_from_being_saved() {
    let Some(sandbox) = Sandbox::start("connections_do_not_keep_the_state_from_being_saved", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    launch(&sandbox, "c1", &["-c", "user.a=one", "-c", "migration.stateful=true"]);
    follow(&sandbox, "c1", "websocket", "/1.0/events", "/root/all");
    sandbox.lxc_ok(&["snapshot", "c1", "s1", "--stateful"]);
    wait_for_line(&sandbox, "c1", "/root/all", "end");
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/user.a"), reply("200", "one"));
    follow(&sandbox, "c1", "lines", "/1.0/events", "/root/lines");
    sandbox.lxc_ok(&["stop", "c1", "--stateful"]);
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/devlxd"), "");
    sandbox.lxc_ok(&["start", "c1"]);
    // The follower was saved, and finds its connection ended.
    wait_for_line(&sandbox, "c1", "/root/lines", "end");
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/user.a"), reply("200", "one"));
    sandbox.lxc_ok(&["restore", "c1", "s1"]);
    assert_eq!(ask(&sandbox, "c1", "/1.0/config/user.a"), reply("200", "one"));
    sandbox.finish();
}
