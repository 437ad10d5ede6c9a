//! Editing a document in the user's editor, or taking it from a pipe.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::errln;

/// Lets the user edit `text` until `apply` accepts it. Where standard input is no terminal its
/// content is applied instead, once.
pub async fn edit<F: AsyncFn(&str) -> Result<()>>(text: &str, help: &str, apply: F) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let mut given = String::new();
        std::io::stdin().read_to_string(&mut given).context("Can't read from standard input")?;
        return apply(&given).await;
    }
    let mut text = format!("{}\n{text}", comment(help));
    loop {
        text = String::from_utf8(run(text.as_bytes(), "yaml").await?).context("The document is not UTF-8")?;
        let Err(error) = apply(&text).await else { return Ok(()) };
        errln!("Config parsing error: {error:#}");
        errln!("Press enter to start the editor again");
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).context("Can't read from the terminal")? == 0 {
            return Err(error);
        }
    }
}

/// Opens the editor on `content` and returns what was saved.
pub async fn run(content: &[u8], extension: &str) -> Result<Vec<u8>> {
    let editor = choose().context("No text editor found, please set the EDITOR environment variable.")?;
    let directory = Scratch::new()?;
    let file = directory.0.join(format!("lxd_editor.{extension}"));
    sys::fs::write(&file, content)?;
    // The variable may hold arguments, so the shell splits it, as for other programs.
    let command = sys::cmd::Cmd::new("sh", "dash").args(["-c", "exec $0 \"$1\"", &editor]).arg(&file);
    let status = tokio::task::spawn_blocking(move || command.run_foreground()).await?;
    let status = status.with_context(|| format!("Can't start the editor {editor}"))?;
    if !status.success() {
        bail!("The editor {editor} failed ({status})");
    }
    Ok(sys::fs::read(&file)?)
}

/// `VISUAL`, `EDITOR`, or the first common editor that is installed.
fn choose() -> Option<String> {
    let from_environment = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    from_environment.or_else(|| {
        let installed = ["editor", "vi", "emacs", "nano"].into_iter().find(|name| sys::cmd::Cmd::is_installed(name));
        installed.map(str::to_owned)
    })
}

/// The help as comment lines.
fn comment(help: &str) -> String {
    help.lines().map(|line| format!("### {line}").trim_end().to_owned() + "\n").collect()
}

/// A directory only this user may enter, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let base = std::env::temp_dir();
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let path = base.join(format!("lxc-edit-{}-{stamp}", std::process::id()));
        // Fails if somebody made it before us.
        sys::fs::create_dir(&path, 0o700)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = sys::fs::remove_tree(path) {
        errln!("warning: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_comment() {
        assert_eq!(comment("One\n\n  two"), "### One\n###\n###   two\n");
    }
}
