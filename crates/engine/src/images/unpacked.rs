//! Unpacking an image on a pool, once, however many launch it together; and what is left over.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Images, UPLOAD_PREFIX};
use crate::Result;
use crate::error::Context;
use crate::operations::Operation;
use crate::sync::lock;

/// Length of a fingerprint, hexadecimal.
const FINGERPRINT_DIGITS: usize = 64;

/// A pool and a fingerprint.
type Place = (String, String);

/// Who unpacks what right now, with the lock that others wait for.
#[derive(Debug, Default)]
pub(crate) struct ImageState {
    unpacking: Mutex<HashMap<Place, Arc<Mutex<()>>>>,
}

impl Images {
    /// Makes sure that the image is unpacked on the pool.
    pub(crate) fn ensure_unpacked(&self, pool_name: &str, fingerprint: &str, operation: &Operation) -> Result<()> {
        let pool = self.engine.pool(pool_name)?;
        if pool.has_image(fingerprint) {
            return Ok(());
        }
        let key = (pool_name.to_owned(), fingerprint.to_owned());
        let turn = lock(&self.engine.image_state.unpacking).entry(key.clone()).or_default().clone();
        let result = {
            let _turn = lock(&turn);
            if pool.has_image(fingerprint) { Ok(()) } else { self.unpack(&*pool, fingerprint, operation) }
        };
        let mut unpacking = lock(&self.engine.image_state.unpacking);
        // Two holders: the map and this call. Nobody else waits.
        if Arc::strong_count(&turn) <= 2 {
            unpacking.remove(&key);
        }
        result
    }

    fn unpack(&self, pool: &dyn storage::Pool, fingerprint: &str, operation: &Operation) -> Result<()> {
        let (fingerprint, record) = self.find(fingerprint)?;
        let (metadata, rootfs) = self.files(&fingerprint, &record);
        operation.progress("create_instance_from_image_unpack_progress", "Unpack: started");
        let fill = &mut |target: &std::path::Path| images::unpack(&metadata, rootfs.as_deref(), target).map_err(storage::Error::fill);
        pool.create_image(&fingerprint, fill).context(format!("unpack image {}", short(&fingerprint)))
    }

    /// Removes the files and volumes of an image that has no record any more.
    pub(super) fn forget_files(&self, fingerprint: &str) {
        let dir = self.dir();
        for path in [dir.join(fingerprint), dir.join(format!("{fingerprint}.rootfs"))] {
            if let Err(error) = sys::fs::remove_file(path) {
                tracing::warn!("{error}");
            }
        }
        for name in self.engine.records.pools.ids() {
            let Some(pool) = self.engine.ready_pool(&name) else { continue };
            if let Err(error) = pool.delete_image(fingerprint) {
                tracing::warn!(pool = name, image = fingerprint, "delete the image's volume: {error}");
            }
        }
    }

    /// What a crash left among the files: uploads, and files without a record. To be asked before
    /// the first request can make new ones.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let is_left = |name: &String| {
            let fingerprint = name.trim_end_matches(".rootfs");
            name.starts_with(UPLOAD_PREFIX)
                || (fingerprint.len() == FINGERPRINT_DIGITS && !self.engine.records.images.contains(fingerprint))
        };
        let names = sys::fs::list_dir(self.dir()).unwrap_or_default();
        names.into_iter().filter(is_left).map(|name| self.dir().join(name)).collect()
    }

    /// Removes the leftovers, and volumes of images that have no record.
    pub(crate) fn sweep(&self, leftovers: Vec<PathBuf>) {
        for path in leftovers {
            let is_dir = sys::fs::metadata(&path).is_ok_and(|facts| facts.is_dir());
            let result = if is_dir { sys::fs::remove_tree(path) } else { sys::fs::remove_file(path) };
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        }
        for name in self.engine.records.pools.ids() {
            let Some(pool) = self.engine.ready_pool(&name) else { continue };
            for image in pool.list().map(|contents| contents.images).unwrap_or_default() {
                if !self.engine.records.images.contains(&image)
                    && let Err(error) = pool.delete_image(&image)
                {
                    tracing::warn!(pool = name, image, "delete the image's volume: {error}");
                }
            }
        }
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
