//! `lxd shutdown`: stops the daemon with all its instances and waits for its end.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Client, Kind};

use crate::args::TimeoutArgs;
use crate::paths::Paths;

/// Stops the daemon.
pub fn run(args: &TimeoutArgs, paths: &Paths) -> Result<()> {
    crate::client_runtime()?.block_on(async {
        let client = Client::connect_unix(paths.socket()).await?;
        // The daemon's end is seen by the end of its events, so they are opened first.
        let mut events = client.events(&["lifecycle"]).await.context("listen to events")?;
        request(&client).await?;
        let ended = async { while let Ok(Some(_)) = events.next().await {} };
        if args.timeout <= 0 {
            ended.await;
            return Ok(());
        }
        match tokio::time::timeout(Duration::from_secs(args.timeout.unsigned_abs()), ended).await {
            Ok(()) => Ok(()),
            Err(_) => bail!("LXD still running after {}s timeout.", args.timeout),
        }
    })
}

/// Asks for the shutdown; a daemon that is gone before it answers has done as it was told.
async fn request(client: &Client) -> Result<()> {
    match client.put("/internal/shutdown", &serde_json::Value::Null, None).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Kind::Transport => Ok(()),
        Err(error) => Err(error).context("ask for the shutdown"),
    }
}
