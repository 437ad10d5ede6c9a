//! `lxc image export`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::images::Image;
use bytes::Bytes;
use clap::Args;
use client::{Client, Download, Method, Request, Sink, path};
use data_encoding::HEXLOWER;
use fetch::multipart::{self, Event};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::progress::{Meter, Progress};
use crate::{images, outln};

/// How the files of images end. A server's name for a file decides between these, and nothing else.
const EXTENSIONS: &[&str] = &[".squashfs", ".tar", ".tar.bz2", ".tar.gz", ".tar.lzma", ".tar.xz", ".tar.zst"];
/// Mode of new files, before the user's mask.
const MODE: u32 = 0o644;
/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 64;

/// Export and download images
///
/// The target is a directory, the files are then named by the image's fingerprint and must not exist yet, or the name
/// of a file, which is replaced once all has come. What does not have that fingerprint is removed again.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image export debian/12 # into this directory, named by its fingerprint
lxc image export debian/12 /backup/debian12 # the extension is added")]
pub struct Export {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// Where to write
    #[arg(default_value = ".", hide_default_value = true)]
    target: PathBuf,
}

impl Export {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve(&self.image)?;
        app.note("Image", images::name_or_default(&name));
        let image = load(&client, &name).await?;
        let mut progress = Progress::new("Exporting the image", app.quiet);
        export(&client, &image, &self.target, &mut progress).await?;
        progress.clear();
        outln!("Image exported successfully!");
        Ok(())
    }
}

/// The image behind an alias or the beginning of a fingerprint. That the server sends that one can be checked only by
/// a whole fingerprint.
async fn load(client: &Client, name: &str) -> Result<Image> {
    let wanted = images::fingerprint(client, name).await?;
    let image: Image = client.get(&path(&["images", &wanted])).await?;
    let is_whole = image.fingerprint.len() == FINGERPRINT_DIGITS && image.fingerprint.bytes().all(is_digit);
    if !is_whole || !image.fingerprint.starts_with(&wanted.to_ascii_lowercase()) {
        bail!("The server offers another image than the one that was asked for ({wanted:?})");
    }
    Ok(image)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

async fn export(client: &Client, image: &Image, target: &Path, progress: &mut Progress) -> Result<()> {
    let size_bytes = u64::try_from(image.size).ok().filter(|size| *size > 0).context("The server doesn't say how large the image is")?;
    let download = client.download(Request::new(Method::GET, path(&["images", &image.fingerprint, "export"]))).await?;
    let boundary = download.header("content-type").and_then(multipart::boundary);
    let name = download.header("content-disposition").and_then(|header| multipart::parameter(header, "filename")).unwrap_or_default();
    let meter = Meter::new(download.length());
    let mut reply = Reply { download, limit_bytes: size_bytes.saturating_add(multipart::OVERHEAD_BYTES), done_bytes: 0, meter, progress };
    let target = if target.is_dir() { Target::Directory(target, &image.fingerprint) } else { Target::File(target) };
    let mut writer = Writer { target, hash: Sha256::new(), open: None, files: Vec::new() };
    match boundary {
        Some(boundary) => split(&mut reply, &boundary, &mut writer).await?,
        None => {
            writer.begin(Kind::Unified, &name).await?;
            while let Some(chunk) = reply.chunk().await? {
                writer.write(chunk).await?;
            }
        }
    }
    writer.finish(&image.fingerprint).await
}

/// Takes the two parts of a split image.
async fn split(reply: &mut Reply<'_>, boundary: &str, writer: &mut Writer<'_>) -> Result<()> {
    let mut parser = multipart::Parser::new(boundary);
    let mut expected = [("metadata", Kind::Metadata), ("rootfs", Kind::Rootfs)].into_iter();
    while let Some(chunk) = reply.chunk().await? {
        for event in parser.push(&chunk)? {
            match event {
                Event::Part(part) => match expected.next() {
                    Some((name, kind)) if name == part.name => writer.begin(kind, &part.file_name).await?,
                    _ => bail!("The server sent something else than the metadata and then the root file system of an image"),
                },
                Event::Content(content) => writer.write(content).await?,
            }
        }
    }
    if !parser.is_complete() || expected.next().is_some() {
        bail!("The server sent an incomplete image");
    }
    Ok(())
}

/// What the server sends, counted.
struct Reply<'a> {
    download: Download,
    limit_bytes: u64,
    done_bytes: u64,
    meter: Meter,
    progress: &'a mut Progress,
}

impl Reply<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Some(chunk) = self.download.chunk().await? else { return Ok(None) };
        self.done_bytes += chunk.len() as u64;
        if self.done_bytes > self.limit_bytes {
            bail!("The server sends more than the image has by its own account");
        }
        if let Some(text) = self.meter.text(self.done_bytes) {
            self.progress.update(&text);
        }
        Ok(Some(chunk))
    }
}

/// Which file of an image.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The only one.
    Unified,
    Metadata,
    Rootfs,
}

/// Where the files go. Their names are the user's and the fingerprint's, never the server's.
#[derive(Debug)]
enum Target<'a> {
    /// Into a directory, named by a fingerprint.
    Directory(&'a Path, &'a str),
    /// Where the user says.
    File(&'a Path),
}

impl Target<'_> {
    /// The path of a file that the server calls `server_name`.
    fn path(&self, kind: Kind, server_name: &str) -> PathBuf {
        let extension = EXTENSIONS.iter().find(|extension| server_name.ends_with(**extension)).copied().unwrap_or_default();
        match (self, kind) {
            (Self::Directory(directory, fingerprint), Kind::Metadata) => directory.join(format!("meta-{fingerprint}{extension}")),
            (Self::Directory(directory, fingerprint), _) => directory.join(format!("{fingerprint}{extension}")),
            (Self::File(path), Kind::Unified) => with_suffix(path, extension),
            (Self::File(path), Kind::Metadata) => path.to_path_buf(),
            (Self::File(path), Kind::Rootfs) => with_suffix(path, ".root"),
        }
    }

    fn create(&self, kind: Kind, server_name: &str) -> Result<Unfinished> {
        let path = self.path(kind, server_name);
        match self {
            Self::File(_) => Unfinished::beside(&path),
            Self::Directory(..) => {
                let file = sys::fs::create_new(&path, MODE).map_err(|error| match error.errno {
                    sys::Errno::EXIST => {
                        anyhow::anyhow!("{} exists already; remove it, or name the file to write as the target", path.display())
                    }
                    _ => error.into(),
                })?;
                Ok(Unfinished { file, written: Some(path), replaces: None })
            }
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes files, one after the other, and removes them again unless they are the image.
struct Writer<'a> {
    target: Target<'a>,
    /// Of all of them.
    hash: Sha256,
    open: Option<(Unfinished, Sink)>,
    files: Vec<Unfinished>,
}

impl Writer<'_> {
    async fn begin(&mut self, kind: Kind, server_name: &str) -> Result<()> {
        self.end().await?;
        let file = self.target.create(kind, server_name)?;
        let sink = file.sink()?;
        self.open = Some((file, sink));
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.hash.update(&bytes);
        let is_taken = match &self.open {
            Some((_, sink)) => sink.send(bytes).await,
            None => false,
        };
        // Its end says why it was not taken.
        if is_taken { Ok(()) } else { self.end().await }
    }

    async fn end(&mut self) -> Result<()> {
        if let Some((file, sink)) = self.open.take() {
            sink.finish().await?;
            self.files.push(file);
        }
        Ok(())
    }

    async fn finish(mut self, fingerprint: &str) -> Result<()> {
        self.end().await?;
        let actual = HEXLOWER.encode(&self.hash.finalize());
        if actual != fingerprint {
            bail!("What the server sent is not the image: its fingerprint is {actual}, not {fingerprint}");
        }
        self.files.into_iter().try_for_each(Unfinished::keep)
    }
}

/// A file that is removed again unless it is complete.
struct Unfinished {
    file: File,
    /// What is removed; nothing where the user named a device or a pipe.
    written: Option<PathBuf>,
    /// The name that it has once it is complete, if that is another one.
    replaces: Option<PathBuf>,
}

impl Unfinished {
    /// Beside a file, whose place it takes in the end: until then that is what it was. What is no file is written to.
    fn beside(path: &Path) -> Result<Self> {
        let held = sys::fs::metadata(path).ok();
        if held.as_ref().is_some_and(|held| !held.is_file()) {
            return Ok(Self { file: sys::fs::create(path, MODE)?, written: None, replaces: None });
        }
        // A link stays one.
        let path = if held.is_some() { sys::fs::canonicalize(path)? } else { path.to_owned() };
        let written = with_suffix(&path, &format!(".part{}", std::process::id()));
        let file = sys::fs::create_new(&written, MODE)?;
        let unfinished = Self { file, written: Some(written.clone()), replaces: Some(path) };
        if let Some(held) = held {
            sys::fs::set_mode(&written, held.mode() & 0o777)?;
        }
        Ok(unfinished)
    }

    fn sink(&self) -> Result<Sink> {
        let mut file = self.file.try_clone().context("Can't write the image")?;
        Ok(Sink::new(move |bytes| file.write_all(bytes)))
    }

    fn keep(mut self) -> Result<()> {
        if let (Some(written), Some(path)) = (&self.written, &self.replaces) {
            sys::fs::rename(written, path)?;
        }
        self.written = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(written) = &self.written {
            // The error that led here is the one to show.
            let _ = sys::fs::remove_file(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_the_servers() {
        let (directory, file) = (Target::Directory(Path::new("/d"), "f00"), Target::File(Path::new("out")));
        for (target, kind, server_name, expected) in [
            (&directory, Kind::Unified, "f00.tar.xz", "/d/f00.tar.xz"),
            (&directory, Kind::Metadata, "meta-f00.tar.gz", "/d/meta-f00.tar.gz"),
            (&directory, Kind::Rootfs, "f00.squashfs", "/d/f00.squashfs"),
            (&directory, Kind::Unified, ".bashrc", "/d/f00"),
            (&directory, Kind::Unified, "", "/d/f00"),
            (&directory, Kind::Unified, "../../etc/x.tar", "/d/f00.tar"),
            (&directory, Kind::Metadata, "/etc/passwd", "/d/meta-f00"),
            (&directory, Kind::Rootfs, "x.sh", "/d/f00"),
            (&file, Kind::Unified, "abc.tar.xz", "out.tar.xz"),
            (&file, Kind::Unified, "abc.conf", "out"),
            (&file, Kind::Metadata, "abc.tar.xz", "out"),
            (&file, Kind::Rootfs, "x", "out.root"),
        ] {
            assert_eq!(target.path(kind, server_name), Path::new(expected), "{kind:?} {server_name}");
        }
    }

    #[tokio::test]
    async fn a_named_file_is_replaced_when_all_has_come_and_not_before() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("out");
        let names = || {
            let entries = std::fs::read_dir(directory.path()).expect("list");
            entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != "link")).count()
        };
        std::fs::write(&path, "precious").expect("write");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("out", &link).expect("link");
        let (good, bad) = (HEXLOWER.encode(&Sha256::digest(b"image")), "0".repeat(FINGERPRINT_DIGITS));
        for (fingerprint, is_kept) in [(&bad, false), (&good, true)] {
            let mut writer = Writer { target: Target::File(&link), hash: Sha256::new(), open: None, files: Vec::new() };
            writer.begin(Kind::Unified, "x").await.expect("begin");
            writer.write(Bytes::from_static(b"image")).await.expect("write");
            assert_eq!((std::fs::read(&path).expect("read"), names()), (b"precious".to_vec(), 2));
            assert_eq!(writer.finish(fingerprint).await.is_ok(), is_kept);
            let content: &[u8] = if is_kept { b"image" } else { b"precious" };
            assert_eq!((std::fs::read(&path).expect("read"), names()), (content.to_vec(), 1));
        }
        let mode = std::fs::metadata(&path).expect("stat").mode();
        assert!(link.is_symlink() && mode & 0o777 == 0o600, "{mode:o}");
        // A device is neither replaced nor removed.
        let device = Unfinished::beside(Path::new("/dev/null")).expect("open");
        assert!(device.written.is_none() && device.replaces.is_none());
        device.keep().expect("kept");
        assert!(std::os::unix::fs::FileTypeExt::is_char_device(&std::fs::metadata("/dev/null").expect("stat").file_type()));
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let target = Target::Directory(directory.path(), "f00");
        let link = directory.path().join("f00.tar");
        std::os::unix::fs::symlink("victim", &link).expect("link");
        let text = target.create(Kind::Unified, "x.tar").err().expect("a link is in the way").to_string();
        assert!(text.contains("f00.tar exists already; remove it"), "{text}");
        assert!(link.is_symlink() && !directory.path().join("victim").exists());
        drop(target.create(Kind::Metadata, "x.tar").expect("free"));
        assert!(!directory.path().join("meta-f00.tar").exists(), "not finished");
    }
}
