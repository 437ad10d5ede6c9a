//! `lxc image import`.

use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use api::images::{ImageSource, ImagesPost};
use clap::Args;
use client::{Body, Client, Method, Request, path};

use crate::app::App;
use crate::commands::{create::wait_or_cancel, publish};
use crate::names;
use crate::pairs::{self, Pair};
use crate::progress::{Metered, Progress};
use crate::{images, outln};

/// Import images into the image store
///
/// An image is one tarball, or a metadata tarball and a root file system (tarball or squashfs).
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image import debian12.tar.xz --alias debian/12
lxc image import https://example.net/debian # where the server finds the image, says the reply
lxc image import meta.tar.xz rootfs.squashfs description=\"Debian 12\"")]
pub struct Import {
    /// The tarball, the root file system, the server (with a colon at its end), and properties
    #[arg(required = true, value_name = "TARBALL|URL [ROOTFS] [REMOTE:] [KEY=VALUE]")]
    words: Vec<String>,
    /// New alias to define at target
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Make the image public
    #[arg(long)]
    public: bool,
}

/// What the words of the command line are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    remote: String,
    files: Vec<String>,
    /// An address that tells the server where the image is.
    url: Option<String>,
    properties: Vec<Pair>,
}

impl Import {
    pub async fn run(self, app: &App) -> Result<()> {
        let plan = plan(&self.words, |word| sys::fs::exists(word))?;
        let client = app.server(Some(&plan.remote))?;
        if let Some(url) = plan.url {
            anyhow::ensure!(plan.files.is_empty(), "An image comes from a URL or from files, not from both");
            return self.import_url(app, &client, (url, plan.properties)).await;
        }
        let progress = Progress::new("Transferring image", app.quiet);
        let mut request = Request::new(Method::POST, path(&["images"])).header("X-LXD-public", if self.public { "1" } else { "0" });
        if !plan.properties.is_empty() {
            request = request.header("X-LXD-properties", properties(plan.properties.iter().map(|(key, value)| (key, value))));
        }
        let request = match plan.files.as_slice() {
            [tarball] => unified(request, tarball, progress)?,
            [metadata, rootfs] => split(request, metadata, rootfs, progress)?,
            _ => bail!("An image is one tarball, or a metadata tarball and a root file system; {} files were named", plan.files.len()),
        };
        let operation = client.request(request).await?.operation()?;
        let fingerprint = publish::fingerprint(&wait_or_cancel(&client, &operation, |_| {}).await?)?;
        images::set_aliases(&client, &self.aliases, &fingerprint).await?;
        outln!("Image imported with fingerprint: {fingerprint}");
        Ok(())
    }

    /// Has the server fetch the image.
    async fn import_url(&self, app: &App, client: &Client, (url, properties): (String, Vec<Pair>)) -> Result<()> {
        let source = ImageSource { kind: "url".to_owned(), url, ..ImageSource::default() };
        let post = ImagesPost { public: self.public, properties: properties.into_iter().collect(), source, ..ImagesPost::default() };
        let operation = client.post(&path(&["images"]), &post).await?.operation()?;
        let mut progress = Progress::new("Retrieving image", app.quiet);
        let done = wait_or_cancel(client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        let fingerprint = publish::fingerprint(&done)?;
        images::set_aliases(client, &self.aliases, &fingerprint).await?;
        outln!("Image imported with fingerprint: {fingerprint}");
        Ok(())
    }
}

fn plan(words: &[String], exists: impl Fn(&str) -> bool) -> Result<Plan> {
    let mut plan = Plan::default();
    for word in words {
        if word.starts_with("http://") {
            bail!("Only https:// is supported for remote image import.");
        }
        if word.starts_with("https://") {
            plan.url = Some(word.clone());
        } else if exists(word) || !(word.contains('=') || word.ends_with(':')) {
            plan.files.push(word.clone());
        } else if word.ends_with(':') {
            plan.remote = word.clone();
        } else {
            plan.properties.extend(pairs::parse(std::slice::from_ref(word))?);
        }
    }
    Ok(plan)
}

fn open(file: &str) -> Result<(File, u64)> {
    let opened = sys::fs::open(file)?;
    let metadata = opened.metadata().with_context(|| format!("Can't stat {file}"))?;
    if !metadata.is_file() {
        bail!("{file} is not a regular file");
    }
    Ok((opened, metadata.size()))
}

/// Properties as a header has them.
pub(super) fn properties<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(key, value)| format!("{}={}", client::encode(key), client::encode(value))).collect::<Vec<_>>().join("&")
}

/// A file's name for a header: quotes and control characters would end it.
pub(super) fn header_name(file: &str) -> String {
    names::base_name(file).chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\') && c.is_ascii()).collect()
}

fn unified(request: Request, tarball: &str, progress: Progress) -> Result<Request> {
    let (file, length) = open(tarball)?;
    let body = Body::Reader { reader: Box::new(Metered::new(file, Some(length), progress)), length: Some(length) };
    Ok(request.header("X-LXD-filename", header_name(tarball)).body(body))
}

/// Both files as `multipart/form-data`, in the order that servers expect.
fn split(request: Request, metadata: &str, rootfs: &str, progress: Progress) -> Result<Request> {
    let (metadata_file, metadata_length) = open(metadata)?;
    let (rootfs_file, rootfs_length) = open(rootfs)?;
    let boundary = boundary();
    let part = |name: &str, file: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            header_name(file)
        )
    };
    let first = part("metadata", metadata);
    let second = format!("\r\n{}", part("rootfs", rootfs));
    let end = format!("\r\n--{boundary}--\r\n");
    let length = (first.len() + second.len() + end.len()) as u64 + metadata_length + rootfs_length;
    let content = Cursor::new(first).chain(metadata_file.take(metadata_length)).chain(Cursor::new(second)).chain(rootfs_file.take(rootfs_length)).chain(Cursor::new(end));
    let body = Body::Reader { reader: Box::new(Metered::new(content, Some(length), progress)), length: Some(length) };
    Ok(request.header("Content-Type", format!("multipart/form-data; boundary={boundary}")).body(body))
}

/// A line that no image contains but by a chance of one in 2^128.
fn boundary() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_by_their_form() {
        let exists = |word: &str| word == "odd=name";
        let found = plan(&words("meta.tar.xz rootfs.squashfs local: os=Debian odd=name"), exists).expect("plan");
        assert_eq!(found.files, ["meta.tar.xz", "rootfs.squashfs", "odd=name"]);
        assert_eq!((found.remote.as_str(), found.properties), ("local:", vec![("os".to_owned(), "Debian".to_owned())]));
        let error = plan(&words("http://x/y"), exists).expect_err("http");
        assert_eq!(error.to_string(), "Only https:// is supported for remote image import.");
    }

    #[test]
    fn names_in_headers() {
        assert_eq!(header_name("/tmp/a\"b\r\nc.tar"), "abc.tar");
    }

    #[test]
    fn multipart_has_the_length_it_says() {
        let directory = tempfile::tempdir().expect("directory");
        let (metadata, rootfs) = (directory.path().join("m.tar"), directory.path().join("r.squashfs"));
        sys::fs::write(&metadata, "meta").expect("write");
        sys::fs::write(&rootfs, "root").expect("write");
        let request = split(Request::new(Method::POST, "/"), metadata.to_str().expect("path"), rootfs.to_str().expect("path"), Progress::new("", true)).expect("request");
        let Body::Reader { mut reader, length } = request.into_body() else { panic!("streamed") };
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(length, Some(text.len() as u64));
        assert!(text.contains("name=\"metadata\"; filename=\"m.tar\"") && text.contains("\r\n\r\nroot\r\n--"), "{text}");
    }
}
