//! `lxc storage volume detach`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use super::attachment;
use super::place::Place;
use crate::app::App;
use crate::commands::device::Owner;
use crate::record::instance_path;

/// Detach storage volumes from containers
///
/// The volume and what is in it stay.
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume detach default data c1")]
pub struct Detach {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The container
    container: String,
    /// The device's name, needed if there are several
    device: Option<String>,
}

impl Detach {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        app.note("Container", &self.container);
        let owner = Owner { client: place.client.clone(), path: instance_path(&self.container), name: self.container };
        attachment::detach::<InstancePut>(&place, &owner, self.device.as_deref()).await
    }
}
