//! `lxc config trust remove`.

use anyhow::{Result, bail};
use clap::Args;

use crate::app::App;

/// Remove a trusted client
///
/// It is shut out at once, from what it has open, too.
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust remove 25edbe5aef8e")]
pub struct Remove {
    /// The certificate's fingerprint or its beginning; the server may stand apart
    #[arg(value_name = "[REMOTE:] FINGERPRINT", num_args = 0..=2)]
    words: Vec<String>,
}

impl Remove {
    pub async fn run(self, app: &App) -> Result<()> {
        let words = self.words.concat();
        if words.is_empty() {
            bail!("No fingerprint specified.");
        }
        let (client, fingerprint) = app.resolve(&words)?;
        if fingerprint.is_empty() {
            bail!("No fingerprint specified.");
        }
        app.note("Certificate", &fingerprint);
        client.delete(&super::url(&fingerprint)).await?;
        Ok(())
    }
}
