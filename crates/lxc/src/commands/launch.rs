//! `lxc launch`.

use anyhow::Result;
use clap::Args;

use super::create::Create;
use crate::app::App;

/// Create and start containers from images
///
/// `lxc image list` shows the images there are, `lxc image build` makes one.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc launch debian/12 c1
lxc launch ubuntu:24.04 c1 # an image of a server, see `lxc remote list`
lxc launch debian/12 -e # the server chooses the name; gone when it stops
lxc launch debian/12 c1 -c limits.cpu=2 -c limits.memory=1GB
lxc launch debian/12 c1 -p default -p web -s fast -n lxdbr0
lxc launch debian/12 c1 -d root,size=20GB # a larger disk than the profile's")]
pub struct Launch {
    #[command(flatten)]
    create: Create,
    /// Attach to its console once it is started
    #[arg(long)]
    console: bool,
}

impl Launch {
    pub async fn run(self, app: &App) -> Result<()> {
        self.create.run(app, (true, self.console)).await
    }
}
