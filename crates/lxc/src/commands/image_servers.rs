//! Servers as sources of images: an LXD, or files that list images.

use anyhow::{Context, Result};
use api::images::{Image, ImageAliasEntry, ImageSource, ImagesPost};
use api::operations::Operation;
use client::{Client, Kind, path};
use fetch::{Proxies, ServerTrust, Settings};
use simplestreams::{Catalogue, Reading, join};

use super::create::wait_or_cancel;
use super::publish;
use crate::app::App;
use crate::progress::Progress;
use crate::remotes::{self, SIMPLESTREAMS};
use crate::{images, names, servers};

/// Where images come from.
#[derive(Debug)]
pub enum ImageServer {
    /// An LXD.
    Lxd(Client),
    /// A simplestreams server.
    Streams(Stream),
}

/// A simplestreams server.
#[derive(Debug)]
pub struct Stream {
    url: String,
    /// PEM text; empty where the system's authorities vouch for it.
    certificate: String,
}

impl ImageServer {
    /// The server of a name.
    pub fn of(app: &App, remote: &str) -> Result<Self> {
        let known = app.config.remote(remote)?;
        if known.protocol() != SIMPLESTREAMS {
            return Ok(Self::Lxd(app.client(remote)?));
        }
        let certificate = remotes::pinned(&app.config, remote)?.map(|certificate| certificate.pem()).unwrap_or_default();
        Ok(Self::Streams(Stream { url: known.addr.clone(), certificate }))
    }

    /// All its images.
    pub async fn list(&self) -> Result<Vec<Image>> {
        match self {
            Self::Lxd(client) => Ok(client.get(&format!("{}?recursion=1", path(&["images"]))).await?),
            Self::Streams(stream) => Ok(stream.catalogue().await?.images().iter().map(|image| image.image.clone()).collect()),
        }
    }

    /// All its aliases.
    pub async fn aliases(&self) -> Result<Vec<ImageAliasEntry>> {
        let entry = |(name, target): (&str, &str)| ImageAliasEntry {
            name: name.to_owned(),
            target: target.to_owned(),
            kind: "container".to_owned(),
            ..ImageAliasEntry::default()
        };
        match self {
            Self::Lxd(client) => Ok(client.get(&format!("{}?recursion=1", path(&["images", "aliases"]))).await?),
            Self::Streams(stream) => Ok(stream.catalogue().await?.aliases().map(entry).collect()),
        }
    }

    /// The image behind an alias or the beginning of a fingerprint.
    pub async fn load(&self, name: &str) -> Result<Image> {
        match self {
            Self::Lxd(client) => images::load(client, name).await,
            Self::Streams(stream) => Ok(stream.catalogue().await?.find(images::name_or_default(name))?.image.clone()),
        }
    }
}

impl Stream {
    /// Reads the server's lists. They are long: nothing else is done meanwhile.
    async fn catalogue(&self) -> Result<Catalogue> {
        let trust = match self.certificate.as_str() {
            "" => ServerTrust::System,
            pem => ServerTrust::Pinned(pki::Certificate::from_pem(pem)?),
        };
        let proxies = Proxies::default().or_environment(|name| std::env::var(name).ok());
        let settings = Settings { trust, proxies, user_agent: concat!("LXD ", env!("CARGO_PKG_VERSION"), " (Linux)").to_owned() };
        let url = self.url.clone();
        let reading = tokio::task::spawn_blocking(move || read_catalogue(&url, &settings));
        reading.await.context("The lists of images couldn't be read")?
    }
}

fn read_catalogue(server: &str, settings: &Settings) -> Result<Catalogue> {
    let client = fetch::Client::new(server, settings)?;
    let reading = Reading { server, architecture: architecture(), only: &[] };
    Catalogue::read(&reading, |path, limit_bytes| Ok(client.get(&join(server, path)?)?.bytes(limit_bytes)?))
}

/// This machine's architecture, by the API's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "arm" => "armv7l",
        "powerpc64" => "ppc64le",
        "x86" => "i686",
        other => other,
    }
}

/// How another server can fetch an image, by each of the ways there are: the server tries one after the other.
pub async fn sources(app: &App, remote: &str, name: &str) -> Result<Vec<ImageSource>> {
    let source = ImageSource { kind: "image".to_owned(), mode: "pull".to_owned(), ..ImageSource::default() };
    let client = match ImageServer::of(app, remote)? {
        // Looked up by whoever fetches it: the lists are long.
        ImageServer::Streams(stream) => {
            let name = images::name_or_default(name).to_owned();
            let (protocol, certificate) = (SIMPLESTREAMS.to_owned(), stream.certificate);
            return Ok(vec![ImageSource { server: stream.url, protocol, certificate, alias: name, ..source }]);
        }
        ImageServer::Lxd(client) => client,
    };
    let image = images::load(&client, name).await?;
    let server = servers::reachable(app, &client, remote).await?;
    let source = ImageSource {
        fingerprint: image.fingerprint.clone(),
        protocol: remotes::LXD.to_owned(),
        certificate: server.certificate,
        secret: if image.public { String::new() } else { secret(&client, &image.fingerprint).await? },
        ..source
    };
    Ok(server.addresses.into_iter().map(|server| ImageSource { server, ..source.clone() }).collect())
}

/// What lets a private image be fetched once.
async fn secret(client: &Client, fingerprint: &str) -> Result<String> {
    let reply = client.post(&path(&["images", fingerprint, "secret"]), &serde_json::json!({})).await?;
    let operation: Operation = reply.operation()?;
    let secret = operation.metadata.as_ref().and_then(|metadata| metadata.get("secret")?.as_str());
    secret.map(str::to_owned).context("The server didn't tell a secret for the image")
}

/// The remote that the first word of a name is, as in `ubuntu/22.04`, and the rest.
pub fn remote_in_name(app: &App, name: &str) -> Option<names::Target> {
    let (remote, rest) = name.split_once('/').unwrap_or((name, ""));
    app.config.remote(remote).is_ok().then(|| names::Target { remote: remote.to_owned(), name: rest.to_owned(), is_explicit: true })
}

/// Has a server fetch an image, trying one way after the other; its fingerprint. `post` is the request but for the
/// source.
pub async fn fetch(app: &App, target: &Client, (sources, post): (Vec<ImageSource>, ImagesPost)) -> Result<String> {
    let mut failures = Vec::new();
    for source in sources {
        let server = source.server.clone();
        let operation = target.post(&path(&["images"]), &ImagesPost { source, ..post.clone() }).await?.operation()?;
        let mut progress = Progress::new("Copying the image", app.quiet);
        let result = wait_or_cancel(target, &operation, |operation| progress.show(operation)).await;
        drop(progress);
        match result {
            Ok(done) => return publish::fingerprint(&done),
            Err(error) if is_failed(&error) => failures.push((server, error)),
            Err(error) => return Err(error),
        }
    }
    Err(all_failed("Failed remote image download", failures))
}

/// Whether a server tried and failed, so that another way may do.
pub fn is_failed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<client::Error>().is_some_and(|error| error.kind() == Kind::Failed)
}

/// The one failure, or all of them.
pub fn all_failed(what: &str, mut failures: Vec<(String, anyhow::Error)>) -> anyhow::Error {
    if failures.len() == 1
        && let Some((_, error)) = failures.pop()
    {
        return error;
    }
    let lines: Vec<String> = failures.iter().map(|(server, error)| format!(" - {server}: {error:#}")).collect();
    anyhow::anyhow!("{what}:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures() {
        let error = |text: &str| anyhow::anyhow!("{text}");
        assert_eq!(all_failed("Failed", vec![("https://a".into(), error("no"))]).to_string(), "no");
        let both = vec![("https://a".into(), error("no")), ("https://b".into(), error("neither"))];
        assert_eq!(all_failed("Failed", both).to_string(), "Failed:\n - https://a: no\n - https://b: neither");
    }
}
