//! What servers say to those who ask them: lists of images, replies, certificates.

use fetch::multipart;
use pki::{Certificate, Identity};
use simplestreams::{Catalogue, Error, Reading};

const INDEX: &[u8] = br#"{"index": {"a": {"datatype": "image-downloads", "path": "one.json", "products": ["a"]}}}"#;
const READING: Reading<'_> = Reading { server: "https://x/y", architecture: "x86_64", only: &[] };

/// A list of products.
pub fn stream(input: &[u8]) {
    read_list(INDEX, input);
}

/// An index that names lists.
pub fn index(input: &[u8]) {
    read_list(input, b"{\"products\": {}}");
}

fn read_list(index: &[u8], products: &[u8]) {
    let read = Catalogue::read(&READING, |path, limit_bytes| -> Result<Vec<u8>, Error> {
        assert!(limit_bytes <= 32 << 20);
        if path == "streams/v1/index.json" {
            return Ok(index.to_vec());
        }
        stays_below(path);
        Ok(products.to_vec())
    });
    let Ok(catalogue) = read else { return };
    for image in catalogue.images() {
        let fingerprint = &image.image.fingerprint;
        assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fingerprint}");
        [&image.metadata.path, &image.rootfs.path].into_iter().for_each(|path| stays_below(path));
    }
    for (name, fingerprint) in catalogue.aliases() {
        assert_eq!(catalogue.find(name).expect("an alias is found").image.fingerprint, fingerprint);
    }
}

fn stays_below(path: &str) {
    if let Ok(url) = simplestreams::join(READING.server, path) {
        let rest = url.strip_prefix("https://x/y/").expect("below the server");
        assert!(!rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | "..")), "{url}");
    }
}

/// A reply of an LXD; the first byte chooses its status.
pub fn reply(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let status = [200, 404, 403, 202, 500][usize::from(*choice) % 5];
    engine::fuzzing::image_server_reply(status, body);
}

/// An image in parts. However the bytes are cut, they mean the same.
pub fn parts(input: &[u8]) {
    let Some((cut, body)) = input.split_first() else { return };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| -> Option<(Vec<String>, Vec<u8>)> {
        let (mut parser, mut names, mut content) = (multipart::Parser::new("b"), Vec::new(), Vec::new());
        for piece in pieces {
            for event in parser.push(piece).ok()? {
                match event {
                    multipart::Event::Part(part) => names.push(part.name),
                    multipart::Event::Content(bytes) => content.extend_from_slice(&bytes),
                }
            }
        }
        parser.is_complete().then_some((names, content))
    };
    let whole = read(&mut std::iter::once(body));
    let cut = read(&mut body.chunks(usize::from(*cut).max(1)));
    assert_eq!(whole, cut);
    if let Ok(header) = std::str::from_utf8(body) {
        drop((multipart::boundary(header), multipart::parameter(header, "filename")));
    }
}

/// Addresses of servers and proxies, hosts that are reached directly.
pub fn addresses(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let [url, proxy, exceptions] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let shown = fetch::shown_url(url);
    assert!(shown.chars().count() <= 300 && !shown.contains(['?', '#']) && !shown.chars().any(char::is_control), "{shown}");
    drop(client::Https::new(url, client::ServerTrust::Unproven, None));
    client::fuzzing::proxy(url, proxy, exceptions);
    let proxies = fetch::Proxies { http: String::new(), https: proxy.to_owned(), ignore_hosts: exceptions.to_owned() };
    let settings = fetch::Settings { trust: fetch::ServerTrust::Unproven, proxies, user_agent: "fuzz".to_owned() };
    drop(fetch::Client::new(url, &settings));
}

/// A certificate: DER, PEM, base64. What can be read can be written, and is then the same.
pub fn certificates(input: &[u8]) {
    if let Ok(read) = Certificate::from_der(input) {
        assert_eq!(Certificate::parse(&read.pem()).expect("what was written can be read"), read);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(read) = Certificate::parse(text) {
        assert_eq!(Certificate::from_der(read.der()).expect("the same bytes"), read);
        assert_eq!(read.fingerprint().len(), 64);
    }
    drop(Identity::from_pem(text, text));
}

/// What lets a client in.
pub fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let as_word = data_encoding::BASE64.encode(input);
    for word in [text, &as_word] {
        if let Some(token) = api::certificates::TrustToken::decode(word) {
            assert_eq!(api::certificates::TrustToken::decode(&token.encode()), Some(token));
        }
    }
}
