//! Simplestreams servers as a source of images, and what is remembered of their lists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fetch::Client;
use simplestreams::{Catalogue, Item, MAX_INDEX_BYTES, MAX_PRODUCTS_BYTES, Reading, join};

use super::{Offer, OfferFile, OfferFiles, RemoteImage, unavailable};
use crate::images::Images;
use crate::sync::lock;
use crate::{Error, ErrorKind, Result};

/// How long a list is good.
pub(crate) const LIST_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a list that cannot be read again is still used.
const LIST_GRACE: Duration = Duration::from_secs(2 * 3600);
/// Of how many servers lists are remembered.
const MAX_SERVERS: usize = 16;

/// Lists of images by server and its certificate.
#[derive(Debug, Default)]
pub(crate) struct StreamCache(Mutex<HashMap<(String, String), Known>>);

#[derive(Clone, Debug)]
struct Known {
    read_at: Instant,
    catalogue: Arc<Catalogue>,
}

impl StreamCache {
    /// Forgets all, as when the way to the servers is another one.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Forgets what would not be used any more.
    pub(crate) fn prune(&self) {
        lock(&self.0).retain(|_, known| known.read_at.elapsed() < LIST_GRACE);
    }

    fn get(&self, key: &(String, String)) -> Option<Known> {
        lock(&self.0).get(key).cloned()
    }

    fn put(&self, key: (String, String), known: Known) {
        let mut all = lock(&self.0);
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
    pub(super) fn resolve_in_stream(&self, remote: &RemoteImage, client: &Client, max_age: Duration) -> Result<Offer> {
        let catalogue = self.catalogue(remote, client, max_age)?;
        let image = catalogue.find(&remote.name).map_err(explain)?;
        let file = |label, item: &Item| -> Result<OfferFile> {
            let url = join(&remote.server, &item.path).map_err(explain)?;
            Ok(OfferFile { label, url, size_bytes: item.size_bytes, sha256: item.sha256.clone() })
        };
        let files = OfferFiles::Split([file("metadata", &image.metadata)?, file("rootfs", &image.rootfs)?]);
        Ok(Offer { fingerprint: image.image.fingerprint.clone(), files, image: image.image.clone() })
    }

    fn catalogue(&self, remote: &RemoteImage, client: &Client, max_age: Duration) -> Result<Arc<Catalogue>> {
        let cache = &self.engine.image_state.streams;
        let key = (remote.server.clone(), remote.certificate.clone());
        let known = cache.get(&key);
        if let Some(known) = known.as_ref().filter(|known| known.read_at.elapsed() < max_age) {
            return Ok(known.catalogue.clone());
        }
        match (self.read_catalogue(&remote.server, client), known) {
            (Ok(catalogue), _) => {
                let catalogue = Arc::new(catalogue);
                cache.put(key, Known { read_at: Instant::now(), catalogue: catalogue.clone() });
                Ok(catalogue)
            }
            (Err(error), Some(known)) if known.read_at.elapsed() < LIST_GRACE && max_age == LIST_LIFETIME => {
                tracing::warn!(server = remote.server, "the list of images is not to be had, an older one is used: {}", error.report());
                Ok(known.catalogue)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn read_catalogue(&self, server: &str, client: &Client) -> Result<Catalogue> {
        let read = |path: &str, limit_bytes: u64| -> Result<Vec<u8>> {
            let url = join(server, path).map_err(explain)?;
            client.get(&url).and_then(|reply| reply.bytes(limit_bytes)).map_err(unavailable)
        };
        let index = read(simplestreams::INDEX, MAX_INDEX_BYTES)?;
        let paths = simplestreams::product_files(&index).map_err(explain)?;
        let files = paths.iter().map(|path| read(path, MAX_PRODUCTS_BYTES)).collect::<Result<Vec<_>>>()?;
        let host = &self.engine.host;
        Catalogue::parse(&files, &Reading { server, architecture: host.architecture, only: &host.architectures }).map_err(explain)
    }
}

fn explain(error: simplestreams::Error) -> Error {
    let kind = match error {
        simplestreams::Error::NotFound(_) => ErrorKind::NotFound,
        simplestreams::Error::Ambiguous(_) => ErrorKind::BadRequest,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}
