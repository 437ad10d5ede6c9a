//! `lxc image export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{Client, Download, Method, Request, Sink, path};
use fetch::multipart::{self, Part};

use crate::app::App;
use crate::progress::{Meter, Progress};
use crate::{images, names, outln};

/// Export and download images
///
/// The target is a directory, the server then names the files, or the name of a file.
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
        let fingerprint = images::fingerprint(&client, &name).await?;
        let mut progress = Progress::new("Exporting the image", app.quiet);
        export(&client, &fingerprint, &self.target, &mut progress).await?;
        progress.clear();
        outln!("Image exported successfully!");
        Ok(())
    }
}

async fn export(client: &Client, fingerprint: &str, target: &Path, progress: &mut Progress) -> Result<()> {
    let download = client.download(Request::new(Method::GET, path(&["images", fingerprint, "export"]))).await?;
    let mut meter = Meter::new(download.length());
    let mut show = |done_bytes: u64| {
        if let Some(text) = meter.text(done_bytes) {
            progress.update(&text);
        }
    };
    let boundary = download.header("content-type").and_then(multipart::boundary);
    match boundary {
        Some(boundary) => split(download, &boundary, target, &mut show).await,
        None => {
            let name = download.header("content-disposition").and_then(|header| multipart::parameter(header, "filename"));
            let name = name.unwrap_or_else(|| fingerprint.to_owned());
            let file = Unfinished::create(&unified_target(target, &name)?)?;
            download.copy_to(file.sink()?, show).await?;
            file.keep();
            Ok(())
        }
    }
}

/// A directory takes the server's name, a file name its extension.
fn unified_target(target: &Path, name: &str) -> Result<PathBuf> {
    names::check_file_name(name)?;
    if target.is_dir() {
        return Ok(target.join(name));
    }
    Ok(match name.split_once('.') {
        Some((_, extension)) => with_suffix(target, &format!(".{extension}")),
        None => target.to_owned(),
    })
}

/// Where a part of a split image goes.
fn split_target(target: &Path, part: &Part) -> Result<PathBuf> {
    if target.is_dir() {
        names::check_file_name(&part.file_name)?;
        return Ok(target.join(&part.file_name));
    }
    match part.name.as_str() {
        "metadata" => Ok(target.to_owned()),
        "rootfs" => Ok(with_suffix(target, ".root")),
        other => bail!("The server sent an unknown part {other:?}"),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn split(mut download: Download, boundary: &str, target: &Path, show: &mut impl FnMut(u64)) -> Result<()> {
    let mut parser = multipart::Parser::new(boundary);
    let mut open: Option<(Unfinished, Sink)> = None;
    let mut files = Vec::new();
    let mut done_bytes = 0;
    while let Some(chunk) = download.chunk().await? {
        done_bytes += chunk.len() as u64;
        show(done_bytes);
        for event in parser.push(&chunk)? {
            match event {
                multipart::Event::Part(part) => {
                    let file = Unfinished::create(&split_target(target, &part)?)?;
                    let sink = file.sink()?;
                    if let Some((file, sink)) = open.replace((file, sink)) {
                        sink.finish().await?;
                        files.push(file);
                    }
                }
                multipart::Event::Content(content) => {
                    if let Some((_, sink)) = &open {
                        sink.send(content).await;
                    }
                }
            }
        }
    }
    if let Some((file, sink)) = open {
        sink.finish().await?;
        files.push(file);
    }
    if !parser.is_complete() || files.len() != 2 {
        bail!("The server sent an incomplete image");
    }
    files.into_iter().for_each(Unfinished::keep);
    Ok(())
}

/// A file that is removed again unless it is complete.
struct Unfinished {
    path: PathBuf,
    file: std::fs::File,
    is_kept: bool,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: sys::fs::create(path, 0o644)?, is_kept: false })
    }

    fn sink(&self) -> Result<Sink> {
        let mut file = self.file.try_clone().context("Can't write the image")?;
        Ok(Sink::new(move |bytes| std::io::Write::write_all(&mut file, bytes)))
    }

    fn keep(mut self) {
        self.is_kept = true;
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
        let target = |path: &Path, name: &str| unified_target(path, name).map(|path| path.display().to_string());
        assert_eq!(target(Path::new("out"), "abc.tar.xz").expect("file"), "out.tar.xz");
        assert_eq!(target(Path::new("out"), "abc").expect("file"), "out");
        assert_eq!(target(directory.path(), "abc.tar").expect("directory"), directory.path().join("abc.tar").display().to_string());
        for evil in ["../x", "/etc/passwd", ".."] {
            assert!(target(directory.path(), evil).is_err(), "{evil}");
            let part = Part { name: "rootfs".to_owned(), file_name: evil.to_owned() };
            assert!(split_target(directory.path(), &part).is_err(), "{evil}");
        }
        let part = Part { name: "rootfs".to_owned(), file_name: "x".to_owned() };
        assert_eq!(split_target(Path::new("out"), &part).expect("file"), Path::new("out.root"));
    }
}
