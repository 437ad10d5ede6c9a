//! `lxc file push`.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{Body, FileContent, FileHeaders};

use super::Place;
use crate::app::App;
use crate::names;
use crate::progress::{Metered, Progress};
use crate::usage::{WrongArguments, mode_parser};

/// Most levels of directories that are followed.
const DEPTH_LIMIT: usize = 200;

/// Push files into containers
///
/// A target that ends in a slash is a directory. Owner and permissions are those of the source
/// unless given.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc file push hosts c1/etc/hosts
lxc file push a.conf b.conf c1/etc/app/ --mode 0640 --uid 0 --gid 0
lxc file push -r site c1/srv/ # a whole directory, to /srv/site
lxc file push - c1/root/notes < notes")]
pub struct Push {
    /// The files (`-` for standard input), then where they go
    #[arg(required = true, num_args = 2.., value_name = "SOURCE... [REMOTE:]CONTAINER/PATH")]
    words: Vec<String>,
    /// Set the file's uid on push
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// Set the file's gid on push
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,
    /// Set the file's perms on push
    #[arg(long, value_parser = mode_parser())]
    mode: Option<u32>,
    /// Recursively transfer files
    #[arg(long, short)]
    recursive: bool,
    /// Create any directories necessary
    #[arg(long, short = 'p')]
    create_dirs: bool,
}

impl Push {
    pub async fn run(self, app: &App) -> Result<()> {
        let Some((target, sources)) = self.words.split_last().filter(|(_, sources)| !sources.is_empty()) else { bail!(WrongArguments) };
        let place = super::place(app, target, "target")?;
        let is_directory = place.path.ends_with('/');
        if sources.len() > 1 && !is_directory {
            bail!(WrongArguments);
        }
        if self.recursive {
            return self.push_trees(app, &place, sources).await;
        }
        // All are opened first: a missing one must not leave half of them pushed.
        let files = sources.iter().map(|source| self.open(app, source)).collect::<Result<Vec<_>>>()?;
        if self.create_dirs {
            let parent = if is_directory { place.path.trim_end_matches('/') } else { parent_of(&place.path) };
            self.make_directories(&place, parent).await?;
        }
        for (source, (content, headers)) in sources.iter().zip(files) {
            let path = if is_directory { names::join(&place.path, names::base_name(source)) } else { place.path.clone() };
            place.client.write_file(&place.instance, &path, FileContent::File(content), headers).await.with_context(|| format!("Pushing {source} failed"))?;
        }
        Ok(())
    }

    fn open(&self, app: &App, source: &str) -> Result<(Body, FileHeaders)> {
        let (reader, metadata): (Box<dyn std::io::Read + Send>, std::fs::Metadata) = if source == "-" {
            let stdin = std::io::stdin();
            // What standard input is decides owner and permissions, as for a file.
            let duplicate = stdin.as_fd().try_clone_to_owned().context("Can't read from standard input")?;
            let metadata = std::fs::File::from(duplicate).metadata().context("Can't stat standard input")?;
            (Box::new(stdin), metadata)
        } else {
            let file = sys::fs::open(source)?;
            let metadata = file.metadata().with_context(|| format!("Can't stat {source}"))?;
            (Box::new(file), metadata)
        };
        if metadata.is_dir() {
            bail!("Missing --recursive: {source} is a directory");
        }
        let length = (metadata.is_file() && source != "-").then_some(metadata.len());
        let reader = Metered::new(reader, length, Progress::new(format!("Pushing {source}"), app.quiet));
        Ok((Body::Reader { reader: Box::new(reader), length }, self.headers(Some(&metadata))))
    }

    fn headers(&self, metadata: Option<&std::fs::Metadata>) -> FileHeaders {
        FileHeaders {
            uid: self.uid.or(metadata.map(MetadataExt::uid)),
            gid: self.gid.or(metadata.map(MetadataExt::gid)),
            mode: self.mode.or(metadata.map(|metadata| metadata.mode() & 0o7777)),
        }
    }

    async fn push_trees(&self, app: &App, place: &Place, sources: &[String]) -> Result<()> {
        if self.mode.is_some() {
            bail!("Can't supply --mode with --recursive: files and directories differ");
        }
        if self.create_dirs {
            self.make_directories(place, place.path.trim_end_matches('/')).await?;
        }
        let mut progress = Progress::new("Pushing", app.quiet);
        for source in sources {
            let name = Path::new(source).canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            let name = name.with_context(|| format!("No such file or directory: {source}"))?;
            let mut pending = vec![(PathBuf::from(source), names::join(&place.path, &name), 0)];
            while let Some((local, remote, depth)) = pending.pop() {
                if depth > DEPTH_LIMIT {
                    bail!("{} is nested too deeply", local.display());
                }
                progress.update(&local.display().to_string());
                let children = self.push_one(place, &local, &remote, depth == 0).await.with_context(|| format!("Pushing {} failed", local.display()))?;
                pending.extend(children.iter().rev().map(|child| (local.join(child), names::join(&remote, child), depth + 1)));
            }
        }
        Ok(())
    }

    /// Pushes one file, link or directory; the names in a directory are returned. Links below
    /// what the user named are pushed as links.
    async fn push_one(&self, place: &Place, local: &Path, remote: &str, is_top: bool) -> Result<Vec<String>> {
        let metadata = if is_top { local.metadata() } else { local.symlink_metadata() }.context("Can't stat it")?;
        let mut headers = self.headers(Some(&metadata));
        let mut children = Vec::new();
        let content = if metadata.is_dir() {
            children = sys::fs::list_dir(local)?;
            FileContent::Directory
        } else if metadata.is_symlink() {
            headers.mode = None;
            FileContent::Symlink(sys::fs::read_link(local)?.to_string_lossy().into_owned())
        } else if metadata.is_file() {
            FileContent::File(Body::Reader { reader: Box::new(sys::fs::open(local)?), length: Some(metadata.len()) })
        } else {
            bail!("It is neither a file, a directory nor a symbolic link");
        };
        let is_directory = matches!(content, FileContent::Directory);
        match place.client.write_file(&place.instance, remote, content, headers).await {
            // A directory that is there already is filled.
            Err(_) if is_directory && self.is_directory(place, remote).await => {}
            result => result?,
        }
        Ok(children)
    }

    async fn make_directories(&self, place: &Place, directory: &str) -> Result<()> {
        let headers = FileHeaders { uid: self.uid, gid: self.gid, mode: Some(0o755) };
        let mut missing = Vec::new();
        let mut path = directory;
        // Upwards to the first that is there.
        while !path.is_empty() && !self.is_there(place, path).await {
            missing.push(path);
            path = parent_of(path);
        }
        for path in missing.into_iter().rev() {
            place.client.write_file(&place.instance, path, FileContent::Directory, headers).await.with_context(|| format!("Creating {path} failed"))?;
        }
        Ok(())
    }

    /// Whether a directory is there, or a link that may lead to one: the server follows it.
    async fn is_there(&self, place: &Place, path: &str) -> bool {
        matches!(place.client.read_file(&place.instance, path).await, Ok(client::RemoteFile::Directory(..) | client::RemoteFile::Symlink(_)))
    }

    async fn is_directory(&self, place: &Place, path: &str) -> bool {
        matches!(place.client.read_file(&place.instance, path).await, Ok(client::RemoteFile::Directory(..)))
    }
}

/// What is before the last slash; empty for the root.
fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        assert_eq!(parent_of("/a/b"), "/a");
        assert_eq!(parent_of("/a"), "");
    }
}
