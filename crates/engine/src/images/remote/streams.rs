//! Simplestreams servers as a source of images, and what is remembered of their lists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fetch::{Client, shown_url};
use simplestreams::{Catalogue, Item, Reading, join};

use super::{Offer, OfferFile, OfferFiles, RemoteImage, unavailable};
use crate::images::Images;
use crate::images::transfer::Cancel;
use crate::leases::Leases;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result};

/// How long a list is good.
pub(crate) const LIST_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a list that cannot be read again is still used.
const LIST_GRACE: Duration = Duration::from_secs(2 * 3600);
/// How long reading a list, of several files, may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(900);
/// Of how many servers lists are remembered.
const MAX_SERVERS: usize = 16;

/// Lists of images by server and its certificate.
#[derive(Debug, Default)]
pub(crate) struct StreamCache {
    known: Mutex<HashMap<(String, String), Known>>,
    /// By the same in one: who reads; others wait and have it then.
    reading: Leases,
}

#[derive(Clone, Debug)]
struct Known {
    read_at: Instant,
    catalogue: Arc<Catalogue>,
}

impl StreamCache {
    /// Forgets all, as when the way to the servers is another one.
    pub(crate) fn clear(&self) {
        lock(&self.known).clear();
    }

    /// Forgets what would not be used any more.
    pub(crate) fn prune(&self) {
        lock(&self.known).retain(|_, known| known.read_at.elapsed() < LIST_GRACE);
    }

    fn get(&self, key: &(String, String)) -> Option<Known> {
        lock(&self.known).get(key).cloned()
    }

    fn put(&self, key: (String, String), known: Known) {
        let mut all = lock(&self.known);
        if all.len() >= MAX_SERVERS
            && !all.contains_key(&key)
            && let Some(oldest) = all.iter().min_by_key(|(_, known)| known.read_at).map(|(key, _)| key.clone())
        {
            all.remove(&oldest);
        }
        all.insert(key, known);
    }
}

impl Images {
    pub(super) fn resolve_in_stream(&self, remote: &RemoteImage, client: &Client, max_age: Duration, cancel: &Cancel) -> Result<Offer> {
        let catalogue = self.catalogue(remote, client, max_age, cancel)?;
        let image = catalogue.find(&remote.name)?;
        let file = |label, item: &Item| -> Result<OfferFile> {
            let url = join(&remote.server, &item.path)?;
            Ok(OfferFile { label, url, size_bytes: item.size_bytes, sha256: item.sha256.clone() })
        };
        let files = OfferFiles::Split([file("metadata", &image.metadata)?, file("rootfs", &image.rootfs)?]);
        Ok(Offer { fingerprint: image.image.fingerprint.clone(), files, image: image.image.clone() })
    }

    fn catalogue(&self, remote: &RemoteImage, client: &Client, max_age: Duration, cancel: &Cancel) -> Result<Arc<Catalogue>> {
        let asked_at = Instant::now();
        let cache = &self.engine.image_state.streams;
        let key = (remote.server.clone(), remote.certificate.clone());
        let is_new = |known: &Known| known.read_at >= asked_at || known.read_at.elapsed() < max_age;
        if let Some(known) = cache.get(&key).filter(is_new) {
            return Ok(known.catalogue);
        }
        // Lists are long: several who want the same one at the same time read it once.
        let _turn = cancel.turn(&cache.reading, &format!("{}\n{}", key.0, key.1))?;
        let known = cache.get(&key);
        if let Some(known) = known.clone().filter(is_new) {
            return Ok(known.catalogue);
        }
        match (self.read_catalogue(&remote.server, client, cancel), known) {
            (Ok(catalogue), _) => {
                let catalogue = Arc::new(catalogue);
                cache.put(key, Known { read_at: Instant::now(), catalogue: catalogue.clone() });
                Ok(catalogue)
            }
            (Err(error), Some(known)) if known.read_at.elapsed() < LIST_GRACE && max_age == LIST_LIFETIME => {
                tracing::warn!(
                    server = shown_url(&remote.server),
                    "the list of images is not to be had, an older one is used: {}",
                    error.report()
                );
                Ok(known.catalogue)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn read_catalogue(&self, server: &str, client: &Client, cancel: &Cancel) -> Result<Catalogue> {
        let host = &self.engine.host;
        let reading = Reading { server, architecture: host.architecture, only: &host.architectures };
        read_within(LIST_TIMEOUT, &reading, cancel, |path, limit_bytes| {
            client.get(&join(server, path)?).and_then(|reply| reply.bytes(limit_bytes)).map_err(unavailable)
        })
    }
}

/// Reads a list, of which every file is fetched in time.
fn read_within(
    limit: Duration,
    reading: &Reading<'_>,
    cancel: &Cancel,
    mut fetch: impl FnMut(&str, u64) -> Result<Vec<u8>>,
) -> Result<Catalogue> {
    let end = Instant::now() + limit;
    Catalogue::read(reading, |path, limit_bytes| {
        cancel.check()?;
        if Instant::now() >= end {
            return Err(Error::unavailable(format!("the server's list of images was not here after {} minutes", limit.as_secs() / 60)));
        }
        fetch(path, limit_bytes)
    })
}

impl From<simplestreams::Error> for Error {
    fn from(error: simplestreams::Error) -> Self {
        let kind = match error {
            simplestreams::Error::NotFound(_) => ErrorKind::NotFound,
            simplestreams::Error::Ambiguous(_) => ErrorKind::BadRequest,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: Reading<'_> = Reading { server: "https://x", architecture: "x86_64", only: &[] };

    /// A list of three files from a server that takes its time, and how often it was asked.
    fn read_slowly(limit: Duration, cancel: &Cancel) -> (Result<Catalogue>, usize) {
        let file = |name: &str| format!(r#""{name}": {{"datatype": "image-downloads", "path": "{name}", "products": ["a"]}}"#);
        let index = format!("{{\"index\": {{{}, {}, {}}}}}", file("a"), file("b"), file("c"));
        let mut asked = 0;
        let read = read_within(limit, &READING, cancel, |path, _| {
            asked += 1;
            std::thread::sleep(Duration::from_millis(40));
            Ok(if path.ends_with("index.json") { index.clone().into_bytes() } else { b"{\"products\": {}}".to_vec() })
        });
        (read, asked)
    }

    #[test]
    fn a_list_has_its_time() {
        let (read, asked) = read_slowly(Duration::from_secs(3600), &Cancel::default());
        assert!(read.is_ok() && asked == 4);
        let (read, asked) = read_slowly(Duration::from_millis(60), &Cancel::default());
        let error = read.expect_err("too slow").report();
        assert!(error.contains("was not here after") && asked < 4, "{asked}: {error}");
    }

    #[test]
    fn whoever_refreshes_has_a_time_too() {
        let soon = Cancel::until(Some(Instant::now() + Duration::from_millis(60)));
        let (read, asked) = read_slowly(Duration::from_secs(3600), &soon);
        let error = read.expect_err("too slow").report();
        assert!(error.contains("given up") && asked < 4, "{asked}: {error}");
    }

    #[test]
    fn lists_are_few_and_do_not_stay_for_ever() {
        let cache = StreamCache::default();
        let key = |number: usize| (format!("https://{number}"), String::new());
        let now = Instant::now() + 2 * LIST_GRACE;
        for number in 0..MAX_SERVERS + 4 {
            let read_at = now + Duration::from_secs(number as u64);
            cache.put(key(number), Known { read_at, catalogue: Arc::default() });
        }
        assert!(lock(&cache.known).len() == MAX_SERVERS && cache.get(&key(3)).is_none() && cache.get(&key(4)).is_some());
        if let Some(read_at) = Instant::now().checked_sub(LIST_GRACE) {
            cache.put(key(MAX_SERVERS), Known { read_at, catalogue: Arc::default() });
            cache.prune();
            assert!(lock(&cache.known).len() == MAX_SERVERS - 1 && cache.get(&key(MAX_SERVERS)).is_none());
        }
    }
}
