//! The API of an LXD as a source of images: only what anybody may ask of it.

use api::images::{Image, ImageAliasEntry};
use fetch::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Offer, OfferFiles, RemoteImage, brief, is_fingerprint, unavailable};
use crate::{Error, Result};

/// The largest reply that is read.
const MAX_REPLY_BYTES: u64 = 1 << 20;

/// The image that a name means there. A secret goes with a full fingerprint.
pub(super) fn resolve(remote: &RemoteImage, client: &Client) -> Result<Offer> {
    let base = format!("{}/1.0/images", remote.server.trim_end_matches('/'));
    let mut wanted = remote.name.clone();
    if !is_fingerprint(&wanted) {
        let url = format!("{base}/aliases/{}", encode(&wanted));
        if let Some(alias) = ask::<ImageAliasEntry>(client, &url)? {
            wanted = alias.target;
        }
    }
    let query = if remote.secret.is_empty() { String::new() } else { format!("?secret={}", encode(&remote.secret)) };
    let url = format!("{base}/{}{query}", encode(&wanted));
    let image: Image = ask(client, &url)?.ok_or_else(|| {
        Error::not_found(format!("the server has no image '{}'", brief(&remote.name))).hint("or it is private, then a secret is needed")
    })?;
    offer(image, &wanted, (&base, &query))
}

/// What a server says of an image, as something to fetch.
fn offer(image: Image, wanted: &str, (base, query): (&str, &str)) -> Result<Offer> {
    if is_fingerprint(wanted) && image.fingerprint != wanted {
        return Err(Error::unavailable("the server offers another image than the one that was asked for"));
    }
    let size_bytes = u64::try_from(image.size).ok().filter(|size| *size > 0);
    let size_bytes = size_bytes.ok_or_else(|| Error::unavailable("the server does not say how large the image is"))?;
    let files = OfferFiles::Export { url: format!("{base}/{}/export{query}", encode(&image.fingerprint)), size_bytes };
    Ok(Offer { fingerprint: image.fingerprint.clone(), files, image })
}

/// The payload of a reply; `None` where there is no such thing, or none for us.
fn ask<T: DeserializeOwned>(client: &Client, url: &str) -> Result<Option<T>> {
    let reply = client.get_any(url).map_err(unavailable)?;
    let status = reply.status();
    payload(status, &reply.bytes(MAX_REPLY_BYTES).map_err(unavailable)?)
}

fn payload<T: DeserializeOwned>(status: u16, bytes: &[u8]) -> Result<Option<T>> {
    let not_understood = || Error::unavailable(format!("the server's reply (HTTP {status}) is not that of an LXD"));
    let envelope: Value = serde_json::from_slice(bytes).map_err(|_| not_understood())?;
    match status {
        200 => serde_json::from_value(envelope["metadata"].clone()).map(Some).map_err(|_| not_understood()),
        403 | 404 => Ok(None),
        _ => {
            Err(Error::unavailable(format!("the server answered HTTP {status}: {}", brief(envelope["error"].as_str().unwrap_or_default()))))
        }
    }
}

/// For [`crate::fuzzing`]: a reply as one about an alias and about an image.
pub(super) fn read_foreign(status: u16, bytes: &[u8]) {
    drop(payload::<ImageAliasEntry>(status, bytes));
    if let Ok(Some(image)) = payload::<Image>(status, bytes) {
        let fingerprint = image.fingerprint.clone();
        if let Ok(Offer { files: OfferFiles::Export { url, size_bytes }, .. }) =
            offer(image, &fingerprint, ("https://x/1.0/images", "?secret=a"))
        {
            let inside = url.strip_prefix("https://x/1.0/images/").and_then(|rest| rest.strip_suffix("/export?secret=a"));
            assert!(size_bytes > 0 && inside.is_some_and(|name| !name.contains(['/', '?', '#'])), "{url}");
        }
    }
}

/// A text as one component of a path, or as a value in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    // Components of dots alone would be resolved away.
    if matches!(encoded.as_str(), "." | "..") { encoded.replace('.', "%2E") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_urls() {
        assert_eq!(encode("debian/12"), "debian%2F12");
        assert_eq!(encode("a b?c#ä"), "a%20b%3Fc%23%C3%A4");
        assert_eq!((encode(".."), encode("a.b")), ("%2E%2E".to_owned(), "a.b".to_owned()));
    }
}
