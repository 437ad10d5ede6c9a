//! The envelopes around every JSON reply, written straight to bytes.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::endpoint::Outcome;
use crate::error::Error;
use crate::filter::Filter;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SYNC_HEAD: &[u8] = br#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":"#;

/// A synchronous reply: 200 with `metadata`.
pub fn sync<T: Serialize + ?Sized>(metadata: &T) -> Outcome {
    Ok(respond(StatusCode::OK, sync_bytes(metadata)?))
}

/// A synchronous reply that carries the ETag of what it shows.
pub fn sync_with_etag<T: Serialize + ?Sized>(metadata: &T, etag: &str) -> Outcome {
    let mut response = respond(StatusCode::OK, sync_bytes(metadata)?);
    let etag = HeaderValue::from_str(etag).map_err(|_| Error::internal("the ETag is not a header value"))?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// A synchronous reply with a list, written element by element: a long one is never there as anything but its text.
pub struct List<'a> {
    filter: &'a Filter,
    /// The elements that fit, with a comma after each.
    elements: Vec<u8>,
    failed: Option<Error>,
}

impl<'a> List<'a> {
    /// An empty list of what fits.
    pub fn new(filter: &'a Filter) -> Self {
        Self { filter, elements: Vec::new(), failed: None }
    }

    /// Adds an element, if it fits.
    pub fn push<T: Serialize>(&mut self, element: &T) {
        let written = self.filter.fits(element).and_then(|fits| if fits { self.write(element) } else { Ok(()) });
        self.failed = self.failed.take().or(written.err());
    }

    /// Adds the elements of another list.
    pub fn append(&mut self, other: List<'_>) {
        self.elements.extend_from_slice(&other.elements);
        self.failed = self.failed.take().or(other.failed);
    }

    fn write<T: Serialize>(&mut self, element: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.elements, element).map_err(|error| Error::internal(format!("write the reply: {error}")))?;
        self.elements.push(b',');
        Ok(())
    }

    /// The reply.
    pub fn finish(mut self) -> Outcome {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.elements.pop();
        let mut body = Vec::with_capacity(SYNC_HEAD.len() + self.elements.len() + 4);
        body.extend_from_slice(SYNC_HEAD);
        body.push(b'[');
        body.extend_from_slice(&self.elements);
        body.extend_from_slice(b"]}\n");
        Ok(respond(StatusCode::OK, body))
    }
}

/// Done, and there is nothing to say: 200 with `{}`.
pub fn empty() -> Outcome {
    sync(&serde_json::Map::new())
}

/// Something was made or renamed: 201 with its URL.
pub fn created(location: &str) -> Outcome {
    let mut response = respond(StatusCode::CREATED, sync_bytes(&())?);
    response.headers_mut().insert(LOCATION, location_value(location)?);
    Ok(response)
}

/// Work has begun: 202 with the operation.
pub fn operation(operation: &engine::operations::Operation) -> Outcome {
    let url = operation.url();
    let mut body = Vec::with_capacity(1024);
    body.extend_from_slice(br#"{"type":"async","status":"Operation created","status_code":100,"operation":""#);
    body.extend_from_slice(url.as_bytes());
    body.extend_from_slice(br#"","error_code":0,"error":"","metadata":"#);
    append_json(&mut body, &operation.render())?;
    let mut response = respond(StatusCode::ACCEPTED, body);
    response.headers_mut().insert(LOCATION, location_value(&url)?);
    Ok(response)
}

/// A JSON document without an envelope.
pub fn document<T: Serialize + ?Sized>(document: &T) -> Outcome {
    let body = serde_json::to_vec(document).map_err(|error| Error::internal(format!("write the reply: {error}")))?;
    Ok(respond(StatusCode::OK, body))
}

/// A failure. The order of the fields is the one scripts have come to expect.
pub fn failure(error: &Error) -> Response {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: &'a str,
        error_code: u16,
        #[serde(rename = "type")]
        kind: &'a str,
    }
    let content = Failure { error: error.message(), error_code: error.status().as_u16(), kind: "error" };
    // A struct of strings and a number always serializes.
    let mut body = serde_json::to_vec(&content).unwrap_or_default();
    body.extend_from_slice(b"\n\n");
    let mut response = respond(error.status(), body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn sync_bytes<T: Serialize + ?Sized>(metadata: &T) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(2048);
    body.extend_from_slice(SYNC_HEAD);
    append_json(&mut body, metadata)?;
    Ok(body)
}

fn append_json<T: Serialize + ?Sized>(body: &mut Vec<u8>, metadata: &T) -> Result<(), Error> {
    serde_json::to_writer(&mut *body, metadata).map_err(|error| Error::internal(format!("write the reply: {error}")))?;
    body.extend_from_slice(b"}\n");
    Ok(())
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn location_value(url: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(url).map_err(|_| Error::internal(format!("{url:?} is not a URL")))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response) -> String {
        let body = response.into_body().collect().await.expect("body").to_bytes();
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn sync_golden() {
        let response = sync(&["/1.0"]).expect("reply");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            text(response).await,
            "{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\"metadata\":[\"/1.0\"]}\n"
        );
        assert!(text(empty().expect("reply")).await.ends_with("\"metadata\":{}}\n"));
    }

    #[tokio::test]
    async fn lists_golden() {
        let everything = Filter::default();
        let list = |parts: &[&[u32]]| {
            let mut list = List::new(&everything);
            for elements in parts {
                let mut part = List::new(&everything);
                elements.iter().for_each(|element| part.push(element));
                list.append(part);
            }
            list.finish().expect("reply")
        };
        for (parts, expected) in [(&[][..], "[]"), (&[&[][..], &[]], "[]"), (&[&[1, 2][..], &[], &[3]], "[1,2,3]")] {
            assert!(text(list(parts)).await.ends_with(&format!("\"error\":\"\",\"metadata\":{expected}}}\n")), "{parts:?}");
        }
    }

    #[tokio::test]
    async fn created_golden() {
        let response = created("/1.0/profiles/p").expect("reply");
        assert_eq!((response.status(), &response.headers()[LOCATION]), (StatusCode::CREATED, &HeaderValue::from_static("/1.0/profiles/p")));
        assert!(text(response).await.contains("\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\"metadata\":null}"));
        assert!(created("/1.0/a\nb").is_err());
    }

    #[tokio::test]
    async fn failure_golden() {
        let response = failure(&Error::not_found());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(text(response).await.trim_end(), r#"{"error":"not found","error_code":404,"type":"error"}"#);
    }
}
