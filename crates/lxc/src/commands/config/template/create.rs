//! `lxc config template create`.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Templates;
use crate::app::App;

/// Create new container file templates
///
/// With what standard input has, empty where that is a terminal. The template is used where the metadata names it:
/// `lxc config metadata edit`.
#[derive(Debug, Args)]
#[command(after_help = "lxc config template create c1 motd.tpl < motd.tpl")]
pub struct Create {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The template
    #[arg(value_name = "TEMPLATE")]
    template: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let templates = Templates::with(app, &self.name, &self.template)?;
        if templates.names().await?.contains(&self.template) {
            bail!("Template '{0}' already exists (`lxc config template edit {1} {0}` changes it)", self.template, self.name);
        }
        let mut content = Vec::new();
        let mut stdin = std::io::stdin();
        if !stdin.is_terminal() {
            stdin.read_to_end(&mut content).context("Can't read from standard input")?;
        }
        templates.write(&self.template, content).await
    }
}
