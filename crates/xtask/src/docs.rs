//! `cargo xtask docs`: documentation generated from declarations in the code.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Every generated file, relative to the root, with its content.
fn generated() -> Vec<(PathBuf, String)> {
    vec![(PathBuf::from("docs/reference/keys.md"), keys::reference::render())]
}

/// Pages that a program prints about itself. A test beside what they describe keeps each up to date.
const PRINTED: &[(&str, &[&str])] = &[
    ("docs/reference/cli.md", &["lxc", "help", "--markdown"]),
    ("docs/reference/api.md", &["lxd", "describe", "--markdown"]),
    ("docs/reference/openapi.json", &["lxd", "describe"]),
];

/// Writes all generated files.
pub fn write(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let path = root.join(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("mkdir {}", parent.display()))?;
        }
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    PRINTED.iter().try_for_each(|(page, command)| write_printed(root, page, command))
}

fn write_printed(root: &Path, page: &str, command: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = std::process::Command::new(cargo);
    run.current_dir(root).args(["run", "--quiet", "--package", command[0], "--bin", command[0], "--"]).args(&command[1..]);
    let output = run.stderr(std::process::Stdio::inherit()).output().with_context(|| format!("run {}", command[0]))?;
    ensure!(output.status.success(), "`{}` failed", command.join(" "));
    std::fs::write(root.join(page), output.stdout).with_context(|| format!("write {page}"))
}

/// Fails if a generated file is not what would be written now.
pub fn check(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let found = std::fs::read_to_string(root.join(&name)).unwrap_or_default();
        ensure!(found == content, "{} is out of date: run `cargo xtask docs`", name.display());
    }
    Ok(())
}
