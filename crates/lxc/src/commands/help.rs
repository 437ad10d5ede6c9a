//! `lxc help`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::{cli, errln, help, output, reference, usage};

/// Help page for the LXD client
#[derive(Debug, Args)]
#[command(after_help = "\
lxc help
lxc help --all
lxc help config device add")]
pub struct Help {
    /// The command
    command: Vec<String>,
    /// Print less common commands
    #[arg(long)]
    all: bool,
    /// Print the reference of all commands
    #[arg(long, hide = true)]
    markdown: bool,
}

impl Help {
    pub async fn run(self, _app: &App) -> Result<()> {
        let root = cli::command();
        if self.markdown {
            output::text_block(&reference::markdown(&root));
        } else if self.command.is_empty() {
            output::text_block(&usage::general_help(&root, self.all));
        } else if let Some(unknown) = unknown_word(&root, &self.command) {
            errln!("error: unknown command: {unknown}");
        } else {
            output::text_block(&help::of(&root, &self.command));
        }
        Ok(())
    }
}

fn unknown_word<'a>(root: &clap::Command, words: &'a [String]) -> Option<&'a str> {
    let mut command = root;
    for word in words {
        match command.find_subcommand(word) {
            Some(next) => command = next,
            None => return Some(word),
        }
    }
    None
}
