//! Memory that is written while the container still runs, where the kernel tells which pages change after
//! that: then little is left to be written while it stands still.

use std::path::{Path, PathBuf};

use super::criu::{Criu, Flags};
use super::{Checkpoint, SavedState};
use crate::container::Container;
use crate::error::{Error, Result};

/// The images of that time, among those of the dump.
const DIR: &str = "before";
const LOG: &str = "stateful-predump.log";
/// Less memory is written sooner than looked at twice, in bytes.
const WORTH_BYTES: u64 = 128 << 20;

/// Pages that were written early.
#[derive(Debug)]
pub(super) struct Early(());

impl Early {
    /// What the dump is told about them.
    pub(super) fn refer(self, flags: &mut Flags) {
        flags.add(["--track-mem", "--prev-images-dir", DIR]);
    }
}

impl Container {
    /// Writes memory early, if that is worth it. A failure costs nothing but the time: the dump writes it all.
    pub(super) fn dump_early(&self, request: &Checkpoint<'_>, state: &SavedState, log_dir: &Path) -> Option<Early> {
        if self.resident_bytes() < WORTH_BYTES || !request.criu.tracks_memory() {
            return None;
        }
        let dir = request.images.join(DIR);
        let run = || -> Result<()> {
            sys::fs::create_dir(&dir, 0o750)?;
            let mut flags = Flags::common(&dir, log_dir, LOG, &self.groups.root());
            self.describe(&mut flags, state);
            flags.add(["--track-mem"]);
            let command = Criu::command(request.criu.path(), "pre-dump").args(flags.0);
            command.run().map_err(|error| Error::step("write memory early", error))?;
            Ok(())
        };
        match run() {
            Ok(()) => Some(Early(())),
            Err(error) => {
                tracing::warn!(container = self.name(), %error, "all memory is written at the end");
                drop(sys::tree::remove(&dir));
                None
            }
        }
    }

    /// What its processes have in memory, in bytes; what they share counts more than once.
    fn resident_bytes(&self) -> u64 {
        let resident = |pid: i32| {
            let text = sys::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        self.pids().into_iter().filter_map(resident).sum::<u64>() * rustix::param::page_size() as u64
    }
}

/// All files of a saved state, also those of before, as paths below its directory.
pub(crate) fn files_in(images: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for dir in ["", DIR] {
        if sys::fs::exists(images.join(dir)) {
            files.extend(sys::fs::list_dir(images.join(dir))?.into_iter().map(|name| Path::new(dir).join(name)));
        }
    }
    Ok(files)
}
