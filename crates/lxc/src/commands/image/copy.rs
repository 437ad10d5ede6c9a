//! `lxc image copy`.

use anyhow::{Result, bail};
use api::images::{ImageSource, ImagesPost};
use clap::Args;
use client::Client;

use super::push::push;
use super::relay::relay;
use crate::app::App;
use crate::commands::create::ensure_extension;
use crate::commands::image_servers::{self, ImageServer};
use crate::names::Target;
use crate::progress::Progress;
use crate::servers::Mode;
use crate::{images, outln};

/// Copy images between servers
///
/// The target server fetches the image itself, from an address of the other server that it can reach (pull), or the server that has
/// it sends it there (push), or it goes through this program (relay).
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image copy images:debian/12 local: --alias debian/12 --auto-update
lxc image copy web work: --copy-aliases --public
lxc image copy web work: --mode=push # where work cannot reach this server
lxc image copy office:web work: --mode=relay # where neither can reach the other")]
pub struct Copy {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// The server to copy it to
    #[arg(value_name = "REMOTE:")]
    target: String,
    /// New alias to define at target
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Copy aliases from source
    #[arg(long)]
    copy_aliases: bool,
    /// Make the image public
    #[arg(long)]
    public: bool,
    /// Keep the image up to date after initial copy
    #[arg(long)]
    auto_update: bool,
    /// How the image gets there (pull, push, relay)
    #[arg(long, value_enum, default_value_t = Mode::Pull)]
    mode: Mode,
}

/// The extension of servers that send and take images.
const PUSH: &str = "images_push_relay";

impl Copy {
    pub async fn run(self, app: &App) -> Result<()> {
        let (source, target) = (app.target(&self.image)?, app.target(&self.target)?);
        if !target.is_explicit || !target.name.is_empty() {
            bail!("The target is a server: a remote with a colon at its end, such as `local:`");
        }
        if source.remote == target.remote {
            bail!("The source and target servers must be different");
        }
        let client = app.client(&target.remote)?;
        app.note("Image", images::name_or_default(&source.name));
        let mut aliases = self.aliases.clone();
        if self.copy_aliases {
            let image = ImageServer::of(app, &source.remote)?.load(&source.name).await?;
            aliases.extend(image.aliases.into_iter().map(|alias| alias.name));
        }
        let fingerprint = match self.mode {
            Mode::Pull => self.pull(app, &client, &source).await?,
            Mode::Push => self.push(app, &client, (&source, &target)).await?,
            Mode::Relay => self.relay(app, &client, &source).await?,
        };
        images::set_aliases(&client, &aliases, &fingerprint).await?;
        outln!("Image copied successfully!");
        Ok(())
    }

    async fn pull(&self, app: &App, client: &Client, source: &Target) -> Result<String> {
        let mut sources = image_servers::sources(app, &source.remote, &source.name).await?;
        if self.auto_update {
            sources.iter_mut().for_each(|known| follow(known, &source.name));
        }
        let post = ImagesPost { public: self.public, auto_update: self.auto_update, ..ImagesPost::default() };
        image_servers::fetch(app, client, (sources, post)).await
    }

    async fn push(&self, app: &App, client: &Client, (source, target): (&Target, &Target)) -> Result<String> {
        self.ensure_not_followed("pushed")?;
        let from = app.client(&source.remote)?;
        for (client, remote) in [(&from, &source.remote), (client, &target.remote)] {
            ensure_extension(client, remote, PUSH).await?;
        }
        let image = images::load(&from, &source.name).await?;
        push(app, (&from, client, &target.remote), (&image, self.public)).await
    }

    /// Who does not say where an image comes from cannot have it kept up to date.
    fn ensure_not_followed(&self, verb: &str) -> Result<()> {
        if self.auto_update {
            bail!("An image that is {verb} can't be kept up to date: the target server doesn't know where it comes from");
        }
        Ok(())
    }

    async fn relay(&self, app: &App, client: &Client, source: &Target) -> Result<String> {
        self.ensure_not_followed("relayed")?;
        let from = app.client(&source.remote)?;
        let image = images::load(&from, &source.name).await?;
        relay((&from, client), &image, (self.public, Progress::new("Copying the image", app.quiet))).await
    }
}

/// Asks for the image by its name, which may mean a newer one later. A private one cannot be followed.
fn follow(source: &mut ImageSource, name: &str) {
    if source.secret.is_empty() && !source.fingerprint.is_empty() {
        source.fingerprint.clear();
        source.alias = images::name_or_default(name).to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_can_be_followed() {
        let mut source = ImageSource { fingerprint: "f".into(), ..ImageSource::default() };
        follow(&mut source, "web");
        assert_eq!((source.fingerprint.as_str(), source.alias.as_str()), ("", "web"));
        let mut private = ImageSource { fingerprint: "f".into(), secret: "s".into(), ..ImageSource::default() };
        follow(&mut private, "web");
        assert_eq!((private.fingerprint.as_str(), private.alias.as_str()), ("f", ""));
    }
}
