//! `lxc import`.

use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{Body, Method, Request, path};
use serde_json::Value;

use super::create::{created_name, wait_or_cancel};
use crate::app::App;
use crate::{errln, outln};
use crate::progress::{Metered, Progress};
use crate::usage::WrongArguments;

/// A file that is standard input.
const STDIN: &str = "-";

/// Import container backups
///
/// Makes the container of a file from `lxc export`, with its snapshots and configuration, stopped. What it reaches of the host
/// (`security.privileged`, `raw.*`, disks and devices of the host) is shown; where there is such a thing, it does not start by
/// itself with the daemon until `boot.autostart` is set again.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc import c1.tar.gz
lxc import c1.tar.gz c2 # under another name
lxc import work: c1.tar.gz --storage fast # on another server, in the pool fast")]
pub struct Import {
    /// The server (with a colon at its end), the backup (`-`: standard input), and a name instead of that in the backup
    #[arg(required = true, num_args = 1..=3, value_name = "[REMOTE:] FILE [NEW-NAME]")]
    words: Vec<String>,
    /// Storage pool of the container instead of that in the backup
    #[arg(long, short, value_name = "POOL")]
    storage: Option<String>,
}

impl Import {
    pub async fn run(self, app: &App) -> Result<()> {
        let (remote, file, name) = plan(&self.words, |word| sys::fs::exists(word))?;
        let client = app.server(remote)?;
        if let Some(pool) = &self.storage {
            app.note("Pool", pool);
        }
        let body = open(file, Progress::new("Importing container", app.quiet))?;
        let mut request = Request::new(Method::POST, path(&["instances"]));
        if let Some(name) = name {
            request = request.header("X-LXD-name", name);
        }
        if let Some(pool) = self.storage {
            request = request.header("X-LXD-pool", pool);
        }
        let operation = client.request(request.body(body)).await?.operation()?;
        let mut progress = Progress::new("Importing container", app.quiet);
        let done = wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        for warning in warnings(done.metadata.as_ref()) {
            errln!("Warning: {warning}");
        }
        let name = created_name(&operation).or(name.map(str::to_owned)).unwrap_or_default();
        outln!("Container {name} imported");
        Ok(())
    }
}

/// What the backup reaches of the server's host.
fn warnings(metadata: Option<&Value>) -> impl Iterator<Item = &str> {
    metadata.and_then(|metadata| metadata.get("warnings")?.as_array()).into_iter().flatten().filter_map(Value::as_str)
}

/// The server, the file and the name that the words are.
fn plan(words: &[String], exists: impl Fn(&str) -> bool) -> Result<(Option<&str>, &str, Option<&str>)> {
    let is_remote = |word: &str| word.ends_with(':') && !exists(word);
    Ok(match words {
        [remote, file] if is_remote(remote) => (Some(remote), file, None),
        [remote, file, name] if is_remote(remote) => (Some(remote), file, Some(name)),
        [file] => (None, file, None),
        [file, name] => (None, file, Some(name)),
        _ => bail!(WrongArguments),
    })
}

fn open(file: &str, progress: Progress) -> Result<Body> {
    if file == STDIN {
        if std::io::stdin().is_terminal() {
            bail!("Standard input is a terminal: name the file, or put it there with `< FILE`");
        }
        let reader: Box<dyn Read + Send> = Box::new(Metered::new(std::io::stdin(), None, progress));
        return Ok(Body::Reader { reader, length: None });
    }
    let opened = sys::fs::open(file)?;
    let metadata = opened.metadata().with_context(|| format!("Can't stat {file}"))?;
    if metadata.is_dir() {
        bail!("{file} is a directory, not a backup (`lxc export` writes files such as c1.tar.gz)");
    }
    // A pipe has no length.
    let length = metadata.is_file().then(|| metadata.size());
    Ok(Body::Reader { reader: Box::new(Metered::new(opened, length, progress)), length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_by_their_place() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let exists = |word: &str| word == "odd:";
        let cases = [
            ("b.tgz", (None, "b.tgz", None)),
            ("b.tgz c2", (None, "b.tgz", Some("c2"))),
            ("work: b.tgz", (Some("work:"), "b.tgz", None)),
            ("work: b.tgz c2", (Some("work:"), "b.tgz", Some("c2"))),
            ("odd: c2", (None, "odd:", Some("c2"))),
        ];
        for (text, expected) in cases {
            assert_eq!(plan(&words(text), exists).expect(text), expected, "{text}");
        }
        assert!(plan(&words("a b c"), exists).is_err());
    }
}
