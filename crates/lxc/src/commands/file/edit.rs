//! `lxc file edit`.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result};
use clap::Args;
use client::{Body, FileContent, FileHeaders};

use crate::app::App;
use crate::editor;

/// Largest file that is edited, bytes.
const LIMIT_BYTES: usize = 256 << 20;

/// Edit files in containers
///
/// Owner and permissions stay as they are. Where standard input is no terminal it becomes the
/// content.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc file edit c1/etc/hosts # in the editor that $VISUAL or $EDITOR names
lxc file edit c1/etc/motd < motd # the content from a file")]
pub struct Edit {
    /// The file
    #[arg(value_name = "[REMOTE:]CONTAINER/PATH")]
    file: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = super::place(app, &self.file, "path")?;
        let mut path = place.path.clone();
        let content = if std::io::stdin().is_terminal() {
            let file = place.client.read_file(&place.instance, &path).await?;
            // Behind a link the file itself is edited, and the link stays.
            let (real_path, file) = place.follow(file).await?;
            path = real_path;
            let old = file.into_download(&path)?.bytes(LIMIT_BYTES).await?;
            let new = editor::run(&old, "txt").await?;
            if new == old {
                return Ok(());
            }
            new
        } else {
            let mut content = Vec::new();
            std::io::stdin().read_to_end(&mut content).context("Can't read from standard input")?;
            content
        };
        let content = FileContent::File(Body::Bytes(content.into()));
        place.client.write_file(&place.instance, &path, content, FileHeaders::default()).await?;
        Ok(())
    }
}
