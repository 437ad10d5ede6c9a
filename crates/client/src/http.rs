//! HTTP/1.1 requests over reused connections.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderName, HeaderValue, IF_MATCH, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::{Body, HttpBody};
use crate::envelope::{self, Reply};
use crate::error::{Error, Result};
use crate::{Client, Sink, Tagged};

pub(crate) type Sender = http1::SendRequest<HttpBody>;

/// Idle connections that are kept.
const IDLE_KEPT: usize = 8;
/// Largest JSON reply that is read, bytes.
const REPLY_LIMIT_BYTES: usize = 1 << 30;
/// Largest error reply to a raw request that is read, bytes.
const ERROR_LIMIT_BYTES: usize = 1 << 20;
const AGENT: &str = concat!("LXD ", env!("CARGO_PKG_VERSION"), " (Linux)");

/// A request being built.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    /// A request without body; `path` begins with `/` and is escaped already.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Body::Empty }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds `If-Match` when there is a tag.
    pub fn if_match(self, etag: Option<&str>) -> Self {
        match etag {
            Some(etag) if !etag.is_empty() => self.header(IF_MATCH.as_str(), etag),
            _ => self,
        }
    }

    /// A JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|error| self.bad(&error.to_string()))?;
        self.body = Body::Bytes(bytes.into());
        Ok(self.header(CONTENT_TYPE.as_str(), "application/json"))
    }

    /// Any body of type `application/octet-stream` (unless a header says otherwise).
    pub fn body(mut self, body: Body) -> Self {
        let has_type = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        self.body = body;
        if has_type { self } else { self.header(CONTENT_TYPE.as_str(), "application/octet-stream") }
    }

    /// The body alone.
    pub fn into_body(self) -> Body {
        self.body
    }

    fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn bad(&self, reason: &str) -> Error {
        Error::BadRequest { request: self.title(), reason: reason.to_owned() }
    }

    fn into_http(self, host: &str) -> Result<hyper::Request<HttpBody>> {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 3);
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| self.bad("bad host"))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().map_err(|_| self.bad(&format!("bad header name {name:?}")))?;
            let value: HeaderValue = value.parse().map_err(|_| self.bad(&format!("bad value of header {name}")))?;
            headers.append(name, value);
        }
        let carries_body = !matches!(self.body, Body::Empty) || matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if let (true, Some(length)) = (carries_body, self.body.length()) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let uri: hyper::Uri = self.path.parse().map_err(|_| self.bad("bad path"))?;
        let mut request = hyper::Request::new(self.body.into_http());
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// A reply whose body is still to be read.
#[derive(Debug)]
pub struct Download {
    request: String,
    /// HTTP status, always a success.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    sender: Option<Sender>,
    client: Client,
}

impl Download {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`.
    pub fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// `ETag`, without its quotes.
    fn etag(&self) -> Option<String> {
        self.header(ETAG.as_str()).map(|tag| tag.trim_matches('"').to_owned())
    }

    /// The next piece of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|reason| Error::Http { request: self.request.clone(), reason })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        if let Some(sender) = self.sender.take() {
            self.client.keep(sender);
        }
        Ok(None)
    }

    /// The whole body, refused beyond `limit_bytes`.
    pub async fn bytes(mut self, limit_bytes: usize) -> Result<Bytes> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut all = Vec::with_capacity(self.length().unwrap_or(0).min(limit_bytes as u64) as usize);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
            if all.len() > limit_bytes {
                return Err(Error::Protocol { request: self.request, reason: format!("the reply is larger than {limit_bytes} bytes") });
            }
        }
        Ok(all.into())
    }

    /// Feeds the body to `sink`, calling `progress` with the bytes so far. The body is complete
    /// or an error is returned.
    pub async fn copy_to(mut self, sink: Sink, mut progress: impl FnMut(u64)) -> Result<u64> {
        let mut done_bytes = 0;
        while let Some(chunk) = self.chunk().await? {
            done_bytes += chunk.len() as u64;
            if !sink.send(chunk).await {
                break;
            }
            progress(done_bytes);
        }
        sink.finish().await?;
        Ok(done_bytes)
    }
}

impl Client {
    /// Sends a request and reads the envelope of its reply.
    pub async fn request(&self, request: Request) -> Result<Reply> {
        let download = self.exchange(request).await?;
        let (etag, location) = (download.etag(), download.header(LOCATION.as_str()).map(str::to_owned));
        let (status, title) = (download.status, download.request.clone());
        let body = download.bytes(REPLY_LIMIT_BYTES).await?;
        let mut reply = envelope::parse(&title, status, &body)?;
        (reply.etag, reply.location) = (etag, location);
        Ok(reply)
    }

    /// Sends a request and reads the payload of its reply.
    pub(crate) async fn payload<T: DeserializeOwned>(&self, request: Request) -> Result<Tagged<T>> {
        let download = self.exchange(request).await?;
        let (etag, status, title) = (download.etag(), download.status, download.request.clone());
        let body = download.bytes(REPLY_LIMIT_BYTES).await?;
        Ok(Tagged { value: envelope::payload(&title, status, &body)?, etag })
    }

    /// Sends a request whose reply is not an envelope; an error reply becomes an [`Error`].
    pub async fn download(&self, request: Request) -> Result<Download> {
        let download = self.exchange(request).await?;
        if download.status < 400 {
            return Ok(download);
        }
        let (status, title) = (download.status, download.request.clone());
        let body = download.bytes(ERROR_LIMIT_BYTES).await?;
        match envelope::parse(&title, status, &body) {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Api { code: status, text: format!("the server answered HTTP {status}") }),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Download> {
        let title = request.title();
        let started = std::time::Instant::now();
        let mut http = request.into_http(self.inner.transport.host())?;
        loop {
            let (mut sender, is_reused) = self.sender().await?;
            let error = match sender.try_send_request(http).await {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    tracing::debug!(request = %title, status = parts.status.as_u16(), micros = started.elapsed().as_micros() as u64, "reply");
                    return self.check_upgrade(Download {
                        request: title,
                        status: parts.status.as_u16(),
                        headers: parts.headers,
                        body,
                        sender: Some(sender),
                        client: self.clone(),
                    });
                }
                Err(error) => error,
            };
            // A kept connection may have been closed by the server meanwhile. What was never
            // sent may be sent again; each round uses one kept connection up, so this ends.
            let mut error = error;
            match error.take_message() {
                Some(unsent) if is_reused => http = unsent,
                _ => return Err(Error::Http { request: title, reason: error.into_error() }),
            }
        }
    }

    fn check_upgrade(&self, download: Download) -> Result<Download> {
        if download.status == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            return Err(Error::Protocol { request: download.request, reason: "unexpected protocol switch".to_owned() });
        }
        Ok(download)
    }

    /// A connection ready for a request, and whether it was used before.
    async fn sender(&self) -> Result<(Sender, bool)> {
        loop {
            let kept = self.idle().pop();
            let Some(mut sender) = kept else { return Ok((self.connect().await?, false)) };
            if sender.ready().await.is_ok() {
                return Ok((sender, true));
            }
        }
    }

    /// Opens a connection and leaves its driving to a task.
    pub(crate) async fn connect(&self) -> Result<Sender> {
        let stream = self.inner.transport.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|reason| Error::Http { request: format!("connect to {}", self.inner.transport.url()), reason })?;
        // The error of a broken connection also reaches the request that is under way.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }

    pub(crate) fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < IDLE_KEPT && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.inner.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
