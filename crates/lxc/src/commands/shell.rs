//! `lxc shell`.

use anyhow::Result;
use clap::Args;

use super::exec::SessionFlags;
use crate::app::App;

/// Open a login shell in containers
///
/// The same as `lxc exec CONTAINER -- su -l`.
#[derive(Debug, Args)]
#[command(after_help = "lxc shell c1")]
pub struct Shell {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    #[command(flatten)]
    session: SessionFlags,
}

impl Shell {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        self.session.run(&client, &name, vec!["su".to_owned(), "-l".to_owned()]).await
    }
}
