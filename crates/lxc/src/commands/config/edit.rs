//! `lxc config edit`.

use anyhow::Result;
use api::instances::InstancePut;
use api::server::ServerPut;
use clap::Args;

use super::{Subject, show};
use crate::app::App;
use crate::commands::keys;
use crate::editor;
use crate::record::Record;

const SERVER_HELP: &str = "This is a YAML representation of the configuration.
Any line starting with a '#' will be ignored.

A sample configuration looks like:
config:
  images.auto_update_interval: \"12\"";

const INSTANCE_HELP: &str = "This is a YAML representation of the configuration.
Any line starting with a '#' will be ignored.

A sample configuration looks like:
config:
  limits.memory: 512MB
devices:
  homedir:
    path: /extra
    source: /home/user
    type: disk
ephemeral: false
profiles:
- default

Keys under volatile. belong to the server.";

/// Edit container or server configurations as YAML
///
/// Where standard input is no terminal it replaces the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config edit c1 # in the editor that $VISUAL or $EDITOR names
lxc config show c1 | lxc config edit c2 # c2 gets the configuration of c1")]
pub struct Edit {
    /// The container (none: the server)
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: Option<String>,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        match super::subject(app, self.name.as_deref())? {
            Subject::Instance(client, name) => {
                let path = super::writable_path(&name)?;
                let shown = show::instance(&client, &name, false).await?;
                keys::edit::<InstancePut>(&client, path, &shown, INSTANCE_HELP).await
            }
            Subject::Server(client) => {
                let shown = show::server(&client).await?;
                editor::edit(&shown, SERVER_HELP, async |text| {
                    let mut record = Record::<ServerPut>::load(&client, "/1.0".to_owned()).await?;
                    let edited: api::profiles::ProfilePut = keys::parse(text)?;
                    record.value.config = edited.config.into_iter().map(|(key, value)| (key, value.into())).collect();
                    record.save().await
                })
                .await
            }
        }
    }
}
