//! Which web pages may have a browser send requests over the network.
//!
//! A browser shows its user's certificate also to what a page of another site asks for, so a page could do
//! all that the user may. But it says whose page it is.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use engine::Engine;

use crate::error::Error;

/// The port that an origin need not name.
const DEFAULT_PORT: &str = ":443";

/// Refuses what the page of a site asks for that is neither this server nor `core.https_allowed_origin`.
pub(crate) fn check(engine: &Arc<Engine>, headers: &HeaderMap) -> Result<(), Error> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_own(origin, host) || engine.server().cross_origin().is_some_and(|allowed| is_allowed(origin, &allowed.origin)) {
        return Ok(());
    }
    Err(Error::new(
        StatusCode::FORBIDDEN,
        format!("Pages of the site \"{}\" may not use this server: core.https_allowed_origin does not name it", origin.escape_debug()),
    ))
}

fn is_own(origin: &str, host: &str) -> bool {
    let bare = |authority: &str| authority.strip_suffix(DEFAULT_PORT).unwrap_or(authority).to_ascii_lowercase();
    !host.is_empty() && origin.strip_prefix("https://").is_some_and(|authority| bare(authority) == bare(host))
}

fn is_allowed(origin: &str, allowed: &str) -> bool {
    allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages() {
        for (origin, host) in
            [("https://a:8443", "a:8443"), ("https://A", "a:443"), ("https://a:443", "a"), ("https://[::1]:8443", "[::1]:8443")]
        {
            assert!(is_own(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://b:8443", "a:8443"),
            ("https://a", "a:8443"),
            ("http://a", "a"),
            ("null", "a"),
            ("", ""),
            ("https://", ""),
            ("https://a.b", "a"),
        ] {
            assert!(!is_own(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn allowed_pages() {
        assert!(is_allowed("https://ui.example", "https://ui.example/") && is_allowed("null", "*"));
        assert!(!is_allowed("https://ui.example.org", "https://ui.example") && !is_allowed("null", "https://ui.example"));
    }
}
