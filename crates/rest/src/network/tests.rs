//! Real TLS over the loopback: who gets in, who does not, and what becomes of those who did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::certificates::{Added, Applicant};
use futures_util::StreamExt;
use pki::tls::{ServerTrust, server_verifier};
use pki::{Identity, Purpose};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::crowd::MAX_PLACES_OF_ONE;
use super::*;
use crate::testing;
use crate::{Access, ENDPOINTS, Listeners};

fn identity(now: i64) -> Identity {
    let made = pki::generate(Purpose::Client, "test@host", &[], now).expect("generate");
    Identity::from_pem(&made.certificate_pem, &made.key_pem).expect("identity")
}

fn today() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

fn fresh() -> Identity {
    identity(today())
}

/// A client that shows this chain, if any, and has the key to its first certificate.
fn client(identity: Option<(&Identity, Vec<CertificateDer<'static>>)>, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions).expect("versions");
    let builder = builder.dangerous().with_custom_certificate_verifier(server_verifier(&ServerTrust::Unproven).expect("verifier"));
    let config = match identity {
        Some((identity, chain)) => builder.with_client_auth_cert(chain, identity.key()).expect("pair"),
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

fn of(identity: &Identity) -> TlsConnector {
    client(Some((identity, identity.chain())), rustls::ALL_VERSIONS)
}

async fn connect(address: SocketAddr, client: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("connect");
    client.connect(ServerName::try_from("localhost").expect("name"), stream).await.expect("handshake")
}

/// One request on a connection of its own.
async fn ask(address: SocketAddr, client: &TlsConnector, line: &str, body: &str) -> (u16, Value) {
    let mut stream = connect(address, client).await;
    let (status, body) = ask_on(&mut stream, line, body, true).await;
    (status, body)
}

async fn ask_on(stream: &mut TlsStream<TcpStream>, line: &str, body: &str, close: bool) -> (u16, Value) {
    let connection = if close { "close" } else { "keep-alive" };
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut reply = Vec::new();
    if close {
        // The end of TLS may be missing.
        drop(stream.read_to_end(&mut reply).await);
    } else {
        reply.resize(65536, 0);
        let count = stream.read(&mut reply).await.expect("read");
        reply.truncate(count);
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}: {reply:?}"));
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

struct Server {
    _dir: tempfile::TempDir,
    engine: Arc<Engine>,
    address: SocketAddr,
}

/// A server with an inherited socket on the loopback.
async fn start() -> Server {
    let (dir, engine) = testing::engine();
    let listener = StdListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(crate::serve(engine.clone(), Listeners { network: vec![listener], ..Listeners::default() }, std::future::pending()));
    let is_seated = || engine.server().get(true).value.environment.is_some_and(|environment| !environment.addresses.is_empty());
    while !is_seated() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Server { _dir: dir, engine, address }
}

impl Server {
    fn trust(&self, identity: &Identity) -> String {
        let request =
            api::certificates::CertificatesPost { kind: "client".into(), certificate: identity.certificate().pem(), ..Default::default() };
        match self.engine.certificates().create(request, Applicant { is_trusted: true, ..Applicant::default() }).expect("trusted") {
            Added::Certificate(fingerprint) => fingerprint,
            Added::Token(_) => panic!("a certificate was added"),
        }
    }

    async fn auth(&self, client: &TlsConnector) -> String {
        let (status, body) = ask(self.address, client, "GET /1.0", "").await;
        assert_eq!(status, 200, "{body}");
        body["metadata"]["auth"].as_str().expect("auth").to_owned()
    }

    async fn configure(&self, config: Value) -> Result<(), engine::Error> {
        let engine = self.engine.clone();
        let Value::Object(config) = config else { panic!("an object") };
        tokio::task::spawn_blocking(move || engine.server().patch(config, None)).await.expect("join")
    }
}

/// Every route, as everybody who is not trusted: nothing but what is public is answered, and the same to all.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_and_without_certificates_reach_only_what_is_public() {
    let server = start().await;
    let (unknown, removed, expired, future) = (fresh(), fresh(), identity(today() - 11 * 365 * 86_400), identity(today() + 2 * 86_400));
    let fingerprint = server.trust(&removed);
    server.engine.certificates().delete(&fingerprint[..12]).expect("removed");
    server.trust(&expired);
    server.trust(&future);
    // Shows a trusted certificate behind its own.
    let trusted = fresh();
    server.trust(&trusted);
    let behind: Vec<_> = unknown.chain().into_iter().chain(trusted.chain()).collect();
    let strangers = [
        ("no certificate", client(None, rustls::ALL_VERSIONS)),
        ("an unknown one", of(&unknown)),
        ("a removed one", of(&removed)),
        ("an expired one", of(&expired)),
        ("one of the future", of(&future)),
        ("a trusted one second", client(Some((&unknown, behind)), rustls::ALL_VERSIONS)),
    ];
    for (who, stranger) in &strangers {
        assert_eq!(server.auth(stranger).await, "untrusted", "{who}");
        let mut stream = connect(server.address, stranger).await;
        for endpoint in ENDPOINTS.iter().copied().flatten() {
            let is_secret = matches!(endpoint.path, "/1.0/certificates" | "/1.0/operations/{id}/websocket");
            if endpoint.access == Access::Public && !is_secret {
                continue;
            }
            let path = endpoint.path.replace(['{', '}', '*'], "");
            let line = format!("{} {path}", endpoint.verb.method());
            let (status, body) = ask_on(&mut stream, &line, "{}", false).await;
            assert_eq!((status, &body["error"]), (403, &json!("not authorized")), "{who}: {line}");
        }
        let (_, shown) = ask(server.address, stranger, "GET /1.0", "").await;
        assert!(shown["metadata"].get("config").is_none() && shown["metadata"].get("environment").is_none(), "{who}: {shown}");
    }
    assert_eq!(server.auth(&of(&trusted)).await, "trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_certificate_opens_everything_in_both_versions() {
    let server = start().await;
    let identity = fresh();
    server.trust(&identity);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client(Some((&identity, identity.chain())), &[version]);
        assert_eq!(server.auth(&client).await, "trusted", "{version:?}");
        let (status, body) = ask(server.address, &client, "GET /1.0/profiles", "").await;
        assert_eq!((status, &body["metadata"]), (200, &json!(["/1.0/profiles/default"])));
    }
    let (_, shown) = ask(server.address, &of(&identity), "GET /1.0", "").await;
    let environment = &shown["metadata"]["environment"];
    assert_eq!(environment["addresses"], json!([server.address.to_string()]));
    assert_eq!(environment["certificate_fingerprint"], server.engine.tls_identity().expect("identity").certificate().fingerprint());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_certificate_loses_its_connections() {
    let server = start().await;
    let (identity, other) = (fresh(), fresh());
    let fingerprint = server.trust(&identity);
    server.trust(&other);
    let client = of(&identity);
    let mut open = connect(server.address, &client).await;
    assert_eq!(ask_on(&mut open, "GET /1.0/profiles", "", false).await.0, 200);
    let url = "wss://localhost/1.0/events";
    let (mut events, _) = tokio_tungstenite::client_async(url, connect(server.address, &client).await).await.expect("websocket");
    let (mut others, _) = tokio_tungstenite::client_async(url, connect(server.address, &of(&other)).await).await.expect("websocket");
    // Also the reply to a client that removes itself is one.
    let (status, body) = ask(server.address, &client, &format!("DELETE /1.0/certificates/{fingerprint}"), "").await;
    assert_eq!(status, 200, "{body}");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), open.read_to_end(&mut rest)).await;
    end.expect("the connection ends").ok();
    assert!(rest.is_empty());
    let ended = async { while let Some(Ok(_)) = events.next().await {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the websocket ends");
    assert_eq!(server.auth(&client).await, "untrusted");
    // Those of others do not.
    server.engine.events().logging("info", "still there", std::collections::BTreeMap::new());
    tokio::time::timeout(Duration::from_secs(10), others.next()).await.expect("in time").expect("open").expect("message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_and_guesses_have_to_wait() {
    let server = start().await;
    let identity = fresh();
    let client = of(&identity);
    let post = |password: &str| json!({"type": "client", "password": password}).to_string();
    assert_eq!(ask(server.address, &client, "POST /1.0/certificates", &post("sesame")).await.0, 403, "there is no password");
    server.configure(json!({"core.trust_password": "sesame"})).await.expect("configure");
    let (_, shown) = ask(server.address, &client, "POST /1.0/certificates", &post("Sesame")).await;
    assert_eq!(shown["error"], "not authorized");
    let nameless = super::tests::client(None, rustls::ALL_VERSIONS);
    let (status, body) = ask(server.address, &nameless, "POST /1.0/certificates", &post("sesame")).await;
    assert_eq!((status, &body["error"]), (400, &json!("No client certificate provided")));
    let (status, body) = ask(server.address, &client, "POST /1.0/certificates", &post("sesame")).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(server.auth(&client).await, "trusted");
    let (_, shown) = ask(server.address, &client, "GET /1.0/certificates?recursion=1", "").await;
    assert_eq!((&shown["metadata"][0]["name"], &shown["metadata"][0]["type"]), (&json!("127.0.0.1"), &json!("client")));
    // Not in the clear anywhere.
    let (_, shown) = ask(server.address, &client, "GET /1.0", "").await;
    assert_eq!(shown["metadata"]["config"]["core.trust_password"], json!(true));

    let guesser = of(&fresh());
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask(server.address, &guesser, "POST /1.0/certificates", &post("guess")).await.0);
    }
    assert!(statuses.ends_with(&[429]) && statuses.starts_with(&[403]), "{statuses:?}");
    let large = json!({"type": "client", "password": "x".repeat(70_000)}).to_string();
    assert_eq!(ask(server.address, &guesser, "POST /1.0/certificates", &large).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_once() {
    let server = start().await;
    let admin = fresh();
    server.trust(&admin);
    let token = |body: Value| {
        let fds = &body["metadata"]["metadata"];
        api::certificates::TrustToken {
            client_name: fds["request"]["name"].as_str().expect("name").to_owned(),
            secret: fds["secret"].as_str().expect("secret").to_owned(),
            ..Default::default()
        }
    };
    let request = json!({"type": "client", "name": "laptop", "token": true}).to_string();
    let (status, made) = ask(server.address, &of(&admin), "POST /1.0/certificates", &request).await;
    assert_eq!((status, &made["metadata"]["class"]), (202, &json!("token")), "{made}");
    let (_, revoked) = ask(server.address, &of(&admin), "POST /1.0/certificates", &request).await;
    let url = revoked["operation"].as_str().expect("operation");
    assert_eq!(ask(server.address, &of(&admin), &format!("DELETE {url}"), "").await.0, 200);

    let (newcomer, second) = (fresh(), fresh());
    let post = |token: &api::certificates::TrustToken| json!({"name": "liar", "password": token.encode()}).to_string();
    let good = token(made);
    assert_eq!(ask(server.address, &of(&newcomer), "POST /1.0/certificates", &post(&token(revoked))).await.0, 403);
    let nameless = client(None, rustls::ALL_VERSIONS);
    assert_eq!(ask(server.address, &nameless, "POST /1.0/certificates", &post(&good)).await.0, 400, "the token is still good");
    let (status, body) = ask(server.address, &of(&newcomer), "POST /1.0/certificates", &post(&good)).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(server.auth(&of(&newcomer)).await, "trusted");
    let names: Vec<_> = server.engine.certificates().list().into_iter().map(|certificate| certificate.name).collect();
    assert!(names.contains(&"laptop".to_owned()) && !names.contains(&"liar".to_owned()), "{names:?}");
    assert_eq!(ask(server.address, &of(&second), "POST /1.0/certificates", &post(&good)).await.0, 403, "it was used");

    server.configure(json!({"core.remote_token_expiry": "1S"})).await.expect("configure");
    let (_, short) = ask(server.address, &of(&admin), "POST /1.0/certificates", &request).await;
    assert!(short["metadata"]["metadata"]["expiresAt"].is_string(), "{short}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(server.address, &of(&second), "POST /1.0/certificates", &post(&token(short))).await.0, 403, "it has expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_renamed_and_their_tags_kept() {
    let server = start().await;
    let (admin, other) = (fresh(), fresh());
    let (client, fingerprint) = (of(&admin), server.trust(&admin));
    let base64 = data(&other);
    let third = json!({"type": "client", "certificate": fresh().certificate().pem()}).to_string();
    assert_eq!(ask(server.address, &client, "POST /1.0/certificates", &third).await.0, 201);
    assert!(server.engine.certificates().list().iter().any(|certificate| certificate.name == "test@host"), "named by what it says");
    let post = json!({"type": "client", "name": "two", "certificate": base64}).to_string();
    assert_eq!(ask(server.address, &client, "POST /1.0/certificates", &post).await.0, 201);
    let (status, body) = ask(server.address, &client, "POST /1.0/certificates", &post).await;
    assert_eq!((status, &body["error"]), (400, &json!("Certificate already in trust store")));
    let one = format!("/1.0/certificates/{}", other.certificate().fingerprint());
    let prefix = &one[..one.len() - 40];
    let (_, shown) = ask(server.address, &client, &format!("GET {prefix}"), "").await;
    assert_eq!((&shown["metadata"]["name"], &shown["metadata"]["certificate"]), (&json!("two"), &json!(other.certificate().pem())));
    for (verb, body, status) in [
        ("PUT", json!({"type": "client", "name": "three"}), 200),
        ("PATCH", json!({"name": "four"}), 200),
        ("PATCH", json!({"restricted": true}), 400),
        ("PUT", json!({"type": "metrics", "name": "x"}), 400),
        ("PUT", json!({"type": "client", "name": "a\nb"}), 400),
        ("PATCH", json!({"certificate": admin.certificate().pem()}), 400),
        ("POST", json!({"type": "client", "certificate": "nonsense"}), 501),
    ] {
        let (got, reply) = ask(server.address, &client, &format!("{verb} {one}"), &body.to_string()).await;
        assert_eq!(got, status, "{verb} {body}: {reply}");
    }
    assert_eq!(server.engine.certificates().get(other.certificate().fingerprint()).expect("there").value.name, "four");
    let stale = server.engine.certificates().update(&fingerprint, Default::default(), Some(&"0".repeat(64))).expect_err("stale");
    assert_eq!(stale.http_status(), 412);
    for (body, text) in [
        (json!({"type": "other"}), "Unknown request type other"),
        (json!({"type": "client", "certificate": "AAAA"}), "Invalid certificate"),
        (json!({"type": "client", "restricted": true}), "restricted"),
        (json!({"type": "client", "certificate": VERSION_1}), "X.509 version 1"),
    ] {
        let (status, reply) = ask(server.address, &client, "POST /1.0/certificates", &body.to_string()).await;
        assert!(status == 400 && reply["error"].as_str().is_some_and(|error| error.contains(text)), "{body}: {status} {reply}");
    }
    assert_eq!(ask(server.address, &client, &format!("DELETE {one}"), "").await.0, 200);
    assert_eq!(ask(server.address, &client, &format!("GET {one}"), "").await.0, 404);
}

/// Made by `openssl x509 -req`, which makes certificates of version 1.
const VERSION_1: &str = "\
    MIIBFzCBvwIUafRNlRPML2DBlAgJ9c3kduP5wDowCgYIKoZIzj0EAwIwDjEMMAoGA1UEAwwDb2xkMCAXDTI2MTEyNjE1MjU0MloY\
    DzIxMjYxMTAyMTUyNTQyWjAOMQwwCgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARCRllX4ar1hHR9pFVn5lED\
    LoMldgFDhcQMfaXINp9bUBtkIf1Js1VMD5AsudMtwlSl6ut9g0hjJ7TV4OxkJj4YMAoGCCqGSM49BAMCA0cAMEQCIGXBf/B090Ig\
    noxoOQl/CdY887yzoCg5bnS3UYLdx4AbAiBO5eTA8b8qibGhSAWL9SQK2yv7m461kqYI9E2aRUvmew==";

/// DER in base64, as LXD's own client sends it.
fn data(identity: &Identity) -> String {
    identity.certificate().pem().lines().filter(|line| !line.starts_with('-')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_shown_in_one_spelling_and_without_defaults() {
    let server = start().await;
    let shown = || Value::Object(server.engine.server().get(true).value.config.expect("config"));
    server
        .configure(json!({"images.auto_update_cached": "NO", "core.https_allowed_credentials": "on", "user.x": "on"}))
        .await
        .expect("set");
    assert_eq!(shown(), json!({"images.auto_update_cached": "false", "core.https_allowed_credentials": "true", "user.x": "on"}));
    server.configure(json!({"images.auto_update_cached": "1", "images.auto_update_interval": "6"})).await.expect("set");
    assert_eq!(shown(), json!({"core.https_allowed_credentials": "true", "user.x": "on"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_changed_live_and_a_bad_one_changes_nothing() {
    let server = start().await;
    let taken = StdListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("address");
    // Not of those that connections get: one of another test's would be in the way of a wildcard.
    let mut ports = 20_000 + (std::process::id() % 10_000) as u16..32_000;
    let mut free = || {
        let is_free = |port: &u16| StdListener::bind(("0.0.0.0", *port)).is_ok();
        SocketAddr::from(([127, 0, 0, 1], ports.find(is_free).expect("a free port")))
    };
    let (first, second) = (free(), free());
    let stranger = client(None, rustls::ALL_VERSIONS);
    server.configure(json!({"core.https_address": first.to_string()})).await.expect("first");
    assert_eq!(ask(first, &stranger, "GET /1.0", "").await.0, 200);
    let is_served = async |address: SocketAddr| match TcpStream::connect(address).await {
        Ok(stream) => stranger.connect(ServerName::try_from("localhost").expect("name"), stream).await.is_ok(),
        Err(_) => false,
    };
    assert!(!is_served(server.address).await, "the inherited one beside it");
    let mut open = connect(first, &stranger).await;
    assert_eq!(ask_on(&mut open, "GET /1.0", "", false).await.0, 200);

    let error = server.configure(json!({"core.https_address": taken.0.to_string()})).await.expect_err("taken").report();
    assert!(error.starts_with("cannot listen on https socket: ") && error.contains("in use"), "{error}");
    assert_eq!(ask(first, &stranger, "GET /1.0", "").await.0, 200, "the old one stays");
    let shown = server.engine.server().get(true).value;
    assert_eq!(shown.config.expect("config")["core.https_address"], first.to_string());

    server.configure(json!({"core.https_address": second.to_string()})).await.expect("second");
    assert_eq!(ask(second, &stranger, "GET /1.0", "").await.0, 200);
    assert!(TcpStream::connect(first).await.is_err(), "the old one is closed");
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), open.read_to_end(&mut rest)).await.expect("its connections end").ok();

    // In the way of itself.
    server.configure(json!({"core.https_address": format!("0.0.0.0:{}", second.port())})).await.expect("wildcard");
    assert_eq!(ask(second, &stranger, "GET /1.0", "").await.0, 200);
    server.configure(json!({"core.https_address": null})).await.expect("unset");
    assert!(TcpStream::connect(second).await.is_err());
    assert!(is_served(server.address).await, "the inherited one, when no other is asked for");
    assert_eq!(server.engine.server().get(true).value.environment.expect("environment").addresses, [server.address.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_clients_hold_up_nobody() {
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_PLACES_OF_ONE / 2 {
        silent.push(TcpStream::connect(server.address).await.expect("connect"));
    }
    let mut half = TcpStream::connect(server.address).await.expect("connect");
    half.write_all(&[0x16, 0x03, 0x01, 0x02]).await.expect("write");
    let mut plain = TcpStream::connect(server.address).await.expect("connect");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let began = Instant::now();
    assert_eq!(ask(server.address, &client(None, rustls::ALL_VERSIONS), "GET /", "").await.0, 200);
    assert!(began.elapsed() < HANDSHAKE_TIMEOUT / 2, "{:?}", began.elapsed());
    let mut rest = Vec::new();
    let dropped = tokio::time::timeout(HANDSHAKE_TIMEOUT + Duration::from_secs(10), half.read_to_end(&mut rest)).await;
    drop(dropped.expect("a handshake has an end"));
    // Beyond its share an address displaces its own, the oldest first.
    drop(silent);
    let mut crowd = Vec::new();
    for _ in 0..MAX_PLACES_OF_ONE + 8 {
        crowd.push(TcpStream::connect(server.address).await.expect("connect"));
    }
    let trusted = fresh();
    server.trust(&trusted);
    assert_eq!(server.auth(&of(&trusted)).await, "trusted", "a newcomer gets in");
    for displaced in &mut crowd[..8] {
        let end = tokio::time::timeout(Duration::from_secs(10), displaced.read_to_end(&mut rest)).await;
        drop(end.expect("it was displaced"));
    }
}

/// Strangers of many addresses open connections as fast as they can.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_keeps_out_nobody_who_is_known() {
    let server = start().await;
    let identity = fresh();
    server.trust(&identity);
    let client = of(&identity);
    assert_eq!(server.auth(&client).await, "trusted");
    let from = |host: u32| async move {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from((std::net::Ipv4Addr::from(0x7f01_0000 + host), 0))).expect("an address of the loopback");
        socket.connect(server.address).await.expect("connect")
    };
    let mut hosts = 1..;
    let is_turned_away = async |host: u32| {
        let mut reply = [0; 1];
        let end = tokio::time::timeout(Duration::from_millis(100), from(host).await.read(&mut reply)).await;
        end.is_ok_and(|end| end.unwrap_or(0) == 0)
    };
    let began = Instant::now();
    while !is_turned_away(hosts.next().expect("no end")).await {
        assert!(began.elapsed() < Duration::from_secs(60), "strangers are never too many");
        let mut held = std::collections::VecDeque::new();
        for host in hosts.by_ref().take(1000) {
            held.push_back(from(host).await);
            held.truncate(16);
        }
    }
    for _ in 0..50 {
        assert_eq!(server.auth(&client).await, "trusted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_trusted_take_no_places_of_strangers() {
    let server = start().await;
    let identity = fresh();
    server.trust(&identity);
    let client = of(&identity);
    let mut open = Vec::new();
    for _ in 0..MAX_PLACES_OF_ONE + 12 {
        let mut stream = connect(server.address, &client).await;
        assert_eq!(ask_on(&mut stream, "GET /1.0/profiles", "", false).await.0, 200);
        open.push(stream);
    }
    assert_eq!(ask(server.address, &super::tests::client(None, rustls::ALL_VERSIONS), "GET /1.0", "").await.0, 200);
    for stream in &mut open {
        assert_eq!(ask_on(stream, "GET /1.0/profiles", "", false).await.0, 200, "it was not displaced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_strangers_do_not_last() {
    let server = start().await;
    let stranger = client(None, rustls::ALL_VERSIONS);
    let (mut old, began) = (connect(server.address, &stranger).await, Instant::now());
    let busy = async {
        let mut reply = vec![0; 65536];
        while old.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() && old.read(&mut reply).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // One that asks and asks and never reads, and a small window so that it is soon noticed.
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(server.address).await.expect("connect");
    let mut deaf = stranger.connect(ServerName::try_from("localhost").expect("name"), stream).await.expect("handshake");
    let stalled = async {
        let requests = b"GET /1.0 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        while deaf.write_all(&requests).await.is_ok() && deaf.flush().await.is_ok() {}
    };
    let both = async { tokio::join!(busy, stalled) };
    tokio::time::timeout(STRANGER_AGE + Duration::from_secs(30), both).await.expect("both end");
    assert!(began.elapsed() >= STRANGER_AGE, "{:?}", began.elapsed());
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(STRANGER_BUFFER_BYTES));
    let mut stream = connect(server.address, &stranger).await;
    let mut reply = Vec::new();
    drop(stream.write_all(long.as_bytes()).await);
    drop(tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut reply)).await.expect("at once"));
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&reply));
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_that_came_on_a_connection_can_be_lost_on_it() {
    let server = start().await;
    server.configure(json!({"core.trust_password": "sesame"})).await.expect("configure");
    let identity = fresh();
    let mut open = connect(server.address, &of(&identity)).await;
    let post = json!({"type": "client", "password": "sesame"}).to_string();
    assert_eq!(ask_on(&mut open, "GET /1.0/profiles", "", false).await.0, 403);
    assert_eq!(ask_on(&mut open, "POST /1.0/certificates", &post, false).await.0, 201);
    assert_eq!(ask_on(&mut open, "GET /1.0/profiles", "", false).await.0, 200);
    server.engine.certificates().delete(identity.certificate().fingerprint()).expect("removed");
    let mut rest = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(4), open.read_to_end(&mut rest)).await.expect("the connection ends"));
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_whatever_others_guess() {
    let server = start().await;
    let admin = fresh();
    server.trust(&admin);
    let request = json!({"type": "client", "name": "laptop", "token": true}).to_string();
    let (status, made) = ask(server.address, &of(&admin), "POST /1.0/certificates", &request).await;
    assert_eq!(status, 202, "{made}");
    let newcomer = of(&fresh());
    let mut status = 0;
    for _ in 0..6 {
        let guess = json!({"type": "client", "password": "guess"}).to_string();
        status = ask(server.address, &newcomer, "POST /1.0/certificates", &guess).await.0;
    }
    assert_eq!(status, 429);
    let post = json!({"type": "client", "password": made["metadata"]["metadata"]["secret"]}).to_string();
    let (status, body) = ask(server.address, &newcomer, "POST /1.0/certificates", &post).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(server.auth(&newcomer).await, "trusted");
}

/// Status of what a page of some site has a browser ask for.
async fn ask_from(server: &Server, client: &TlsConnector, line: &str, origin: &str) -> u16 {
    reply_to(server, client, line, origin).await.0
}

async fn reply_to(server: &Server, client: &TlsConnector, line: &str, origin: &str) -> (u16, String) {
    let mut stream = connect(server.address, client).await;
    let body = "{}";
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut reply = Vec::new();
    drop(stream.read_to_end(&mut reply).await);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    (reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}: {reply:?}")), reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_cannot_use_a_browsers_certificate() {
    let server = start().await;
    let identity = fresh();
    server.trust(&identity);
    let (client, own) = (of(&identity), format!("https://{}", server.address));
    for foreign in ["https://evil.example", "null", "http://localhost"] {
        for line in ["GET /1.0/profiles", "POST /1.0/certificates", "GET /1.0/events", "DELETE /1.0/profiles/none", "PATCH /1.0"] {
            assert_eq!(ask_from(&server, &client, line, foreign).await, 403, "{foreign}: {line}");
        }
        let (status, shown) = reply_to(&server, &client, "GET /1.0", foreign).await;
        assert!(status == 200 && shown.contains("\"untrusted\"") && !shown.contains("environment"), "as anybody may read it: {shown}");
        let websocket = "GET /1.0/operations/00000000-0000-4000-8000-000000000000/websocket?secret=x";
        for (upgrade, said) in [("", "not authorized"), ("\r\nUpgrade: websocket", "may not use this server")] {
            let (status, shown) = reply_to(&server, &client, websocket, &format!("{foreign}{upgrade}")).await;
            assert!(status == 403 && shown.contains(said), "{foreign}: {upgrade}: {shown}");
        }
    }
    let (_, shown) = reply_to(&server, &client, "GET /1.0", &own).await;
    assert!(shown.contains("\"trusted\"") && shown.contains("environment"), "{shown}");
    assert_eq!(ask_from(&server, &client, "GET /1.0/profiles", &own).await, 200);
    server.configure(json!({"core.https_allowed_origin": "https://ui.example"})).await.expect("configure");
    for (origin, status) in [("https://ui.example", 200), ("https://evil.example", 403), (own.as_str(), 200)] {
        assert_eq!(ask_from(&server, &client, "GET /1.0/profiles", origin).await, status, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_may_do_what_the_keys_say() {
    let (_dir, engine) = testing::engine();
    let router = crate::router(engine.clone());
    let headers = [("Origin", "https://ui.example")];
    let bare = testing::send(&router, "GET /1.0", &headers, axum::body::Body::empty()).await;
    assert!(!bare.headers.contains_key("access-control-allow-origin"));
    let Value::Object(config) = json!({
        "core.https_allowed_origin": "https://ui.example",
        "core.https_allowed_methods": "GET, PUT",
        "core.https_allowed_headers": "Content-Type",
        "core.https_allowed_credentials": "true",
    }) else {
        panic!("an object")
    };
    engine.server().patch(config, None).expect("configure");
    for line in ["GET /1.0", "OPTIONS /1.0/instances", "GET /nowhere", "DELETE /1.0"] {
        let reply = testing::send(&router, line, &headers, axum::body::Body::empty()).await;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(header("access-control-allow-origin"), "https://ui.example", "{line}");
        assert_eq!(header("access-control-allow-methods"), "GET, PUT");
        assert_eq!(header("access-control-allow-headers"), "Content-Type");
        assert_eq!(header("access-control-allow-credentials"), "true");
    }
    let same_site = testing::send(&router, "GET /1.0", &[], axum::body::Body::empty()).await;
    assert!(!same_site.headers.contains_key("access-control-allow-origin"));
}
