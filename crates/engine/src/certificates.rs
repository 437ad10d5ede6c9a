//! Clients that are trusted over the network, and how one becomes trusted.
//!
//! Trust is in exactly the bytes of a certificate that is stored here, inside its validity; there are no
//! authorities. A stranger is let in by a token, which nobody can guess, or by the trust password, which only
//! few guesses are allowed for.

mod attempts;
mod password;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

use api::certificates::{Certificate, CertificatePut, CertificatesPost};
use keys::server::{CORE_REMOTE_TOKEN_EXPIRY, CORE_TRUST_PASSWORD};
use serde_json::Value;

pub(crate) use password::hash as hash_password;

pub use attempts::neighbourhood;

use attempts::Attempts;
use tokens::Tokens;

use crate::operations::Operation;
use crate::records::{CertificateRecord, Held};
use crate::{Engine, Error, ErrorKind, Result, Tagged, etag, patch};

/// The one type of certificate there is.
const CLIENT: &str = "client";
/// Longest name of a certificate, bytes.
const MAX_NAME_BYTES: usize = 255;

/// What is kept about strangers in memory.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    attempts: Attempts,
    tokens: Tokens,
}

/// Who wants a certificate to be trusted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applicant<'a> {
    /// Trusted callers need no password.
    pub is_trusted: bool,
    /// Where it calls from, over the network.
    pub address: Option<IpAddr>,
    /// The certificate that it has shown to have the key of.
    pub certificate: Option<&'a pki::Certificate>,
}

/// What came of a request for trust.
#[derive(Debug)]
pub enum Added {
    /// The certificate with this fingerprint is trusted now.
    Certificate(String),
    /// A token that somebody else can use once.
    Token(Arc<Operation>),
}

/// The trusted certificates of an engine.
#[derive(Clone, Debug)]
pub struct Certificates {
    engine: Arc<Engine>,
}

impl Certificates {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Whether exactly this certificate is trusted, now. Reads memory only.
    pub fn is_trusted(&self, certificate: &pki::Certificate) -> bool {
        let held = self.engine.records.certificates.get(certificate.fingerprint());
        let is_same = held.is_some_and(|held| held.certificate == certificate.pem());
        is_same && certificate.is_valid_at(jiff::Timestamp::now().as_second())
    }

    /// Fingerprints, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        self.engine.records.certificates.ids()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Certificate> {
        self.engine.records.certificates.all().iter().map(|(fingerprint, held)| render(fingerprint, held)).collect()
    }

    /// One by its fingerprint or an unambiguous beginning of it.
    pub fn get(&self, prefix: &str) -> Result<Tagged<Certificate>> {
        let (fingerprint, held) = self.find(prefix)?;
        Ok(Tagged { value: render(&fingerprint, &held), etag: etag::of(&writable(&held)) })
    }

    /// Trusts a certificate, or makes a token by which somebody else can have one trusted. May take a while for
    /// strangers: their passwords are slow to check.
    pub fn create(&self, request: CertificatesPost, applicant: Applicant<'_>) -> Result<Added> {
        if !applicant.is_trusted {
            return self.let_in(&request, applicant).map(Added::Certificate);
        }
        check_kind(&request.kind)?;
        refuse_restriction(request.restricted, &request.projects)?;
        if request.token {
            return self.create_token(&request).map(Added::Token);
        }
        let certificate = certificate_of(&request, applicant)?;
        self.add(&certificate, name_for(&request.name, &request, applicant, &certificate)).map(Added::Certificate)
    }

    /// A stranger's request: first of all it must know something.
    fn let_in(&self, request: &CertificatesPost, applicant: Applicant<'_>) -> Result<String> {
        let secret = if request.trust_token.is_empty() { &request.password } else { &request.trust_token };
        if secret.is_empty() {
            return Err(forbidden());
        }
        let strangers = &self.engine.strangers;
        // First, and not as a guess: the guesses of others cannot keep out whoever has a token.
        if let Some(token) = strangers.tokens.take(secret) {
            return self.let_in_by(token, request, applicant);
        }
        let attempt = strangers.attempts.begin(applicant.address).map_err(|wait| {
            Error::new(ErrorKind::TooManyRequests, format!("Too many attempts to be trusted: wait {} s", wait.as_secs().max(1)))
        })?;
        if !self.is_password(secret) {
            attempt.failed();
            let address = applicant.address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(address, "a client has given a wrong trust password or token");
            return Err(forbidden());
        }
        attempt.succeeded();
        self.let_in_as(&request.name, request, applicant)
    }

    fn let_in_by(&self, token: tokens::Token, request: &CertificatesPost, applicant: Applicant<'_>) -> Result<String> {
        // It was made for a client, so there is no need to say so.
        let kind = if request.kind.is_empty() { CLIENT.to_owned() } else { request.kind.clone() };
        let let_in = self.let_in_as(token.name(), &CertificatesPost { kind, ..request.clone() }, applicant);
        match &let_in {
            Ok(_) => token.used(),
            // It was not the token's fault.
            Err(_) => self.engine.strangers.tokens.put_back(token),
        }
        let_in
    }

    fn let_in_as(&self, name: &str, request: &CertificatesPost, applicant: Applicant<'_>) -> Result<String> {
        check_kind(&request.kind)?;
        refuse_restriction(request.restricted, &request.projects)?;
        if request.token {
            return Err(forbidden());
        }
        let certificate = certificate_of(request, applicant)?;
        self.add(&certificate, name_for(name, request, applicant, &certificate))
    }

    fn is_password(&self, given: &str) -> bool {
        let config = self.engine.server().stored_config();
        CORE_TRUST_PASSWORD.text(&config).is_some_and(|stored| password::is_match(stored, given))
    }

    fn create_token(&self, request: &CertificatesPost) -> Result<Arc<Operation>> {
        check_name(&request.name)?;
        if request.name.is_empty() {
            return Err(Error::bad_request("A token needs the name that the client's certificate is to get"));
        }
        let https = &self.engine.https;
        let addresses = https.addresses();
        let identity = https.identity().map_err(Error::unavailable)?;
        if addresses.is_empty() {
            return Err(Error::bad_request("This server does not listen on the network, so nobody could use a token")
                .hint("set core.https_address first"));
        }
        let config = self.engine.server().stored_config();
        let lifetime = CORE_REMOTE_TOKEN_EXPIRY.get(&config).filter(|seconds| *seconds > 0);
        let about = tokens::About { name: request.name.clone(), fingerprint: identity.certificate().fingerprint().to_owned(), addresses };
        self.engine.strangers.tokens.create(&self.engine.operations, about, lifetime)
    }

    /// Stores a certificate as trusted; that takes effect at once.
    fn add(&self, certificate: &pki::Certificate, name: String) -> Result<String> {
        check_name(&name)?;
        if certificate.version() < 3 {
            return Err(Error::bad_request(format!(
                "The certificate is of X.509 version {}, which TLS does not take",
                certificate.version()
            ))
            .hint("make one of version 3: with `openssl req -x509`, or by removing client.crt and client.key for lxc to make them anew"));
        }
        let fingerprint = certificate.fingerprint().to_owned();
        if self.engine.records.certificates.contains(&fingerprint) {
            return Err(Error::bad_request("Certificate already in trust store"));
        }
        let record = CertificateRecord { name, certificate: certificate.pem() };
        let mut changes = self.engine.records.changes();
        changes.insert(&fingerprint, record)?;
        changes.commit()?;
        self.engine.lifecycle("certificate-created", "certificates", &fingerprint);
        Ok(fingerprint)
    }

    /// Replaces the name; nothing else of a certificate can change.
    pub fn update(&self, prefix: &str, request: CertificatePut, if_match: Option<&str>) -> Result<()> {
        let (fingerprint, held) = self.find(prefix)?;
        etag::check(if_match, &writable(&held))?;
        check_kind(&request.kind)?;
        refuse_restriction(request.restricted, &request.projects)?;
        check_name(&request.name)?;
        if !request.certificate.is_empty()
            && pki::Certificate::parse(&request.certificate).ok().map(|given| given.pem()).as_ref() != Some(&held.certificate)
        {
            return Err(Error::bad_request("A certificate can't be replaced by another one").hint("add the new one and delete the old one"));
        }
        let mut changes = self.engine.records.changes();
        changes.update(&fingerprint, &held, CertificateRecord { name: request.name, certificate: held.certificate.clone() })?;
        changes.commit()?;
        self.engine.lifecycle("certificate-updated", "certificates", &fingerprint);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, prefix: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let (_, held) = self.find(prefix)?;
        let current = CertificatePut { name: held.name.clone(), kind: CLIENT.to_owned(), ..CertificatePut::default() };
        self.update(prefix, patch::apply(&current, patch)?, if_match)
    }

    /// Trusts it no longer, also on connections that are open.
    pub fn delete(&self, prefix: &str) -> Result<()> {
        let (fingerprint, _) = self.find(prefix)?;
        let mut changes = self.engine.records.changes();
        changes.delete::<CertificateRecord>(&fingerprint);
        changes.commit()?;
        self.engine.https.trust_changed();
        self.engine.lifecycle("certificate-deleted", "certificates", &fingerprint);
        Ok(())
    }

    fn find(&self, prefix: &str) -> Result<(String, Held<CertificateRecord>)> {
        let prefix = prefix.to_ascii_lowercase();
        let missing = || Error::not_found("Certificate not found").hint("`lxc config trust list` shows those there are");
        if prefix.is_empty() {
            return Err(missing());
        }
        let mut found = self.engine.records.certificates.below(&prefix).into_iter();
        let (rest, held) = found.next().ok_or_else(missing)?;
        if !rest.is_empty() && found.next().is_some() {
            return Err(Error::bad_request("Partial fingerprint matches more than one certificate").hint("give more of it"));
        }
        Ok((format!("{prefix}{rest}"), held))
    }
}

/// One answer, whatever was wrong.
fn forbidden() -> Error {
    Error::forbidden(ErrorKind::Forbidden.text())
}

fn check_kind(kind: &str) -> Result<()> {
    if kind == CLIENT { Ok(()) } else { Err(Error::bad_request(format!("Unknown request type {}", kind.escape_debug()))) }
}

fn refuse_restriction(is_restricted: bool, projects: &[String]) -> Result<()> {
    if is_restricted || !projects.is_empty() {
        return Err(Error::bad_request("Certificates can't be restricted to projects here: whoever is trusted may do everything"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Error::bad_request(format!("Invalid name of a certificate: at most {MAX_NAME_BYTES} bytes and no control characters")));
    }
    Ok(())
}

/// The certificate that the request is about: one in it, else that of the connection.
fn certificate_of(request: &CertificatesPost, applicant: Applicant<'_>) -> Result<pki::Certificate> {
    if !request.certificate.is_empty() {
        return pki::Certificate::parse(&request.certificate).map_err(|error| Error::bad_request(error.to_string()));
    }
    if applicant.address.is_none() {
        return Err(Error::bad_request("Can't use TLS data on non-TLS link").hint("send the certificate in the field `certificate`"));
    }
    applicant.certificate.cloned().ok_or_else(|| Error::bad_request("No client certificate provided"))
}

/// A certificate gets the name wished for, else that of where its owner calls from, or what it says itself.
fn name_for(wished: &str, request: &CertificatesPost, applicant: Applicant<'_>, certificate: &pki::Certificate) -> String {
    if !wished.is_empty() {
        return wished.to_owned();
    }
    match applicant.address {
        Some(address) if request.certificate.is_empty() => address.to_string(),
        _ => certificate.common_name().to_owned(),
    }
}

fn render(fingerprint: &str, record: &CertificateRecord) -> Certificate {
    Certificate {
        certificate: record.certificate.clone(),
        fingerprint: fingerprint.to_owned(),
        name: record.name.clone(),
        kind: CLIENT.to_owned(),
    }
}

fn writable(record: &CertificateRecord) -> (&str, &str) {
    (&record.name, &record.certificate)
}
