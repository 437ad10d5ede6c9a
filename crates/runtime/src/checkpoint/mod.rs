//! Saving the running state of a container and bringing it back, by way of CRIU.
//!
//! CRIU is run as a program. Saving is the daemon's work ([`dump`]); bringing back is the monitor's
//! ([`crate::monitor`]), since the restored init must be its child. Between the two lies a directory of
//! images with one file of our own, [`SavedState`]: it is there last, so a directory without it is
//! not a saved state. Dump, transfer and restore know of each other by that directory alone.

mod cards;
mod check;
mod criu;
mod dump;
mod early;
mod explain;
mod externals;
mod hook;
mod packing;
mod routes;
mod timers;
mod watches;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use check::Obstacle;
pub use criu::Criu;
pub use dump::{After, Checkpoint};
pub use hook::run as run_hook;
pub use packing::Packing;

pub(crate) use cards::{Cards, remove_waiting};
pub(crate) use criu::{EXTERNAL, Flags, PATIENCE};
pub(crate) use early::files_in;
pub(crate) use explain::explain;
pub(crate) use externals::External;
pub(crate) use hook::{Context, Overlay, Port};
pub(crate) use watches::Kept;

use crate::error::{Error, Result};
use crate::spec::ContainerSpec;

/// Our own file among the images.
pub const STATE_FILE: &str = "state.json";
/// Its name until it is certain that nothing of the container runs any more.
const UNSEALED_FILE: &str = "state.json.unsealed";
/// What CRIU's images are called.
const IMAGE_SUFFIX: &str = ".img";
/// What a reader of the state must understand.
const FORMAT: u32 = 2;
/// The same where nothing is packed, which earlier versions read, too.
const FORMAT_UNPACKED: u32 = 1;

/// What must be known besides CRIU's images to bring a container back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// Version of this description.
    pub format: u32,
    /// Version of CRIU that wrote the images.
    pub criu: String,
    /// What the container had.
    pub spec: ContainerSpec,
    /// CRIU's name for the terminal of the console.
    pub console: String,
    /// Mounts of the host's that it had.
    pub(crate) externals: Vec<External>,
    /// Watches that are made again at the restore.
    #[serde(default)]
    pub(crate) watches: Vec<Kept>,
    /// The files of CRIU's images and their sizes in bytes: what was lost or cut off since is found out before
    /// anything is given up for the state.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, u64>,
    /// CRC-32 of them; of a container that went on, they come a little later.
    #[serde(default)]
    pub(crate) checksums: BTreeMap<String, u32>,
    /// Images that lie there packed, by the name and the size in bytes that they have for CRIU.
    #[serde(default)]
    pub(crate) packed: BTreeMap<String, u64>,
}

impl SavedState {
    /// Whether a directory holds a whole saved state.
    pub fn is_in(dir: &Path) -> bool {
        sys::fs::exists(dir.join(STATE_FILE))
    }

    /// Reads it from the images' directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE_FILE);
        let failed = |reason: String| Error::step(format!("read the saved state `{}`", path.display()), reason);
        let text = sys::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let state: Self = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        if !(FORMAT_UNPACKED..=FORMAT).contains(&state.format) {
            return Err(failed(format!("it is of format {}, and this version reads formats up to {FORMAT}", state.format)));
        }
        for (name, size) in &state.files {
            let found = sys::fs::size_bytes(dir.join(name)).map_err(|error| failed(error.to_string()))?;
            if found != *size {
                return Err(failed(format!("the image `{name}` is damaged: it has {found} bytes and should have {size}")));
            }
        }
        Ok(state)
    }

    /// Makes it count no more, whatever happens next: a file less needs no room on the disk.
    pub fn break_seal(dir: &Path) -> Result<()> {
        Ok(sys::fs::remove_file(dir.join(STATE_FILE))?)
    }

    /// Completes the state of a container that goes on.
    fn write(&mut self, dir: &Path) -> Result<()> {
        Ok(sys::fs::write_atomic(dir.join(STATE_FILE), &self.describe()?, 0o600)?)
    }

    /// Writes it where all that is left of the container will be this: the images come to the disk before, and the
    /// hook completes it, see [`Context::Dump`].
    fn write_unsealed(&mut self, dir: &Path) -> Result<()> {
        // The one waits for the disk, the other for a processor.
        let (synced, sums) = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| sys::copy::sync_fs(dir));
            let sums = self.checksums(dir);
            (syncing.join(), sums)
        });
        synced.map_err(|_| Error::Invalid("the images were not brought to the disk".into()))??;
        self.checksums = sums?;
        Ok(sys::fs::write_durable(dir.join(UNSEALED_FILE), &self.describe()?, 0o600)?)
    }

    fn describe(&mut self) -> Result<Vec<u8>> {
        self.format = if self.packed.is_empty() { FORMAT_UNPACKED } else { FORMAT };
        serde_json::to_vec(self).map_err(|error| Error::step("describe the saved state", error))
    }

    /// Why a container as it is configured now cannot go on from this state, if it cannot.
    pub fn conflict(&self, spec: &ContainerSpec) -> Option<String> {
        let saved = &self.spec;
        if saved.idmap != spec.idmap {
            return Some("its user and group ids have changed since".into());
        }
        if saved.personality_32 != spec.personality_32 {
            return Some("its architecture has changed since".into());
        }
        let nics = |spec: &ContainerSpec| spec.nics.iter().map(|nic| (nic.name.clone(), nic.hwaddr.clone())).collect::<Vec<_>>();
        if nics(saved) != nics(spec) {
            let show = |spec: &ContainerSpec| {
                let cards = nics(spec).into_iter().map(|(name, mac)| format!("{name} hwaddr={}", mac.unwrap_or_else(|| "any".into())));
                cards.collect::<Vec<_>>().join(", ")
            };
            return Some(format!("its network cards have changed since: it was saved with [{}] and has [{}]", show(saved), show(spec)));
        }
        let targets = |spec: &ContainerSpec| -> Vec<PathBuf> {
            let mounts = spec.mounts.iter().map(|bind| bind.target.clone());
            mounts.chain(spec.nodes.iter().map(|node| node.target.clone())).collect()
        };
        let (mut before, mut now) = (targets(saved), targets(spec));
        before.sort();
        now.sort();
        if let Some(gone) = before.iter().find(|target| !now.contains(target)) {
            return Some(format!("the device at `{}` was removed since", gone.display()));
        }
        now.iter().find(|target| !before.contains(target)).map(|new| format!("the device at `{}` was added since", new.display()))
    }
}
