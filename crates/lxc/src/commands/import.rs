//! `lxc import`.

use anyhow::Result;
use clap::Args;
use client::{Method, Request, path};

use super::backup::{open, plan};
use super::create::{created_name, wait_or_cancel};
use super::warnings;
use crate::app::App;
use crate::progress::Progress;
use crate::outln;

/// Import container backups
///
/// Makes the container of a file from `lxc export`, with its snapshots and configuration, stopped. What it reaches of the host
/// (`security.privileged`, `raw.*`, disks and devices of the host) is shown; where there is such a thing, it does not start by
/// itself with the daemon until `boot.autostart` is set again.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc import c1.tar.gz
lxc import c1.tar.gz c2 # under another name
lxc import work: c1.tar.gz --storage fast # on another server, in the pool fast")]
pub struct Import {
    /// The server (with a colon at its end), the backup (`-`: standard input), and a name instead of that in the backup
    #[arg(required = true, num_args = 1..=3, value_name = "[REMOTE:] FILE [NEW-NAME]")]
    words: Vec<String>,
    /// Storage pool of the container instead of that in the backup
    #[arg(long, short, value_name = "POOL")]
    storage: Option<String>,
}

impl Import {
    pub async fn run(self, app: &App) -> Result<()> {
        let (remote, file, name) = plan(&self.words, |word| sys::fs::exists(word))?;
        let client = app.server(remote)?;
        if let Some(pool) = &self.storage {
            app.note("Pool", pool);
        }
        let body = open(file, Progress::new("Importing container", app.quiet))?;
        let mut request = Request::new(Method::POST, path(&["instances"]));
        if let Some(name) = name {
            request = request.header("X-LXD-name", name);
        }
        if let Some(pool) = self.storage {
            request = request.header("X-LXD-pool", pool);
        }
        let operation = client.request(request.body(body)).await?.operation()?;
        let mut progress = Progress::new("Importing container", app.quiet);
        let done = wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        warnings::show(&done);
        let name = created_name(&operation).or(name.map(str::to_owned)).unwrap_or_default();
        outln!("Container {name} imported");
        Ok(())
    }
}
