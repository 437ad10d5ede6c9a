//! `lxc storage volume attach`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use super::attachment;
use super::place::Place;
use crate::app::App;
use crate::commands::device::Owner;
use crate::record::instance_path;

/// Attach storage volumes to containers
///
/// Adds a disk to the container's own devices. One that runs has it at once; any number of containers can have the same
/// volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume attach default data c1 /srv/data # as the device data
lxc storage volume attach default data c1 files /srv/data # as the device files")]
pub struct Attach {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The container
    container: String,
    /// The device's name (default: the volume's), and where the container has it: an absolute path
    #[arg(required = true, num_args = 1..=2, value_name = "[DEVICE] PATH")]
    words: Vec<String>,
}

impl Attach {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        app.note("Container", &self.container);
        let owner = Owner { client: place.client.clone(), path: instance_path(&self.container), name: self.container };
        attachment::attach::<InstancePut>(&place, &owner, &self.words).await
    }
}
