//! Chores of the project: hygiene checks, generated documentation, benchmarks.

// Chores talk to a developer's terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
pub mod docs;
pub mod matrix;
pub mod tidy;

use std::path::PathBuf;

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.ancestors().nth(2).map(PathBuf::from).unwrap_or(root)
}
