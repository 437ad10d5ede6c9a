//! `lxc init`.

use anyhow::Result;
use clap::Args;

use super::create::Create;
use crate::app::App;

/// Create containers from images
///
/// `lxc start` starts what this makes; `lxc launch` does both.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc init debian/12 c1 # like launch, but c1 stays stopped
lxc init debian/12 c1 -c limits.memory=512MB -s fast
lxc init c1 --empty # without an image: it has no files")]
pub struct Init {
    #[command(flatten)]
    create: Create,
}

impl Init {
    pub async fn run(self, app: &App) -> Result<()> {
        self.create.run(app, (false, false)).await
    }
}
