//! `lxc storage volume import`.

use anyhow::Result;
use clap::Args;
use client::{Method, Request, path};

use super::place::CUSTOM;
use crate::app::App;
use crate::commands::backup::open;
use crate::commands::create::wait_or_cancel;
use crate::outln;
use crate::progress::Progress;

/// Import custom storage volumes
///
/// Makes the volume of a file from `lxc storage volume export`, with its snapshots and configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume import default data.tar.gz
lxc storage volume import work:default data.tar.gz data2 # on another server, under another name")]
pub struct Import {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The backup (`-`: standard input)
    file: String,
    /// A name instead of that in the backup
    #[arg(value_name = "NEW-NAME")]
    name: Option<String>,
}

impl Import {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, pool) = app.resolve_named(&self.pool, "Pool")?;
        let body = open(&self.file, Progress::new("Importing the storage volume", app.quiet))?;
        let mut request = Request::new(Method::POST, path(&["storage-pools", &pool, "volumes", CUSTOM]));
        if let Some(name) = self.name {
            request = request.header("X-LXD-name", name);
        }
        let operation = client.request(request.body(body)).await?.operation()?;
        let mut progress = Progress::new("Importing the storage volume", app.quiet);
        wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        outln!("Storage volume imported successfully!");
        Ok(())
    }
}
