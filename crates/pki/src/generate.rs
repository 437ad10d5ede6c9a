//! New self-signed pairs.

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::pem;
use crate::{Error, Result};

/// How long a new certificate is valid, days.
const VALID_DAYS: i64 = 3652;
/// Organization in the subject, by which people tell these certificates.
const ORGANIZATION: &str = "LXD";

/// What a pair is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Purpose {
    Server,
    Client,
}

/// A new pair, as it is written to files.
pub struct Generated {
    /// PEM of the certificate.
    pub certificate_pem: String,
    /// PEM of the private key (PKCS#8), for nobody else's eyes.
    pub key_pem: String,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated").finish_non_exhaustive()
    }
}

/// Makes a key on the curve P-256, which signs many times faster than larger ones and is known to every client, and
/// a certificate for it, signed by itself and valid for ten years from `now` (seconds since 1970). `names` are DNS names and addresses that it speaks for.
pub fn generate(purpose: Purpose, common_name: &str, names: &[String], now: i64) -> Result<Generated> {
    let failed = |error: &dyn std::fmt::Display| Error::Generate(error.to_string());
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))?;
    let mut params = CertificateParams::new(names).map_err(|error| failed(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = OffsetDateTime::from_unix_timestamp(now).map_err(|error| failed(&error))?;
    params.not_after = params.not_before + Duration::days(VALID_DAYS);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![match purpose {
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    Ok(Generated {
        certificate_pem: pem::encode("CERTIFICATE", certificate.der()),
        key_pem: pem::encode("PRIVATE KEY", key.serialized_der()),
    })
}
