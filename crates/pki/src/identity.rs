//! Who one is in a TLS handshake: certificates and the key to the first of them.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Certificate, Error, Result};

/// Most certificates of a chain.
const MAX_CHAIN: usize = 10;

/// A certificate with its private key. Clones share both.
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads both from PEM. Whether they belong together shows in the first handshake's set-up.
    /// Certificates after the first are those that vouch for it.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self> {
        let read = CertificateDer::pem_slice_iter(certificates.as_bytes()).take(MAX_CHAIN).collect::<std::result::Result<Vec<_>, _>>();
        let chain = read.map_err(|error| Error::Certificate(error.to_string()))?;
        let first = chain.first().ok_or_else(|| Error::Certificate("there is none in the text".to_owned()))?;
        let certificate = Certificate::from_der(first)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| Error::Key(error.to_string()))?;
        Ok(Self { certificate, chain, key: Arc::new(key) })
    }

    /// The certificate that others see.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// That and those that vouch for it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.certificate.fingerprint()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, generate};

    #[test]
    fn a_new_pair_is_an_identity() {
        let made = generate(Purpose::Client, "root@host", &[], 1_700_000_000).expect("generate");
        let identity = Identity::from_pem(&made.certificate_pem, &made.key_pem).expect("identity");
        assert_eq!(identity.certificate().common_name(), "root@host");
        assert_eq!(identity.chain().len(), 1);
        assert!(!format!("{identity:?} {made:?}").contains("PRIVATE"));
        assert!(Identity::from_pem("", &made.key_pem).is_err());
        assert!(matches!(Identity::from_pem(&made.certificate_pem, &made.certificate_pem), Err(Error::Key(_))));
    }
}
