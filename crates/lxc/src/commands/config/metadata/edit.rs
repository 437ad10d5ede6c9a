//! `lxc config metadata edit`.

use anyhow::Result;
use api::metadata::ImageMetadata;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

const HELP: &str = "This is a YAML representation of the container metadata.
Any line starting with a '#' will be ignored.

A sample configuration looks like:
architecture: x86_64
creation_date: 1477146654
expiry_date: 0
properties:
  architecture: x86_64
  description: Debian 12
  os: Debian
templates:
  /etc/hostname:
    when:
    - create
    - copy
    create_only: false
    template: hostname.tpl
    properties: {}";

/// Edit container metadata files as YAML
///
/// Where standard input is no terminal it replaces the metadata.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config metadata edit c1 # in the editor that $VISUAL or $EDITOR names
lxc config metadata edit c1 < metadata.yaml")]
pub struct Edit {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path) = super::locate(app, &self.name)?;
        let shown = super::shown(&client, &path).await?;
        keys::edit::<ImageMetadata>(&client, path, &shown, HELP).await
    }
}
