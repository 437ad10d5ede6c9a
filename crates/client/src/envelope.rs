//! The envelope around every JSON reply, read without decoding the payload twice.

use api::operations::Operation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A reply of the API that is not an error.
#[derive(Debug)]
pub struct Reply {
    /// Method and path, for error texts.
    pub(crate) request: String,
    /// Whether an operation was started.
    pub is_async: bool,
    /// URL of that operation.
    pub operation: String,
    /// Tag of the content.
    pub etag: Option<String>,
    /// URL of what was created.
    pub location: Option<String>,
    metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

impl Reply {
    /// Decodes the payload.
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<T> {
        let text = self.metadata.as_ref().map_or("null", |raw| raw.get());
        serde_json::from_str(text).map_err(|error| self.protocol_error(&error.to_string()))
    }

    /// The operation that was started.
    pub fn operation(&self) -> Result<Operation> {
        if !self.is_async {
            return Err(self.protocol_error("the reply is not an operation"));
        }
        self.metadata()
    }

    fn protocol_error(&self, reason: &str) -> Error {
        Error::Protocol { request: self.request.clone(), reason: reason.to_owned() }
    }
}

/// Parses the body of a reply with HTTP status `status`.
pub(crate) fn parse(request: &str, status: u16, body: &[u8]) -> Result<Reply> {
    let envelope: Envelope = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(_) if status >= 400 => return Err(Error::Api { code: status, text: plain_text(status, body) }),
        Err(error) => {
            return Err(Error::Protocol { request: request.to_owned(), reason: format!("the reply is not of this API: {error}") });
        }
    };
    if envelope.kind == "error" || status >= 400 {
        let code = if envelope.error_code == 0 { status } else { envelope.error_code };
        let text = if envelope.error.is_empty() { plain_text(status, b"") } else { envelope.error };
        return Err(Error::Api { code, text });
    }
    Ok(Reply {
        request: request.to_owned(),
        is_async: envelope.kind == "async",
        operation: envelope.operation,
        etag: None,
        location: None,
        metadata: envelope.metadata,
    })
}

/// The payload of a reply that is not an error, read in one go with the envelope: a long list is looked at once.
pub(crate) fn payload<T: DeserializeOwned>(request: &str, status: u16, body: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    #[serde(bound = "T: DeserializeOwned")]
    struct Whole<T> {
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default = "Option::default")]
        metadata: Option<T>,
    }
    if status < 400
        && let Ok(Whole { kind, metadata: Some(value) }) = serde_json::from_slice(body)
        && kind != "error"
    {
        return Ok(value);
    }
    // What is not as usual is looked at part by part, to tell what it is.
    parse(request, status, body)?.metadata()
}

/// What to show of an error reply that is not JSON.
fn plain_text(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
    if text.is_empty() { format!("the server answered HTTP {status}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn payload_is_decoded_once_asked() {
        let reply = parse("GET /1.0", 200, br#"{"type":"sync","metadata":["a","b"]}"#).expect("sync reply");
        assert_eq!(reply.metadata::<Vec<String>>().expect("list"), ["a", "b"]);
        assert!(reply.metadata::<u32>().is_err());
        assert!(reply.operation().is_err());
    }

    #[test]
    fn payloads_are_read_with_their_envelopes() {
        let sync = br#"{"metadata":["a","b"],"type":"sync","operation":"","error":""}"#;
        assert_eq!(payload::<Vec<String>>("GET /1.0", 200, sync).expect("list"), ["a", "b"]);
        let nothing = br#"{"type":"sync","metadata":null}"#;
        assert_eq!(payload::<Option<u32>>("GET /x", 200, nothing).expect("nothing"), None);
        let wrong = payload::<Vec<u32>>("GET /x", 200, sync).expect_err("texts");
        assert!(wrong.kind() == Kind::Transport && wrong.to_string().contains("expected u32"), "{wrong}");
        let errors = [
            (200, &br#"{"type":"error","error":"no","error_code":403,"metadata":["a"]}"#[..]),
            (403, &br#"{"error":"no","metadata":["a"]}"#[..]),
        ];
        for (status, body) in errors {
            let error = payload::<Vec<String>>("GET /x", status, body).expect_err("error");
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Forbidden, "no"));
        }
    }

    #[test]
    fn old_servers_send_four_fields_only() {
        let reply = parse("GET /1.0", 200, br#"{"type":"sync","status":"Success","status_code":200,"metadata":{}}"#);
        assert!(reply.is_ok());
    }

    #[test]
    fn errors_keep_code_and_text() {
        let error = parse("GET /x", 404, br#"{"error":"not found","error_code":404,"type":"error"}"#).expect_err("error");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, "not found"));
        let error = parse("GET /x", 502, b"<html>bad gateway</html>").expect_err("error");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Api, "<html>bad gateway</html>"));
        let error = parse("GET /x", 200, b"hello").expect_err("error");
        assert_eq!(error.kind(), Kind::Transport);
    }
}
