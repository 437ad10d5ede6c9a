//! Requests through the whole of router, handlers and engine.

use axum::body::Body;
use futures_util::StreamExt;
use serde_json::json;
use tokio::net::UnixStream;

use crate::resources::ENDPOINTS;
use crate::testing::{self, send};
use crate::{Listeners, Verb, bind_unix, router, serve};

#[tokio::test]
async fn a_profile_lives_with_its_etag() {
    let (_dir, engine) = testing::engine();
    let router = router(engine);
    let made = send(&router, "POST /1.0/profiles", &[], r#"{"name":"p","config":{"user.a":"1"},"devices":null}"#).await;
    assert_eq!((made.status, &made.headers["location"]), (201, &"/1.0/profiles/p".parse().expect("header")), "{}", made.body);
    assert_eq!((&made.body["status_code"], &made.body["metadata"]), (&json!(200), &json!(null)));
    assert_eq!(send(&router, "POST /1.0/profiles", &[], r#"{"name":"p"}"#).await.status / 100, 4);

    let shown = send(&router, "GET /1.0/profiles/p", &[], Body::empty()).await;
    let etag = shown.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!((etag.len(), &shown.body["metadata"]["config"]), (64, &json!({"user.a": "1"})));

    let put = r#"{"config":{"user.a":"2"}}"#;
    let stale = send(&router, "PUT /1.0/profiles/p", &[("If-Match", &"0".repeat(64))], put).await;
    assert_eq!(stale.status, 412);
    assert!(stale.body["error"].as_str().is_some_and(|text| text.starts_with("ETag doesn't match: ")), "{}", stale.body);
    assert_eq!(send(&router, "PUT /1.0/profiles/p", &[("If-Match", &etag)], put).await.status, 200);
    let again = send(&router, "PATCH /1.0/profiles/p", &[("If-Match", &etag)], r#"{"config":{"user.b":"3"}}"#).await;
    assert_eq!(again.status, 412);
    let patched = send(&router, "PATCH /1.0/profiles/p", &[], r#"{"config":{"user.b":"3"}}"#).await;
    assert_eq!((patched.status, &patched.body["metadata"]), (200, &json!({})));
    let shown = send(&router, "GET /1.0/profiles/p", &[], Body::empty()).await;
    assert_eq!(shown.body["metadata"]["config"], json!({"user.a": "2", "user.b": "3"}));

    let renamed = send(&router, "POST /1.0/profiles/p", &[], r#"{"name":"q"}"#).await;
    assert_eq!((renamed.status, &renamed.headers["location"]), (201, &"/1.0/profiles/q".parse().expect("header")));
    assert_eq!(send(&router, "DELETE /1.0/profiles/q", &[], Body::empty()).await.status, 200);
    assert_eq!(send(&router, "GET /1.0/profiles/q", &[], Body::empty()).await.status, 404);
}

#[tokio::test]
async fn a_bad_upload_fails_its_operation_and_leaves_nothing() {
    let (dir, engine) = testing::engine();
    let router = router(engine);
    let images = dir.path().join("lxd/images");
    let count = || std::fs::read_dir(&images).map_or(0, |entries| entries.count());
    let before = count();
    let headers = [("X-LXD-filename", "x.tar.gz"), ("X-LXD-properties", "os=debian&release=12")];
    let begun = send(&router, "POST /1.0/images", &headers, vec![7_u8; 100_000]).await;
    assert_eq!((begun.status, &begun.body["type"], &begun.body["status_code"]), (202, &json!("async"), &json!(100)), "{}", begun.body);
    let url = begun.body["operation"].as_str().expect("operation");
    assert_eq!(begun.headers["location"], url);
    let ended = send(&router, &format!("GET {url}/wait?timeout=30"), &[], Body::empty()).await;
    assert_eq!((ended.status, &ended.body["metadata"]["status"]), (200, &json!("Failure")), "{}", ended.body);
    assert!(!ended.body["metadata"]["err"].as_str().unwrap_or_default().is_empty());
    assert_eq!(count(), before);

    for (kind, body) in [("application/json", "nonsense"), ("application/octet-stream", "")] {
        let refused = send(&router, "POST /1.0/images", &[("Content-Type", kind)], body).await;
        assert_eq!(refused.status, 400, "{kind}: {}", refused.body);
    }
    assert_eq!(count(), before);
}

#[tokio::test]
async fn waiting_on_nothing_and_nonsense() {
    let (_dir, engine) = testing::engine();
    let router = router(engine);
    assert_eq!(send(&router, "GET /1.0/operations", &[], Body::empty()).await.body["metadata"], json!({}));
    assert_eq!(send(&router, "GET /1.0/operations/x/wait", &[], Body::empty()).await.status, 404);
    assert_eq!(send(&router, "GET /1.0/operations/x/wait?timeout=soon", &[], Body::empty()).await.status, 500);
    assert_eq!(send(&router, "GET /1.0/operations/x/websocket?secret=", &[], Body::empty()).await.status, 404);
    let plain = send(&router, "GET /1.0/events", &[], Body::empty()).await;
    assert_eq!(plain.status, 400, "{}", plain.body);
}

/// Bodies with nothing in them, or with everything of the wrong kind, never break a handler.
#[tokio::test]
async fn odd_bodies_are_survived() {
    let (_dir, engine) = testing::engine();
    let router = router(engine);
    let odd = [
        "",
        "{}",
        "null",
        "[]",
        "0",
        "\"\"",
        r#"{"name":null,"config":null,"devices":null,"source":null,"profiles":null,"properties":null,"command":null,"action":null}"#,
        r#"{"name":1,"config":[],"devices":"x","source":[{}],"profiles":{},"properties":0,"command":{},"action":[]}"#,
        r#"{"config":{"a":{}},"devices":{"":{}},"name":"a/../b","source":{"type":"image","fingerprint":"%"},"action":"explode","command":[]}"#,
    ];
    for endpoint in ENDPOINTS.iter().copied().flatten().filter(|endpoint| endpoint.verb != Verb::Get) {
        if endpoint.path == "/internal/shutdown" {
            continue;
        }
        let path = endpoint.path.replace(['{', '}', '*'], "");
        for body in odd {
            let reply = send(&router, &format!("{} {path}", endpoint.verb.method()), &[], body).await;
            let error = reply.body["error"].as_str().unwrap_or_default();
            assert!(!error.contains("given up") && reply.body["type"].is_string(), "{path} {body}: {} {}", reply.status, reply.body);
        }
    }
}

#[tokio::test]
async fn events_are_told_over_a_websocket() {
    let (dir, engine) = testing::engine();
    let socket = dir.path().join("unix.socket");
    let listener = bind_unix(&socket, None).expect("bind");
    let router = router(engine.clone());
    tokio::spawn(serve(engine.clone(), Listeners { unix: vec![listener], ..Listeners::default() }, std::future::pending()));
    let stream = UnixStream::connect(&socket).await.expect("connect");
    let url = "ws://unix.socket/1.0/events?type=lifecycle";
    let (mut events, _) = tokio_tungstenite::client_async(url, stream).await.expect("websocket");
    assert_eq!(send(&router, "POST /1.0/profiles", &[], r#"{"name":"p"}"#).await.status, 201);
    let event = tokio::time::timeout(std::time::Duration::from_secs(10), events.next()).await.expect("in time");
    let text = event.expect("open").expect("message").into_text().expect("text");
    let event: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&event["type"], &event["metadata"]["source"]), (&json!("lifecycle"), &json!("/1.0/profiles/p")), "{event}");
    // A client that goes away is forgotten.
    events.close(None).await.expect("close");
    while events.next().await.is_some() {}
    for _ in 0..100 {
        if !engine.events().has_listener(engine::events::EventKind::Lifecycle) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the listener is still there");
}

/// A client that sends a large body before it reads gets to read the reason for a refusal.
#[tokio::test]
async fn a_refused_upload_is_told_why() {
    let (dir, engine) = testing::engine();
    let socket = dir.path().join("unix.socket");
    let listener = bind_unix(&socket, None).expect("bind");
    tokio::spawn(serve(engine, Listeners { unix: vec![listener], ..Listeners::default() }, std::future::pending()));
    let reply = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket)?;
        let size = 32 << 20;
        write!(stream, "POST /1.0/instances/none/files?path=/x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")?;
        stream.write_all(&vec![0; size])?;
        let mut reply = [0; 1024];
        let count = stream.read(&mut reply)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&reply[..count]).into_owned())
    });
    let reply = reply.await.expect("join").expect("sent and answered");
    assert!(reply.starts_with("HTTP/1.1 404 "), "{reply}");
}

#[tokio::test]
async fn the_server_tells_its_criu_or_why_there_is_none() {
    let (_dir, engine) = testing::engine();
    let shown = send(&router(engine), "GET /1.0", &[], Body::empty()).await;
    let environment = &shown.body["metadata"]["environment"];
    let version = environment["criu"].as_str().expect("a text");
    assert_eq!((shown.status, version.is_empty()), (200, environment["criu_problem"].is_string()), "{environment}");
}

#[tokio::test]
async fn a_log_tells_when_it_was_written() {
    let (dir, engine) = testing::engine();
    let logs = dir.path().join("log/c1");
    std::fs::create_dir(&logs).expect("mkdir");
    std::fs::write(logs.join("lxc.log"), "text").expect("write");
    // Not long ago: logs of nobody go when they are old.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the time").as_secs();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(now * 1000 - 250);
    std::fs::File::options().write(true).open(logs.join("lxc.log")).and_then(|log| log.set_modified(time)).expect("set the time");
    let read = send(&router(engine), "GET /1.0/instances/c1/logs/lxc.log", &[], Body::empty()).await;
    let expected = api::Timestamp::from_system(time).to_string();
    assert!(expected.ends_with(".75Z"), "{expected}");
    assert_eq!((read.status, &read.headers["x-lxd-modified"]), (200, &expected.parse().expect("header")));
}
