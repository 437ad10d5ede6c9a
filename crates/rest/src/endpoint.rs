//! The shape of the endpoint tables: one row says path, verb, who may, what runs, and what it is for.

use std::future::Future;
use std::pin::Pin;

use axum::http::Method;
use axum::response::Response;

use crate::caller::Access;
use crate::error::Error;
use crate::request::Request;

/// What a handler returns.
pub type Outcome = Result<Response, Error>;
/// The future of a streaming handler.
pub type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A request as it came over the connection, its body not read yet.
pub type HttpRequest = axum::extract::Request;

/// The verbs of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Verb {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// The verb of a request; `None` for those the API never uses.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::PUT => Some(Self::Put),
            Method::POST => Some(Self::Post),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// Its HTTP method.
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Post => Method::POST,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// How a handler runs.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Reads memory only: runs on the event loop.
    Quick(fn(&Request) -> Outcome),
    /// May block: runs on a thread of its own, after the body has been read whole (and bounded).
    Blocking(fn(&Request) -> Outcome),
    /// Takes body or connection itself: uploads, downloads, websockets, waits.
    Streaming(fn(Request, HttpRequest) -> Answer),
}

/// One verb of one path.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The path, with `{name}` for one component and `{*name}` for the rest.
    pub path: &'static str,
    /// The verb.
    pub verb: Verb,
    /// Who may.
    pub access: Access,
    /// What runs.
    pub run: Handler,
    /// One line for the reference.
    pub doc: &'static str,
}

/// A row, in the order in which it is read.
pub(crate) const fn row(verb: Verb, path: &'static str, access: Access, run: Handler, doc: &'static str) -> Endpoint {
    Endpoint { path, verb, access, run, doc }
}
