//! The shape of the endpoint tables: one row says path, verb, who may, what runs, and what it is for.

use std::future::Future;
use std::pin::Pin;

use axum::http::Method;
use axum::response::Response;

use schemars::JsonSchema;

use crate::caller::Access;
use crate::error::Error;
use crate::request::Request;
use crate::shape::{Gives, Parameter, Shape, Takes};

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
    /// What it reads of the body: the contract that [`Request::json`] checks.
    pub takes: Takes,
    /// What it answers with.
    pub gives: Gives,
    /// Parameters of the query, but `recursion` of lists.
    pub query: &'static [Parameter],
    /// Headers of the request, but `If-Match`.
    pub headers: &'static [Parameter],
}

/// A row, in the order in which it is read. What it takes and gives is appended with the methods of [`Endpoint`].
pub(crate) const fn row(verb: Verb, path: &'static str, access: Access, run: Handler, doc: &'static str) -> Endpoint {
    let takes = match verb {
        Verb::Get | Verb::Delete => Takes::NOTHING,
        Verb::Put | Verb::Post | Verb::Patch => Takes::UNSAID,
    };
    Endpoint { path, verb, access, run, doc, takes, gives: Gives::Unsaid, query: &[], headers: &[] }
}

/// What a row takes. A field that no line of these names is refused.
impl Endpoint {
    /// A JSON object: the type that the handler reads (for `PATCH`, of which it reads parts).
    pub(crate) const fn takes<T: JsonSchema + 'static>(mut self) -> Self {
        self.takes.is_said = true;
        self.takes.object = Some(Shape::of::<T>());
        self
    }

    /// Fields that must be there, and not be empty: `source.type` for one further inside. `PATCH` requires none.
    pub(crate) const fn requires(mut self, fields: &'static [&'static str]) -> Self {
        self.takes.required = fields;
        self
    }

    /// The fields of `T` may be sent, too, and are ignored: clients send back the whole of what they were shown.
    pub(crate) const fn ignores<T: JsonSchema + 'static>(mut self) -> Self {
        self.takes.ignored = Some(Shape::of::<T>());
        self
    }

    /// Fields that clients send and that have no meaning here, whatever their value.
    pub(crate) const fn ignores_fields(mut self, fields: &'static [&'static str]) -> Self {
        self.takes.ignored_fields = fields;
        self
    }

    /// Fields of other servers' API that this one does not serve: clients send them empty, which is
    /// fine; anything else in them is refused.
    pub(crate) const fn unserved(mut self, fields: &'static [&'static str]) -> Self {
        self.takes.unserved = fields;
        self
    }

    /// Bytes: what they are. With [`Endpoint::takes`], either.
    pub(crate) const fn takes_bytes(mut self, what: &'static str) -> Self {
        self.takes.is_said = true;
        self.takes.bytes = what;
        self
    }

    /// No body; one that is sent is not looked at.
    pub(crate) const fn takes_nothing(mut self) -> Self {
        self.takes = Takes::NOTHING;
        self
    }

    /// Parameters of the query.
    pub(crate) const fn query(mut self, parameters: &'static [Parameter]) -> Self {
        self.query = parameters;
        self
    }

    /// Headers of the request.
    pub(crate) const fn headers(mut self, parameters: &'static [Parameter]) -> Self {
        self.headers = parameters;
        self
    }
}

/// What a row gives.
impl Endpoint {
    /// 200 with a value.
    pub(crate) const fn gives<T: JsonSchema + 'static>(mut self) -> Self {
        self.gives = Gives::Value { shape: Shape::of::<T>(), is_tagged: false };
        self
    }

    /// 200 with a value and its ETag, which `PUT` and `PATCH` of the same path compare with `If-Match`.
    pub(crate) const fn gives_tagged<T: JsonSchema + 'static>(mut self) -> Self {
        self.gives = Gives::Value { shape: Shape::of::<T>(), is_tagged: true };
        self
    }

    /// 200 with URLs, or with `recursion=1` the elements themselves.
    pub(crate) const fn lists<T: JsonSchema + 'static>(mut self) -> Self {
        self.gives = Gives::List(Shape::of::<T>());
        self
    }

    /// 200 with `{}`.
    pub(crate) const fn confirms(mut self) -> Self {
        self.gives = Gives::Nothing;
        self
    }

    /// 201 with the URL of what was made.
    pub(crate) const fn creates(mut self) -> Self {
        self.gives = Gives::Created;
        self
    }

    /// 202 with an operation; what its metadata holds at the end, where that is of interest.
    pub(crate) const fn begins(mut self, result: &'static str) -> Self {
        self.gives = Gives::Operation { result };
        self
    }

    /// 101: a websocket; what is said on it.
    pub(crate) const fn opens(mut self, what: &'static str) -> Self {
        self.gives = Gives::Websocket { what };
        self
    }

    /// 200 with bytes: what they are.
    pub(crate) const fn gives_bytes(mut self, what: &'static str) -> Self {
        self.gives = Gives::Bytes { what };
        self
    }
}
