//! How the two sides of a TLS connection know each other: clients a server by its certificate or by the authorities
//! of the host, servers a client by nothing but its having the key to what it shows.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{Certificate, Identity};

/// How a server proves who it is.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// It shows exactly this certificate, inside its validity. Names do not matter.
    Pinned(Certificate),
    /// An authority that this host knows vouches for it, by its name.
    System,
    /// Not at all: to look at its certificate, and for nothing else.
    Unproven,
}

/// What judges a server.
pub fn server_verifier(trust: &ServerTrust) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = ring::default_provider();
    let signatures = Signatures::of(&provider);
    Ok(match trust {
        ServerTrust::System => {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(host_authorities()?), Arc::new(provider)).build();
            built.map_err(|error| Error::General(error.to_string()))?
        }
        ServerTrust::Pinned(certificate) => Arc::new(ByCertificate { pinned: Some(certificate.clone()), signatures }),
        ServerTrust::Unproven => Arc::new(ByCertificate { pinned: None, signatures }),
    })
}

/// What connections to a server are set up with. A client without an identity is a stranger to it.
pub fn client_config(trust: &ServerTrust, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = server_verifier(trust)?;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// What connections of clients are set up with: any certificate is asked for, none demanded, and that a client has
/// the key to its first one is proven.
pub fn server_config(identity: &Identity) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyClient { signatures: Signatures::of(&provider) });
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.key())
}

fn host_authorities() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text = "this host knows no certificate authorities: install the package ca-certificates, or pin the server's certificate";
        return Err(Error::General(text.to_owned()));
    }
    Ok(roots)
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

/// Why a handshake failed, for people.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.to_string(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is not from an authority that this system trusts".to_owned()
        }
        Error::InvalidCertificate(reason) => format!("the server's certificate is not valid: {reason}"),
        other => format!("TLS: {other}"),
    }
}

/// The signatures of handshakes: that somebody has the key to the certificate that it shows.
#[derive(Clone, Copy, Debug)]
struct Signatures(WebPkiSupportedAlgorithms);

impl Signatures {
    fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }

    fn tls12(self, message: &[u8], of: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, of, signed, &self.0)
    }

    fn tls13(self, message: &[u8], of: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, of, signed, &self.0)
    }
}

/// The part of the two verifiers that is the same for both.
macro_rules! signatures_are_verified {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            of: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signatures.tls12(message, of, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            of: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signatures.tls13(message, of, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.signatures.0.supported_schemes()
        }
    };
}

/// Knows a server by its certificate alone.
#[derive(Debug)]
struct ByCertificate {
    /// `None` takes any.
    pinned: Option<Certificate>,
    signatures: Signatures,
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
            let shown = Certificate::from_der(shown).map_or_else(|error| error.to_string(), |shown| shown.fingerprint().to_owned());
            return Err(refused(Refused::Another { shown, stored: pinned.fingerprint().to_owned() }));
        }
        if !pinned.is_valid_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) {
            return Err(refused(Refused::OutOfTime));
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures_are_verified!();
}

/// Takes any certificate of a client.
#[derive(Debug)]
struct AnyClient {
    signatures: Signatures,
}

impl ClientCertVerifier for AnyClient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures_are_verified!();
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::{Purpose, generate};

    fn pair(purpose: Purpose, made: i64) -> Identity {
        let pair = generate(purpose, "root@host", &["host".to_owned()], made).expect("generate");
        Identity::from_pem(&pair.certificate_pem, &pair.key_pem).expect("identity")
    }

    fn today() -> i64 {
        i64::try_from(UnixTime::now().as_secs()).expect("before the end of time")
    }

    /// A handshake without a network; what the client says of it, and what the server learns of the client.
    fn shake_hands(client: ClientConfig, server: ServerConfig) -> Result<Option<Vec<u8>>, String> {
        let name = ServerName::try_from("another.name").expect("name");
        let mut client = ClientConnection::new(Arc::new(client), name).expect("client");
        let mut server = ServerConnection::new(Arc::new(server)).expect("server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory");
            }
            server.read_tls(&mut wire.as_slice()).expect("memory");
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory");
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).expect("memory");
                client.process_new_packets().map_err(|error| explain(&error))?;
            }
        }
        Ok(server.peer_certificates().map(|shown| shown[0].to_vec()))
    }

    #[test]
    fn a_server_is_known_by_its_certificate_alone() {
        let (ours, other, old) = (today(), today(), today() - 11 * 365 * 86_400);
        let [ours, other, old] = [ours, other, old].map(|made| pair(Purpose::Server, made));
        let judge = |trust: ServerTrust, shown: &Identity| {
            shake_hands(client_config(&trust, None).expect("client"), server_config(shown).expect("server"))
        };
        let pinned = |identity: &Identity| ServerTrust::Pinned(identity.certificate().clone());
        assert_eq!(judge(pinned(&ours), &ours), Ok(None));
        assert_eq!(judge(ServerTrust::Unproven, &other), Ok(None));
        let text = judge(pinned(&ours), &other).expect_err("another");
        let fingerprints = [&ours, &other].map(|identity| identity.certificate().fingerprint());
        assert!(text.contains("another certificate") && fingerprints.iter().all(|one| text.contains(one)), "{text}");
        assert_eq!(judge(pinned(&old), &old), Err("the server's certificate has expired or is not valid yet".to_owned()));
    }

    /// Whoever shows a certificate without having the key to it gets nowhere, on either side.
    #[test]
    fn certificates_without_their_keys_are_worth_nothing() {
        let (server, client, thief) = (pair(Purpose::Server, today()), pair(Purpose::Client, today()), pair(Purpose::Client, today()));
        let trust = ServerTrust::Pinned(server.certificate().clone());
        for version in [&TLS12, &TLS13] {
            let of = |shown: &Identity, key: &Identity| {
                let signing = ring::default_provider().key_provider.load_private_key(key.key()).expect("key");
                Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(shown.chain(), signing)))
            };
            let with = |identity: Arc<rustls::sign::SingleCertAndKey>| {
                let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
                let builder = builder.with_protocol_versions(&[version]).expect("version").dangerous();
                builder.with_custom_certificate_verifier(server_verifier(&trust).expect("verifier")).with_client_cert_resolver(identity)
            };
            let honest = shake_hands(with(of(&client, &client)), server_config(&server).expect("server"));
            assert_eq!(honest, Ok(Some(client.certificate().der().to_vec())), "{version:?}");
            let stolen = shake_hands(with(of(&client, &thief)), server_config(&server).expect("server"));
            assert!(stolen.as_ref().is_err_and(|error| error.starts_with("server: ")), "{version:?}: {stolen:?}");
            let mut impostor = server_config(&server).expect("server");
            impostor.cert_resolver = of(&server, &thief);
            let shown = shake_hands(client_config(&trust, None).expect("client"), impostor);
            assert!(shown.is_err(), "{shown:?}");
        }
    }
}
