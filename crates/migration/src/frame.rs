//! How messages look on the socket between a [`Channel`](crate::Channel) and the websocket: one byte that says what it
//! is, four with the length (the most significant first), and the bytes.

/// Bytes before the content.
pub const HEADER_BYTES: usize = 5;
/// The largest content, bytes. Other servers send at most 4 MiB at once.
pub const MAX_BYTES: usize = 16 << 20;

const BINARY: u8 = 1;
const END: u8 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A binary message of so many bytes.
    Binary(usize),
    /// An empty text message: one direction of a stream is over.
    End,
}

/// What precedes the content.
pub fn header(kind: Kind) -> [u8; HEADER_BYTES] {
    let (byte, length) = match kind {
        Kind::Binary(length) => (BINARY, u32::try_from(length).unwrap_or(u32::MAX)),
        Kind::End => (END, 0),
    };
    let [a, b, c, d] = length.to_be_bytes();
    [byte, a, b, c, d]
}

/// Reads what precedes the content; `None` if it is not from here.
pub fn parse(header: [u8; HEADER_BYTES]) -> Option<Kind> {
    let [byte, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    match byte {
        BINARY if length <= MAX_BYTES => Some(Kind::Binary(length)),
        END if length == 0 => Some(Kind::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_bounded() {
        for kind in [Kind::Binary(0), Kind::Binary(7), Kind::Binary(MAX_BYTES), Kind::End] {
            assert_eq!(parse(header(kind)), Some(kind));
        }
        assert_eq!(parse(header(Kind::Binary(MAX_BYTES + 1))), None);
        assert_eq!(parse([END, 0, 0, 0, 1]), None);
        assert_eq!(parse([0; HEADER_BYTES]), None);
    }
}
