//! `lxc completion`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::app::App;
use crate::{cli, output};

/// Generate the completion script of a shell
///
/// For this shell only: `source <(lxc completion bash)`.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc completion bash > /etc/bash_completion.d/lxc
lxc completion zsh > /usr/share/zsh/vendor-completions/_lxc
lxc completion fish > /etc/fish/completions/lxc.fish")]
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
