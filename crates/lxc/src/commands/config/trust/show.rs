//! `lxc config trust show`.

use anyhow::{Result, bail};
use api::certificates::Certificate;
use clap::Args;

use crate::app::App;
use crate::{output, yaml};

/// Show a trusted client
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust show 25edbe5aef8e")]
pub struct Show {
    /// The certificate's fingerprint or its beginning
    #[arg(value_name = "[REMOTE:]FINGERPRINT")]
    fingerprint: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, fingerprint) = app.resolve(&self.fingerprint)?;
        if fingerprint.is_empty() {
            bail!("No fingerprint specified.");
        }
        app.note("Certificate", &fingerprint);
        let certificate: Certificate = client.get(&super::url(&fingerprint)).await?;
        output::safe_block(&yaml::emit_fields(&certificate)?);
        Ok(())
    }
}
