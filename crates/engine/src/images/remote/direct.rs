//! An address that says in the headers of its reply where an image is, and its hash.

use fetch::{Client, shown_url};

use super::{Offer, OfferFiles, RemoteImage, unavailable};
use crate::images::Images;
use crate::{Error, Result};

/// Numbers of architectures in this protocol.
const ARCHITECTURES: &[(&str, u8)] = &[
    ("i686", 1),
    ("x86_64", 2),
    ("armv7l", 3),
    ("aarch64", 4),
    ("ppc", 5),
    ("ppc64", 6),
    ("ppc64le", 7),
    ("s390x", 8),
    ("mips", 9),
    ("mips64", 10),
    ("riscv32", 11),
    ("riscv64", 12),
];

impl Images {
    pub(super) fn resolve_direct(&self, remote: &RemoteImage, client: &Client) -> Result<Offer> {
        let architectures = numbers(&self.engine.host.architectures);
        let headers = [("LXD-Server-Architectures", architectures.as_str()), ("LXD-Server-Version", &self.engine.config.version)];
        let reply = client.head(&remote.server, &headers).map_err(unavailable)?;
        let header = |name: &str| {
            let value = reply.header(name).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| Error::bad_request(format!("Missing {name} header")))
        };
        let (fingerprint, url) = (header("LXD-Image-Hash")?.to_ascii_lowercase(), header("LXD-Image-URL")?);
        if !url.starts_with("https://") {
            return Err(Error::bad_request(format!("the image is said to be at '{}', but only https:// is supported", shown_url(&url))));
        }
        Ok(Offer { fingerprint, files: OfferFiles::Whole { url }, image: api::images::Image::default() })
    }
}

fn numbers(names: &[&str]) -> String {
    let number = |name: &&str| ARCHITECTURES.iter().find(|(known, _)| known == name).map(|(_, number)| number.to_string());
    names.iter().filter_map(number).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn architectures_by_number() {
        assert_eq!(super::numbers(&["x86_64", "i686"]), "2, 1");
        assert_eq!(super::numbers(&["pdp11"]), "");
    }
}
