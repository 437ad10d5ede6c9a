//! `lxd waitready`: returns once the daemon is ready for requests.

use std::time::Duration;

use anyhow::{Result, bail};
use client::{Client, Transport};

use crate::args::WaitreadyArgs;
use crate::paths::Paths;

/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits as the arguments say.
pub fn run(args: &WaitreadyArgs, paths: &Paths) -> Result<()> {
    let client = Client::new(Transport::Unix(paths.socket()));
    crate::client_runtime()?.block_on(async {
        if args.timeout <= 0 {
            until_ready(&client).await;
            return Ok(());
        }
        let limit = Duration::from_secs(args.timeout.unsigned_abs());
        match tokio::time::timeout(limit, until_ready(&client)).await {
            Ok(()) => Ok(()),
            Err(_) => bail!("LXD still not running after {}s timeout.", args.timeout),
        }
    })
}

/// Asks until the daemon says that it is ready; the request itself blocks on the daemon's side.
async fn until_ready(client: &Client) {
    while client.get::<serde_json::Value>("/internal/ready").await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_with_the_known_text() {
        let paths = Paths { dir: "/nonexistent".into(), log_dir: "/nonexistent".into() };
        let error = run(&WaitreadyArgs { timeout: 1 }, &paths).expect_err("nobody there").to_string();
        assert_eq!(error, "LXD still not running after 1s timeout.");
    }
}
