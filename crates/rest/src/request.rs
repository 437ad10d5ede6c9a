//! A request as handlers see it: caller, path parameters, query, headers, body.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use engine::Engine;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::contract::Route;
use crate::error::Error;

/// Which of the two names of the instances the caller used: JSON details differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `/1.0/instances`.
    Instances,
    /// `/1.0/containers`, as in the 2.0 API.
    Containers,
}

impl Flavour {
    /// The collection's URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Instances => "/1.0/instances",
            Self::Containers => "/1.0/containers",
        }
    }
}

/// One request.
pub struct Request {
    /// What does the work.
    pub engine: Arc<Engine>,
    /// Who asks.
    pub caller: Caller,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, for handlers that asked for it.
    pub body: Bytes,
    /// `/1.0/instances` or `/1.0/containers`.
    pub flavour: Flavour,
    route: Arc<Route>,
    params: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Request {
    /// Takes what is known before the body is read.
    pub(crate) async fn of_parts(engine: Arc<Engine>, route: Arc<Route>, caller: Caller, parts: &mut Parts) -> Result<Self, Error> {
        let params = RawPathParams::from_request_parts(parts, &())
            .await
            .map_err(|error| Error::bad_request(error.body_text()))?
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let query = match parts.uri.query() {
            None | Some("") => Vec::new(),
            Some(_) => Query::try_from_uri(&parts.uri).map_err(|error| Error::bad_request(error.body_text()))?.0,
        };
        let is_old_name = parts.uri.path().starts_with(Flavour::Containers.url());
        let flavour = if is_old_name { Flavour::Containers } else { Flavour::Instances };
        Ok(Self { engine, caller, headers: parts.headers.clone(), body: Bytes::new(), flavour, route, params, query })
    }

    /// A component of the path, percent-decoded. Empty if the path has none of that name.
    pub fn param(&self, name: &str) -> &str {
        find(&self.params, name).unwrap_or_default()
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// `?recursion=`: how much of each element a list shows. Nonsense counts as 0, as it always did.
    pub fn recursion(&self) -> u8 {
        self.query("recursion").and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// A header as text; empty if it is absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The ETag that the object must still have, if the caller insists on one.
    pub fn if_match(&self) -> Option<&str> {
        let sent = self.headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
        let bare = sent.trim_start_matches("W/").trim_matches('"');
        (!bare.is_empty() && bare != "*").then_some(bare)
    }

    /// The body as JSON, checked against what the endpoint's row says it takes. A failure names the field.
    pub fn json<T: DeserializeOwned + 'static>(&self) -> Result<T, Error> {
        self.parse(&self.body)
    }

    /// The same for a body that the handler has read itself.
    pub(crate) fn parse<T: DeserializeOwned + 'static>(&self, body: &[u8]) -> Result<T, Error> {
        self.route.check::<T>(body)?;
        parse_json(body)
    }
}

/// Parses JSON; only a failure pays for finding out which field it was.
fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).or_else(|plain| match Json::<T>::from_bytes(body) {
        Ok(Json(value)) => Ok(value),
        Err(rejection) => Err(Error::bad_request(json_reason(&rejection).unwrap_or_else(|| plain.to_string()))),
    })
}

/// Whether the first character that counts opens an object.
pub(crate) fn looks_like_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// The innermost text of the rejection: `field: what is wrong`.
fn json_reason(rejection: &JsonRejection) -> Option<String> {
    let error: &(dyn std::error::Error + 'static) = match rejection {
        JsonRejection::JsonDataError(error) => error,
        JsonRejection::JsonSyntaxError(error) => error,
        _ => return None,
    };
    error.source().map(|reason| format!("The request body is not valid: {reason}"))
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use api::instances::{InstancePut, StatePut};
    use api::profiles::ProfilePut;

    use super::*;
    use crate::resources::ENDPOINTS;

    /// What an endpoint makes of a body.
    fn parse<T: DeserializeOwned + 'static>(line: &str, body: &[u8]) -> Result<T, Error> {
        let mut rows = ENDPOINTS.iter().copied().flatten();
        let row = rows.find(|row| format!("{} {}", row.verb.method(), row.path) == line).expect("a row");
        Route::new(row).check::<T>(body)?;
        parse_json(body)
    }

    #[test]
    fn a_json_error_names_the_field() {
        let put = "PUT /1.0/profiles/{name}";
        let error = parse::<ProfilePut>(put, br#"{"devices":{"eth0":{"mtu":1500}}}"#).expect_err("a number is not a string");
        assert_eq!(error.status(), 400);
        assert!(error.message().contains("devices.eth0.mtu: invalid type: integer `1500`, expected a string"), "{error}");
        let error = parse::<ProfilePut>(put, br#"{"config":{},"config":{}}"#).expect_err("which of them?");
        assert!(error.message().contains("duplicate field `config`"), "{error}");
    }

    #[test]
    fn syntax_errors_and_empty_bodies_are_400() {
        for body in [&b""[..], b"{", b"[]", b"nonsense", b"\xff\xfe", b"{\"action\":\"\xff\"}"] {
            let error = parse::<StatePut>("PUT /1.0/instances/{name}/state", body).expect_err("refused");
            assert_eq!(error.status(), 400, "{body:?}");
        }
        let deep = [br#"{"devices":"#.to_vec(), b"[".repeat(100_000), b"]".repeat(100_000), b"}".to_vec()].concat();
        let error = parse::<InstancePut>("PUT /1.0/instances/{name}", &deep).expect_err("refused");
        assert!(error.message().contains("nested deeper than 32 levels"), "{error}");
    }

    #[test]
    fn what_clients_send_back_is_taken_and_the_unknown_is_not() {
        let line = "PUT /1.0/instances/{name}";
        let shown = br#"{"config":null,"profiles":null,"name":"c1","status":"Running","created_at":"x","expanded_config":{"a":1}}"#;
        assert_eq!(parse::<InstancePut>(line, shown).expect("tolerant"), InstancePut::default());
        let error = parse::<InstancePut>(line, br#"{"config":{},"whatever":[1,{"a":2}]}"#).expect_err("unknown");
        assert!(error.message().contains("unknown field \"whatever\": leave it out; known are architecture, config"), "{error}");
    }
}
