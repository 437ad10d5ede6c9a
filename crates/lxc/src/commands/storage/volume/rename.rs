//! `lxc storage volume rename`.

use anyhow::{Result, bail};
use api::storage_volumes::StorageVolumePost;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::names::split_snapshot;
use crate::outln;

/// Rename custom storage volumes and their snapshots
///
/// No container or profile may have the volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume rename default data files
lxc storage volume rename default data/snap0 before-upgrade")]
pub struct Rename {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume, or a snapshot of it
    #[arg(value_name = "VOLUME[/SNAPSHOT]")]
    volume: String,
    /// Its new name
    #[arg(value_name = "NEW-NAME[/SNAPSHOT]")]
    new_name: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom("renamed")?;
        let name = new_name(&place, &self.new_name)?;
        let reply = place.client.post(&place.path(), &StorageVolumePost { name: name.to_owned(), ..StorageVolumePost::default() }).await?;
        place.client.wait(&reply).await?;
        let shown = if place.snapshot.is_some() { format!("{}/{name}", place.volume) } else { name.to_owned() };
        outln!("Renamed storage volume from \"{}\" to \"{shown}\"", place.title());
        Ok(())
    }
}

/// The new name as the server takes it: that of the volume, or of the snapshot alone.
fn new_name<'a>(place: &Place, text: &'a str) -> Result<&'a str> {
    if text.is_empty() {
        bail!("The new name of {} is empty", place.title());
    }
    Ok(match (&place.snapshot, split_snapshot(text)) {
        (None, (name, None)) => name,
        (None, (_, Some(_))) => bail!("Invalid new name \"{text}\": {} is a volume, and a volume's name has no slash", place.volume),
        (Some(_), (name, None)) => name,
        (Some(_), (volume, Some(name))) if volume == place.volume => name,
        (Some(_), (other, Some(_))) => {
            bail!(
                "A snapshot stays with its volume: {} can't become one of {other} (`lxc storage volume copy` makes a volume of it)",
                place.title()
            )
        }
    })
}
