//! `lxc file pull`.
//!
//! Names and links come from the container, which may be hostile: a name must be a plain file
//! name, and everything below the target is opened confined to it, so that a link that the
//! container planted never leads a later file elsewhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{Download, FileHeaders, RemoteFile, Sink};
use sys::Root;

use super::Place;
use crate::app::App;
use crate::names;
use crate::progress::{Meter, Progress};
use crate::session::{self, Output};
use crate::usage::WrongArguments;

/// Most levels of directories that are followed.
const DEPTH_LIMIT: usize = 200;

/// Pull files from containers
///
/// A target `-` is standard output; a directory takes the files by their names.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc file pull c1/etc/hosts . # to ./hosts
lxc file pull c1/var/log/syslog - | less
lxc file pull -r c1/etc backup/ # a whole directory, to backup/etc")]
pub struct Pull {
    /// The files, then where they go
    #[arg(required = true, num_args = 2.., value_name = "[REMOTE:]CONTAINER/PATH... TARGET")]
    words: Vec<String>,
    /// Create any directories necessary
    #[arg(long, short = 'p')]
    create_dirs: bool,
    /// Recursively transfer files
    #[arg(long, short)]
    recursive: bool,
}

/// Where files go.
enum Target {
    Stdout,
    /// By their names.
    Directory(Root),
    /// Just this file, in its directory.
    File(PathBuf),
}

impl Pull {
    pub async fn run(self, app: &App) -> Result<()> {
        let Some((target, sources)) = self.words.split_last().filter(|(_, sources)| !sources.is_empty()) else { bail!(WrongArguments) };
        let sources = sources.iter().map(|source| super::place(app, source, "source")).collect::<Result<Vec<_>>>()?;
        let target = self.target(target, sources.len())?;
        let mut progress = Progress::new("Pulling", app.quiet || matches!(target, Target::Stdout));
        for place in &sources {
            let file = place.client.read_file(&place.instance, &place.path).await?;
            self.pull(place, file, &target, &mut progress).await.with_context(|| format!("Pulling {} failed", place.path))?;
        }
        Ok(())
    }

    fn target(&self, target: &str, count: usize) -> Result<Target> {
        if target == "-" {
            return Ok(Target::Stdout);
        }
        let path = Path::new(target);
        if path.exists() && !path.is_dir() && count > 1 {
            bail!("More than one file to download, but target is not a directory");
        }
        let is_directory = path.is_dir() || count > 1 || self.recursive || target.ends_with('/');
        if is_directory {
            if self.create_dirs {
                sys::fs::ensure_dir_all(path, 0o755)?;
            } else if !path.is_dir() {
                sys::fs::create_dir(path, 0o755)?;
            }
            // The user's own path may be a link; what is below it may not.
            return Ok(Target::Directory(Root::open(path.canonicalize().context("Can't resolve the target")?)?));
        }
        if let (true, Some(parent)) = (self.create_dirs, path.parent().filter(|parent| !parent.as_os_str().is_empty())) {
            sys::fs::ensure_dir_all(parent, 0o755)?;
        }
        Ok(Target::File(path.to_owned()))
    }

    async fn pull(&self, place: &Place, file: RemoteFile, target: &Target, progress: &mut Progress) -> Result<()> {
        match target {
            Target::Stdout => {
                let (path, file) = place.follow(file).await?;
                let download = file.into_download(&path)?;
                download.copy_to(session::writer(Output::Stdout), |_| {}).await?;
            }
            Target::File(path) => {
                let RemoteFile::File(headers, download) = place.follow(file).await?.1 else { bail!("It is a directory: --recursive pulls directories") };
                let local = sys::fs::create(path, headers.mode.unwrap_or(0o644) & 0o777)?;
                copy(download, local, progress).await?;
            }
            Target::Directory(root) => {
                let name = names::base_name(&place.path);
                let name = if name.is_empty() { place.instance.as_str() } else { name };
                names::check_file_name(name)?;
                match file {
                    RemoteFile::Directory(..) if !self.recursive => bail!("It is a directory: --recursive pulls directories"),
                    file if self.recursive => pull_tree(place, file, root, name, progress).await?,
                    file => {
                        let RemoteFile::File(headers, download) = place.follow(file).await?.1 else { bail!("It is not a file") };
                        write_file(root, name, headers, download, progress).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

async fn pull_tree(place: &Place, file: RemoteFile, root: &Root, name: &str, progress: &mut Progress) -> Result<()> {
    let mut pending = vec![(PathBuf::from(name), place.path.trim_end_matches('/').to_owned(), 0)];
    let mut first = Some(file);
    while let Some((local, remote, depth)) = pending.pop() {
        if depth > DEPTH_LIMIT {
            bail!("{remote} is nested too deeply");
        }
        progress.update(&remote);
        let file = match first.take() {
            Some(file) => file,
            None => place.client.read_file(&place.instance, &remote).await.with_context(|| format!("Reading {remote} failed"))?,
        };
        match file {
            RemoteFile::File(headers, download) => write_file(root, &local, headers, download, progress).await?,
            RemoteFile::Symlink(target) => replace_link(root, &local, &target)?,
            RemoteFile::Directory(headers, children) => {
                make_directory(root, &local, headers)?;
                for child in children.iter().rev() {
                    names::check_file_name(child)?;
                    pending.push((local.join(child), names::join(&remote, child), depth + 1));
                }
            }
        }
    }
    Ok(())
}

fn make_directory(root: &Root, local: &Path, headers: FileHeaders) -> Result<()> {
    // A link in the place of a directory is somebody's trap or another tree's: not followed.
    match root.lstat(local) {
        Ok(stat) if stat.st_mode & 0o170_000 == 0o040_000 => Ok(()),
        Ok(_) => bail!("{} exists and is not a directory", local.display()),
        Err(_) => Ok(root.create_dir(local, headers.mode.unwrap_or(0o755) & 0o777 | 0o700)?),
    }
}

fn replace_link(root: &Root, local: &Path, target: &str) -> Result<()> {
    if root.lstat(local).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0o120_000) {
        root.remove_file(local)?;
    }
    Ok(root.symlink(target, local)?)
}

async fn write_file(root: &Root, local: impl AsRef<Path>, headers: FileHeaders, download: Download, progress: &mut Progress) -> Result<()> {
    let local = local.as_ref();
    if root.lstat(local).is_ok_and(|stat| stat.st_mode & 0o170_000 == 0o120_000) {
        root.remove_file(local)?;
    }
    let flags = rustix::fs::OFlags::TRUNC | rustix::fs::OFlags::NOFOLLOW;
    let file = root.create_file(local, flags, headers.mode.unwrap_or(0o644) & 0o777)?;
    copy(download, file, progress).await
}

async fn copy(download: Download, mut file: std::fs::File, progress: &mut Progress) -> Result<()> {
    let mut meter = Meter::new(download.length());
    let sink = Sink::new(move |bytes| file.write_all(bytes));
    let show = |done_bytes| {
        if let Some(text) = meter.text(done_bytes) {
            progress.update(&text);
        }
    };
    download.copy_to(sink, show).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_container_lead_nowhere() {
        let outside = tempfile::tempdir().expect("directory");
        let target = tempfile::tempdir().expect("directory");
        let root = Root::open(target.path()).expect("root");
        let link = Path::new("link");
        replace_link(&root, link, outside.path().to_str().expect("path")).expect("link");
        assert!(make_directory(&root, link, FileHeaders::default()).is_err());
        assert!(root.create_dir("link/sub", 0o755).is_err());
        replace_link(&root, link, "/elsewhere").expect("a link is replaced, not followed");
        assert!(sys::fs::list_dir(outside.path()).expect("list").is_empty());
    }
}
