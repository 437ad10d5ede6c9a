//! From the endpoint tables to a router, and what happens to every request on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use engine::Engine;
use futures_util::StreamExt;

use crate::caller::{Access, Caller};
use crate::contract::Route;
use crate::endpoint::{Handler, HttpRequest, Outcome, Verb};
use crate::envelope;
use crate::error::Error;
use crate::request::{Flavour, Request};
use crate::resources::ENDPOINTS;
use crate::transfer;

/// Most bytes of a JSON body.
pub(crate) const MAX_JSON_BYTES: usize = 4 << 20;
/// Most bytes of a body of somebody who is not trusted.
const MAX_STRANGER_BYTES: usize = 64 << 10;
/// How long a client may take to send a JSON body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The rows of one path.
type Rows = Arc<[Arc<Route>]>;

/// The whole API. Instances are also served under their old name, `/1.0/containers`.
pub fn router(engine: Arc<Engine>) -> Router {
    let mut paths: BTreeMap<String, Vec<Arc<Route>>> = BTreeMap::new();
    for endpoint in ENDPOINTS.iter().copied().flatten() {
        let route = Arc::new(Route::new(endpoint));
        for path in names_of(endpoint.path) {
            paths.entry(path).or_default().push(route.clone());
        }
    }
    let mut router = Router::new();
    for (path, rows) in paths {
        let (engine, rows) = (engine.clone(), Rows::from(rows));
        router = router.route(&path, any(move |request| dispatch(engine.clone(), rows.clone(), request)));
    }
    router.fallback(move |request| unknown_path(engine.clone(), request))
}

/// A path and, for instances, its old name.
pub(crate) fn names_of(path: &str) -> impl Iterator<Item = String> {
    let old = path
        .strip_prefix(Flavour::Instances.url())
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .map(|rest| format!("{}{rest}", Flavour::Containers.url()));
    std::iter::once(path.to_owned()).chain(old)
}

async fn unknown_path(engine: Arc<Engine>, request: HttpRequest) -> Response {
    let is_options = request.method() == Method::OPTIONS;
    let response = if is_options { ().into_response() } else { envelope::failure(&Error::not_found()) };
    cross_origin(&engine, request.headers().contains_key(header::ORIGIN), response)
}

/// Tells a browser what the scripts of other sites may do, if there is anything and it asks.
fn cross_origin(engine: &Arc<Engine>, is_asked: bool, mut response: Response) -> Response {
    let Some(allowed) = is_asked.then(|| engine.server().cross_origin()).flatten() else { return response };
    let credentials = allowed.with_credentials.then(|| "true".to_owned());
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed.origin)),
        (header::ACCESS_CONTROL_ALLOW_METHODS, allowed.methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.headers),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
    ] {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn dispatch(engine: Arc<Engine>, rows: Rows, request: HttpRequest) -> Response {
    let has_origin = request.headers().contains_key(header::ORIGIN);
    if request.method() == Method::OPTIONS {
        return cross_origin(&engine, has_origin, ().into_response());
    }
    let is_old_name = request.uri().path().starts_with(Flavour::Containers.url());
    let response = answer(engine.clone(), &rows, request).await.unwrap_or_else(|error| {
        tracing::debug!(status = error.status().as_u16(), "{error}");
        // The 2.0 API has one text for whatever is absent.
        let is_plain = is_old_name && error.status() == StatusCode::NOT_FOUND;
        envelope::failure(&if is_plain { Error::not_found() } else { error })
    });
    cross_origin(&engine, has_origin, response)
}

async fn answer(engine: Arc<Engine>, rows: &[Arc<Route>], http: HttpRequest) -> Outcome {
    let verb = Verb::of(http.method()).ok_or_else(Error::not_found)?;
    let route = rows.iter().find(|route| route.endpoint.verb == verb).ok_or_else(Error::not_implemented)?;
    let endpoint = route.endpoint;
    let mut caller = http.extensions().get::<Caller>().cloned().unwrap_or(Caller::Untrusted);
    if !caller.may(endpoint.access) {
        return Err(Error::forbidden());
    }
    if caller.peer().is_some()
        && let Err(error) = crate::origin::check(&engine, http.headers())
    {
        // What anybody may read, a page may have, too, but not with its visitor's eyes. A page reads what comes over a
        // websocket whatever the keys allow.
        let is_harmless = endpoint.verb == Verb::Get && endpoint.access == Access::Public;
        if !is_harmless || http.headers().contains_key(header::UPGRADE) {
            return Err(error);
        }
        caller = caller.into_stranger();
    }
    let (mut parts, body) = http.into_parts();
    let mut request = Request::of_parts(engine, route.clone(), caller, &mut parts).await?;
    match endpoint.run {
        Handler::Quick(run) => run(&request),
        Handler::Blocking(run) => {
            let limit = if request.caller.is_trusted() { MAX_JSON_BYTES } else { MAX_STRANGER_BYTES };
            request.body = read_bounded(body, limit).await?;
            blocking(move || run(&request)).await
        }
        Handler::Streaming(run) => run(request, HttpRequest::from_parts(parts, body)).await,
    }
}

/// Runs what may block on a thread of the pool.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    E: Into<Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Error::internal(format!("the request was given up: {error}"))),
    }
}

/// Reads a whole body, bounded in size and time.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, Error> {
    read_bounded(body, MAX_JSON_BYTES).await
}

/// The rest of what is too large is taken in, since clients read the reply only after they have sent everything;
/// but not of strangers, whose limit is lower.
async fn read_bounded(body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut stream = body.into_data_stream();
    let whole = async {
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| Error::bad_request(format!("The request body could not be read: {error}")))?;
            if whole.len() + piece.len() > limit {
                let text = format!("The request body is larger than {limit} bytes, the most that is taken");
                return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, whole).await;
    let read = read.unwrap_or_else(|_| Err(Error::new(StatusCode::REQUEST_TIMEOUT, "The request body did not come in time")));
    let is_too_large = read.as_ref().err().is_some_and(|error| error.status() == StatusCode::PAYLOAD_TOO_LARGE);
    if is_too_large && limit == MAX_JSON_BYTES {
        transfer::discard(stream).await;
    }
    read
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::testing::{self, LOCAL, call};

    /// A path that a row's pattern matches.
    fn example(path: &str) -> String {
        path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
    }

    #[tokio::test]
    async fn strangers_reach_only_what_is_public() {
        let (_dir, engine) = testing::engine();
        let router = router(engine);
        for endpoint in ENDPOINTS.iter().copied().flatten() {
            for path in names_of(endpoint.path) {
                for caller in [None, Some(Caller::Untrusted)] {
                    let (status, body) = call(&router, endpoint.verb.method().as_str(), &example(&path), caller).await;
                    let is_refused = status == 403 && body.contains("not authorized");
                    // These look for a secret first.
                    let needs_secret =
                        matches!(endpoint.path, "/1.0/certificates" | "/1.0/operations/{id}/websocket" | "/1.0/operations/{id}/wait")
                            || (endpoint.path, endpoint.verb) == ("/1.0/images", Verb::Post);
                    assert_eq!(
                        is_refused || (needs_secret && status == 400),
                        endpoint.access == Access::Trusted || needs_secret,
                        "{:?} {path}: {status} {body}",
                        endpoint.verb
                    );
                }
            }
        }
    }

    #[test]
    fn public_endpoints_are_these() {
        let public = ENDPOINTS.iter().copied().flatten().filter(|endpoint| endpoint.access == Access::Public);
        let mut public: Vec<_> = public.map(|endpoint| (endpoint.verb.method().to_string(), endpoint.path)).collect();
        public.sort();
        let expected = [
            ("GET", "/"),
            ("GET", "/1.0"),
            ("GET", "/1.0/images"),
            ("GET", "/1.0/images/aliases/{*name}"),
            ("GET", "/1.0/images/{fingerprint}"),
            ("GET", "/1.0/images/{fingerprint}/export"),
            ("GET", "/1.0/operations/{id}/wait"),
            ("GET", "/1.0/operations/{id}/websocket"),
            ("POST", "/1.0/certificates"),
            ("POST", "/1.0/images"),
        ];
        assert_eq!(public, expected.map(|(verb, path)| (verb.to_owned(), path)));
    }

    #[test]
    fn the_table_is_sound() {
        let mut seen = std::collections::HashSet::new();
        for endpoint in ENDPOINTS.iter().copied().flatten() {
            assert!(seen.insert((endpoint.path, endpoint.verb.method())), "{} twice", endpoint.path);
            assert!(!endpoint.doc.is_empty() && !endpoint.doc.ends_with('.'), "{}", endpoint.path);
        }
    }

    #[tokio::test]
    async fn what_does_not_exist_has_the_expected_words() {
        let (_dir, engine) = testing::engine();
        let router = router(engine);
        let not_found = (404, "{\"error\":\"not found\",\"error_code\":404,\"type\":\"error\"}\n\n".to_owned());
        for path in ["/2.0", "/1.0/nothing", "/1.0/instances/", "/1.0/profiles//", "/1.0/containers/missing"] {
            assert_eq!(call(&router, "GET", path, Some(LOCAL)).await, not_found, "{path}");
        }
        assert_eq!(call(&router, "HEAD", "/1.0", Some(LOCAL)).await.0, 404);
        let (status, body) = call(&router, "DELETE", "/1.0", Some(LOCAL)).await;
        assert_eq!((status, body.contains("not implemented")), (501, true));
        for path in ["/1.0", "/nowhere"] {
            assert_eq!(call(&router, "OPTIONS", path, None).await, (200, String::new()));
        }
    }

    #[tokio::test]
    async fn lists_use_the_name_that_was_asked_for() {
        let (_dir, engine) = testing::engine();
        let router = router(engine);
        let (status, body) = call(&router, "GET", "/", None).await;
        assert_eq!((status, body.contains(r#""metadata":["/1.0"]"#)), (200, true), "{body}");
        for path in ["/1.0/instances", "/1.0/containers", "/1.0/containers?recursion=1", "/1.0/operations", "/1.0/certificates"] {
            let (status, body) = call(&router, "GET", path, Some(LOCAL)).await;
            assert_eq!((status, body.starts_with(r#"{"type":"sync","status":"Success""#)), (200, true), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn large_bodies_are_refused() {
        let (_dir, engine) = testing::engine();
        let request = axum::http::Request::builder().method("PUT").uri("/1.0").extension(LOCAL);
        let request = request.body(Body::from(vec![b' '; MAX_JSON_BYTES + 1])).expect("request");
        let response = router(engine).oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn odd_urls_are_answered() {
        let (_dir, engine) = testing::engine();
        let router = router(engine);
        for path in [
            "/1.0/profiles/%2e%2e%2fx",
            "/1.0/profiles/%00",
            "/1.0/profiles/a%0Ab",
            "/1.0/profiles/%ff",
            "/1.0/instances/x/logs/..%2F..%2Fetc",
        ] {
            let (status, body) = call(&router, "GET", path, Some(LOCAL)).await;
            assert!((400..500).contains(&status) || status == 501, "{path}: {status} {body}");
        }
    }
}
