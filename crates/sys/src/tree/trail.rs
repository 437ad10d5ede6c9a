//! Where in a tree something is: names from the top down, shared between all that is below.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// How much of a path is shown, its end.
const SHOWN_BYTES: usize = 1024;

/// The way from the top of a tree to a directory. A tree may be deeper than a path can be long,
/// and a path for each of its directories would cost the square of its depth; so names are kept
/// once, and paths are made only where one is shown.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Step>>);

struct Step {
    above: Trail,
    name: OsString,
    /// Bytes of the whole path.
    length: usize,
}

impl Trail {
    /// The way to a directory below.
    pub fn join(&self, name: &OsStr) -> Self {
        let length = match self.length() {
            0 => name.len(),
            length => length + 1 + name.len(),
        };
        Self(Some(Arc::new(Step { above: self.clone(), name: name.to_owned(), length })))
    }

    /// Whether this is the top.
    pub fn is_top(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of the path.
    pub fn length(&self) -> usize {
        self.0.as_ref().map_or(0, |step| step.length)
    }

    /// Its names, the deepest first.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        let mut at = self;
        std::iter::from_fn(move || {
            let step = at.0.as_deref()?;
            at = &step.above;
            Some(step.name.as_os_str())
        })
    }

    /// The path, however long.
    pub fn to_path(&self) -> PathBuf {
        let names: Vec<&OsStr> = self.names().collect();
        names.into_iter().rev().collect()
    }

    /// Shows something in this directory.
    pub fn show<'a>(&'a self, name: &'a OsStr) -> Shown<'a> {
        Shown { dir: self, name }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trail({self})")
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(OsStr::new("")).fmt(f)
    }
}

/// A name in a directory, for messages; of a very long path only the end.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    dir: &'a Trail,
    name: &'a OsStr,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&OsStr> = Some(self.name).filter(|name| !name.is_empty()).into_iter().collect();
        let mut length = self.name.len();
        for name in self.dir.names() {
            length += 1 + name.len();
            if length > SHOWN_BYTES {
                f.write_str(".../")?;
                break;
            }
            names.push(name);
        }
        let parts: Vec<String> = names.into_iter().rev().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).collect();
        f.write_str(if parts.is_empty() { "." } else { "" })?;
        f.write_str(&parts.join("/"))
    }
}

impl Drop for Step {
    /// One after the other: each step would drop the one above in a call of its own, and a guest
    /// would choose how deep the stack gets.
    fn drop(&mut self) {
        let mut next = self.above.0.take();
        while let Some(mut step) = next.and_then(Arc::into_inner) {
            next = step.above.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_paths_and_the_end_of_long_ones() {
        let top = Trail::default();
        assert_eq!((top.to_string(), top.show(OsStr::new("x")).to_string()), (".".to_owned(), "x".to_owned()));
        let below = top.join(OsStr::new("a")).join(OsStr::new("bc"));
        assert_eq!((below.to_string(), below.to_path(), below.length()), ("a/bc".to_owned(), PathBuf::from("a/bc"), 4));
        let mut deep = below;
        for _ in 0..1_000_000 {
            deep = deep.join(OsStr::new("d"));
        }
        let shown = deep.show(OsStr::new("end")).to_string();
        assert!(shown.starts_with(".../d/") && shown.ends_with("/end") && shown.len() < SHOWN_BYTES + 10, "{shown}");
    }
}
