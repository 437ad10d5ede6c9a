//! Images on other servers: which one a request means, and where its files are.
//!
//! All that a server says is foreign: addresses that it names are checked, sizes are bounded, and the
//! fingerprint of what it sends decides in the end.

mod direct;
mod lxd;
mod streams;

use api::images::{Image, ImageSource, UpdateSource};
use api::instances::Source;
use fetch::{Client, Proxies, ServerTrust, Settings, shown_url};
use keys::server::{CORE_PROXY_HTTP, CORE_PROXY_HTTPS, CORE_PROXY_IGNORE_HOSTS};

pub(super) use lxd::encode;
pub(super) use streams::{LIST_LIFETIME, StreamCache};

use super::Images;
use super::transfer::Cancel;
use crate::records::SourceRecord;
use crate::{Error, ErrorKind, Result};

/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 64;
/// The longest address, alias or secret that is taken.
const MAX_TEXT_BYTES: usize = 2048;

/// How a server offers images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The API of an LXD.
    Lxd,
    /// Files that list images.
    Simplestreams,
    /// One address that says in the headers of its reply where an image is.
    Direct,
}

/// An image on a server, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteImage {
    /// Address of the server; for [`Protocol::Direct`] of the image.
    server: String,
    protocol: Protocol,
    /// PEM text, or empty.
    certificate: String,
    /// Lets a private image be fetched, or empty.
    secret: String,
    /// Alias or fingerprint.
    name: String,
}

/// An image that a server has.
#[derive(Debug)]
pub(super) struct Offer {
    /// What the files must have: 64 lower-case digits.
    pub fingerprint: String,
    pub files: OfferFiles,
    /// What the server says of it; empty where it does not.
    pub image: Image,
}

/// Where the files of an image are, and how large they must not exceed.
#[derive(Debug)]
pub(super) enum OfferFiles {
    /// Two files, one after the other.
    Split([OfferFile; 2]),
    /// One reply that is an image of one file or has both files as its parts.
    Export { url: String, size_bytes: u64 },
    /// One file, as large as the server says then.
    Whole { url: String },
}

/// One of two files.
#[derive(Debug)]
pub(super) struct OfferFile {
    /// For people: `metadata`, `rootfs`.
    pub label: &'static str,
    pub url: String,
    pub size_bytes: u64,
    /// Hexadecimal, or empty.
    pub sha256: String,
}

impl Protocol {
    fn parse(name: &str) -> Result<Self> {
        match name {
            "" | "lxd" => Ok(Self::Lxd),
            "simplestreams" => Ok(Self::Simplestreams),
            "direct" => Ok(Self::Direct),
            other => Err(Error::bad_request(format!("protocol '{}' of an image server is not known", brief(other)))
                .hint("one of lxd, simplestreams")),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Simplestreams => "simplestreams",
            Self::Direct => "direct",
        }
    }
}

impl RemoteImage {
    /// The image that a new instance is to be made of.
    pub(crate) fn of_instance(source: &Source) -> Result<Self> {
        if !source.properties.is_empty() && source.fingerprint.is_empty() && source.alias.is_empty() {
            return Err(Error::bad_request("Property match is only supported for local images"));
        }
        Self::on_server([&source.server, &source.protocol, &source.certificate, &source.secret], [&source.fingerprint, &source.alias])
    }

    /// The image that is to be taken in.
    pub(crate) fn of_image(source: &ImageSource) -> Result<Self> {
        if source.kind == "url" {
            return Self::at_url(&source.url);
        }
        match source.mode.as_str() {
            "" | "pull" => {}
            other => {
                return Err(Error::bad_request(format!("mode '{}' of an image's source is not known", brief(other))).hint("pull or push"));
            }
        }
        if source.server.is_empty() {
            return Err(Error::bad_request("the image's source names no server"));
        }
        Self::on_server([&source.server, &source.protocol, &source.certificate, &source.secret], [&source.fingerprint, &source.alias])
    }

    fn on_server([server, protocol, certificate, secret]: [&str; 4], [fingerprint, alias]: [&str; 2]) -> Result<Self> {
        Self {
            server: server.to_owned(),
            protocol: Protocol::parse(protocol)?,
            certificate: certificate.to_owned(),
            secret: secret.to_owned(),
            name: first_of(fingerprint, alias)?,
        }
        .checked()
    }

    /// What an image is to be refreshed from.
    pub(super) fn of_record(record: &SourceRecord) -> Result<Self> {
        Self {
            server: record.server.clone(),
            protocol: Protocol::parse(&record.protocol)?,
            certificate: record.certificate.clone(),
            secret: String::new(),
            name: record.alias.clone(),
        }
        .checked()
    }

    fn at_url(url: &str) -> Result<Self> {
        if url.is_empty() {
            return Err(Error::bad_request("Missing URL of the image"));
        }
        let none = String::new();
        Self { server: url.to_owned(), protocol: Protocol::Direct, certificate: none.clone(), secret: none, name: url.to_owned() }.checked()
    }

    fn checked(self) -> Result<Self> {
        for (what, text) in [("address of the server", &self.server), ("name of the image", &self.name), ("secret", &self.secret)] {
            check_text(what, text)?;
        }
        check_server(&self.server)?;
        if !self.secret.is_empty() && !is_fingerprint(&self.name) {
            return Err(Error::bad_request("a private image is fetched by its full fingerprint"));
        }
        trust(&self.certificate)?;
        Ok(self)
    }

    /// For log lines and errors.
    pub(super) fn title(&self) -> String {
        let server = shown_url(&self.server);
        if self.protocol == Protocol::Direct { server } else { format!("{} from {server}", self.name) }
    }

    /// What to record, if the name may mean another image later: the beginning of a fingerprint does not.
    pub(super) fn record(&self, fingerprint: &str) -> Option<SourceRecord> {
        (!fingerprint.starts_with(&self.name.to_ascii_lowercase())).then(|| SourceRecord {
            server: self.server.clone(),
            protocol: self.protocol.name().to_owned(),
            certificate: self.certificate.clone(),
            alias: self.name.clone(),
        })
    }

    /// Whether the image with this fingerprint is meant for sure, without asking the server.
    pub(super) fn is_surely(&self, fingerprint: &str) -> bool {
        self.name == fingerprint
    }
}

impl Images {
    /// Asks the server which image is meant. What is known of its list of images must not be older than
    /// `max_age`.
    pub(super) fn resolve(&self, remote: &RemoteImage, client: &Client, max_age: std::time::Duration, cancel: &Cancel) -> Result<Offer> {
        let result = match remote.protocol {
            Protocol::Lxd => lxd::resolve(remote, client),
            Protocol::Simplestreams => self.resolve_in_stream(remote, client, max_age, cancel),
            Protocol::Direct => self.resolve_direct(remote, client),
        };
        cancel.check()?;
        let offer = result
            .map_err(|error| Error::new(error.kind(), format!("find image {}", remote.title())).caused_by(Reported(error.report())))?;
        if !is_fingerprint(&offer.fingerprint) {
            return Err(Error::unavailable(format!("image {}: the server names no valid fingerprint", remote.title())));
        }
        Ok(offer)
    }

    /// A client for the server of an image.
    pub(super) fn client_of(&self, remote: &RemoteImage) -> Result<Client> {
        self.client_for(&remote.server, &remote.certificate)
    }

    /// A client for a server that shows this certificate, or, where it is empty, for whom the host's authorities vouch.
    pub(super) fn client_for(&self, server: &str, certificate: &str) -> Result<Client> {
        let settings = Settings { trust: trust(certificate)?, proxies: self.proxies(), user_agent: self.user_agent() };
        Client::new(server, &settings).map_err(|error| Error::bad_request(error.to_string()))
    }

    fn proxies(&self) -> Proxies {
        let config = self.engine.records.server.get("config").map(|record| record.config.clone()).unwrap_or_default();
        let text = |key: keys::Key<keys::types::Line>| key.text(&config).unwrap_or_default().to_owned();
        let proxies = Proxies { http: text(CORE_PROXY_HTTP), https: text(CORE_PROXY_HTTPS), ignore_hosts: text(CORE_PROXY_IGNORE_HOSTS) };
        proxies.or_environment(|name| std::env::var(name).ok())
    }

    /// Servers of images tell by it what a client can use.
    fn user_agent(&self) -> String {
        let host = &self.engine.host;
        let plain = |text: &str| text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect::<String>();
        format!(
            "LXD {} (Linux; {}; {}; {}; {})",
            self.engine.config.version,
            host.architecture,
            plain(&host.kernel_version),
            plain(&host.os_name),
            plain(&host.os_version)
        )
    }
}

/// What everybody may see of where an image is refreshed from: addresses without the secrets in them.
pub(super) fn shown_source(record: &SourceRecord) -> UpdateSource {
    let is_address = record.protocol == Protocol::Direct.name();
    UpdateSource {
        alias: if is_address { shown_url(&record.alias) } else { record.alias.clone() },
        certificate: record.certificate.clone(),
        protocol: record.protocol.clone(),
        server: shown_url(&record.server),
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn read_foreign_reply(status: u16, bytes: &[u8]) {
    lxd::read_foreign(status, bytes);
}

/// An error whose whole text is known already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Reported(pub String);

/// What went wrong on the way is nobody's fault here.
pub(super) fn unavailable(error: fetch::Error) -> Error {
    let kind = if error.status() == Some(404) { ErrorKind::NotFound } else { ErrorKind::Unavailable };
    Error::new(kind, error.to_string())
}

pub(super) fn is_fingerprint(text: &str) -> bool {
    text.len() == FINGERPRINT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// How a server proves who it is.
fn trust(certificate: &str) -> Result<ServerTrust> {
    if certificate.is_empty() {
        return Ok(ServerTrust::System);
    }
    pki::Certificate::from_pem(certificate).map(ServerTrust::Pinned).map_err(|error| Error::bad_request(error.to_string()))
}

/// Refuses what is no address of a server.
pub(super) fn check_server(server: &str) -> Result<()> {
    check_text("address of the server", server)?;
    if server.starts_with("https://") {
        return Ok(());
    }
    Err(Error::bad_request(format!("image server '{}': only https:// is supported", shown_url(server))))
}

pub(super) fn check_text(what: &str, text: &str) -> Result<()> {
    if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(Error::bad_request(format!("the {what} is too long or contains control characters")));
    }
    Ok(())
}

/// Whether a text can be a header's value, or a component of a path, as it is.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with('.')
}

fn first_of(fingerprint: &str, alias: &str) -> Result<String> {
    let name = if fingerprint.is_empty() { alias } else { fingerprint };
    if name.is_empty() {
        return Err(Error::bad_request("must specify one of alias or fingerprint for init from image"));
    }
    Ok(name.to_owned())
}

/// Foreign text in an error.
pub(super) fn brief(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(server: &str, name: &str) -> ImageSource {
        ImageSource { kind: "image".into(), server: server.into(), alias: name.into(), ..ImageSource::default() }
    }

    #[test]
    fn requests_that_make_no_sense() {
        let fails = |source: &ImageSource, part: &str| {
            let error = RemoteImage::of_image(source).expect_err("refused");
            assert!(error.report().contains(part), "{}", error.report());
        };
        fails(&source("http://x", "a"), "only https://");
        fails(&source("", "a"), "names no server");
        fails(&source("https://x", ""), "must specify one of alias or fingerprint");
        fails(&source("https://x\n", "a"), "control characters");
        fails(&ImageSource { protocol: "ftp".into(), ..source("https://x", "a") }, "'ftp'");
        fails(&ImageSource { mode: "throw".into(), ..source("https://x", "a") }, "pull or push");
        fails(&ImageSource { certificate: "junk".into(), ..source("https://x", "a") }, "Invalid certificate");
        fails(&ImageSource { secret: "s".into(), ..source("https://x", "a") }, "full fingerprint");
        fails(&ImageSource { kind: "url".into(), url: "http://x".into(), ..ImageSource::default() }, "only https://");
        let by_properties = Source { server: "https://x".into(), properties: [("a".into(), "b".into())].into(), ..Source::default() };
        assert!(RemoteImage::of_instance(&by_properties).expect_err("properties").report().contains("local images"));
    }

    #[test]
    fn titles_have_no_secrets() {
        let at = |url: &str| RemoteImage::of_image(&ImageSource { kind: "url".into(), url: url.into(), ..ImageSource::default() });
        assert_eq!(at("https://x/image?token=secret").expect("valid").title(), "https://x/image");
        let error = at("http://u:secret@x/image?token=secret").expect_err("http").report();
        assert!(error.contains("http://x/image") && !error.contains("secret"), "{error}");
        assert_eq!(RemoteImage::of_image(&source("https://x/?token=secret", "a")).expect("valid").title(), "a from https://x/");
    }

    #[test]
    fn what_is_shown_of_a_record_has_no_secrets() {
        let url = "https://x/image?token=secret";
        let direct = RemoteImage::of_image(&ImageSource { kind: "url".into(), url: url.into(), ..ImageSource::default() }).expect("valid");
        let stream = ImageSource { protocol: "simplestreams".into(), ..source("https://x/?token=secret", "debian/12") };
        let stream = RemoteImage::of_image(&stream).expect("valid");
        for (remote, alias, server) in [(direct, "https://x/image", "https://x/image"), (stream, "debian/12", "https://x/")] {
            let record = remote.record(&"a".repeat(FINGERPRINT_DIGITS)).expect("an alias may move on");
            assert!(record.server.contains("secret"), "it is needed to refresh the image");
            let shown = shown_source(&record);
            assert_eq!((shown.alias.as_str(), shown.server.as_str()), (alias, server));
        }
    }

    #[test]
    fn what_is_recorded() {
        let remote = RemoteImage::of_image(&source("https://x", "debian/12")).expect("valid");
        let fingerprint = "a".repeat(FINGERPRINT_DIGITS);
        let record = remote.record(&fingerprint).expect("an alias may move on");
        assert_eq!((record.protocol.as_str(), record.alias.as_str()), ("lxd", "debian/12"));
        assert_eq!(RemoteImage::of_record(&record).expect("valid"), remote);
        let fixed = RemoteImage::of_image(&source("https://x", &fingerprint)).expect("valid");
        assert_eq!(fixed.record(&fingerprint), None);
        assert_eq!(RemoteImage::of_image(&source("https://x", "AAAA")).expect("valid").record(&fingerprint), None);
        assert!(fixed.is_surely(&fingerprint));
    }
}
