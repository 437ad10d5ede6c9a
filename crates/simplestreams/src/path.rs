//! Paths that a server names.

use crate::{Error, Result};

/// Where the index is.
pub(crate) const INDEX: &str = "streams/v1/index.json";

/// The longest path that is accepted.
const MAX_PATH_BYTES: usize = 1024;

/// The URL of a file below a server's address. A path that could lead anywhere else is refused.
pub fn join(server: &str, path: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\\?#%\"<>^`{|}".contains(c);
    let is_component = |part: &str| !matches!(part, "" | "." | "..");
    if path.len() > MAX_PATH_BYTES || path.contains("://") || !path.chars().all(is_plain) || !path.split('/').all(is_component) {
        return Err(Error::Path(path.chars().take(200).collect()));
    }
    Ok(format!("{}/{path}", server.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_server() {
        assert_eq!(join("https://x/y/", INDEX).expect("index"), "https://x/y/streams/v1/index.json");
        assert_eq!(join("https://x", "images/a/20240101_05:24/lxd.tar.xz").expect("colon"), "https://x/images/a/20240101_05:24/lxd.tar.xz");
        for evil in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "https://evil/x",
            "//evil/x",
            "a?b",
            "a#b",
            "%2e%2e/x",
            "a\\..\\b",
            "a b",
            "a\nb",
            "a\0",
            "ä",
        ] {
            assert!(matches!(join("https://x", evil), Err(Error::Path(_))), "{evil:?}");
        }
        assert!(join("https://x", &"a".repeat(2000)).is_err());
    }
}
