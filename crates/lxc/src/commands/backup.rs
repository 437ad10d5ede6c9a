//! Backups as files: made by a server and fetched, and sent to one.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::Timestamp;
use client::{Body, Client, Download, Method, Request, Sink};
use fetch::multipart;
use serde::Serialize;

use super::create::wait_or_cancel;
use crate::app::App;
use crate::progress::{Meter, Metered, Progress};
use crate::usage::WrongArguments;
use crate::{errln, names, outln};

/// How long the server keeps a backup whose fetching was cut off, seconds.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// How backups end. A server's name for one decides between these, and nothing else.
const EXTENSIONS: &[&str] = &[".tar", ".tar.bz2", ".tar.gz", ".tar.lzma", ".tar.xz", ".tar.zst"];
/// A target that is standard output, or a file that is standard input.
const STANDARD: &str = "-";

/// Makes a backup on the server, fetches it, and has the server forget it. `path` is that of the backups; `body` asks for one.
pub async fn export(
    app: &App,
    client: &Client,
    (path, body): (&[&str], &impl Serialize),
    (target, subject): (&Target, &str),
) -> Result<()> {
    let quiet = app.quiet || matches!(target, Target::Stdout);
    let operation = client.post(&client::path(path), body).await?.operation()?;
    let urls = operation.resources.iter().flat_map(|resources| resources.values()).flatten();
    let backup = urls.filter_map(|url| url.split_once("/backups/")).map(|(_, name)| names::from_url(name).to_owned()).next();
    let backup = backup.context("The server doesn't say what the backup is called")?;
    let mut progress = Progress::new(format!("Backing up {subject}"), quiet);
    wait_or_cancel(client, &operation, |operation| progress.show(operation)).await?;
    drop(progress);
    let one = |rest: &[&str]| client::path(&[path, &[backup.as_str()], rest].concat());
    let fetched = tokio::select! {
        fetched = fetch(client, one(&["export"]), target, Progress::new("Exporting the backup", quiet)) => fetched,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and_then(|()| bail!("Interrupted, nothing was exported")),
    };
    if let Err(error) = delete(client, &one(&[])).await {
        errln!("warning: the server's copy of the backup stays for a day: {error:#}");
    }
    fetched?;
    if !matches!(target, Target::Stdout) {
        outln!("Backup exported successfully!");
    }
    Ok(())
}

/// When the server may delete a backup whose fetching was cut off.
pub fn expiry() -> Timestamp {
    Timestamp::from_unix(Timestamp::now().unix() + KEPT_SECONDS)
}

async fn delete(client: &Client, path: &str) -> Result<()> {
    let reply = client.delete(path).await?;
    client.wait(&reply).await?;
    Ok(())
}

async fn fetch(client: &Client, path: String, target: &Target, mut progress: Progress) -> Result<()> {
    let download = client.download(Request::new(Method::GET, path)).await?;
    let server_name =
        download.header("content-disposition").and_then(|header| multipart::parameter(header, "filename")).unwrap_or_default();
    let mut meter = Meter::new(download.length());
    let mut update = |done_bytes| {
        if let Some(text) = meter.text(done_bytes) {
            progress.update(&text);
        }
    };
    let (unfinished, path) = match target {
        Target::Stdout => return copy(download, std::io::stdout(), update).await.context("Can't write to standard output"),
        Target::Device(path) => {
            let device = sys::fs::append(path, 0o600)?;
            return copy(download, device, update).await.with_context(|| format!("Can't write to {}", path.display()));
        }
        Target::File(path) => (Unfinished::beside(path)?, path.clone()),
        Target::Directory(directory, name) => {
            let extension =
                EXTENSIONS.iter().filter(|extension| server_name.ends_with(**extension)).max_by_key(|extension| extension.len());
            let path = directory.join(format!("{name}{}", extension.copied().unwrap_or_default()));
            (Unfinished::at(&path)?, path)
        }
    };
    let file = unfinished.file.try_clone().context("Can't write the backup")?;
    copy(download, file, &mut update).await.with_context(|| format!("Can't write {}", path.display()))?;
    unfinished.keep(&path)
}

async fn copy(download: Download, mut out: impl Write + Send + 'static, progress: impl FnMut(u64)) -> Result<()> {
    let sink = Sink::new(move |bytes| out.write_all(bytes));
    download.copy_to(sink, progress).await?;
    Ok(())
}

/// Where the backup goes. Its name is the user's and that of what is in it, never the server's.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Into a directory, named by what is in it.
    Directory(PathBuf, String),
    /// A file that may be there already.
    File(PathBuf),
    /// What is there and no file: a pipe or a device.
    Device(PathBuf),
}

impl Target {
    /// What is wished; without a wish this directory. `name` is that of what is in it.
    pub fn new(wanted: Option<&Path>, name: &str) -> Result<Self> {
        let Some(path) = wanted else { return Self::new(Some(Path::new(".")), name) };
        if path == Path::new(STANDARD) {
            if std::io::stdout().is_terminal() {
                bail!("Standard output is a terminal, which a backup is not for (`| COMMAND` or `> FILE` takes it elsewhere)");
            }
            return Ok(Self::Stdout);
        }
        if path.is_dir() {
            // Names come from the command line, but also from scripts that read them off servers.
            names::check_file_name(name)?;
            return Ok(Self::Directory(path.to_owned(), name.to_owned()));
        }
        if path.exists() && !path.is_file() {
            return Ok(Self::Device(path.to_owned()));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.file_name().is_none() || !parent.is_dir() {
            bail!("Can't write {}: there is no directory {}", path.display(), parent.display());
        }
        Ok(Self::File(path.to_owned()))
    }
}

/// A file that is removed again unless it is complete.
struct Unfinished {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Unfinished {
    /// A new file.
    fn at(path: &Path) -> Result<Self> {
        let file = sys::fs::create_new(path, 0o600).map_err(|error| match error.errno {
            sys::Errno::EXIST => anyhow::anyhow!("{} exists already; remove it, or name the file to write as the target", path.display()),
            _ => error.into(),
        })?;
        Ok(Self { path: path.to_owned(), file, is_kept: false })
    }

    /// A new file that can take the place of another: an older backup is worth more than half of a new one.
    fn beside(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::at(&path.with_file_name(format!(".{name}.{}.part", std::process::id())))
    }

    /// Keeps it as `path`.
    fn keep(mut self, path: &Path) -> Result<()> {
        self.file.sync_all().with_context(|| format!("Can't write {}", path.display()))?;
        if self.path != path {
            sys::fs::rename(&self.path, path)?;
        }
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error that led here is the one to show.
            let _ = sys::fs::remove_file(&self.path);
        }
    }
}

/// The server, the file and the name that the words are.
pub fn plan(words: &[String], exists: impl Fn(&str) -> bool) -> Result<(Option<&str>, &str, Option<&str>)> {
    let is_remote = |word: &str| word.ends_with(':') && !exists(word);
    Ok(match words {
        [remote, file] if is_remote(remote) => (Some(remote), file, None),
        [remote, file, name] if is_remote(remote) => (Some(remote), file, Some(name)),
        [file] => (None, file, None),
        [file, name] => (None, file, Some(name)),
        _ => bail!(WrongArguments),
    })
}

/// The content of a backup.
pub fn open(file: &str, progress: Progress) -> Result<Body> {
    if file == STANDARD {
        if std::io::stdin().is_terminal() {
            bail!("Standard input is a terminal: name the file, or put it there with `< FILE`");
        }
        let reader: Box<dyn Read + Send> = Box::new(Metered::new(std::io::stdin(), None, progress));
        return Ok(Body::Reader { reader, length: None });
    }
    let opened = sys::fs::open(file)?;
    let metadata = opened.metadata().with_context(|| format!("Can't stat {file}"))?;
    if metadata.is_dir() {
        bail!("{file} is a directory, not a backup (`export` writes files such as c1.tar.gz)");
    }
    // A pipe has no length.
    let length = metadata.is_file().then(|| metadata.size());
    Ok(Body::Reader { reader: Box::new(Metered::new(opened, length, progress)), length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let directory = tempfile::tempdir().expect("directory");
        let here = directory.path();
        assert_eq!(Target::new(None, "c1").expect("default"), Target::Directory(".".into(), "c1".into()));
        assert_eq!(Target::new(Some(here), "c1").expect("directory"), Target::Directory(here.to_owned(), "c1".into()));
        assert_eq!(Target::new(Some(&here.join("b")), "c1").expect("file"), Target::File(here.join("b")));
        assert_eq!(Target::new(Some(Path::new("/dev/null")), "c1").expect("device"), Target::Device("/dev/null".into()));
        let error = Target::new(Some(&here.join("no/b")), "c1").expect_err("no directory").to_string();
        assert!(error.contains("there is no directory"), "{error}");
        assert!(Target::new(Some(here), "..").is_err());
    }

    #[test]
    fn half_a_backup_replaces_nothing() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("b.tar");
        sys::fs::write(&path, "old").expect("write");
        drop(Unfinished::beside(&path).expect("beside"));
        assert_eq!(sys::fs::list_dir(directory.path()).expect("list"), ["b.tar"]);
        let mut unfinished = Unfinished::beside(&path).expect("beside");
        unfinished.file.write_all(b"new").expect("write");
        unfinished.keep(&path).expect("keep");
        assert_eq!(
            (sys::fs::read_to_string(&path).expect("read").as_str(), sys::fs::list_dir(directory.path()).expect("list").len()),
            ("new", 1)
        );
        let text = Unfinished::at(&path).err().expect("in the way").to_string();
        assert!(text.contains("exists already; remove it"), "{text}");
    }

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
