//! `lxc storage volume info`.

use std::fmt::Write;

use anyhow::Result;
use api::storage_pools::StorageVolume;
use api::storage_volumes::{StorageVolumeSnapshot, StorageVolumeState};
use clap::Args;

use super::place::{CUSTOM, Place};
use crate::app::App;
use crate::{names, output, units};

/// Show storage volume state information
///
/// Its users, what it takes where the pool knows that, and its snapshots.
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume info default data")]
pub struct Info {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume: TYPE/NAME, or NAME for `custom/NAME`
    volume: String,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_whole("`lxc storage volume show` shows it")?;
        let volume: StorageVolume = place.client.get(&place.path()).await?;
        let mut state = StorageVolumeState::default();
        let mut snapshots: Vec<StorageVolumeSnapshot> = Vec::new();
        // The rest of a container's volume is the container's: `lxc info`.
        if volume.kind == CUSTOM {
            state = place.client.get(&place.below(&["state"])).await?;
            snapshots = place.client.get(&format!("{}?recursion=1", place.below(&["snapshots"]))).await?;
        }
        output::safe_block(&describe(&place.pool, &volume, &state, &snapshots));
        Ok(())
    }
}

fn describe(pool: &str, volume: &StorageVolume, state: &StorageVolumeState, snapshots: &[StorageVolumeSnapshot]) -> String {
    let mut text = format!("Name: {}\nPool: {pool}\nType: {}\n", volume.name, volume.kind);
    let mut push = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    if !volume.description.is_empty() {
        push(format_args!("Description: {}", volume.description));
    }
    push(format_args!("Content type: {}", volume.content_type));
    if !units::is_unset(volume.created_at) {
        push(format_args!("Created: {}", units::minute(volume.created_at)));
    }
    let size = |bytes: u64| units::size(bytes.min(i64::MAX as u64) as i64);
    if state.usage.used > 0 {
        push(format_args!("Usage: {}", size(state.usage.used)));
    }
    if state.usage.total > 0 {
        push(format_args!("Total: {}", size(state.usage.total)));
    }
    if !volume.used_by.is_empty() {
        push(format_args!("Used by:"));
    }
    for user in &volume.used_by {
        push(format_args!("  {}", user.trim_start_matches("/1.0/")));
    }
    if !snapshots.is_empty() {
        push(format_args!("Snapshots:"));
    }
    for snapshot in snapshots {
        let expiry = if units::is_unset(snapshot.expires_at) {
            String::new()
        } else {
            format!(" (expires at {})", units::minute(snapshot.expires_at))
        };
        push(format_args!("  {} (taken at {}){expiry}", names::from_url(&snapshot.name), units::minute(snapshot.created_at)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Timestamp;

    #[test]
    fn only_what_is_known_is_shown() {
        let bare =
            StorageVolume { name: "c1".into(), kind: "container".into(), content_type: "filesystem".into(), ..StorageVolume::default() };
        let state = StorageVolumeState::default();
        assert_eq!(describe("default", &bare, &state, &[]), "Name: c1\nPool: default\nType: container\nContent type: filesystem\n");
        let volume = StorageVolume { used_by: vec!["/1.0/instances/c1".into()], created_at: Timestamp::from_unix(1_461_187_680), ..bare };
        let snapshot = StorageVolumeSnapshot {
            name: "data/snap0".into(),
            created_at: Timestamp::from_unix(1_461_187_680),
            expires_at: Timestamp::from_unix(1_461_274_080),
            ..StorageVolumeSnapshot::default()
        };
        let mut state = state;
        (state.usage.used, state.usage.total) = (1536, 3 << 20);
        assert_eq!(
            describe("default", &volume, &state, &[snapshot]),
            "Name: c1\nPool: default\nType: container\nContent type: filesystem\nCreated: 2016/04/20 21:28 UTC\nUsage: 1.50kB\nTotal: 3.00MB\n\
             Used by:\n  instances/c1\nSnapshots:\n  snap0 (taken at 2016/04/20 21:28 UTC) (expires at 2016/04/21 21:28 UTC)\n"
        );
    }
}
