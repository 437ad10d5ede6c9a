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
        let end = Instant::now() + LIST_TIMEOUT;
        let host = &self.engine.host;
        let reading = Reading { server, architecture: host.architecture, only: &host.architectures };
        Catalogue::read(&reading, |path, limit_bytes| {
            cancel.check()?;
            if Instant::now() >= end {
                let minutes = LIST_TIMEOUT.as_secs() / 60;
                return Err(Error::unavailable(format!("the server's list of images was not here after {minutes} minutes")));
            }
            client.get(&join(server, path)?).and_then(|reply| reply.bytes(limit_bytes)).map_err(unavailable)
        })
    }
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
