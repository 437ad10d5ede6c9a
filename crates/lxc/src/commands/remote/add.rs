//! `lxc remote add`.

use anyhow::{Context, Result, bail, ensure};
use api::certificates::{CertificatesPost, TrustToken};
use api::server::Server;
use clap::Args;
use client::{Client, Https, ServerTrust, Transport};

use crate::app::App;
use crate::config::Config;
use crate::remotes::{self, LXD, Remote, SIMPLESTREAMS};
use crate::{outln, prompt};

/// Add a remote server
///
/// A server on the network shows its certificate, whose fingerprint you compare with what
/// `lxc info` shows on that server; from then on it is known by it. To be trusted by the server takes
/// its trust password, or a token that `lxc config trust add` made there.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc remote add work 10.0.3.1
lxc remote add work eyJjbGllbnRfbmFtZSI6Imx... # a token says where the server is
lxc remote add other unix:///run/other/unix.socket
lxc remote add mirror https://mirror.example.com/images --protocol=simplestreams")]
pub struct Add {
    /// Its name from now on
    #[arg(value_name = "REMOTE")]
    name: String,
    /// Where it is: HOST[:PORT], a URL, a socket, or a token
    #[arg(value_name = "ADDRESS|TOKEN")]
    address: String,
    /// Accept the server's certificate without asking
    #[arg(long)]
    accept_certificate: bool,
    /// The server's trust password, or a token
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Use only its public images
    #[arg(long)]
    public: bool,
    /// What it speaks (lxd|simplestreams)
    #[arg(long, default_value = LXD, value_name = "PROTOCOL")]
    protocol: String,
}

impl Add {
    pub async fn run(self, app: &App) -> Result<()> {
        remotes::check_name(&self.name)?;
        if let Some(known) = app.config.remotes.get(&self.name) {
            bail!("remote {} exists as <{}>", self.name, known.addr);
        }
        let mut config = Config::load()?;
        let remote = match TrustToken::decode(&self.address) {
            Some(token) => self.add_by_token(&config, token).await?,
            None => self.add_by_address(&config).await?,
        };
        config.remotes.insert(self.name.clone(), remote);
        config.save_remotes()
    }

    async fn add_by_address(&self, config: &Config) -> Result<Remote> {
        let url = remotes::parse_address(&self.address, &self.protocol)?;
        if self.protocol == SIMPLESTREAMS {
            return Ok(Remote { protocol: SIMPLESTREAMS.to_owned(), ..Remote::lxd(url, true) });
        }
        let remote = Remote::lxd(url, self.public);
        if remote.is_local() {
            Client::new(remotes::transport(config, &self.name, &remote)?).get::<Server>("/1.0").await?;
            return Ok(remote);
        }
        let shown = Https::new(&remote.addr, ServerTrust::Unproven, None)?.fetch_certificate().await?;
        let pinned = if self.is_vouched_for(&remote.addr).await { None } else { Some(self.accepted(shown)?) };
        let trust = pinned.clone().map_or(ServerTrust::System, ServerTrust::Pinned);
        let public = self.public || is_public(&remote.addr, trust.clone()).await?;
        if !public {
            let client = Client::new(Transport::Https(Https::new(&remote.addr, trust, Some(remotes::identity(config)?))?));
            self.become_trusted(&client).await?;
        }
        if let Some(pinned) = pinned {
            remotes::pin(config, &self.name, &pinned)?;
        }
        Ok(Remote::lxd(remote.addr, public))
    }

    /// Whether an authority of this host vouches for the server.
    async fn is_vouched_for(&self, url: &str) -> bool {
        match Https::new(url, ServerTrust::System, None) {
            Ok(server) => Client::new(Transport::Https(server)).get::<Server>("/1.0").await.is_ok(),
            Err(_) => false,
        }
    }

    /// The certificate, if the user takes it for the server's.
    fn accepted(&self, shown: pki::Certificate) -> Result<pki::Certificate> {
        if self.accept_certificate {
            return Ok(shown);
        }
        outln!("Certificate fingerprint: {}", shown.fingerprint());
        let answer = prompt::line("ok (y/n)? ")?;
        let is_accepted = answer.to_ascii_lowercase().starts_with('y') || answer.eq_ignore_ascii_case(shown.fingerprint());
        ensure!(is_accepted, "Server certificate NACKed by user");
        Ok(shown)
    }

    /// Has the server trust this client, unless it does.
    async fn become_trusted(&self, client: &Client) -> Result<()> {
        if is_trusted(client).await? {
            return Ok(());
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => prompt::secret(&format!("Admin password for {}: ", self.name))?,
        };
        ask_for_trust(client, password).await?;
        outln!("Client certificate stored at server:  {}", self.name);
        Ok(())
    }

    /// The token names the server's addresses and the fingerprint by which it is known.
    async fn add_by_token(&self, config: &Config, token: TrustToken) -> Result<Remote> {
        ensure!(!token.addresses.is_empty(), "The token names no address of the server");
        let mut failures = String::new();
        for address in &token.addresses {
            let url = remotes::parse_address(address, LXD)?;
            ensure!(url.starts_with("https://"), "The token names no address of the network: {address}");
            match self.use_token(config, &url, &token).await {
                Ok(()) => return Ok(Remote::lxd(url, false)),
                Err(error) => failures.push_str(&format!("\n - {url}: {error:#}")),
            }
        }
        bail!("The server could not be added by the token:{failures}")
    }

    async fn use_token(&self, config: &Config, url: &str, token: &TrustToken) -> Result<()> {
        let shown = Https::new(url, ServerTrust::Unproven, None)?.fetch_certificate().await?;
        let is_right = shown.fingerprint().eq_ignore_ascii_case(&token.fingerprint);
        ensure!(is_right, "the server's certificate is not the one that the token was made for");
        let identity = remotes::identity(config)?;
        let client = Client::new(Transport::Https(Https::new(url, ServerTrust::Pinned(shown.clone()), Some(identity))?));
        if !is_trusted(&client).await? {
            ask_for_trust(&client, token.encode()).await?;
        }
        remotes::pin(config, &self.name, &shown)
    }
}

async fn is_public(url: &str, trust: ServerTrust) -> Result<bool> {
    let server: Server = Client::new(Transport::Https(Https::new(url, trust, None)?)).get("/1.0").await?;
    Ok(server.public)
}

async fn is_trusted(client: &Client) -> Result<bool> {
    Ok(client.get::<Server>("/1.0").await?.auth == "trusted")
}

async fn ask_for_trust(client: &Client, password: String) -> Result<()> {
    let post = CertificatesPost { kind: "client".to_owned(), password, ..CertificatesPost::default() };
    client.post("/1.0/certificates", &post).await.context("The server doesn't take this client")?;
    ensure!(is_trusted(client).await?, "Server doesn't trust us after adding our cert");
    Ok(())
}
