//! `lxc config template delete`.

use anyhow::Result;
use clap::Args;

use super::Templates;
use crate::app::App;

/// Delete container file templates
#[derive(Debug, Args)]
#[command(after_help = "lxc config template delete c1 motd.tpl")]
pub struct Delete {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The template
    template: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        Templates::with(app, &self.name, &self.template)?.delete(&self.template).await
    }
}
