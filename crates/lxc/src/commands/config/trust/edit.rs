//! `lxc config trust edit`.

use anyhow::{Result, bail};
use api::certificates::{Certificate, CertificatePut};
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::yaml;

const HELP: &str = "This is a YAML representation of the certificate.
Any line starting with a '#' will be ignored.

The name can be changed. Certificate and fingerprint are shown only.";

/// Edit trusted clients as YAML
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust edit 25edbe5aef8e")]
pub struct Edit {
    /// The certificate's fingerprint or its beginning
    #[arg(value_name = "[REMOTE:]FINGERPRINT")]
    fingerprint: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, fingerprint) = app.resolve(&self.fingerprint)?;
        if fingerprint.is_empty() {
            bail!("No fingerprint specified.");
        }
        app.note("Certificate", &fingerprint);
        let url = super::url(&fingerprint);
        let shown = yaml::emit_fields(&client.get::<Certificate>(&url).await?)?;
        keys::edit::<CertificatePut>(&client, url, &shown, HELP).await
    }
}
