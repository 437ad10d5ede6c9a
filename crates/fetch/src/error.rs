//! What can go wrong on the way to a server and back.

use std::io;

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that is not fetched from.
    #[error("{url}: {reason}")]
    Url {
        /// As given, for people ([`shown_url`]), as in all of these.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
    /// The proxy's address is of no use.
    #[error("proxy {address}: {reason}")]
    Proxy {
        /// As configured, for people.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered with a failure.
    #[error("{url}: the server answered HTTP {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// Connecting failed, or the connection broke.
    #[error("{url}: {reason}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What happened, in words.
        reason: String,
    },
    /// A reply longer than it may be.
    #[error("{url}: the reply is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit_bytes: u64,
    },
    /// A reply in several parts that is not in the form it must have.
    #[error("the server sent an image in a form that is not understood: {0}")]
    Multipart(&'static str),
}

impl Error {
    /// The HTTP status, where the server answered with a failure.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn of_ureq(url: &str, error: ureq::Error) -> Self {
        Self::Transport { url: shown_url(url), reason: explain(&error) }
    }

    pub(crate) fn of_io(url: &str, error: io::Error) -> Self {
        // What the HTTP library means comes wrapped when it has to pass through a reader.
        Self::of_ureq(url, error.into())
    }
}

fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(ureq::Timeout::PerRead) => "the server fell silent".to_owned(),
        ureq::Error::Timeout(ureq::Timeout::Connect) => "the server does not answer".to_owned(),
        ureq::Error::Timeout(ureq::Timeout::Resolve) => "the name could not be looked up in time".to_owned(),
        ureq::Error::Timeout(_) => "the server took too long".to_owned(),
        ureq::Error::HostNotFound => "there is no host of that name".to_owned(),
        ureq::Error::RequireHttpsOnly(url) => format!("the server redirects to {}, which is not https", shown_url(url)),
        ureq::Error::BadUri(_) => "the server redirects to what is no address".to_owned(),
        ureq::Error::TooManyRedirects => "the server redirects without end, or where it must not".to_owned(),
        ureq::Error::Io(error) => explain_io(error),
        other => brief(&other.to_string()),
    }
}

fn explain_io(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return pki::tls::explain(tls);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection in the middle".to_owned(),
        io::ErrorKind::NotConnected => "stopped".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "the server fell silent".to_owned(),
        _ => brief(&error.to_string()),
    }
}

/// An address for people: without its query and the user in it, which may be secret.
pub fn shown_url(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain.find("://").map_or(("", plain), |position| plain.split_at(position + 3));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    brief(&format!("{scheme}{host}{path}"))
}

/// Foreign text is shown, but not without end nor with control characters.
fn brief(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_people() {
        for (url, shown) in [
            ("https://x:8443/1.0/images/a/export?secret=b", "https://x:8443/1.0/images/a/export"),
            ("https://x?secret=b", "https://x"),
            ("https://x/a#b?secret=c", "https://x/a"),
            ("http://user:pa@ss@proxy:3128", "http://proxy:3128"),
            ("user:pass@proxy:3128/", "proxy:3128/"),
            ("https://x/a@b", "https://x/a@b"),
            ("https://x\n", "https://x "),
            ("", ""),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }

    #[test]
    fn what_failed_is_told_without_secrets() {
        for error in [
            ureq::Error::HostNotFound,
            ureq::Error::RequireHttpsOnly("http://u:secret@x/?secret".to_owned()),
            ureq::Error::BadUri("secret".to_owned()),
        ] {
            let text = Error::of_ureq("https://u:secret@x/a?secret=secret", error).to_string();
            assert!(text.starts_with("https://x/a: ") && !text.contains("secret"), "{text}");
        }
    }
}
