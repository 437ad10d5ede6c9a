//! Parts of a file: `Range: bytes=FIRST-LAST`, so that a download that broke off can be gone on with.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_RANGE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use crate::endpoint::Outcome;
use crate::error::Error;
use crate::request::Request;
use crate::transfer;

/// What a `Range` asks for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing that is understood, or several parts: the whole is a proper answer.
    Whole,
    /// From the first to the last byte, both of them in it.
    Part(u64, u64),
    /// None of it is there.
    Nothing,
}

/// The range that a request asks for; empty if it asks for none.
pub(crate) fn of(request: &Request) -> &str {
    // What `If-Range` names was not handed out here, so it does not fit.
    if request.header("if-range").is_empty() { request.header("range") } else { "" }
}

/// A file that does not change, or the part of it that `range` asks for.
pub(crate) fn reply(range: &str, mut file: File, size: u64, filename: &str) -> Outcome {
    let mut response = match parse(range, size) {
        Wanted::Whole => transfer::raw(Body::from_stream(transfer::file_stream(file, size)), size, Some(filename)),
        Wanted::Part(first, last) => {
            file.seek(SeekFrom::Start(first)).map_err(|error| Error::internal(format!("read {filename}: {error}")))?;
            let count = last - first + 1;
            let mut response = transfer::raw(Body::from_stream(transfer::file_stream(file, count)), count, Some(filename));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set_range(&mut response, &format!("bytes {first}-{last}/{size}"));
            response
        }
        Wanted::Nothing => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set_range(&mut response, &format!("bytes */{size}"));
            response
        }
    };
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

fn set_range(response: &mut Response, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
}

fn parse(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Wanted::Whole };
    let number = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit()).then(|| text.trim().parse::<u64>().ok()).flatten();
    let (first, last) = match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, true) => return Wanted::Whole,
        // So many bytes of the end.
        (true, false) => match number(last) {
            Some(0) => return Wanted::Nothing,
            Some(count) => (size.saturating_sub(count), size.saturating_sub(1)),
            None => return Wanted::Whole,
        },
        (false, true) => match number(first) {
            Some(first) => (first, size.saturating_sub(1)),
            None => return Wanted::Whole,
        },
        (false, false) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
            _ => return Wanted::Whole,
        },
    };
    if first >= size { Wanted::Nothing } else { Wanted::Part(first, last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let cases = [
            ("bytes=0-99", Wanted::Part(0, 99)),
            ("bytes=900-", Wanted::Part(900, 999)),
            ("bytes=990-5000", Wanted::Part(990, 999)),
            ("bytes=-10", Wanted::Part(990, 999)),
            ("bytes=-5000", Wanted::Part(0, 999)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=18446744073709551615-", Wanted::Nothing),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text, 1000), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_the_whole() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-3",
            "bytes=0-1,5-6",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(parse(text, 1000), Wanted::Whole, "{text}");
        }
        assert_eq!(parse("bytes=0-0", 0), Wanted::Nothing);
    }
}
