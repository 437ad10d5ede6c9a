//! `lxc storage volume detach-profile`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;
use client::path;

use super::attachment;
use super::place::Place;
use crate::app::App;
use crate::commands::device::Owner;

/// Detach storage volumes from profiles
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume detach-profile default data web")]
pub struct DetachProfile {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The profile
    profile: String,
    /// The device's name, needed if there are several
    device: Option<String>,
}

impl DetachProfile {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        app.note("Profile", &self.profile);
        let owner = Owner { client: place.client.clone(), path: path(&["profiles", &self.profile]), name: self.profile };
        attachment::detach::<ProfilePut>(&place, &owner, self.device.as_deref()).await
    }
}
