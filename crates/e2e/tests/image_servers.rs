//! Images from servers: by simplestreams, well behaved and not.

use serde_json::{Value, json};
use testkit::{ImageServer, Options, Sandbox, wait_until};

use std::time::Duration;

/// A sandbox with the image `busybox` and a server that has one image.
fn with_busybox(test: &str, options: Options) -> Option<Sandbox> {
    let sandbox = Sandbox::start(test, options)?;
    sandbox.build_busybox();
    Some(sandbox)
}

/// The source of an instance or image on the server.
fn source(server: &ImageServer<'_>, name: &str) -> Value {
    json!({ "type": "image", "mode": "pull", "server": server.url, "protocol": "simplestreams", "alias": name,
        "certificate": server.certificate })
}

/// Sends a request and waits for its operation's end.
fn post(sandbox: &Sandbox, path: &str, body: &Value) -> Value {
    let answer = sandbox.http("POST", path, Some(body));
    assert_eq!(answer.status, 202, "{}", answer.body);
    wait(sandbox, answer.body["operation"].as_str().expect("an operation"))
}

fn wait(sandbox: &Sandbox, operation: &str) -> Value {
    sandbox.http("GET", &format!("{operation}/wait"), None).metadata().clone()
}

fn launch(sandbox: &Sandbox, name: &str, source: &Value) -> Value {
    post(sandbox, "/1.0/instances", &json!({ "name": name, "source": source, "start": true }))
}

fn image(sandbox: &Sandbox, fingerprint: &str) -> Value {
    sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).metadata().clone()
}

/// All that is kept of images.
fn files(sandbox: &Sandbox) -> String {
    sandbox.sh_ok("cd $LXD_DIR && find images | sort")
}

#[test]
fn launched_from_a_server() {
    let Some(sandbox) = with_busybox("launched_from_a_server", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    let newest = server.publish("20240202");
    // Slow enough to be seen on its way.
    let size = std::fs::metadata(server.path("bb/20240202/rootfs.squashfs")).expect("the image").len();
    server.behave(&format!("slow rootfs.squashfs {}", size / 2));
    let body = json!({ "name": "c1", "source": source(&server, "bb"), "start": true });
    let answer = sandbox.http("POST", "/1.0/containers", Some(&body));
    let operation = answer.body["operation"].as_str().expect("an operation").to_owned();
    let second = sandbox.http("POST", "/1.0/instances", Some(&json!({ "name": "c2", "source": source(&server, &newest[..12]) })));
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
    let done = wait(&sandbox, &operation);
    assert_eq!(done["status"], "Success", "{done}");
    let done = wait(&sandbox, second.body["operation"].as_str().expect("an operation"));
    assert_eq!(done["status"], "Success", "{done}");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240202");
    assert_eq!(server.requests("rootfs.squashfs"), 1, "two who want the same image download it once");

    let shown = image(&sandbox, &newest);
    assert_eq!((&shown["cached"], &shown["auto_update"], &shown["public"]), (&json!(true), &json!(true), &json!(false)), "{shown}");
    let from = json!({ "alias": "bb", "certificate": server.certificate, "protocol": "simplestreams", "server": server.url });
    assert_eq!(shown["update_source"], from);
    assert_eq!(shown["properties"]["serial"], "20240202");
    let instance = sandbox.http("GET", "/1.0/instances/c2", None).metadata().clone();
    assert_eq!(instance["config"]["volatile.base_image"], newest.as_str());
    assert_eq!(instance["config"]["image.os"], "Busybox");
    // An older one by its fingerprint, and one that stays.
    let older =
        post(&sandbox, "/1.0/images", &json!({ "public": true, "aliases": [{ "name": "kept" }], "source": source(&server, "bb/edge") }));
    assert_eq!(older["metadata"]["fingerprint"], newest.as_str(), "{older}");
    let shown = image(&sandbox, &newest);
    assert_eq!(
        (&shown["cached"], &shown["public"], &shown["aliases"][0]["name"]),
        (&json!(false), &json!(true), &json!("kept")),
        "{shown}"
    );
    sandbox.finish();
}

/// What it does, what is said of it, and that nothing stays.
fn refused(sandbox: &Sandbox, source: &Value, said: &str) {
    let before = files(sandbox);
    let done = launch(sandbox, "c1", source);
    let error = done["err"].as_str().unwrap_or_default();
    assert!(done["status"] == "Failure" && error.contains(said), "expected {said:?}: {done}");
    assert_eq!(sandbox.state_of("c1"), "", "{said}");
    assert_eq!(files(sandbox), before, "{said}");
}

#[test]
fn servers_that_lie_get_nothing_in() {
    let Some(sandbox) = with_busybox("servers_that_lie_get_nothing_in", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let bb = source(&server, "bb");
    refused(&sandbox, &source(&server, "nope"), "couldn't be found");
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
    let Some(sandbox) = with_busybox("who_is_to_be_believed", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let mut source = source(&server, "bb");
    source["certificate"] = json!("");
    refused(&sandbox, &source, "not from an authority");
    let other = sandbox.sh_ok(
        "cd $SANDBOX_DIR/images && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -config openssl.cnf \
             -keyout other.key -out other.crt 2> /dev/null && cat other.crt",
    );
    source["certificate"] = json!(other);
    refused(&sandbox, &source, "not the one that is pinned");
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
    let done = launch(&sandbox, "c1", &source);
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
    assert_eq!(launch(&sandbox, "c2", &source)["status"], "Failure");
    sandbox.finish();
}

#[test]
fn cancelled_or_killed_nothing_stays() {
    let Some(sandbox) = with_busybox("cancelled_or_killed_nothing_stays", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    let before = files(&sandbox);
    let begin = |name: &str| {
        let seen = server.requests("rootfs.squashfs");
        let body = json!({ "name": name, "source": source(&server, "bb") });
        let answer = sandbox.http("POST", "/1.0/instances", Some(&body));
        wait_until("the download's begin", Duration::from_secs(20), || server.requests("rootfs.squashfs") > seen);
        answer.body["operation"].as_str().expect("an operation").to_owned()
    };
    server.behave("slow rootfs.squashfs 2000");
    let operation = begin("c1");
    assert_eq!(sandbox.http("DELETE", &operation, None).status, 200);
    let done = wait(&sandbox, &operation);
    assert_eq!((&done["status"], &done["err"]), (&json!("Cancelled"), &json!("")), "{done}");
    assert_eq!((files(&sandbox), sandbox.state_of("c1").as_str()), (before.clone(), ""));

    begin("c2");
    sandbox.kill_daemon();
    assert_ne!(files(&sandbox), before, "something was under way");
    sandbox.start_daemon();
    wait_until("what the killed one left is removed", Duration::from_secs(20), || files(&sandbox) == before);
    assert_eq!(sandbox.state_of("c2"), "");

    // Nothing stands in the way of another try.
    server.behave("");
    let done = launch(&sandbox, "c1", &source(&server, "bb"));
    assert_eq!(done["status"], "Success", "{done}");
    assert_eq!(image(&sandbox, &fingerprint)["cached"], true);
    sandbox.finish();
}

#[test]
fn silent_servers_are_not_waited_for_long() {
    let Some(sandbox) = with_busybox("silent_servers_are_not_waited_for_long", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    server.behave("silent rootfs");
    let start = std::time::Instant::now();
    refused(&sandbox, &source(&server, "bb"), "fell silent");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    sandbox.finish();
}

#[test]
fn newer_versions_take_the_place_of_older_ones() {
    let Some(sandbox) = with_busybox("newer_versions_take_the_place_of_older_ones", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let first = server.publish("20240101");
    let body = json!({ "auto_update": true, "aliases": [{ "name": "mine" }], "source": source(&server, "bb") });
    assert_eq!(post(&sandbox, "/1.0/images", &body)["metadata"]["fingerprint"], first.as_str());
    let refresh = |fingerprint: &str| post(&sandbox, &format!("/1.0/images/{fingerprint}/refresh"), &json!({}));
    assert_eq!(refresh(&first)["metadata"]["refreshed"], false);
    assert_eq!(launch(&sandbox, "c1", &json!({ "type": "image", "alias": "mine" }))["status"], "Success");

    let second = server.publish("20240202");
    assert_eq!(refresh(&first)["metadata"]["refreshed"], true);
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{first}"), None).status, 404);
    let shown = image(&sandbox, &second);
    assert_eq!((&shown["auto_update"], &shown["aliases"][0]["name"]), (&json!(true), &json!("mine")), "{shown}");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240101", "instances stay as they are");
    assert_eq!(launch(&sandbox, "c2", &json!({ "type": "image", "alias": "mine" }))["status"], "Success");
    assert_eq!(sandbox.exec_ok("c2", "cat /version"), "20240202");

    // By itself: when the daemon starts, unless that is turned off.
    let third = server.publish("20240303");
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.auto_update_interval": "0" } })));
    sandbox.stop_daemon();
    sandbox.start_daemon();
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "5" } })));
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{second}"), None).status, 200);
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.auto_update_interval": "1" } })));
    wait_until("the update", Duration::from_secs(20), || sandbox.http("GET", &format!("/1.0/images/{third}"), None).status == 200);
    wait_until("the old one's end", Duration::from_secs(20), || sandbox.http("GET", &format!("/1.0/images/{second}"), None).status == 404);
    assert_eq!(image(&sandbox, &third)["aliases"][0]["name"], "mine");

    let busybox = sandbox.http("GET", "/1.0/images/aliases/busybox", None).metadata()["target"].as_str().expect("target").to_owned();
    let answer = sandbox.http("POST", &format!("/1.0/images/{busybox}/refresh"), Some(&json!({})));
    assert_eq!(answer.status, 400, "{}", answer.body);
    sandbox.finish();
}

/// Sets back when cached images were used, while no daemon runs.
const SET_BACK: &str = r#"python3 - "$LXD_DIR/database/lxd.db" <<'END'
import re, sqlite3, sys
base = sqlite3.connect(sys.argv[1])
for key, value in base.execute("select key, value from records where key like 'images/%'").fetchall():
    text = value.decode() if isinstance(value, bytes) else value
    if '"cached":true' in text:
        text = re.sub(r'"(last_used_at|uploaded_at)":"[^"]*"', r'"\1":"2020-01-01T00:00:00Z"', text)
        base.execute("update records set value = ? where key = ?", (text.encode() if isinstance(value, bytes) else text, key))
base.commit()
END"#;

#[test]
fn cached_images_go_when_they_are_not_used() {
    let Some(sandbox) = with_busybox("cached_images_go_when_they_are_not_used", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    assert_eq!(launch(&sandbox, "c1", &source(&server, &fingerprint))["status"], "Success");
    let shown = image(&sandbox, &fingerprint);
    assert_eq!((&shown["auto_update"], &shown["update_source"]), (&json!(false), &Value::Null), "asked for by its fingerprint");
    let patch = sandbox.http("PATCH", &format!("/1.0/images/{fingerprint}"), Some(&json!({ "expires_at": "2030-01-02T03:04:05Z" })));
    assert_eq!(patch.status, 200, "{}", patch.body);
    assert_eq!(image(&sandbox, &fingerprint)["expires_at"], "2030-01-02T03:04:05Z");

    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "0" } })));
    sandbox.stop_daemon();
    sandbox.sh_ok(SET_BACK);
    sandbox.start_daemon();
    assert!(image(&sandbox, &fingerprint)["last_used_at"].as_str().is_some_and(|time| time.starts_with("2020")));
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "1000000" } })));
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).status, 200);
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "30" } })));
    wait_until("the unused image's end", Duration::from_secs(20), || {
        sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).status == 404
    });
    assert!(sandbox.lxc_ok(&["image", "list"]).contains("busybox"), "what is no cache stays");
    assert!(!files(&sandbox).contains(&fingerprint));
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240101");
    sandbox.finish();
}

#[test]
fn by_an_address_that_tells_where_the_image_is() {
    let Some(sandbox) = with_busybox("by_an_address_that_tells_where_the_image_is", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    sandbox.stop_daemon();
    let file = server.certificate_file();
    sandbox.start_daemon_with(&[("SSL_CERT_FILE", file.to_str().expect("a path"))]);
    let whole = server.path("whole.tar.gz");
    sandbox.sh_ok(&format!("cd $SANDBOX_DIR/images/root && echo direct > rootfs/version && tar -czf {} .", whole.display()));
    let hash = sandbox.sh_ok(&format!("sha256sum < {} | cut -d' ' -f1", whole.display()));
    server.write("image", "");
    let url = format!("{}/image", server.url);
    let import = |url: &str| post(&sandbox, "/1.0/images", &json!({ "source": { "type": "url", "url": url } }));
    let fails = |done: Value, said: &str| assert!(done["err"].as_str().is_some_and(|text| text.contains(said)), "{said}: {done}");
    fails(import(&url), "Missing LXD-Image-Hash header");
    server.behave(&format!("headers /image LXD-Image-Hash={hash}\nheaders /image LXD-Image-URL=http://127.0.0.1/x"));
    fails(import(&url), "only https://");
    server.behave(&format!("headers /image LXD-Image-Hash={}\nheaders /image LXD-Image-URL={}/whole.tar.gz", "0".repeat(64), server.url));
    fails(import(&url), "not the one it offered");
    server.behave(&format!("headers /image LXD-Image-Hash={hash}\nheaders /image LXD-Image-URL={}/whole.tar.gz", server.url));
    let done = import(&url);
    assert_eq!(done["metadata"]["fingerprint"], hash.as_str(), "{done}");
    assert_eq!(launch(&sandbox, "c1", &json!({ "type": "image", "fingerprint": hash }))["status"], "Success");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "direct");
    let answer = sandbox.http("POST", "/1.0/images", Some(&json!({ "source": { "type": "url", "url": "http://127.0.0.1/x" } })));
    assert_eq!(answer.status, 400, "{}", answer.body);
    sandbox.finish();
}

#[test]
fn through_a_proxy_that_is_changed_while_running() {
    let Some(sandbox) = with_busybox("through_a_proxy_that_is_changed_while_running", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    server.publish("20240101");
    let mut source = source(&server, "bb");
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
    let done = launch(&sandbox, "c1", &source);
    assert_eq!(done["status"], "Success", "{done}");
    assert!(server.requests("CONNECT images.example:") > 0);
    set("core.proxy_https", "socks5://127.0.0.1:1");
    let done = launch(&sandbox, "c2", &json!({ "type": "image", "server": "https://images.example", "alias": "x" }));
    assert!(done["err"].as_str().is_some_and(|error| error.contains("only proxies that are spoken to in HTTP")), "{done}");
    sandbox.finish();
}
