//! Async client of the REST API, used by `lxc`, by `lxd init` and by tests.
//!
//! Requests go over kept-alive HTTP/1.1 connections, websockets over connections of their own.
//! Everything runs well on a current-thread tokio runtime. The crate knows the envelopes, how an
//! operation is waited for, and nothing of what the resources mean. A [`Transport`] says how a server
//! is reached: by a unix socket or, with TLS, over the network.

mod body;
mod envelope;
mod error;
mod events;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod https;
mod operations;
mod path;
mod proxy;
mod transport;
mod websocket;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use body::{Body, Sink};
pub use envelope::Reply;
pub use error::{Error, Kind, Result};
pub use events::Events;
pub use files::{FileContent, FileHeaders, RemoteFile};
pub use http::{Download, Request};
pub use https::{DEFAULT_PORT, Https};
pub use hyper::Method;
pub use operations::ensure_success;
pub use path::{encode, path, with_query};
pub use pki::tls::ServerTrust;
pub use transport::{Stream, Transport, default_socket};
pub use websocket::{Message, WebSocket};

/// Shape of the reply to `GET`: the payload and the tag to send back with a change.
#[derive(Debug)]
pub struct Tagged<T> {
    /// The payload.
    pub value: T,
    /// `ETag`, if the server sent one.
    pub etag: Option<String>,
}

/// A client of one server. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    /// Connections without a request in flight.
    idle: Mutex<Vec<http::Sender>>,
}

impl Client {
    /// A client of the server behind `transport`; nothing is connected yet.
    pub fn new(transport: Transport) -> Self {
        Self { inner: Arc::new(Inner { transport, idle: Mutex::default() }) }
    }

    /// Connects to a unix socket, so that a missing server shows at once.
    pub async fn connect_unix(socket: impl Into<PathBuf>) -> Result<Self> {
        let client = Self::new(Transport::Unix(socket.into()));
        let sender = client.connect().await?;
        client.keep(sender);
        Ok(client)
    }

    /// The server that this client speaks to.
    pub fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// `GET`: the payload of a resource.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(self.get_tagged(path).await?.value)
    }

    /// `GET` with the `ETag` that a following change should send back.
    pub async fn get_tagged<T: DeserializeOwned>(&self, path: &str) -> Result<Tagged<T>> {
        self.payload(Request::new(Method::GET, path)).await
    }

    /// `PUT`; with `etag`, only if the resource is still as it was read.
    pub async fn put(&self, path: &str, body: &impl Serialize, etag: Option<&str>) -> Result<Reply> {
        self.request(Request::new(Method::PUT, path).json(body)?.if_match(etag)).await
    }

    /// `PATCH`; with `etag`, only if the resource is still as it was read.
    pub async fn patch(&self, path: &str, body: &impl Serialize, etag: Option<&str>) -> Result<Reply> {
        self.request(Request::new(Method::PATCH, path).json(body)?.if_match(etag)).await
    }

    /// `POST` of a JSON body.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply> {
        self.request(Request::new(Method::POST, path).json(body)?).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.request(Request::new(Method::DELETE, path)).await
    }

    /// Any verb with an optional JSON body; the reply is the envelope, errors are [`Error`]s.
    pub async fn request_json(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> Result<Reply> {
        let request = Request::new(method, path);
        let request = match body {
            Some(body) => request.json(body)?,
            None => request,
        };
        self.request(request).await
    }
}
