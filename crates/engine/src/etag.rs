//! ETags: a hash over the writable parts of an object, so that they depend on content alone.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// An object with the tag of its writable parts.
#[derive(Clone, Debug)]
pub struct Tagged<T> {
    /// What the API shows.
    pub value: T,
    /// 64 hexadecimal digits, for the `ETag` header.
    pub etag: String,
}

/// The tag of `writable`.
pub fn of(writable: &impl Serialize) -> String {
    let json = serde_json::to_vec(writable).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(&json);
    // LXD hashes the encoder's newline too.
    hash.update(b"\n");
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses a change made on another version than the present one. `sent` is the content of
/// `If-Match`: absent or empty matches anything; quotes around it are fine.
pub fn check(sent: Option<&str>, writable: &impl Serialize) -> Result<()> {
    let Some(sent) = sent.map(|sent| sent.trim().trim_matches('"')).filter(|sent| !sent.is_empty() && *sent != "*") else {
        return Ok(());
    };
    let actual = of(writable);
    // HTTP allows several, any of which will do.
    let mut tags = sent.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
    if tags.any(|tag| tag == actual) { Ok(()) } else { Err(Error::precondition(&actual, sent)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_follows_content() {
        let (a, b) = (serde_json::json!(["x", {"k": "v"}]), serde_json::json!(["x", {"k": "w"}]));
        assert_eq!(of(&a), of(&a.clone()));
        assert_ne!(of(&a), of(&b));
        assert!(check(None, &a).is_ok() && check(Some(""), &a).is_ok());
        assert!(check(Some(&format!("\"{}\"", of(&a))), &a).is_ok());
        assert!(check(Some(&format!("\"x\", \"{}\"", of(&a))), &a).is_ok());
        assert_eq!(check(Some(&of(&b)), &a).expect_err("differs").http_status(), 412);
    }
}
