//! A way into the readers of replies for the fuzzing targets, and for nobody else.

use crate::socket::{Purpose, read_datagram};

/// A datagram of replies to the request number 1, each message read as every kind of object.
pub fn datagram(bytes: &[u8]) {
    let purpose = Purpose { operation: "list", subject: "objects" };
    let mut interrupted = false;
    let read = read_datagram(purpose, (bytes, 1), &mut interrupted, &mut |_, content| {
        drop((crate::link::parse_link(content), crate::addr::parse_addr(content), crate::addr::parse_route(content)));
        Ok(())
    });
    drop(read);
}
