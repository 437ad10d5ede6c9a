//! Paths of the API from names: each segment escaped, so that no name can change the resource.

use std::fmt::Write;

/// `/1.0/a/b/c` from its segments.
pub fn path(segments: &[&str]) -> String {
    let mut path = format!("/{}", api::API_VERSION);
    for segment in segments {
        path.push('/');
        path.push_str(&encode(segment));
    }
    path
}

/// Appends a query; pairs with an empty value are kept.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut path = path.to_owned();
    for (index, (key, value)) in pairs.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(&encode(key));
        path.push('=');
        path.push_str(&encode(value));
    }
    path
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    // A segment of dots alone would be normalized away by some servers.
    if !encoded.is_empty() && encoded.bytes().all(|byte| byte == b'.') {
        return encoded.replace('.', "%2E");
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_change_the_resource() {
        assert_eq!(path(&["instances", "a/../b?c#d", "state"]), "/1.0/instances/a%2F..%2Fb%3Fc%23d/state");
        assert_eq!(path(&["instances", ".."]), "/1.0/instances/%2E%2E");
        assert_eq!(path(&["images", "aliases", "debian/12"]), "/1.0/images/aliases/debian%2F12");
        assert_eq!(path(&["instances", "é x"]), "/1.0/instances/%C3%A9%20x");
    }

    #[test]
    fn queries() {
        assert_eq!(with_query("/1.0/instances/c/files", &[("path", "/a b")]), "/1.0/instances/c/files?path=%2Fa%20b");
        assert_eq!(with_query("/x", &[("a", "1"), ("b", "")]), "/x?a=1&b=");
        assert_eq!(with_query("/x", &[]), "/x");
    }
}
