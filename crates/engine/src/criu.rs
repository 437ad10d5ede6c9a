//! CRIU's version for those who ask often: finding it out costs a process.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use runtime::Criu;

use crate::sync::lock;

/// For how long a failure is believed: what it lacked may not be a file that is looked at, such as a library.
const FAILURE_KEPT: Duration = Duration::from_secs(10);

/// The version of the CRIU that would be run, or why there is none to use and what to do about it.
pub(crate) type Answer = Result<String, String>;

/// What was found out last.
#[derive(Debug, Default)]
pub(crate) struct KnownCriu(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    /// The files that the answer is about.
    files: Vec<FileId>,
    at: Instant,
    answer: Answer,
}

/// What changes when a program is replaced: path, device, inode, size in bytes, and the time of the last
/// change (seconds and nanoseconds).
type FileId = (PathBuf, u64, u64, u64, i64, i64);

impl KnownCriu {
    /// Blocks if it has to be found out: the first time, after an installation, and once in a while after a failure.
    pub(crate) fn version(&self) -> Answer {
        self.version_with(candidates(), || match Criu::find() {
            Ok(criu) => Ok(criu.version().to_owned()),
            Err(runtime::Error::Unsupported { what, remedy }) => Err(format!("{what} ({remedy})")),
            Err(error) => Err(error.to_string()),
        })
    }

    fn version_with(&self, files: Vec<FileId>, find: impl FnOnce() -> Answer) -> Answer {
        // Held meanwhile: many who ask at once are no reason for as many processes.
        let mut known = lock(&self.0);
        if let Some(known) = &*known
            && known.files == files
            && (known.answer.is_ok() || known.at.elapsed() < FAILURE_KEPT)
        {
            return known.answer.clone();
        }
        let answer = find();
        *known = Some(Known { files, at: Instant::now(), answer: answer.clone() });
        answer
    }
}

fn candidates() -> Vec<FileId> {
    let id = |path: PathBuf| {
        let meta = sys::fs::metadata(&path).ok()?;
        Some((path, meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    };
    Criu::candidates().into_iter().filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(inode: u64) -> Vec<FileId> {
        vec![("/usr/sbin/criu".into(), 1, inode, 100, 0, 0)]
    }

    #[test]
    fn asked_again_only_after_a_change() {
        let known = KnownCriu::default();
        assert_eq!(known.version_with(files(1), || Ok("4.2".into())), Ok("4.2".into()));
        assert_eq!(known.version_with(files(1), || panic!("asked again")), Ok("4.2".into()));
        assert_eq!(known.version_with(files(2), || Ok("4.3".into())), Ok("4.3".into()));
        assert_eq!(known.version_with(Vec::new(), || Err("gone".into())), Err("gone".into()));
    }

    #[test]
    fn a_failure_is_not_believed_for_ever() {
        let known = KnownCriu::default();
        assert!(known.version_with(files(1), || Err("no library".into())).is_err());
        assert!(known.version_with(files(1), || panic!("asked again")).is_err());
        lock(&known.0).as_mut().expect("known").at -= FAILURE_KEPT;
        assert_eq!(known.version_with(files(1), || Ok("4.2".into())), Ok("4.2".into()));
    }
}
