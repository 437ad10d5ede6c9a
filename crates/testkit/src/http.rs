//! The REST API spoken by hand over the unix socket, so that tests see exactly what is on the wire.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as JSON; null if it is none.
    pub body: Value,
}

impl Response {
    /// A header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The `metadata` of a standard answer.
    pub fn metadata(&self) -> &Value {
        &self.body["metadata"]
    }
}

/// One request on a connection of its own.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Response> {
    request_with(socket, &format!("{method} {path}"), &[], body)
}

/// The same with further headers; `line` is `METHOD PATH`.
pub fn request_with(socket: &Path, line: &str, headers: &[(&str, &str)], body: Option<&Value>) -> std::io::Result<Response> {
    let body = body.map_or_else(String::new, Value::to_string);
    let mut head = format!(
        "{line} HTTP/1.1\r\nHost: lxd\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let answer = exchange(socket, (head + &body).as_bytes())?;
    parse(&answer).ok_or_else(|| std::io::Error::other(format!("not HTTP: {}", String::from_utf8_lossy(&answer))))
}

/// Sends raw bytes and reads until the other side closes.
pub fn exchange(socket: &Path, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Response> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..split]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let body = &answer[split + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Response { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = line + 2;
        body.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_plain_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 8\r\n\r\n{\"a\": 1}").expect("plain");
        assert_eq!((plain.status, plain.body["a"].as_i64()), (200, Some(1)));
        assert_eq!(plain.headers[0], ("etag".to_owned(), "x".to_owned()));
        let chunked = parse(b"HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 2}\r\n0\r\n\r\n").expect("chunked");
        assert_eq!((chunked.status, chunked.body["a"].as_i64()), (404, Some(2)));
    }
}
