//! `cargo xtask docs`: documentation generated from declarations in the code.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Every generated file, relative to the root, with its content.
fn generated() -> Vec<(PathBuf, String)> {
    vec![(PathBuf::from("docs/reference/keys.md"), keys::reference::render())]
}

/// The page of the command line. Its own test keeps it up to date, since only `lxc` knows its commands.
const CLI_PAGE: &str = "docs/reference/cli.md";

/// Writes all generated files.
pub fn write(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let path = root.join(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("mkdir {}", parent.display()))?;
        }
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    write_cli_page(root)
}

fn write_cli_page(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.current_dir(root).args(["run", "--quiet", "--package", "lxc", "--", "help", "--markdown"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("run lxc")?;
    ensure!(output.status.success(), "`lxc help --markdown` failed");
    std::fs::write(root.join(CLI_PAGE), output.stdout).with_context(|| format!("write {CLI_PAGE}"))
}

/// Fails if a generated file is not what would be written now.
pub fn check(root: &Path) -> Result<()> {
    for (name, content) in generated() {
        let found = std::fs::read_to_string(root.join(&name)).unwrap_or_default();
        ensure!(found == content, "{} is out of date: run `cargo xtask docs`", name.display());
    }
    Ok(())
}
