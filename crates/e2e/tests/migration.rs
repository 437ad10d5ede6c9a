//! Instances between two servers, over HTTPS: as clients have it done, with what goes wrong on the way.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, Response, Sandbox, request, wait_until};

/// A peer that does not keep to the rules.
const PEER: &str = include_str!("peer.py");

struct Server<'a> {
    sandbox: &'a Sandbox,
    dir: String,
    address: &'static str,
}

impl Server<'_> {
    fn http(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let socket: PathBuf = self.sandbox.seen_from_outside(format!("{}/unix.socket", self.dir));
        match request(&socket, method, path, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}\n{}", self.log()),
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.http("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.metadata().clone()
    }

    /// URL and metadata of an operation that a request begins.
    fn begin(&self, path: &str, body: &Value) -> (String, Value) {
        let answer = self.http("POST", path, Some(body));
        assert_eq!(answer.status, 202, "POST {path}: {}\n{}", answer.body, self.log());
        (answer.body["operation"].as_str().expect("an operation").to_owned(), answer.body["metadata"]["metadata"].clone())
    }

    fn wait(&self, operation: &str) -> Value {
        self.get(&format!("{operation}/wait"))
    }

    fn lxc(&self, args: &str) -> String {
        self.sandbox.sh_ok(&format!("LXD_DIR={} lxc {args}", self.dir))
    }

    fn certificate(&self) -> Value {
        self.get("/1.0")["environment"]["certificate"].clone()
    }

    fn url(&self, operation: &str) -> String {
        format!("https://{}{operation}", self.address)
    }

    fn log(&self) -> String {
        self.sandbox.sh(&format!("tail -n 60 {}.log", self.dir)).stdout
    }

    /// Starts it, to die at a point if one is named.
    fn start(&self, point: &str) {
        self.sandbox.start_second(&self.dir, point);
    }

    fn kill(&self) {
        self.sandbox.sh_ok(&format!("kill -KILL $(cat {0}.pid); while kill -0 $(cat {0}.pid) 2>/dev/null; do sleep 0.02; done", self.dir));
    }

    /// What lies in its pools under a name.
    fn volumes(&self, name: &str) -> String {
        self.sandbox.sh_ok(&format!("find {}/storage-pools -maxdepth 4 \\( -name '{name}*' -o -name 'still-*' \\) | sort", self.dir))
    }
}

fn is_success(operation: &Value) -> bool {
    operation["status"] == "Success"
}

/// The target connects to the source. How the operations of the source and of the target ended.
fn pull(from: &Server<'_>, path: &str, to: &Server<'_>, instance: Value) -> [Value; 2] {
    let (operation, secrets) = from.begin(path, &json!({ "migration": true, "live": false }));
    let source = json!({ "type": "migration", "mode": "pull", "operation": from.url(&operation), "certificate": from.certificate(), "secrets": secrets });
    let received = to.begin("/1.0/instances", &with_source(instance, source)).0;
    let received = to.wait(&received);
    [from.wait(&operation), received]
}

/// The source connects to the target.
fn push(from: &Server<'_>, path: &str, to: &Server<'_>, instance: Value) -> [Value; 2] {
    let (operation, secrets) = to.begin("/1.0/instances", &with_source(instance, json!({ "type": "migration", "mode": "push" })));
    let target = json!({ "operation": to.url(&operation), "certificate": to.certificate(), "secrets": secrets });
    let sent = from.begin(path, &json!({ "migration": true, "target": target })).0;
    let sent = from.wait(&sent);
    [sent, to.wait(&operation)]
}

fn with_source(mut instance: Value, source: Value) -> Value {
    let mut all = source;
    if let Some(more) = instance["source"].as_object() {
        all.as_object_mut().expect("object").extend(more.clone());
    }
    instance["source"] = all;
    instance
}

/// Two servers that can reach each other.
fn servers(sandbox: &Sandbox) -> (Server<'_>, Server<'_>) {
    sandbox.lxc_ok(&["config", "set", "core.https_address", "127.0.0.1:8443"]);
    let first = Server { sandbox, dir: sandbox.state_path("").trim_end_matches('/').to_owned(), address: "127.0.0.1:8443" };
    let second = Server { sandbox, dir: sandbox.dir().join("second").to_string_lossy().into_owned(), address: "127.0.0.1:8444" };
    second.start("");
    second.lxc("storage create default dir");
    second.lxc("config set core.https_address 127.0.0.1:8444");
    (first, second)
}

#[test]
fn an_instance_goes_to_another_server_and_comes_back() {
    let Some(sandbox) = Sandbox::with_busybox("an_instance_goes_to_another_server_and_comes_back", Options::storage("overlay")) else {
        return;
    };
    let (first, second) = servers(&sandbox);
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-c", "user.color=red", "-c", "snapshots.expiry=1d"]);
    sandbox.exec_ok(
        "c1",
        "mkdir -p /data && echo one > /data/file && echo old > /data/old && chown 1000:1001 /data/old && touch /data/tool && chmod 4755 /data/tool",
    );
    sandbox.lxc_ok(&["snapshot", "c1", "s0"]);
    sandbox.exec_ok("c1", "rm /data/old && echo two > /data/file && ln /data/file /data/again && ln -s /etc/passwd /data/link");
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.exec_ok("c1", "echo three > /data/file");

    // It runs, and its files alone are taken.
    let shown = first.get("/1.0/instances/c1");
    let instance = json!({ "name": "c1", "config": shown["config"], "devices": {}, "profiles": ["default"] });
    let [sent, received] = pull(&first, "/1.0/instances/c1", &second, instance);
    assert!(is_success(&sent) && is_success(&received), "{sent}\n{received}\n{}", second.log());
    assert!(received["metadata"]["fs_progress"].as_str().is_some_and(|text| text.starts_with("c1: ")), "{received}");
    let volume = first.volumes("c1");
    assert!(!volume.contains("still-"), "{volume}");
    assert_eq!(sandbox.state_of("c1"), "RUNNING");

    let arrived = second.get("/1.0/instances/c1");
    let config = &arrived["config"];
    assert_eq!((config["user.color"].as_str(), config["volatile.apply_template"].as_str()), (Some("red"), Some("copy")), "{arrived}");
    assert_eq!(config["volatile.base_image"], shown["config"]["volatile.base_image"]);
    assert_ne!(config["volatile.uuid"], shown["config"]["volatile.uuid"]);
    for snapshot in ["s0", "s1"] {
        let path = format!("/1.0/instances/c1/snapshots/{snapshot}");
        let (ours, theirs) = (first.get(&path), second.get(&path));
        let second_of = |snapshot: &Value, key: &str| snapshot[key].as_str().map(|time| time[..19].to_owned());
        for key in ["created_at", "expires_at"] {
            assert_eq!(second_of(&ours, key), second_of(&theirs, key), "{ours}\n{theirs}");
        }
        assert_eq!((&ours["config"]["user.color"], &ours["profiles"]), (&theirs["config"]["user.color"], &theirs["profiles"]));
    }
    second.lxc("start c1");
    let look =
        "cat /data/file; stat -c %h,%a,%u /data/file /data/again /data/tool; readlink /data/link; ls /data; cat /proc/self/uid_map | wc -l";
    let seen = second.lxc(&format!("exec c1 -- sh -c '{look}'"));
    assert!(seen.starts_with("three\n2,644,0\n2,644,0\n1,4755,0\n/etc/passwd\nagain\nfile\nlink\ntool\n"), "{seen}");
    second.lxc("stop c1 --force");
    second.lxc("restore c1 s0");
    second.lxc("start c1");
    assert_eq!(second.lxc("exec c1 -- stat -c %u:%g /data/old"), "1000:1001");
    second.lxc("stop c1 --force");
    second.lxc("restore c1 s1");

    // Brought up to date: one snapshot gone, one new, and the present content.
    sandbox.lxc_ok(&["delete", "c1/s0"]);
    sandbox.exec_ok("c1", "rm /data/again; echo four > /data/file");
    sandbox.lxc_ok(&["snapshot", "c1", "s2"]);
    sandbox.exec_ok("c1", "echo five > /data/file");
    let [sent, received] = pull(&first, "/1.0/instances/c1", &second, json!({ "name": "c1", "source": { "refresh": true } }));
    assert!(is_success(&sent) && is_success(&received), "{sent}\n{received}\n{}", second.log());
    assert_eq!(second.lxc("file pull c1/data/file -"), "five");
    assert_eq!(second.lxc("list c1 -c S --format csv"), "2");
    assert!(second.lxc("info c1").contains("s2") && !second.lxc("info c1").contains("s0"));
    assert!(!second.volumes("").contains("receiving-"), "{}", second.volumes(""));

    // And back, pushed, under another name; a snapshot as an instance.
    let [sent, received] = push(&second, "/1.0/instances/c1", &first, json!({ "name": "c2" }));
    assert!(is_success(&sent) && is_success(&received), "{sent}\n{received}\n{}", second.log());
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c2/data/file", "-"]), "five");
    let (operation, secrets) = second.begin("/1.0/instances/c1/snapshots/s1", &json!({ "migration": true }));
    let source = |certificate: Value| json!({ "name": "c3", "source": { "type": "migration", "mode": "pull", "operation": second.url(&operation), "certificate": certificate, "secrets": secrets } });
    // Another server than the client means.
    let begun = first.begin("/1.0/instances", &source(first.certificate())).0;
    let ended = first.wait(&begun);
    assert!(ended["err"].as_str().is_some_and(|text| text.contains("another certificate")), "{ended}");
    let begun = first.begin("/1.0/instances", &source(second.certificate())).0;
    let received = first.wait(&begun);
    assert!(is_success(&second.wait(&operation)) && is_success(&received), "{received}\n{}", second.log());
    assert_eq!(sandbox.lxc_ok(&["file", "pull", "c3/data/file", "-"]), "two");
    assert_eq!(sandbox.lxc_ok(&["list", "c3", "-c", "S", "--format", "csv"]), "0");
    sandbox.lxc_ok(&["start", "c2"]);
    assert_eq!(sandbox.exec_ok("c2", "stat -c %a,%u /data/tool"), "4755,0");

    what_is_refused(&first, &second);
    second.lxc("delete c1");
    sandbox.sh_ok(&format!("LXD_DIR={} lxd shutdown --timeout=30", second.dir));
    sandbox.finish();
}

/// With a reason and what to do about it, and nothing left.
fn what_is_refused(first: &Server<'_>, second: &Server<'_>) {
    let fails = |server: &Server<'_>, path: &str, body: Value| {
        let answer = server.http("POST", path, Some(&body));
        assert!(answer.status >= 400, "{}", answer.body);
        (answer.status, answer.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let (status, text) = fails(first, "/1.0/instances/c1", json!({ "migration": true, "live": true }));
    assert!(status == 501 && text.contains("--stateless") && text.contains("stop it first"), "{text}");
    assert_eq!(fails(first, "/1.0/instances/nope", json!({ "migration": true })).0, 404);
    assert_eq!(fails(first, "/1.0/instances/c1/snapshots/nope", json!({ "migration": true })).0, 404);
    let source = |more: Value| with_source(json!({ "name": "c9", "source": more }), json!({ "type": "migration" }));
    for (more, expected) in [
        (json!({ "mode": "relay" }), "unknown migration mode"),
        (json!({ "mode": "pull" }), "not the URL of an operation"),
        (
            json!({ "mode": "pull", "operation": "https://127.0.0.1:1/1.0/operations/0c4a4b3e-1111-4222-8333-444455556666" }),
            "Invalid certificate",
        ),
        (json!({ "mode": "push", "live": true }), "--stateless"),
    ] {
        let text = fails(second, "/1.0/instances", source(more)).1;
        assert!(text.contains(expected), "{text}");
    }
    // A name that is taken.
    let taken = with_source(json!({ "name": "c1" }), json!({ "type": "migration", "mode": "pull" }));
    assert_eq!(fails(second, "/1.0/instances", taken).0, 409);
    assert_eq!(second.volumes("c9"), "");
}

#[test]
fn a_transfer_that_breaks_leaves_nothing() {
    let Some(sandbox) = Sandbox::with_busybox("a_transfer_that_breaks_leaves_nothing", Options::default()) else { return };
    let (first, second) = servers(&sandbox);
    sandbox.lxc_ok(&["launch", "busybox", "c1"]);
    sandbox.exec_ok("c1", "head -c 30000000 /dev/urandom > /data");
    sandbox.lxc_ok(&["snapshot", "c1", "s0"]);
    let peer = sandbox.dir().join("peer.py");
    std::fs::write(&peer, PEER).expect("write the peer");

    // Servers that mean no good.
    for (mood, expected) in [
        ("oversized", "at most"),
        ("twice", "has snapshot a twice"),
        ("nonsense", "rsync"),
        ("flood", "rsync"),
        ("vanish", "closed the connection"),
    ] {
        let (operation, secrets) =
            second.begin("/1.0/instances", &json!({ "name": "c9", "source": { "type": "migration", "mode": "push" } }));
        let secret = |name: &str| secrets[name].as_str().expect("secret").to_owned();
        let outcome = sandbox.sh(&format!(
            "timeout 60 python3 {} {}/unix.socket {operation} {} {} {mood}",
            peer.display(),
            second.dir,
            secret("control"),
            secret("fs")
        ));
        let ended = second.wait(&operation);
        assert!(ended["err"].as_str().is_some_and(|text| text.contains(expected)), "{mood}: {ended}\n{}", outcome.report());
        assert_eq!(second.volumes("c9"), "", "{mood}");
        assert_eq!(second.get("/1.0/instances"), json!([]), "{mood}");
    }

    // Cancelled on the target: the source is told, and has everything.
    second.kill();
    second.start("migration.snapshot:pause");
    let begin_pull = || {
        let (operation, secrets) = first.begin("/1.0/instances/c1", &json!({ "migration": true }));
        let source = json!({ "type": "migration", "mode": "pull", "operation": first.url(&operation), "certificate": first.certificate(), "secrets": secrets });
        (operation, second.begin("/1.0/instances", &json!({ "name": "c9", "source": source })).0)
    };
    let (sending, receiving) = begin_pull();
    wait_until("files to come", Duration::from_secs(30), || second.get(&receiving)["metadata"]["fs_progress"].is_string());
    assert_eq!(second.http("DELETE", &receiving, None).status, 200);
    assert_eq!(second.volumes("c9"), "");
    assert_eq!(second.wait(&receiving)["status"], "Cancelled");
    assert_eq!(first.wait(&sending)["status"], "Failure");

    // The source dies in the middle.
    let (_, receiving) = begin_pull();
    wait_until("files to come", Duration::from_secs(30), || second.get(&receiving)["metadata"]["fs_progress"].is_string());
    sandbox.kill_daemon();
    let ended = second.wait(&receiving);
    assert_eq!(ended["status"], "Failure", "{ended}");
    assert_eq!(second.volumes("c9"), "");
    sandbox.start_daemon();
    assert!(!first.volumes("c1").contains("still-"), "{}", first.volumes("c1"));
    assert_eq!((sandbox.state_of("c1").as_str(), sandbox.exec_ok("c1", "stat -c %s /data").as_str()), ("RUNNING", "30000000"));

    // The target dies with everything received.
    second.kill();
    second.start("migration.received:die");
    let (sending, _) = begin_pull();
    assert_eq!(first.wait(&sending)["status"], "Failure");
    wait_until("the daemon's death", Duration::from_secs(20), || !sandbox.sh(&format!("kill -0 $(cat {}.pid)", second.dir)).ok());
    second.start("");
    assert_eq!(second.get("/1.0/instances"), json!([]));
    assert_eq!(second.volumes("c9"), "");
    let [sent, received] = pull(&first, "/1.0/instances/c1", &second, json!({ "name": "c9" }));
    assert!(is_success(&sent) && is_success(&received), "{sent}\n{received}\n{}", second.log());
    second.lxc("delete c9");
    sandbox.sh_ok(&format!("LXD_DIR={} lxd shutdown --timeout=30", second.dir));
    sandbox.finish();
}
