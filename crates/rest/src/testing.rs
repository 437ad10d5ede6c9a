//! What the tests of this crate share.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use engine::{Config, Engine};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::caller::Caller;

/// A caller over the unix socket.
pub(crate) const LOCAL: Caller = Caller::Unix { uid: 0, pid: None };

/// An engine on an empty state directory.
pub(crate) fn engine() -> (tempfile::TempDir, Arc<Engine>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = Config {
        dir: dir.path().join("lxd"),
        log_dir: dir.path().join("log"),
        group: None,
        helper: PathBuf::from("/bin/true"),
        version: "test".to_owned(),
        apparmor: true,
        cgroup_parent: Default::default(),
        autostart: false,
    };
    for path in [&config.dir, &config.log_dir] {
        std::fs::create_dir(path).expect("mkdir");
    }
    let engine = Engine::open(config).expect("open the engine");
    (dir, engine)
}

/// Status and body of a request with an empty JSON object.
pub(crate) async fn call(router: &Router, method: &str, path: &str, caller: Option<Caller>) -> (u16, String) {
    let mut request = axum::http::Request::builder().method(method).uri(path).body(Body::from("{}")).expect("request");
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let response = router.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A reply taken apart.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Sends a request of a trusted caller; `headers` are `Name: value` lines.
pub(crate) async fn send(router: &Router, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let (method, path) = line.split_once(' ').expect("METHOD PATH");
    let mut request = axum::http::Request::builder().method(method).uri(path).extension(LOCAL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body.into()).expect("request")).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("body").to_bytes();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body: serde_json::from_slice(&body).unwrap_or_default() }
}
