//! `lxc storage volume attach-profile`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;
use client::path;

use super::attachment;
use super::place::Place;
use crate::app::App;
use crate::commands::device::Owner;

/// Attach storage volumes to profiles
///
/// Every container with the profile has the volume then.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume attach-profile default data web /srv/data
lxc storage volume attach-profile default data web files /srv/data # as the device files")]
pub struct AttachProfile {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The profile
    profile: String,
    /// The device's name (default: the volume's), and where containers have it: an absolute path
    #[arg(required = true, num_args = 1..=2, value_name = "[DEVICE] PATH")]
    words: Vec<String>,
}

impl AttachProfile {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        app.note("Profile", &self.profile);
        let owner = Owner { client: place.client.clone(), path: path(&["profiles", &self.profile]), name: self.profile };
        attachment::attach::<ProfilePut>(&place, &owner, &self.words).await
    }
}
