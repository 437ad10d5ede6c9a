//! `lxc export`.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::Timestamp;
use api::instance_backups::InstanceBackupsPost;
use clap::Args;
use client::{Client, Download, Method, Request, Sink, path};
use fetch::multipart;

use super::create::wait_or_cancel;
use crate::app::App;
use crate::progress::{Meter, Progress};
use crate::{errln, names, outln};

/// How long the server keeps a backup whose fetching was cut off, seconds.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// How backups end. A server's name for one decides between these, and nothing else.
const EXTENSIONS: &[&str] = &[".tar", ".tar.bz2", ".tar.gz", ".tar.lzma", ".tar.xz", ".tar.zst"];
/// A target that is standard output.
const STDOUT: &str = "-";

/// Export container backups
///
/// The container with its snapshots and configuration in one file, from which `lxc import` makes it again, here or on
/// another server. One that runs is exported as it is at a moment, and goes on running. The target is a file, which is
/// replaced when the new one is complete, a directory, or `-` for standard output; without one it is a new file in this
/// directory, named by the container.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc export c1 # as c1.tar.gz
lxc export c1 /backup/c1.tar.zst --compression zstd
lxc export c1 - --compression none | lxc import work: - # to another server")]
pub struct Export {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// Where to write
    target: Option<PathBuf>,
    /// Export the container without its snapshots
    #[arg(long, alias = "container-only")]
    instance_only: bool,
    /// Let the server use a form that only its storage driver can read, if it has one
    #[arg(long)]
    optimized_storage: bool,
    /// Compression of the backup (none, gzip, bzip2, xz, zstd, lzma)
    #[arg(long, value_name = "ALGORITHM")]
    compression: Option<String>,
}

impl Export {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        if name.contains('/') {
            bail!("\"{name}\" is a snapshot: only whole containers can be exported (`lxc copy {name} NAME` makes one of it)");
        }
        // What can be found out before the work is.
        let target = Target::new(self.target.as_deref(), &name)?;
        let quiet = app.quiet || matches!(target, Target::Stdout);
        let post = InstanceBackupsPost {
            expires_at: Some(Timestamp::from_unix(Timestamp::now().unix() + KEPT_SECONDS)),
            instance_only: self.instance_only,
            container_only: self.instance_only,
            optimized_storage: self.optimized_storage,
            compression_algorithm: self.compression.clone().unwrap_or_default(),
            ..InstanceBackupsPost::default()
        };
        let operation = client.post(&path(&["instances", &name, "backups"]), &post).await?.operation()?;
        let backups = operation.resources.as_ref().and_then(|resources| resources.get("backups"));
        let backup = backups.and_then(|urls| urls.first()).map(|url| names::from_url(url).to_owned());
        let backup = backup.context("The server doesn't say what the backup is called")?;
        let mut progress = Progress::new("Backing up container", quiet);
        wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        let fetched = tokio::select! {
            fetched = fetch(&client, (&name, &backup), &target, Progress::new("Exporting the backup", quiet)) => fetched,
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and_then(|()| bail!("Interrupted, nothing was exported")),
        };
        if let Err(error) = delete(&client, &name, &backup).await {
            errln!("warning: the server's copy of the backup stays for a day: {error:#}");
        }
        fetched?;
        if !matches!(target, Target::Stdout) {
            outln!("Backup exported successfully!");
        }
        Ok(())
    }
}

async fn delete(client: &Client, name: &str, backup: &str) -> Result<()> {
    let reply = client.delete(&path(&["instances", name, "backups", backup])).await?;
    client.wait(&reply).await?;
    Ok(())
}

async fn fetch(client: &Client, (name, backup): (&str, &str), target: &Target, mut progress: Progress) -> Result<()> {
    let download = client.download(Request::new(Method::GET, path(&["instances", name, "backups", backup, "export"]))).await?;
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

/// Where the backup goes. Its name is the user's and the container's, never the server's.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    /// Into a directory, named by the container.
    Directory(PathBuf, String),
    /// A file that may be there already.
    File(PathBuf),
    /// What is there and no file: a pipe or a device.
    Device(PathBuf),
}

impl Target {
    fn new(wanted: Option<&Path>, container: &str) -> Result<Self> {
        let Some(path) = wanted else { return Self::new(Some(Path::new(".")), container) };
        if path == Path::new(STDOUT) {
            if std::io::stdout().is_terminal() {
                bail!("Standard output is a terminal, which a backup is not for (`| COMMAND` or `> FILE` takes it elsewhere)");
            }
            return Ok(Self::Stdout);
        }
        if path.is_dir() {
            // Names come from the command line, but also from scripts that read them off servers.
            names::check_file_name(container)?;
            return Ok(Self::Directory(path.to_owned(), container.to_owned()));
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
}
