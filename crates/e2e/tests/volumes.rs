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
        ask(&sandbox, "PATCH", &format!("{VOLUMES}/back/snapshots/snap0"), json!({"description": "mine"}));
        let shown = sandbox.http("GET", &format!("{VOLUMES}/back/snapshots/snap0"), None);
        assert_eq!(shown.metadata()["description"], "mine", "{}", shown.body);
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

/// Operation ended with this failure.
fn fails(sandbox: &Sandbox, method: &str, path: &str, body: serde_json::Value) -> String {
    let answer = sandbox.http(method, path, Some(&body));
    if answer.status >= 400 {
        return answer.body["error"].as_str().unwrap_or_default().to_owned();
    }
    let operation = answer.body["operation"].as_str().expect("an operation");
    let end = sandbox.http("GET", &format!("{operation}/wait?timeout=60"), None);
    end.metadata()["err"].as_str().unwrap_or_default().to_owned()
}

/// From each driver to each other: instances with their snapshots, and what is brought up to date.
#[test]
fn copies_between_pools() {
    let Some(sandbox) = Sandbox::start("copies_between_pools", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["storage", "create", "dirs", "dir"]);
    sandbox.lxc_ok(&["storage", "create", "layers", "overlay"]);
    sandbox.launch_busybox("c1");
    sandbox.exec_ok("c1", "echo old > /root/f; ln /root/f /root/link; chown 12:34 /root/f; mkfifo /root/pipe; touch /root/gone");
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.exec_ok("c1", "echo new > /root/f; rm /root/gone");
    let copy = |from: &str, to: &str, pool: &str, refresh: bool| {
        json!({"name": to, "source": {"type": "copy", "source": from, "refresh": refresh},
               "devices": {"root": {"type": "disk", "path": "/", "pool": pool}}})
    };
    let state = "cat /root/f /root/link; stat -c '%u %g' /root/f; test -p /root/pipe && ls /root | grep -c gone; true";
    // Of one that runs, and on through all drivers.
    for (from, to, pool) in [("c1", "c2", "dirs"), ("c2", "c3", "layers"), ("c3", "c4", "default"), ("c3", "c5", "dirs")] {
        ask(&sandbox, "POST", "/1.0/instances", copy(from, to, pool, false));
        sandbox.lxc_ok(&["start", to]);
        assert_eq!(sandbox.exec_ok(to, state), "new\nnew\n12 34\n0", "{to} on {pool}");
        sandbox.lxc_ok(&["stop", "--force", to]);
    }
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/storage-pools/default/containers-snapshots/c1"), "s1", "a snapshot for reading is left");
    // A snapshot that came along is of the pool that it is on now.
    sandbox.lxc_ok(&["restore", "c3", "s1"]);
    sandbox.lxc_ok(&["config", "set", "c3", "user.a", "1"]);
    sandbox.lxc_ok(&["start", "c3"]);
    assert_eq!(sandbox.exec_ok("c3", state), "old\nold\n12 34\n1");

    // What is there already is brought up to date, with its own configuration.
    sandbox.exec_ok("c1", "echo newest > /root/f");
    sandbox.lxc_ok(&["snapshot", "c1", "s2"]);
    sandbox.lxc_ok(&["delete", "c1/s1"]);
    sandbox.lxc_ok(&["snapshot", "c2", "own"]);
    sandbox.lxc_ok(&["config", "set", "c2", "user.mine", "kept"]);
    let said = fails(&sandbox, "POST", "/1.0/instances", copy("c1", "c3", "layers", true));
    assert!(said.contains("running"), "{said}");
    sandbox.lxc_ok(&["stop", "--force", "c3"]);
    for (to, pool) in [("c2", "dirs"), ("c3", "layers"), ("c4", "default")] {
        ask(&sandbox, "POST", "/1.0/instances", copy("c1", to, pool, true));
        let snapshots = sandbox.http("GET", &format!("/1.0/instances/{to}/snapshots"), None);
        assert_eq!(snapshots.metadata(), &json!([format!("/1.0/instances/{to}/snapshots/s2")]), "{to}");
        sandbox.lxc_ok(&["start", to]);
        assert_eq!(sandbox.exec_ok(to, state), "newest\nnewest\n12 34\n0", "{to} on {pool}");
    }
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c2", "user.mine"]), "kept");
    // One that is not there is made.
    ask(&sandbox, "POST", "/1.0/instances", copy("c1/s2", "c6", "layers", true));
    let said = fails(&sandbox, "POST", "/1.0/instances", copy("c1", "c6", "layers", false));
    assert!(said.contains("already exists"), "{said}");
    for name in ["c1", "c2", "c3", "c4", "c5", "c6"] {
        sandbox.lxc_ok(&["delete", "--force", name]);
    }
    sandbox.lxc_ok(&["storage", "delete", "dirs"]);
    sandbox.lxc_ok(&["storage", "delete", "layers"]);
    sandbox.finish();
}

/// Backups of volumes and of instances, brought back on other drivers.
#[test]
fn backups_come_back() {
    let Some(sandbox) = Sandbox::start("backups_come_back", Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["storage", "create", "dirs", "dir"]);
    sandbox.launch_busybox("c1");
    ask(&sandbox, "POST", VOLUMES, json!({"name": "data", "description": "mine", "config": {"user.note": "1", "size": "100MB"}}));
    sandbox.lxc_ok(&["config", "device", "add", "c1", "data", "disk", "pool=default", "source=data", "path=/data"]);
    sandbox.exec_ok("c1", "echo old > /data/f; echo old > /root/f; chown 33:44 /data/f");
    ask(&sandbox, "POST", &format!("{VOLUMES}/data/snapshots"), json!({"name": "s1"}));
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.exec_ok("c1", "echo new > /data/f; echo new > /root/f");
    let url = format!("{VOLUMES}/data/backups");
    ask(&sandbox, "POST", &url, json!({"optimized_storage": true}));
    ask(&sandbox, "POST", "/1.0/instances/c1/backups", json!({"name": "b", "optimized_storage": true}));
    let shown = sandbox.http("GET", &format!("{url}/backup0"), None);
    assert_eq!((&shown.metadata()["name"], &shown.metadata()["optimized_storage"]), (&json!("backup0"), &json!(false)), "{}", shown.body);
    let fetch = |url: &str, file: &str| {
        sandbox.sh_ok(&format!("cd $SANDBOX_DIR && curl -s --unix-socket $LXD_DIR/unix.socket -o {file} http://lxd{url}/export"))
    };
    fetch(&format!("{url}/backup0"), "volume");
    fetch("/1.0/instances/c1/backups/b", "instance");
    assert_eq!(sandbox.sh_ok("tar -xzOf $SANDBOX_DIR/volume backup/volume/f backup/volume-snapshots/s1/f"), "new\nold");
    ask(&sandbox, "POST", &format!("{url}/backup0"), json!({"name": "renamed"}));
    assert_eq!(sandbox.http("GET", &url, None).metadata(), &json!([format!("{url}/renamed")]));
    let upload = |url: &str, file: &str, headers: &str| {
        let line = format!(
            "cd $SANDBOX_DIR && curl -s --unix-socket $LXD_DIR/unix.socket -H 'Content-Type: application/octet-stream' {headers} --data-binary @{file} http://lxd{url}"
        );
        let answer: serde_json::Value = serde_json::from_str(&sandbox.sh_ok(&line)).expect("JSON");
        let Some(operation) = answer["operation"].as_str().filter(|text| !text.is_empty()) else { return answer["error"].to_string() };
        sandbox.http("GET", &format!("{operation}/wait?timeout=60"), None).metadata()["err"].as_str().unwrap_or_default().to_owned()
    };
    // Not limited where the driver knows no limits, which is said and leaves nothing.
    let far = "/1.0/storage-pools/dirs/volumes/custom";
    assert!(upload(far, "volume", "").contains("limit the size"));
    ask(&sandbox, "PATCH", &format!("{VOLUMES}/data"), json!({"config": {"size": null}}));
    ask(&sandbox, "POST", &url, json!({}));
    fetch(&format!("{url}/backup0"), "volume");
    assert_eq!(upload(far, "volume", ""), "");
    assert_eq!(upload(VOLUMES, "volume", "-H 'X-LXD-name: again'"), "");
    assert!(upload(VOLUMES, "volume", "").contains("already exists"));
    assert!(upload(VOLUMES, "instance", "-H 'X-LXD-name: x'").contains("not of a custom volume"));
    assert_eq!(upload("/1.0/instances", "instance", "-H 'X-LXD-name: c2' -H 'X-LXD-pool: dirs'"), "");
    let shown = sandbox.http("GET", &format!("{far}/data"), None);
    assert_eq!(
        (&shown.metadata()["description"], &shown.metadata()["config"]["user.note"]),
        (&json!("mine"), &json!("1")),
        "{}",
        shown.body
    );
    ask(&sandbox, "PUT", &format!("{VOLUMES}/again"), json!({"restore": "s1"}));
    sandbox.lxc_ok(&["config", "device", "set", "c2", "data", "pool", "dirs"]);
    sandbox.lxc_ok(&["config", "device", "add", "c2", "again", "disk", "pool=default", "source=again", "path=/again"]);
    sandbox.lxc_ok(&["restore", "c2", "s1"]);
    sandbox.lxc_ok(&["config", "device", "set", "c2", "data", "pool", "dirs"]);
    sandbox.lxc_ok(&["config", "device", "add", "c2", "again", "disk", "pool=default", "source=again", "path=/again"]);
    sandbox.lxc_ok(&["start", "c2"]);
    assert_eq!(sandbox.exec_ok("c2", "cat /root/f /data/f /again/f; stat -c '%u %g' /data/f"), "old\nnew\nold\n33 44");
    // By the command line, from one program into the next.
    sandbox.sh_ok("cd $SANDBOX_DIR && lxc storage volume export dirs data v.tar.zst --compression zstd && lxc storage volume import default v.tar.zst piped");
    sandbox
        .sh_ok("lxc storage volume export default piped - --compression none --volume-only | lxc storage volume import default - single");
    let snapshots = |volume: &str| sandbox.http("GET", &format!("{VOLUMES}/{volume}/snapshots"), None).metadata().to_string();
    assert!(snapshots("piped").contains("/s1") && snapshots("single") == "[]", "{} {}", snapshots("piped"), snapshots("single"));
    assert_eq!(sandbox.sh_ok("find $LXD_DIR/storage-pools/default/custom/single -name f -exec cat {} +"), "new");
    volume(&sandbox, "delete default piped");
    volume(&sandbox, "delete default single");
    // A backup that has had its time goes, and those of a volume go with it.
    ask(&sandbox, "DELETE", &format!("{url}/backup0"), json!({}));
    for name in ["c1", "c2"] {
        sandbox.lxc_ok(&["delete", "--force", name]);
    }
    for volume in [format!("{VOLUMES}/data"), format!("{VOLUMES}/again"), format!("{far}/data")] {
        ask(&sandbox, "DELETE", &volume, json!({}));
    }
    assert_eq!(sandbox.sh_ok("ls $LXD_DIR/backups"), "");
    sandbox.lxc_ok(&["storage", "delete", "dirs"]);
    sandbox.finish();
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

/// A volume gets no other content while an instance that has it is about to run.
#[test]
fn a_restore_waits_for_a_start() {
    let Some(sandbox) = Sandbox::start("a_restore_waits_for_a_start", Options::storage("dir")) else { return };
    sandbox.build_busybox();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    volume(&sandbox, "create default data");
    volume(&sandbox, "snapshot default data");
    volume(&sandbox, "attach default data c1 /data");
    sandbox.stop_daemon();
    sandbox.spawn_daemon_with_point("start.stored:pause");
    sandbox.wait_daemon_ready();
    let start = sandbox.http("PUT", "/1.0/instances/c1/state", Some(&json!({"action": "start", "timeout": 30})));
    let operation = start.body["operation"].as_str().expect("an operation");
    testkit::wait_until("the start is under way", std::time::Duration::from_secs(20), || {
        let config = sandbox.http("GET", "/1.0/instances/c1", None);
        config.metadata()["config"]["volatile.last_state.power"] == "RUNNING"
    });
    let refused = sandbox.http("PUT", &format!("{VOLUMES}/data"), Some(&json!({"restore": "snap0"})));
    let said = refused.body["error"].as_str().unwrap_or_default();
    assert!(refused.status == 400 && said.contains("instance 'c1' runs with it"), "{}", refused.body);
    let end = sandbox.http("GET", &format!("{operation}/wait?timeout=60"), None);
    assert_eq!(end.metadata()["status"], "Success", "{}", end.body);
    assert_eq!(sandbox.exec_ok("c1", "touch /data/f && echo there"), "there");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    volume(&sandbox, "delete default data");
    sandbox.finish();
}
