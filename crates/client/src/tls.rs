//! TLS to a server: one that is known by its certificate, or one that an authority of this host vouches for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

/// How a server proves who it is.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// It shows exactly this certificate, inside its validity. Names do not matter.
    Pinned(pki::Certificate),
    /// An authority that this host knows vouches for it, by its name.
    System,
    /// Not at all: to look at its certificate, and for nothing else.
    Unproven,
}

/// What connections are set up with. A client without an identity is a stranger to the server.
pub(crate) fn client_config(trust: &ServerTrust, identity: Option<&pki::Identity>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        ServerTrust::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::General("this host knows no authorities (Debian package ca-certificates)".to_owned()));
            }
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            built.map_err(|error| Error::General(error.to_string()))?
        }
        ServerTrust::Pinned(certificate) => Arc::new(ByCertificate { pinned: Some(certificate.clone()), algorithms }),
        ServerTrust::Unproven => Arc::new(ByCertificate { pinned: None, algorithms }),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Why a server is not the one that is known.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the server shows another certificate than the one that is stored for it: {shown} instead of {stored}")]
    Another { shown: String, stored: String },
    #[error("the server's certificate has expired or is not valid yet")]
    OutOfTime,
}

fn refused(why: Refused) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// An error of a handshake with the words of whoever refused the server.
pub(crate) fn explain(error: std::io::Error) -> std::io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => std::io::Error::other(why.to_string()),
        _ => error,
    }
}

/// Knows a server by its certificate alone.
#[derive(Debug)]
struct ByCertificate {
    /// `None` takes any.
    pinned: Option<pki::Certificate>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ByCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(pinned) = &self.pinned else { return Ok(ServerCertVerified::assertion()) };
        if pinned.der() != shown.as_ref() {
            let shown = pki::Certificate::from_der(shown).map_or_else(|error| error.to_string(), |shown| shown.fingerprint().to_owned());
            return Err(refused(Refused::Another { shown, stored: pinned.fingerprint().to_owned() }));
        }
        if !pinned.is_valid_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) {
            return Err(refused(Refused::OutOfTime));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn certificate(made: i64) -> pki::Certificate {
        let pair = pki::generate(pki::Purpose::Server, "root@host", &["host".to_owned()], made).expect("generate");
        pki::Certificate::from_pem(&pair.certificate_pem).expect("parse")
    }

    /// What a client that knows `pinned` says of a server that shows `shown`.
    fn judge(pinned: Option<&pki::Certificate>, shown: &pki::Certificate) -> Result<(), String> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let verifier = ByCertificate { pinned: pinned.cloned(), algorithms };
        let name = ServerName::try_from("another.name").expect("name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
        let judged = verifier.verify_server_cert(&CertificateDer::from(shown.der()), &[], &name, &[], now);
        judged.map(drop).map_err(|error| explain(std::io::Error::other(error)).to_string())
    }

    #[test]
    fn a_server_is_known_by_its_certificate_alone() {
        let (ours, other, old) = (certificate(NOW), certificate(NOW), certificate(NOW - 11 * 365 * 86_400));
        assert_eq!(judge(Some(&ours), &ours), Ok(()));
        assert_eq!(judge(None, &other), Ok(()));
        let text = judge(Some(&ours), &other).expect_err("another");
        assert!(text.contains("another certificate") && text.contains(ours.fingerprint()) && text.contains(other.fingerprint()), "{text}");
        assert_eq!(judge(Some(&old), &old), Err("the server's certificate has expired or is not valid yet".to_owned()));
    }
}
