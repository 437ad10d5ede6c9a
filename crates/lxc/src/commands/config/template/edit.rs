//! `lxc config template edit`.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result};
use clap::Args;

use super::Templates;
use crate::app::App;
use crate::editor;

/// Edit container file templates
///
/// Where standard input is no terminal it replaces the template.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config template edit c1 hostname.tpl # in the editor that $VISUAL or $EDITOR names
lxc config template edit c1 hostname.tpl < new.tpl")]
pub struct Edit {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The template
    template: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let templates = Templates::with(app, &self.name, &self.template)?;
        // One that is not there is an error before anything was typed.
        let current = templates.read(&self.template).await?;
        let mut stdin = std::io::stdin();
        let content = if stdin.is_terminal() {
            editor::run(&current, "tpl").await?
        } else {
            let mut given = Vec::new();
            stdin.read_to_end(&mut given).context("Can't read from standard input")?;
            given
        };
        if content == current {
            return Ok(());
        }
        templates.write(&self.template, content).await
    }
}
