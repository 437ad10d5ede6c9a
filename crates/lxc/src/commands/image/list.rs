//! `lxc image list`.

use anyhow::Result;
use api::images::{Image, ImageAlias};
use clap::Args;

use crate::app::App;
use crate::filter::Filters;
use crate::format::FormatFlag;
use crate::commands::image_servers::ImageServer;
use crate::table::Table;
use crate::units;

/// List images
///
/// Filters are part of an alias or fingerprint, or KEY=VALUE on the image's properties.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc image list
lxc image list images: debian/12 # what a server offers
lxc image list debian # aliases or fingerprints that contain it
lxc image list os=Debian release=bookworm")]
pub struct List {
    /// Which images
    #[arg(value_name = "[REMOTE:]FILTER")]
    filters: Vec<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let first = self.filters.first().map_or("", String::as_str);
        let target = app.target(if first.contains('=') { "" } else { first })?;
        let server = ImageServer::of(app, &target.remote)?;
        let filters = if target.is_explicit { Filters::new([target.name].iter().chain(&self.filters[1..])) } else { Filters::new(&self.filters) };
        let mut images = server.list().await?;
        images.retain(|image| filters.fits_image(image));
        format.write(&table(&images), || Ok(serde_json::to_value(&images)?))
    }
}

fn table(images: &[Image]) -> Table {
    let mut table = Table::new(["ALIAS", "FINGERPRINT", "PUBLIC", "DESCRIPTION", "ARCH", "SIZE", "UPLOAD DATE"]);
    for image in images {
        table.row([
            shortest_alias(&image.aliases),
            image.fingerprint.chars().take(12).collect(),
            if image.public { "yes" } else { "no" }.to_owned(),
            image.properties.get("description").cloned().unwrap_or_default(),
            image.architecture.clone(),
            units::megabytes(image.size),
            units::words(image.uploaded_at),
        ]);
    }
    table.sort();
    table
}

/// `x`, or `x (2 more)`.
fn shortest_alias(aliases: &[ImageAlias]) -> String {
    let Some(shortest) = aliases.iter().min_by_key(|alias| alias.name.len()) else { return String::new() };
    match aliases.len() {
        1 => shortest.name.clone(),
        count => format!("{} ({} more)", shortest.name, count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let alias = |name: &str| ImageAlias { name: name.to_owned(), ..ImageAlias::default() };
        let image = |fingerprint: &str, aliases: &[&str]| Image {
            fingerprint: fingerprint.repeat(64),
            aliases: aliases.iter().map(|name| alias(name)).collect(),
            architecture: "x86_64".to_owned(),
            size: 1 << 20,
            uploaded_at: api::Timestamp::from_unix(1_461_187_680),
            properties: [("description".to_owned(), "Debian 12".to_owned())].into(),
            ..Image::default()
        };
        let expected = "\
+--------------------+--------------+--------+-------------+--------+--------+------------------------------+
|       ALIAS        | FINGERPRINT  | PUBLIC | DESCRIPTION |  ARCH  |  SIZE  |         UPLOAD DATE          |
+--------------------+--------------+--------+-------------+--------+--------+------------------------------+
| debian/12 (1 more) | aaaaaaaaaaaa | no     | Debian 12   | x86_64 | 1.00MB | Apr 20, 2016 at 9:28pm (UTC) |
+--------------------+--------------+--------+-------------+--------+--------+------------------------------+
|                    | bbbbbbbbbbbb | no     | Debian 12   | x86_64 | 1.00MB | Apr 20, 2016 at 9:28pm (UTC) |
+--------------------+--------------+--------+-------------+--------+--------+------------------------------+
";
        assert_eq!(table(&[image("b", &[]), image("a", &["debian/bookworm", "debian/12"])]).bordered(), expected);
    }
}
