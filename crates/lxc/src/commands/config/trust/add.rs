//! `lxc config trust add`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use api::certificates::CertificatesPost;
use clap::Args;
use client::Client;

use crate::app::App;
use crate::{outln, output, prompt};

/// Add a trusted client
///
/// With the file of a client's certificate that client is trusted at once. Without one a token is
/// made, by which one client can add the server: `lxc remote add NAME TOKEN`.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config trust add laptop.crt
lxc config trust add --name laptop # prints a token
lxc config trust add work: laptop.crt")]
pub struct Add {
    /// The server, and the file of the certificate (PEM)
    #[arg(value_name = "[REMOTE:] [FILE]", num_args = 0..=2)]
    words: Vec<String>,
    /// Name of the client
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Add {
    pub async fn run(self, app: &App) -> Result<()> {
        let (remote, file) = match &self.words[..] {
            [] => (None, None),
            [word] if word.ends_with(':') => (Some(word), None),
            [file] => (None, Some(file)),
            [remote, file] => (Some(remote), Some(file)),
            _ => bail!("Too many words"),
        };
        let client = app.server(remote.map(String::as_str))?;
        match file {
            Some(file) => self.add_file(&client, file).await,
            None => self.add_token(&client, app.quiet).await,
        }
    }

    async fn add_file(&self, client: &Client, file: &str) -> Result<()> {
        let text = sys::fs::read_to_string(file)?;
        let certificate = pki::Certificate::from_pem(&text).with_context(|| format!("read {file}"))?;
        let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.clone().or(stem).unwrap_or_default();
        // As servers of 2.0 want it: DER in base64.
        let certificate = data_encoding::BASE64.encode(certificate.der());
        let post = CertificatesPost { kind: "client".to_owned(), certificate, name, ..CertificatesPost::default() };
        client.post("/1.0/certificates", &post).await?;
        Ok(())
    }

    async fn add_token(&self, client: &Client, is_quiet: bool) -> Result<()> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => prompt::line("Please provide client name: ")?,
        };
        let post = CertificatesPost { kind: "client".to_owned(), name: name.clone(), token: true, ..CertificatesPost::default() };
        let operation = client.post("/1.0/certificates", &post).await?.operation()?;
        let token = super::token_of(&operation).context("The server made no token")?;
        if !is_quiet {
            outln!("Client {name} certificate add token:");
        }
        output::value(&token.encode());
        Ok(())
    }
}
