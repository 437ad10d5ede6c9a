//! The rules of the code base that a program can check; see CONTRIBUTING.md for the reasons.
//!
//! Sources are read as lines with comments and literals blanked out, which is enough to find
//! functions, blocks and words. No parser, no dependencies, well under a second.

mod edges;
mod rules;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use source::Source;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// File, relative to the root.
    pub file: PathBuf,
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}

/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "target"];
/// Extensions and names of text files that are searched for banned words.
const TEXTS: &[&str] = &["rs", "md", "toml", "sh", "yml", "yaml", "service", "socket", "Makefile", "run"];

/// Checks everything below `root`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = edges::check(root)?;
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        findings.extend(rules::banned_words(&name, &text));
        if path.extension().is_some_and(|extension| extension == "rs") {
            findings.extend(rules::check(&Source::new(name, &text)));
        }
    }
    Ok(findings)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = path.extension().map_or(name.clone(), |extension| extension.to_string_lossy().into_owned());
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, files)?;
            }
        } else if TEXTS.contains(&kind.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}
