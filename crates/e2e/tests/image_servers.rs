//! Images from servers: by simplestreams, well behaved and not.

use serde_json::{Value, json};
use testkit::{ImageServer, Options, Sandbox, wait_until};

use std::time::Duration;

#[test]
fn launched_from_a_server() {
    let Some(sandbox) = Sandbox::with_busybox("launched_from_a_server", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    let newest = server.publish("20240202");
    // Slow enough to be seen on its way.
    let size = std::fs::metadata(server.path("bb/20240202/rootfs.squashfs")).expect("the image").len();
    server.behave(&format!("slow rootfs.squashfs {}", size / 2));
    let body = json!({ "name": "c1", "source": server.source("bb"), "start": true });
    let answer = sandbox.http("POST", "/1.0/containers", Some(&body));
    let operation = answer.body["operation"].as_str().expect("an operation").to_owned();
    let second = sandbox.http("POST", "/1.0/instances", Some(&json!({ "name": "c2", "source": server.source(&newest[..12]) })));
    let mut seen = Vec::new();
    wait_until("progress of the download", Duration::from_secs(30), || {
        let shown = sandbox.http("GET", &operation, None).metadata().clone();
        let text = shown["metadata"]["download_progress"].as_str().unwrap_or_default().to_owned();
        if text.starts_with("rootfs: ") {
            assert_eq!(shown["may_cancel"], true, "{shown}");
            seen.push(text);
        }
        seen.iter().any(|text| !text.starts_with("rootfs: 0%")) || shown["status_code"] != 103
    });
    let text = seen.last().expect("progress was shown");
    assert!(text.contains("% (") && text.ends_with("MB/s)"), "{text}");
    let done = sandbox.wait_operation(&operation);
    assert_eq!(done["status"], "Success", "{done}");
    let done = sandbox.wait_operation(second.body["operation"].as_str().expect("an operation"));
    assert_eq!(done["status"], "Success", "{done}");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240202");
    assert_eq!(server.requests("rootfs.squashfs"), 1, "two who want the same image download it once");

    let shown = sandbox.image(&newest);
    assert_eq!((&shown["cached"], &shown["auto_update"], &shown["public"]), (&json!(true), &json!(true), &json!(false)), "{shown}");
    let from = json!({ "alias": "bb", "certificate": server.certificate, "protocol": "simplestreams", "server": server.url });
    assert_eq!(shown["update_source"], from);
    assert_eq!(shown["properties"]["serial"], "20240202");
    let instance = sandbox.http("GET", "/1.0/instances/c2", None).metadata().clone();
    assert_eq!(instance["config"]["volatile.base_image"], newest.as_str());
    assert_eq!(instance["config"]["image.os"], "Busybox");
    // An older one by its fingerprint, and one that stays.
    let older = sandbox
        .post_and_wait("/1.0/images", &json!({ "public": true, "aliases": [{ "name": "kept" }], "source": server.source("bb/edge") }));
    assert_eq!(older["metadata"]["fingerprint"], newest.as_str(), "{older}");
    let shown = sandbox.image(&newest);
    assert_eq!(
        (&shown["cached"], &shown["public"], &shown["aliases"][0]["name"]),
        (&json!(false), &json!(true), &json!("kept")),
        "{shown}"
    );
    sandbox.finish();
}

/// What it does, what is said of it, and that nothing stays.
fn refused(sandbox: &Sandbox, source: &Value, said: &str) {
    let before = sandbox.image_files();
    let done = sandbox.launch_from("c1", source);
    let error = done["err"].as_str().unwrap_or_default();
    assert!(done["status"] == "Failure" && error.contains(said), "expected {said:?}: {done}");
    assert_eq!(sandbox.state_of("c1"), "", "{said}");
    assert_eq!(sandbox.image_files(), before, "{said}");
}

#[test]
fn servers_that_lie_get_nothing_in() {
    let Some(sandbox) = Sandbox::with_busybox("servers_that_lie_get_nothing_in", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let bb = server.source("bb");
    refused(&sandbox, &server.source("nope"), "couldn't be found");
    for (mood, said) in [
        ("cut rootfs", "closed the connection in the middle"),
        ("more rootfs", "more than the"),
        ("to rootfs http://127.0.0.1:1/", "redirects"),
        ("to images.json https://127.0.0.1:1/", "redirects"),
        ("to index.json /streams/v1/index.json", "redirects"),
    ] {
        server.behave(mood);
        sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "core.proxy_ignore_hosts": mood.replace(' ', ",") } })));
        refused(&sandbox, &bb, said);
    }
    server.behave("");
    let item = |change: &dyn Fn(&mut Value)| {
        server.edit_products(|products| change(&mut products["bb"]["versions"]["20240101"]["items"]));
        // The list is remembered; a change of how servers are reached makes it forgotten.
        let config = json!({ "config": { "core.proxy_ignore_hosts": format!("x{}", server.requests("")) } });
        assert_eq!(sandbox.http("PATCH", "/1.0", Some(&config)).status, 200);
    };
    let size = |change: u64| move |items: &mut Value| items["squashfs"]["size"] = json!(change);
    item(&size(1 << 50));
    refused(&sandbox, &bb, "are free in");
    item(&size(1000));
    refused(&sandbox, &bb, "more than the 1000 bytes");
    let real = std::fs::metadata(server.path("bb/20240101/rootfs.squashfs")).expect("the image").len();
    item(&size(real + 1));
    refused(&sandbox, &bb, "of the");
    item(&size(real));
    item(&|items| items["squashfs"]["sha256"] = json!("0".repeat(64)));
    refused(&sandbox, &bb, "Hash mismatch");
    item(&|items| items["squashfs"]["sha256"] = json!(""));
    item(&|items| items["lxd.tar.xz"]["combined_squashfs_sha256"] = json!("1".repeat(64)));
    refused(&sandbox, &bb, "not the one it offered");
    for path in ["../../../etc/passwd", "/etc/passwd", "https://127.0.0.1:1/x", "bb/%2e%2e/x", "bb/20240101/../x"] {
        item(&|items| items["squashfs"]["path"] = json!(path));
        refused(&sandbox, &bb, "not a path below its own address");
    }
    item(&|items| items["lxd.tar.xz"]["combined_squashfs_sha256"] = json!("../../../x"));
    refused(&sandbox, &bb, "couldn't be found");
    for junk in ["[".repeat(100_000), format!("{{\"products\": {{\"a\": {}", "{\"a\": ".repeat(100_000)), "<html>".into(), String::new()] {
        server.write("streams/v1/images.json", &junk);
        sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "core.proxy_ignore_hosts": format!("y{}", server.requests("")) } })));
        refused(&sandbox, &bb, "is not understood");
    }
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).status, 404);
    sandbox.finish();
}

#[test]
fn who_is_to_be_believed() {
    let Some(sandbox) = Sandbox::with_busybox("who_is_to_be_believed", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let mut source = server.source("bb");
    source["certificate"] = json!("");
    refused(&sandbox, &source, "not from an authority");
    let other = sandbox.sh_ok(
        "cd $SANDBOX_DIR/images && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -config openssl.cnf \
             -keyout other.key -out other.crt 2> /dev/null && cat other.crt",
    );
    source["certificate"] = json!(other);
    refused(&sandbox, &source, "shows another certificate");
    for (key, value, said) in [
        ("certificate", "junk", "Invalid certificate"),
        ("server", "http://127.0.0.1", "only https://"),
        ("server", "https://a\nb", "control characters"),
        ("protocol", "ftp", "not known"),
    ] {
        let mut source = source.clone();
        source[key] = json!(value);
        let body = json!({ "name": "c1", "source": source });
        let answer = sandbox.http("POST", "/1.0/instances", Some(&body));
        assert!(answer.status == 400 && answer.body["error"].as_str().is_some_and(|text| text.contains(said)), "{key}: {}", answer.body);
    }
    // The system's authorities, where they are told of this one.
    sandbox.stop_daemon();
    let file = server.certificate_file();
    sandbox.start_daemon_with(&[("SSL_CERT_FILE", file.to_str().expect("a path"))]);
    source["certificate"] = json!("");
    let done = sandbox.launch_from("c1", &source);
    assert_eq!(done["status"], "Success", "{done}");
    // Such a server may redirect, but to nothing that is not as safe.
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.lxc_ok(&["image", "delete", &fingerprint]);
    server.behave("to rootfs http://127.0.0.1:1/");
    refused(&sandbox, &source, "not https");
    server.behave("to rootfs https://127.0.0.1:1/");
    refused(&sandbox, &source, "refused");
    server.behave("");
    // It names an address that the certificate does not.
    source["server"] = json!(server.url.replace("127.0.0.1", "127.0.0.2"));
    assert_eq!(sandbox.launch_from("c2", &source)["status"], "Failure");
    sandbox.finish();
}

#[test]
fn cancelled_or_killed_nothing_stays() {
    let Some(sandbox) = Sandbox::with_busybox("cancelled_or_killed_nothing_stays", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let before = sandbox.image_files();
    let begin = |name: &str| {
        let seen = server.requests("rootfs.squashfs");
        let body = json!({ "name": name, "source": server.source("bb") });
        let answer = sandbox.http("POST", "/1.0/instances", Some(&body));
        wait_until("the download's begin", Duration::from_secs(20), || server.requests("rootfs.squashfs") > seen);
        answer.body["operation"].as_str().expect("an operation").to_owned()
    };
    server.behave("slow rootfs.squashfs 2000");
    let operation = begin("c1");
    assert_eq!(sandbox.http("DELETE", &operation, None).status, 200);
    let done = sandbox.wait_operation(&operation);
    assert_eq!((&done["status"], &done["err"]), (&json!("Cancelled"), &json!("")), "{done}");
    assert_eq!((sandbox.image_files(), sandbox.state_of("c1").as_str()), (before.clone(), ""));

    begin("c2");
    sandbox.kill_daemon();
    assert_ne!(sandbox.image_files(), before, "something was under way");
    sandbox.start_daemon();
    wait_until("what the killed one left is removed", Duration::from_secs(20), || sandbox.image_files() == before);
    assert_eq!(sandbox.state_of("c2"), "");

    // Nothing stands in the way of another try.
    server.behave("");
    let done = sandbox.launch_from("c1", &server.source("bb"));
    assert_eq!(done["status"], "Success", "{done}");
    assert_eq!(sandbox.image(&fingerprint)["cached"], true);
    sandbox.finish();
}

#[test]
fn silent_servers_are_not_waited_for_long() {
    let Some(sandbox) = Sandbox::with_busybox("silent_servers_are_not_waited_for_long", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    server.behave("silent rootfs");
    let start = std::time::Instant::now();
    refused(&sandbox, &server.source("bb"), "fell silent");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    sandbox.finish();
}

#[test]
fn through_a_proxy_that_is_changed_while_running() {
    let Some(sandbox) = Sandbox::with_busybox("through_a_proxy_that_is_changed_while_running", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    let mut source = server.source("bb");
    // A name that only the proxy knows.
    source["server"] = json!(server.url.replace("127.0.0.1", "images.example"));
    refused(&sandbox, &source, "images.example");
    let set = |key: &str, value: &str| {
        let answer = sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { key: value } })));
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    set("core.proxy_https", &server.proxy);
    set("core.proxy_ignore_hosts", "other.example,images.example");
    refused(&sandbox, &source, "images.example");
    assert_eq!(server.requests("CONNECT"), 0);
    set("core.proxy_ignore_hosts", "other.example");
    let done = sandbox.launch_from("c1", &source);
    assert_eq!(done["status"], "Success", "{done}");
    assert!(server.requests("CONNECT images.example:") > 0);
    set("core.proxy_https", "socks5://127.0.0.1:1");
    let done = sandbox.launch_from("c2", &json!({ "type": "image", "server": "https://images.example", "alias": "x" }));
    assert!(done["err"].as_str().is_some_and(|error| error.contains("only proxies that are spoken to in HTTP")), "{done}");
    sandbox.finish();
}
