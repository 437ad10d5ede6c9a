//! Custom volumes, on every driver: one content for several containers, snapshots, copies between pools, limits.

use serde_json::json;
use testkit::{Options, Sandbox};

const BACKENDS: [&str; 3] = ["dir", "btrfs", "overlay"];
const VOLUMES: &str = "/1.0/storage-pools/default/volumes/custom";

/// A request that must succeed, waited for where it goes on in the background.
fn ask(sandbox: &Sandbox, method: &str, path: &str, body: serde_json::Value) -> serde_json::Value {
    let answer = sandbox.http(method, path, Some(&body));
    assert!(answer.status < 400, "{method} {path}: {}", answer.body);
    if answer.status != 202 {
        return answer.body;
    }
    let operation = answer.body["operation"].as_str().expect("an operation");
    let end = sandbox.http("GET", &format!("{operation}/wait?timeout=60"), None);
    assert_eq!(end.metadata()["status"], "Success", "{method} {path}: {}", end.body);
    end.body
}

/// `lxc storage volume` with these words, which must succeed; what it prints.
fn volume(sandbox: &Sandbox, words: &str) -> String {
    sandbox.lxc_ok(&["storage", "volume"].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
}

fn edit(sandbox: &Sandbox, volume: &str, document: &str) {
    let outcome = sandbox.lxc_with_input(&["storage", "volume", "edit", "default", volume], document.as_bytes());
    assert!(outcome.ok(), "{}", outcome.report());
}

#[test]
fn several_containers_share_a_volume() {
    for backend in BACKENDS {
        let Some(sandbox) = Sandbox::start(&format!("several_containers_share_a_volume on {backend}"), Options::storage(backend)) else {
            return;
        };
        sandbox.build_busybox();
        sandbox.launch_busybox("c1");
        sandbox.lxc_ok(&["launch", "busybox", "c2", "-c", "security.idmap.isolated=true"]);
        volume(&sandbox, "create default data user.note=1 --description shared");
        for name in ["c1", "c2"] {
            volume(&sandbox, &format!("attach default data {name} /data"));
        }
        sandbox.exec_ok("c1", "echo one > /data/f; chown 33:44 /data/f");
        // Root of another map is root of the content, too, and sees the same owners.
        assert_eq!(sandbox.exec_ok("c2", "cat /data/f; stat -c '%u %g' /data/f; echo two > /data/f; stat -c %u /data"), "one\n33 44\n0");
        assert_eq!(sandbox.exec_ok("c1", "cat /data/f"), "two");
        sandbox.lxc_ok(&["restart", "--force", "c1"]);
        assert_eq!(sandbox.exec_ok("c1", "cat /data/f"), "two");
        let shown = sandbox.http("GET", &format!("{VOLUMES}/data"), None);
        assert_eq!(shown.metadata()["used_by"], json!(["/1.0/instances/c1", "/1.0/instances/c2"]));
        assert!(volume(&sandbox, "info default data").ends_with("\nUsed by:\n  instances/c1\n  instances/c2"));
        assert_eq!(volume(&sandbox, "list default type=custom -c ndu -f csv"), "data,shared,2");
        let both = sandbox.lxc_ok(&["config", "device", "get", "c2", "data", "source"]);
        assert_eq!(both, "data");

        for (verb, body) in [("DELETE", json!({})), ("POST", json!({"name": "other"}))] {
            let refused = sandbox.http(verb, &format!("{VOLUMES}/data"), Some(&body));
            assert!(refused.status == 400 && refused.body["error"].as_str().is_some_and(|text| text.contains("c1")), "{}", refused.body);
        }
        let said = sandbox.lxc_fails(&["config", "device", "add", "c1", "none", "disk", "pool=default", "source=none", "path=/none"]);
        assert!(said.contains("default/none"), "{said}");
        assert_eq!(sandbox.http("DELETE", "/1.0/storage-pools/default", None).status, 400);
        let said = sandbox.lxc_fails(&["storage", "volume", "delete", "default", "data"]);
        assert!(said.contains("c1") && said.contains("lxc storage volume detach"), "{said}");
        // What is detached is gone inside at once, and stays on the pool; a profile gives it to all.
        volume(&sandbox, "detach default data c1");
        assert!(!sandbox.lxc(&["exec", "c1", "--", "test", "-e", "/data/f"]).ok());
        volume(&sandbox, "attach-profile default data default shared /shared");
        assert_eq!(sandbox.exec_ok("c1", "cat /shared/f"), "two");
        volume(&sandbox, "detach-profile default data default");
        let said = sandbox.lxc_fails(&["storage", "volume", "detach", "default", "data", "c1"]);
        assert!(said.contains("No device found"), "{said}");
        sandbox.lxc_ok(&["delete", "--force", "c1"]);
        sandbox.lxc_ok(&["delete", "--force", "c2"]);
        volume(&sandbox, "delete default data");
        sandbox.finish();
    }
}

#[test]
fn snapshots_and_copies_of_volumes() {
    for backend in BACKENDS {
        let Some(sandbox) = Sandbox::start(&format!("snapshots_and_copies_of_volumes on {backend}"), Options::storage(backend)) else {
            return;
        };
        sandbox.build_busybox();
        sandbox.launch_busybox("c1");
        sandbox.lxc_ok(&["storage", "create", "second", "dir"]);
        volume(&sandbox, "create default data");
        volume(&sandbox, "attach default data c1 /data");
        sandbox.exec_ok("c1", "echo old > /data/f");
        volume(&sandbox, "snapshot default data");
        sandbox.exec_ok("c1", "echo new > /data/f");
        let shown = sandbox.http("GET", &format!("{VOLUMES}/data/snapshots?recursion=1"), None);
        assert_eq!(shown.metadata()[0]["name"], "data/snap0", "{}", shown.body);

        // With its snapshots to the other pool, one snapshot alone here.
        volume(&sandbox, "copy default/data second/far");
        volume(&sandbox, "copy default/data/snap0 default/was");
        let said = sandbox.lxc_fails(&["storage", "volume", "restore", "default", "data", "snap0"]);
        assert!(said.contains("c1") && said.contains("stop it"), "{said}");
        sandbox.lxc_ok(&["stop", "--force", "c1"]);
        volume(&sandbox, "restore default data snap0");
        volume(&sandbox, "attach second far c1 other /far");
        sandbox.lxc_ok(&["config", "device", "add", "c1", "was", "disk", "pool=default", "source=was", "path=/was", "readonly=true"]);
        sandbox.lxc_ok(&["start", "c1"]);
        assert_eq!(sandbox.exec_ok("c1", "cat /data/f /far/f /was/f"), "old\nnew\nold");
        assert!(!sandbox.lxc(&["exec", "c1", "--", "touch", "/was/x"]).ok());
        sandbox.lxc_ok(&["delete", "--force", "c1"]);

        volume(&sandbox, "restore second far snap0");
        volume(&sandbox, "move second/far default/back");
        assert_eq!(sandbox.http("GET", "/1.0/storage-pools/second/volumes/custom", None).metadata(), &json!([]));
        assert_eq!(
            sandbox.http("GET", &format!("{VOLUMES}/back/snapshots"), None).metadata(),
            &json!([format!("{VOLUMES}/back/snapshots/snap0")])
        );
        // A new daemon knows them all, and a snapshot that has had its time is deleted.
        sandbox.kill_daemon();
        sandbox.start_daemon();
        volume(&sandbox, "rename default data/snap0 first");
        edit(&sandbox, "data/first", "description: the first\nexpires_at: 2040-01-01T00:00:00Z\n");
        let shown = volume(&sandbox, "show default data/first");
        assert!(shown.contains("description: the first\n") && shown.contains("expires_at: 2040-01-01T00:00:00Z"), "{shown}");
        volume(&sandbox, "delete default data/first");
        assert!(!volume(&sandbox, "info default data").contains("Snapshots:"));
        edit(&sandbox, "back/snap0", "expires_at: 2020-01-01T00:00:00Z\n");
        volume(&sandbox, "rename default was renamed");
        for name in ["renamed", "back", "data"] {
            volume(&sandbox, &format!("delete default {name}"));
        }
        sandbox.lxc_ok(&["storage", "delete", "second"]);
        sandbox.finish();
    }
}

#[test]
fn a_volume_keeps_its_size() {
    let Some(sandbox) = Sandbox::start("a_volume_keeps_its_size", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    volume(&sandbox, "create default small size=10MB");
    volume(&sandbox, "attach default small c1 /small");
    let write = "dd if=/dev/urandom of=/small/f bs=1M count=20 && sync";
    assert!(!sandbox.lxc(&["exec", "c1", "--", "sh", "-c", write]).ok(), "more than the limit was written");
    volume(&sandbox, "set default small size 100MB");
    assert_eq!(volume(&sandbox, "get default small size"), "100MB");
    sandbox.exec_ok("c1", write);
    let state = sandbox.http("GET", &format!("{VOLUMES}/small/state"), None);
    assert_eq!(state.metadata()["usage"]["total"], 100 << 20);
    assert!(state.metadata()["usage"]["used"].as_u64().is_some_and(|used| used > 15 << 20), "{}", state.body);
    assert!(volume(&sandbox, "info default small").contains("\nTotal: 100.00MB\n"));
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    volume(&sandbox, "unset default small size");
    assert!(volume(&sandbox, "show default custom/small").starts_with("config: {}\n"));
    volume(&sandbox, "delete default small");

    for (driver, body, words) in [
        ("dir", json!({"name": "v", "config": {"size": "1GB"}}), "size"),
        ("dir", json!({"name": "../v"}), "slashes"),
        ("dir", json!({"name": "v", "config": {"security.unmapped": "true"}}), "security.unmapped"),
        ("dir", json!({"name": "v", "content_type": "block"}), "block"),
        ("dir", json!({"name": "v", "type": "image"}), "image"),
    ] {
        if sandbox.http("GET", &format!("/1.0/storage-pools/{driver}"), None).status == 404 {
            sandbox.lxc_ok(&["storage", "create", driver, driver]);
        }
        let url = format!("/1.0/storage-pools/{driver}/volumes");
        let refused = sandbox.http("POST", &url, Some(&body));
        let said = refused.body["error"].as_str().unwrap_or_default();
        assert!(refused.status == 400 && said.contains(words), "{body}: {}", refused.body);
        let left = sandbox.http("GET", &format!("{url}/custom"), None);
        assert_eq!(left.metadata(), &json!([]), "nothing half-made stays");
    }
    sandbox.finish();
}

/// A daemon that dies between the change on the pool and its record leaves nothing that the next one does not settle.
#[test]
fn interrupted_changes_are_taken_back() {
    for (point, request) in [
        ("volume.filled", ("POST", String::new(), json!({"name": "v2"}))),
        ("volume.renamed", ("POST", "/v1".to_owned(), json!({"name": "v2"}))),
        ("volume.snapshot", ("POST", "/v1/snapshots".to_owned(), json!({"name": "s1"}))),
    ] {
        let Some(sandbox) = Sandbox::start(&format!("interrupted_changes_are_taken_back: {point}"), Options::storage("btrfs")) else {
            return;
        };
        ask(&sandbox, "POST", VOLUMES, json!({"name": "v1"}));
        sandbox.stop_daemon();
        sandbox.spawn_daemon_with_point(&format!("{point}:die"));
        sandbox.wait_daemon_ready();
        let (verb, path, body) = &request;
        let line = format!("curl --silent --unix-socket $LXD_DIR/unix.socket -X {verb} http://lxd{VOLUMES}{path} -d '{body}' || true");
        sandbox.sh_ok(&line);
        sandbox.wait_daemon_death();
        sandbox.start_daemon();
        assert_eq!(sandbox.http("GET", VOLUMES, None).metadata(), &json!([format!("{VOLUMES}/v1")]), "{point}");
        assert_eq!(sandbox.http("GET", &format!("{VOLUMES}/v1/snapshots"), None).metadata(), &json!([]), "{point}");
        ask(&sandbox, verb, &format!("{VOLUMES}{path}"), body.clone());
        for name in ["v1", "v2"] {
            drop(sandbox.http("DELETE", &format!("{VOLUMES}/{name}"), None));
        }
        sandbox.finish();
    }
}
