//! Old log files of instances go: recordings of commands that nobody fetched, logs of instances that are gone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::Engine;
use crate::instances::KEPT_LOGS;

/// How often it is done, and how old a file must be.
pub(crate) const INTERVAL: Duration = Duration::from_secs(24 * 3600);
const AGE: Duration = Duration::from_secs(48 * 3600);

impl Engine {
    /// Removes what nobody has written to for two days, but for the logs of instances that there are.
    pub(crate) fn prune_logs(&self) {
        let names = match sys::fs::list_subdirs(&self.config.log_dir) {
            Ok(names) => names,
            Err(error) => return tracing::warn!("prune logs: {error}"),
        };
        for name in names.iter().filter_map(|name| name.to_str()) {
            let is_there = self.records.instances.get(name).is_some();
            if let Err(error) = prune(&self.config.log_dir.join(name), is_there, SystemTime::now()) {
                tracing::warn!(name, "prune logs: {error}");
            }
        }
    }

    /// Forgets the logs of an earlier instance of this name.
    pub(crate) fn forget_logs(&self, name: &str) {
        if let Err(error) = sys::fs::remove_tree(self.config.log_dir.join(name)) {
            tracing::warn!(name, "remove old logs: {error}");
        }
    }
}

/// Prunes one directory; that of an instance which is gone is removed with its last file.
fn prune(dir: &Path, is_there: bool, now: SystemTime) -> sys::Result<()> {
    let mut left = 0;
    for file in sys::fs::list_dir(dir)? {
        let path = dir.join(&file);
        let meta = sys::fs::metadata(&path)?;
        let age = meta.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        if meta.is_file() && age >= AGE && !(is_there && KEPT_LOGS.contains(&file.as_str())) {
            sys::fs::remove_file(&path)?;
        } else {
            left += 1;
        }
    }
    if left == 0 && !is_there { sys::fs::remove_dir(dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_go_and_then_the_directory_of_who_is_gone() {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("c1");
        sys::fs::create_dir(&dir, 0o700).expect("directory");
        for file in ["lxc.log", "exec_1.stdout"] {
            sys::fs::write(dir.join(file), "x").expect("write");
        }
        let names = || sys::fs::list_dir(&dir).unwrap_or_default();
        let now = SystemTime::now();
        prune(&dir, false, now + AGE / 2).expect("too young");
        assert_eq!(names(), ["exec_1.stdout", "lxc.log"]);
        prune(&dir, true, now + AGE * 2).expect("prune");
        assert_eq!(names(), ["lxc.log"]);
        prune(&dir, false, now + AGE * 2).expect("prune");
        assert!(!sys::fs::exists(&dir));
    }
}
