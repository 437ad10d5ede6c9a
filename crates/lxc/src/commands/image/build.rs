//! `lxc image build`.

use anyhow::Result;
use api::images::{ImageAlias, ImageSource, ImagesPost};
use clap::Args;
use client::path;

use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::commands::publish;
use crate::outln;
use crate::progress::Progress;

/// Build images from a distribution's packages
///
/// The recipe is a distribution and release, such as `debian/12`, or `busybox`. The server
/// downloads the packages from the distribution's mirror that it uses itself.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image build debian/12
lxc image build busybox --alias tiny # small, and ready in a moment
lxc image build debian/12 --package openssh-server --alias debian-ssh")]
pub struct Build {
    /// What to build
    #[arg(value_name = "[REMOTE:]RECIPE")]
    recipe: String,
    /// New alias of the image (default: those of the recipe)
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Further package to put in
    #[arg(long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Make the image public
    #[arg(long)]
    public: bool,
}

impl Build {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, recipe) = app.resolve_named(&self.recipe, "Recipe")?;
        let post = ImagesPost {
            public: self.public,
            aliases: self.aliases.into_iter().map(|name| ImageAlias { name, ..ImageAlias::default() }).collect(),
            source: ImageSource { kind: "build".to_owned(), recipe, packages: self.packages, ..ImageSource::default() },
            ..ImagesPost::default()
        };
        let operation = client.post(&path(&["images"]), &post).await?.operation()?;
        let mut progress = Progress::new("Building image", app.quiet);
        let done = wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        outln!("Image built with fingerprint: {}", publish::fingerprint(&done)?);
        Ok(())
    }
}
