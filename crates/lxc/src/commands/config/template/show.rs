//! `lxc config template show`.

use anyhow::Result;
use clap::Args;

use super::Templates;
use crate::app::App;
use crate::output;

/// Show content of container file templates
#[derive(Debug, Args)]
#[command(after_help = "lxc config template show c1 hostname.tpl")]
pub struct Show {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The template
    template: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let content = Templates::with(app, &self.name, &self.template)?.read(&self.template).await?;
        // For a terminal like any text of an image, for a program exactly.
        if output::is_terminal() {
            output::safe_block(&String::from_utf8_lossy(&content))
        } else {
            output::bytes(&content)
        }
        Ok(())
    }
}
