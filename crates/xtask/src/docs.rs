//! `cargo xtask docs`: documentation generated from declarations in the code.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Every generated file, relative to the root, with its content.
fn generated() -> Vec<(PathBuf, String)> {
    vec![(PathBuf::from("docs/reference/keys.md"), keys::reference::render())]
}

/// Writes all generated files.
pub fn write(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let path = root.join(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("mkdir {}", parent.display()))?;
        }
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Fails if a generated file is not what would be written now.
pub fn check(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let found = std::fs::read_to_string(root.join(&name)).unwrap_or_default();
        ensure!(found == content, "{} is out of date: run `cargo xtask docs`", name.display());
    }
    Ok(())
}
