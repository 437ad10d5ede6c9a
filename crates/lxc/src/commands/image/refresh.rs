//! `lxc image refresh`.

use anyhow::Result;
use clap::Args;
use client::path;

use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::progress::Progress;
use crate::{images, outln};

/// Refresh images
///
/// Takes a newer version from the server that the image came from, if there is one.
#[derive(Debug, Args)]
#[command(after_help = "lxc image refresh debian/12")]
pub struct Refresh {
    /// The images
    #[arg(required = true, value_name = "[REMOTE:]IMAGE")]
    images: Vec<String>,
}

impl Refresh {
    pub async fn run(self, app: &App) -> Result<()> {
        for argument in &self.images {
            let (client, name) = app.resolve_named(argument, "Image")?;
            let fingerprint = images::fingerprint(&client, &name).await?;
            let operation = client.post(&path(&["images", &fingerprint, "refresh"]), &serde_json::json!({})).await?.operation()?;
            let mut progress = Progress::new("Refreshing the image", app.quiet);
            let done = wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
            drop(progress);
            let is_refreshed = done.metadata.as_ref().and_then(|metadata| metadata.get("refreshed")?.as_bool()).unwrap_or_default();
            outln!("{}", if is_refreshed { "Image refreshed successfully!" } else { "Image already up to date." });
        }
        Ok(())
    }
}
