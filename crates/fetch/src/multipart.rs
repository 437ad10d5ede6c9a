//! Reading the two parts of a split image as they arrive.

use bytes::{Bytes, BytesMut};

use crate::{Error, Result};

/// How many bytes a reply may have beyond its parts: boundaries, heads, and what surrounds them.
pub const OVERHEAD_BYTES: u64 = 64 << 10;
/// Longest head of a part, bytes.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// The head of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `metadata` or `rootfs`.
    pub name: String,
    /// What the server calls the file.
    pub file_name: String,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(Part),
    /// A piece of it.
    Content(Bytes),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    Head,
    Content,
    End,
}

/// A parser fed with pieces of any size.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The boundary with the line break before it.
    mark: Vec<u8>,
    pending: BytesMut,
}

impl Parser {
    /// For the boundary that the content type names.
    pub fn new(boundary: &str) -> Self {
        // The first boundary has no line break before it: this one makes it like the others.
        Self { state: State::Preamble, mark: format!("\r\n--{boundary}").into_bytes(), pending: BytesMut::from("\r\n") }
    }

    /// Whether the last boundary was seen.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Takes the next piece. What follows the last boundary has no meaning, and is not kept.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Event>> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        self.pending.extend_from_slice(chunk);
        let mut events = Vec::new();
        loop {
            let is_blocked = match self.state {
                State::Preamble | State::Content => self.take_content(&mut events),
                State::Head => self.take_head(&mut events)?,
                State::End => true,
            };
            if is_blocked {
                return Ok(events);
            }
        }
    }

    /// Takes bytes up to the next boundary; true if more input is needed.
    fn take_content(&mut self, events: &mut Vec<Event>) -> bool {
        let found = find(&self.pending, &self.mark);
        // A boundary may have begun at the very end.
        let length = found.unwrap_or_else(|| self.pending.len().saturating_sub(self.mark.len()));
        let content = self.pending.split_to(length).freeze();
        if self.state == State::Content && !content.is_empty() {
            events.push(Event::Content(content));
        }
        if found.is_some() {
            let _ = self.pending.split_to(self.mark.len());
            self.state = State::Head;
        }
        found.is_none()
    }

    /// Takes what follows a boundary: the end mark, or the head of a part.
    fn take_head(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        if self.pending.starts_with(b"--") {
            self.state = State::End;
            self.pending = BytesMut::new();
            return Ok(true);
        }
        let Some(length) = find(&self.pending, b"\r\n\r\n") else {
            if self.pending.len() > HEAD_LIMIT_BYTES {
                return Err(Error::Multipart("a part without end of its head"));
            }
            return Ok(true);
        };
        let head = self.pending.split_to(length + 4);
        let head = String::from_utf8_lossy(&head);
        let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:")).unwrap_or("");
        let field = |name| parameter(disposition, name).unwrap_or_default();
        events.push(Event::Part(Part { name: field("name"), file_name: field("filename") }));
        self.state = State::Content;
        Ok(false)
    }
}

/// Position of `needle`; the first byte of a boundary is rare, so most of the search is one
/// scan for it.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(offset) = haystack[start..].iter().position(|byte| *byte == needle[0]) {
        start += offset;
        if haystack[start..].starts_with(needle) {
            return Some(start);
        }
        start += 1;
    }
    None
}

/// The boundary of a `multipart/form-data` content type.
pub fn boundary(content_type: &str) -> Option<String> {
    content_type.starts_with("multipart/form-data").then(|| parameter(content_type, "boundary"))?
}

/// A parameter of a header: `a; name="value"` or `a; name=value`.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"meta-a.tar\"\r\n\r\nme\r\n--X ta\r\n--XX\r\n\
        Content-Type: x\r\nContent-Disposition: form-data; name=rootfs; filename=a.squashfs\r\n\r\nroot\r\n--XX--\r\n";

    fn parse(size: usize) -> (Vec<(String, String, String)>, bool) {
        let mut parser = Parser::new("XX");
        let mut parts: Vec<(String, String, String)> = Vec::new();
        for chunk in BODY.as_bytes().chunks(size) {
            for event in parser.push(chunk).expect("push") {
                match event {
                    Event::Part(part) => parts.push((part.name, part.file_name, String::new())),
                    Event::Content(content) => parts.last_mut().expect("part").2.push_str(std::str::from_utf8(&content).expect("text")),
                }
            }
        }
        (parts, parser.is_complete())
    }

    #[test]
    fn any_size_of_pieces() {
        let part = |name: &str, file: &str, content: &str| (name.to_owned(), file.to_owned(), content.to_owned());
        for size in [1, 2, 3, 7, 64, 1000] {
            let (parts, is_complete) = parse(size);
            assert_eq!(parts, [part("metadata", "meta-a.tar", "me\r\n--X ta"), part("rootfs", "a.squashfs", "root")], "{size}");
            assert!(is_complete);
        }
    }

    #[test]
    fn what_surrounds_the_parts_is_not_kept() {
        let mut parser = Parser::new("XX");
        let noise = [b'x'; 10_000];
        for _ in 0..100 {
            assert_eq!(parser.push(&noise).expect("preamble"), []);
            assert!(parser.pending.len() <= parser.mark.len());
        }
        parser.push(b"\r\n").expect("line break");
        assert_eq!(parser.push(BODY.as_bytes()).expect("body").iter().filter(|event| matches!(event, Event::Part(_))).count(), 2);
        for _ in 0..100 {
            assert_eq!(parser.push(&noise).expect("epilogue"), []);
            assert!(parser.is_complete() && parser.pending.is_empty());
        }
    }

    #[test]
    fn endless_head() {
        let mut parser = Parser::new("XX");
        assert!(parser.push(format!("--XX\r\n{}", "x".repeat(20_000)).as_bytes()).is_err());
    }
}
