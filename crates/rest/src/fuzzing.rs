//! Ways into the readers of requests for the fuzzing targets, and for nobody else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use engine::Engine;
use engine::guest::Guest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;

use crate::caller::Caller;
use crate::contract::Route;
use crate::filter::Filter;
use crate::resources::ENDPOINTS;

/// Whether a body is one that an endpoint takes: `METHOD PATH` of that if so. Any number chooses an endpoint.
pub fn fits(choice: usize, body: &[u8]) -> Option<String> {
    let rows: Vec<_> = ENDPOINTS.iter().copied().flatten().filter(|row| row.takes.object.is_some()).collect();
    let row = rows[choice % rows.len()];
    let fits = Route::new(row).check::<Value>(body).is_ok();
    fits.then(|| format!("{} {}", row.verb.method(), row.path))
}

/// Parses a filter and lays it on an element.
pub fn filter(text: &str) {
    let element = serde_json::json!({ "name": "c1", "config": { "user.a": "1" }, "status": "Running" });
    if let Ok(filter) = Filter::parse(text) {
        drop(filter.keep(vec![element]));
    }
}

/// How long a reply may take to come; one that does not end is broken off then.
const PATIENCE: Duration = Duration::from_millis(10);
/// Bound of the buffers of a connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// An API to send requests to.
pub type Api = Router;

/// What a client sends on a connection, and a router that answers it; what it answered.
fn answer(router: &Router, input: &[u8], admit: impl Fn(&mut Request)) -> Vec<u8> {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        admit(&mut request);
        router.clone().call(request)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(input.len().max(4096));
        let mut http = http1::Builder::new();
        http.max_buf_size(BUFFER_BYTES).title_case_headers(true);
        let connection = http.serve_connection(TokioIo::new(near), service).with_upgrades();
        let client = async {
            let mut reply = Vec::new();
            drop(far.write_all(input).await);
            drop(far.shutdown().await);
            drop(far.read_to_end(&mut reply).await);
            reply
        };
        let both = async { tokio::join!(connection, client).1 };
        tokio::time::timeout(PATIENCE, both).await.unwrap_or_default()
    })
}

/// A connection of a stranger to the whole API. Nobody but those who are trusted is ever told so.
pub fn stranger(router: &Router, input: &[u8]) {
    let reply = answer(router, input, |request| drop(request.extensions_mut().insert(Caller::Untrusted)));
    assert!(!reply.windows(16).any(|part| part == b"\"auth\":\"trusted\"".as_slice()), "{}", String::from_utf8_lossy(&reply));
}

/// The whole API.
pub fn api(engine: Arc<Engine>) -> Router {
    crate::router(engine)
}

/// The guest API.
pub fn guest_api() -> Router {
    crate::guest::router()
}

/// A connection of an instance to the guest API.
pub fn guest(router: &Router, guest: &Guest, input: &[u8]) {
    let connected = crate::guest::unbounded();
    drop(answer(router, input, |request| {
        request.extensions_mut().insert(guest.clone());
        request.extensions_mut().insert(connected.clone());
    }));
}
