//! `lxc profile set`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::pairs;

/// Set profile configuration keys
///
/// `KEY VALUE`, or any number of `KEY=VALUE`. A key without value is unset.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc profile set web limits.memory 512MB # holds for all its containers at once
lxc profile set web limits.cpu=2 boot.autostart=true")]
pub struct Set {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        let assignments = match self.words.as_slice() {
            [key] if !key.contains('=') => vec![(key.clone(), String::new())],
            words => pairs::assignments(words)?,
        };
        keys::set::<ProfilePut>(&client, path, assignments).await
    }
}
