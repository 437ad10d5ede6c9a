//! `lxc completion`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::app::App;
use crate::{cli, output};

/// Generate the completion script of a shell
#[derive(Debug, Args)]
pub struct Completion {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Completion {
    pub async fn run(self, _app: &App) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::command(), "lxc", &mut script);
        output::bytes(&script);
        Ok(())
    }
}
