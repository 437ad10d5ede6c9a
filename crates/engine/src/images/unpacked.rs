//! Unpacking an image on a pool, once, however many launch it together; and what is left over.

use std::path::PathBuf;
use std::sync::Arc;

use super::remote::StreamCache;
use super::transfer::Audience;
use super::upkeep::Upkeep;
use super::{Images, UPLOAD_PREFIX};
use crate::Result;
use crate::error::Context;
use crate::leases::Leases;
use crate::operations::Operation;
use crate::records::ImageRecord;

/// Length of a fingerprint, hexadecimal.
const FINGERPRINT_DIGITS: usize = 64;

/// Who works on the files of which image.
#[derive(Debug, Default)]
pub(crate) struct ImageState {
    /// By fingerprint: shared by whoever reads an image's files, held alone by whoever makes or
    /// removes them together with the record.
    pub(super) files: Leases,
    /// By pool and fingerprint: who unpacks there; others wait and are then done too.
    unpacking: Leases,
    /// By fingerprint: who downloads; others wait and have it then.
    pub(super) downloading: Leases,
    /// To whom the progress of a download is shown: also to those who wait.
    pub(super) audience: Audience,
    /// What servers were seen to have.
    pub(super) streams: StreamCache,
    pub(super) upkeep: Arc<Upkeep>,
}

impl Images {
    /// Makes sure that the image is unpacked on the pool.
    pub(crate) fn ensure_unpacked(&self, pool_name: &str, fingerprint: &str, operation: &Operation) -> Result<()> {
        let pool = self.engine.pool(pool_name)?;
        if pool.has_image(fingerprint) {
            return Ok(());
        }
        let _files = self.engine.image_state.files.share(fingerprint);
        let _turn = self.engine.image_state.unpacking.hold(&format!("{pool_name}/{fingerprint}"));
        if pool.has_image(fingerprint) { Ok(()) } else { self.unpack(&*pool, fingerprint, operation) }
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
        let is_unknown = |name: &str| fingerprint_of(name).is_some_and(|fingerprint| !self.is_known(fingerprint));
        let is_left = |name: &String| name.starts_with(UPLOAD_PREFIX) || is_unknown(name);
        let names = sys::fs::list_dir(self.dir()).unwrap_or_default();
        names.into_iter().filter(is_left).map(|name| self.dir().join(name)).collect()
    }

    /// Removes the leftovers, and volumes of images that have no record.
    pub(crate) fn sweep(&self, leftovers: Vec<PathBuf>) {
        for path in leftovers {
            self.sweep_file(&path);
        }
        for name in self.engine.records.pools.ids() {
            let Some(pool) = self.engine.ready_pool(&name) else { continue };
            for image in pool.list().map(|contents| contents.images).unwrap_or_default() {
                let _alone = self.engine.image_state.files.hold(&image);
                if !self.is_known(&image)
                    && let Err(error) = pool.delete_image(&image)
                {
                    tracing::warn!(pool = name, image, "delete the image's volume: {error}");
                }
            }
        }
    }

    fn sweep_file(&self, path: &std::path::Path) {
        let fingerprint = path.file_name().and_then(|name| name.to_str()).and_then(fingerprint_of);
        // The same image may have been imported since.
        let _alone = fingerprint.map(|fingerprint| self.engine.image_state.files.hold(fingerprint));
        if fingerprint.is_some_and(|fingerprint| self.is_known(fingerprint)) {
            return;
        }
        let is_dir = sys::fs::metadata(path).is_ok_and(|facts| facts.is_dir());
        let result = if is_dir { sys::fs::remove_tree(path) } else { sys::fs::remove_file(path) };
        if let Err(error) = result {
            tracing::warn!("{error}");
        }
    }

    /// Whether an image has a record, be it one that this version cannot read: its files are then
    /// not ours to remove. Where the store does not say, it has.
    fn is_known(&self, fingerprint: &str) -> bool {
        self.engine.records.is_stored::<ImageRecord>(fingerprint).unwrap_or(true)
    }
}

/// The fingerprint that a file's name consists of.
fn fingerprint_of(name: &str) -> Option<&str> {
    let fingerprint = name.strip_suffix(".rootfs").unwrap_or(name);
    (fingerprint.len() == FINGERPRINT_DIGITS).then_some(fingerprint)
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
