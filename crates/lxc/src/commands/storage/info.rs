//! `lxc storage info`.

use std::collections::BTreeMap;

use anyhow::Result;
use api::storage_pools::{Resources, StoragePool};
use clap::Args;
use client::path;
use serde_json::{Value, json};

use crate::app::App;
use crate::{names, output, units, yaml};

/// Show useful information about storage pools
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage info default
lxc storage info default --bytes")]
pub struct Info {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// Show sizes in bytes
    #[arg(long)]
    bytes: bool,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, pool_path, name) = super::locate(app, &self.name)?;
        let pool: StoragePool = client.get(&pool_path).await?;
        let resources: Resources = client.get(&path(&["storage-pools", &name, "resources"])).await?;
        let size = |bytes: u64| if self.bytes { bytes.to_string() } else { units::size(bytes.min(i64::MAX as u64) as i64) };
        let shown = yaml::fields([
            (
                "info",
                json!({
                    "description": pool.description,
                    "driver": pool.driver,
                    "name": pool.name,
                    "space used": size(resources.space.used),
                    "total space": size(resources.space.total),
                }),
            ),
            ("used by", used_by(&pool.used_by)),
        ]);
        output::text_block(&yaml::emit(&shown));
        Ok(())
    }
}

/// URLs as names by kind.
fn used_by(urls: &[String]) -> Value {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for url in urls {
        let kind = url.trim_start_matches("/1.0/").split('/').next().unwrap_or("");
        kinds.entry(kind).or_default().push(names::from_url(url));
    }
    json!(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_kind() {
        let urls = ["/1.0/instances/b", "/1.0/profiles/default", "/1.0/instances/a?project=x"].map(str::to_owned);
        assert_eq!(used_by(&urls), json!({"instances": ["b", "a"], "profiles": ["default"]}));
    }
}
