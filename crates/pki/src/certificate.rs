//! A certificate that has been read.

use data_encoding::{BASE64, HEXLOWER};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::pem;
use crate::{Error, Result};

/// Most bytes of a certificate that is looked at.
const MAX_BYTES: usize = 64 * 1024;
/// Attribute type `commonName`, RFC 4519.
const COMMON_NAME: &str = "2.5.4.3";

/// One certificate: its bytes and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: String,
    common_name: String,
    dns_names: Vec<String>,
    not_before: i64,
    not_after: i64,
    version: u8,
}

impl Certificate {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let bad = |reason: &dyn std::fmt::Display| Error::Certificate(reason.to_string());
        if der.len() > MAX_BYTES {
            return Err(bad(&format!("it is larger than {MAX_BYTES} bytes")));
        }
        let parsed = x509_cert::Certificate::from_der(der).map_err(|error| bad(&error))?;
        let content = &parsed.tbs_certificate;
        let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let alternatives = content.get::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
        let dns_names = alternatives.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        Ok(Self {
            der: der.to_owned(),
            fingerprint: HEXLOWER.encode(&Sha256::digest(der)),
            common_name: common_name(&content.subject),
            dns_names: dns_names.collect(),
            not_before: seconds(content.validity.not_before),
            not_after: seconds(content.validity.not_after),
            version: content.version as u8 + 1,
        })
    }

    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self> {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| Error::Certificate(error.to_string()))?;
        Self::from_der(&der)
    }

    /// Reads what clients send: PEM, or DER in base64, broken into lines or not.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("-----BEGIN") {
            return Self::from_pem(text);
        }
        let bare: String = text.split_ascii_whitespace().collect();
        let der = BASE64.decode(bare.as_bytes()).map_err(|error| Error::Certificate(format!("neither PEM nor base64: {error}")))?;
        Self::from_der(&der)
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// As PEM. Equal certificates give equal texts.
    pub fn pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// SHA-256 of its bytes: 64 lower-case hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The common name of its subject; empty if it has none.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The DNS names that it speaks for.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// First moment of its validity, seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last moment of its validity, seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Which version of X.509 it is of: 1, 2 or 3. TLS here takes only those of version 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Whether a moment, in seconds since 1970, is inside its validity.
    pub fn is_valid_at(&self, seconds: i64) -> bool {
        (self.not_before..=self.not_after).contains(&seconds)
    }
}

fn common_name(subject: &x509_cert::name::Name) -> String {
    let mut attributes = subject.0.iter().flat_map(|part| part.0.iter());
    let found = attributes.find(|attribute| attribute.oid.to_string() == COMMON_NAME);
    found.and_then(|attribute| std::str::from_utf8(attribute.value.value()).ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, generate};

    fn sample() -> Certificate {
        let made = generate(Purpose::Server, "root@host", &["host".to_owned(), "10.0.0.1".to_owned()], 1_000_000_000).expect("generate");
        Certificate::from_pem(&made.certificate_pem).expect("parse")
    }

    #[test]
    fn what_a_certificate_says() {
        let sample = sample();
        assert_eq!((sample.common_name(), sample.dns_names()), ("root@host", &["host".to_owned()][..]));
        assert_eq!(sample.not_before(), 1_000_000_000);
        assert!(sample.is_valid_at(1_000_000_000) && sample.is_valid_at(sample.not_after()));
        assert!(!sample.is_valid_at(999_999_999) && !sample.is_valid_at(sample.not_after() + 1));
        let years = (sample.not_after() - sample.not_before()) / (365 * 24 * 3600);
        assert_eq!(years, 10);
        assert_eq!((sample.fingerprint().len(), sample.version()), (64, 3));
    }

    #[test]
    fn every_spelling_is_the_same_certificate() {
        let sample = sample();
        let base64 = BASE64.encode(sample.der());
        let lines = base64.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\r\n");
        for text in [sample.pem(), format!("some words\n{}", sample.pem().replace('\n', "\r\n")), base64, lines] {
            assert_eq!(Certificate::parse(&text).expect("parse"), sample);
        }
    }

    /// Whatever byte is wrong, reading ends with an answer.
    #[test]
    fn damaged_certificates_are_survived() {
        let sample = sample();
        for index in 0..sample.der().len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut damaged = sample.der().to_vec();
                damaged[index] ^= damage;
                if let Ok(read) = Certificate::from_der(&damaged) {
                    assert_ne!(read.fingerprint(), sample.fingerprint());
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let sample = sample();
        let mut longer = sample.der().to_vec();
        longer.push(0);
        let cut = &sample.der()[..sample.der().len() - 1];
        for der in [&longer[..], cut, b"", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert!(Certificate::from_der(der).is_err(), "{der:?}");
        }
        for text in ["", "nonsense!", "AAAA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]
        {
            let error = Certificate::parse(text).expect_err(text);
            assert!(error.to_string().starts_with("Invalid certificate: "), "{error}");
        }
    }
}
