//! Finding the names of inodes.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Dir, FileType, is_vanished, open_dir, walk_in_order};
use crate::Root;
use crate::error::{Context, Error, Result};

/// Finds a path for each of the inodes of the file system that `root` is on, as long as there is time;
/// those found are taken out of `wanted`. Directories given in `first` are looked through before all others, and
/// those in `except` never.
pub fn find_inodes(
    root: &Root,
    wanted: &mut BTreeSet<u64>,
    (first, except): (&[&str], &BTreeSet<PathBuf>),
    until: Instant,
) -> Result<Vec<(u64, PathBuf)>> {
    let device = rustix::fs::fstat(root.as_dir_fd()).context("stat", "root")?.st_dev;
    let mut found = Vec::new();
    for top in first.iter().copied().chain([""]) {
        let Ok(dir) = open_dir(root.as_dir_fd(), Path::new(top)) else { continue };
        let mut look = |dir: &Dir, trail: &super::Trail| -> Result<Vec<std::ffi::OsString>> {
            let stat = rustix::fs::fstat(dir).context("stat", "directory")?;
            let mut below = Vec::new();
            if stat.st_dev != device || wanted.is_empty() || Instant::now() > until {
                return Ok(below);
            }
            let here = Path::new(top).join(trail.to_path());
            if wanted.remove(&stat.st_ino) {
                found.push((stat.st_ino, here.clone()));
            }
            for entry in rustix::fs::Dir::read_from(dir).context("list", here.display())? {
                let entry = entry.context("list", here.display())?;
                let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                if Instant::now() > until {
                    return Ok(Vec::new());
                }
                if entry.file_type() == FileType::Directory {
                    if !except.contains(&here.join(name)) {
                        below.push(name.to_owned());
                    }
                } else if wanted.remove(&entry.ino()) {
                    found.push((entry.ino(), here.join(name)));
                }
            }
            Ok(below)
        };
        match walk_in_order(Dir::new(dir), &mut look) {
            Err(error) if !is_vanished(&error) => return Err::<_, Error>(error),
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn names_are_found() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        std::fs::write(dir.path().join("a/b/file"), "x").expect("write");
        let inode = |path: &str| std::fs::metadata(dir.path().join(path)).expect("stat").ino();
        let mut wanted = BTreeSet::from([inode("a/b"), inode("a/b/file"), u64::MAX]);
        let until = Instant::now() + std::time::Duration::from_secs(10);
        let mut found =
            find_inodes(&Root::open(dir.path()).expect("root"), &mut wanted, (&["no-such", "a"], &BTreeSet::new()), until).expect("find");
        found.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(found.into_iter().map(|(_, path)| path).collect::<Vec<_>>(), [Path::new("a/b"), Path::new("a/b/file")]);
        assert_eq!(wanted.len(), 1);
    }
}
