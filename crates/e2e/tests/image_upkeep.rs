//! What happens to images of servers later: newer versions, unused ones; and images at an address of their own.

use serde_json::{Value, json};
use testkit::{ImageServer, Options, Sandbox, wait_until};

use std::time::Duration;

#[test]
fn newer_versions_take_the_place_of_older_ones() {
    let Some(sandbox) = Sandbox::with_busybox("newer_versions_take_the_place_of_older_ones", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let first = server.publish("20240101");
    let body = json!({ "auto_update": true, "aliases": [{ "name": "mine" }], "source": server.source("bb") });
    assert_eq!(sandbox.post_and_wait("/1.0/images", &body)["metadata"]["fingerprint"], first.as_str());
    let refresh = |fingerprint: &str| sandbox.post_and_wait(&format!("/1.0/images/{fingerprint}/refresh"), &json!({}));
    assert_eq!(refresh(&first)["metadata"]["refreshed"], false);
    assert_eq!(sandbox.launch_from("c1", &json!({ "type": "image", "alias": "mine" }))["status"], "Success");

    let second = server.publish("20240202");
    assert_eq!(refresh(&first)["metadata"]["refreshed"], true);
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{first}"), None).status, 404);
    let shown = sandbox.image(&second);
    assert_eq!((&shown["auto_update"], &shown["aliases"][0]["name"]), (&json!(true), &json!("mine")), "{shown}");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240101", "instances stay as they are");
    assert_eq!(sandbox.launch_from("c2", &json!({ "type": "image", "alias": "mine" }))["status"], "Success");
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
    assert_eq!(sandbox.image(&third)["aliases"][0]["name"], "mine");

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
    let Some(sandbox) = Sandbox::with_busybox("cached_images_go_when_they_are_not_used", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    let fingerprint = server.publish("20240101");
    assert_eq!(sandbox.launch_from("c1", &server.source(&fingerprint))["status"], "Success");
    let shown = sandbox.image(&fingerprint);
    assert_eq!((&shown["auto_update"], &shown["update_source"]), (&json!(false), &Value::Null), "asked for by its fingerprint");
    let patch = sandbox.http("PATCH", &format!("/1.0/images/{fingerprint}"), Some(&json!({ "expires_at": "2030-01-02T03:04:05Z" })));
    assert_eq!(patch.status, 200, "{}", patch.body);
    assert_eq!(sandbox.image(&fingerprint)["expires_at"], "2030-01-02T03:04:05Z");

    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "0" } })));
    sandbox.stop_daemon();
    sandbox.sh_ok(SET_BACK);
    sandbox.start_daemon();
    assert!(sandbox.image(&fingerprint)["last_used_at"].as_str().is_some_and(|time| time.starts_with("2020")));
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "1000000" } })));
    assert_eq!(sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).status, 200);
    sandbox.http("PATCH", "/1.0", Some(&json!({ "config": { "images.remote_cache_expiry": "30" } })));
    wait_until("the unused image's end", Duration::from_secs(20), || {
        sandbox.http("GET", &format!("/1.0/images/{fingerprint}"), None).status == 404
    });
    assert!(sandbox.lxc_ok(&["image", "list"]).contains("busybox"), "what is no cache stays");
    assert!(!sandbox.image_files().contains(&fingerprint));
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "20240101");
    sandbox.finish();
}

#[test]
fn by_an_address_that_tells_where_the_image_is() {
    let Some(sandbox) = Sandbox::with_busybox("by_an_address_that_tells_where_the_image_is", Options::default()) else { return };
    let server = ImageServer::start(&sandbox);
    sandbox.stop_daemon();
    let file = server.certificate_file();
    sandbox.start_daemon_with(&[("SSL_CERT_FILE", file.to_str().expect("a path"))]);
    let whole = server.path("whole.tar.gz");
    sandbox.sh_ok(&format!("cd $SANDBOX_DIR/images/root && echo direct > rootfs/version && tar -czf {} .", whole.display()));
    let hash = sandbox.sh_ok(&format!("sha256sum < {} | cut -d' ' -f1", whole.display()));
    server.write("image", "");
    let url = format!("{}/image", server.url);
    let import = |url: &str| sandbox.post_and_wait("/1.0/images", &json!({ "source": { "type": "url", "url": url } }));
    let fails = |done: Value, said: &str| assert!(done["err"].as_str().is_some_and(|text| text.contains(said)), "{said}: {done}");
    fails(import(&url), "Missing LXD-Image-Hash header");
    server.behave(&format!("headers /image LXD-Image-Hash={hash}\nheaders /image LXD-Image-URL=http://127.0.0.1/x"));
    fails(import(&url), "only https://");
    server.behave(&format!("headers /image LXD-Image-Hash={}\nheaders /image LXD-Image-URL={}/whole.tar.gz", "0".repeat(64), server.url));
    fails(import(&url), "not the one it offered");
    server.behave(&format!("headers /image LXD-Image-Hash={hash}\nheaders /image LXD-Image-URL={}/whole.tar.gz", server.url));
    let done = import(&url);
    assert_eq!(done["metadata"]["fingerprint"], hash.as_str(), "{done}");
    assert_eq!(sandbox.launch_from("c1", &json!({ "type": "image", "fingerprint": hash }))["status"], "Success");
    assert_eq!(sandbox.exec_ok("c1", "cat /version"), "direct");
    let answer = sandbox.http("POST", "/1.0/images", Some(&json!({ "source": { "type": "url", "url": "http://127.0.0.1/x" } })));
    assert_eq!(answer.status, 400, "{}", answer.body);
    sandbox.finish();
}
