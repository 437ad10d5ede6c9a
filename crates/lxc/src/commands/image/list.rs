//! `lxc image list`.

use anyhow::{Result, bail};
use api::images::{Image, ImageAlias};
use clap::Args;

use crate::app::App;
use crate::filter::Filters;
use crate::format::FormatFlag;
use crate::commands::image_servers::ImageServer;
use crate::table::Table;
use crate::units;

const DEFAULT_COLUMNS: &str = "lfpdasu";

/// List images
///
/// Columns:
///   a - Architecture
///   d - Description
///   e - When it becomes obsolete
///   f - Fingerprint (short)
///   F - Fingerprint
///   l - Shortest alias, and how many more there are
///   L - All aliases
///   p - Whether it is public
///   s - Size
///   t - Type
///   u - When it was uploaded
///
/// Filters are part of an alias or fingerprint, or KEY=VALUE on the image's properties.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
lxc image list
lxc image list images: debian/12 # what a server offers
lxc image list debian # aliases or fingerprints that contain it
lxc image list os=Debian release=bookworm
lxc image list -c lF --format csv # some columns, for a script")]
pub struct List {
    /// Which images
    #[arg(value_name = "[REMOTE:]FILTER")]
    filters: Vec<String>,
    /// Columns
    #[arg(long, short, value_name = "COLUMNS", default_value = DEFAULT_COLUMNS, hide_default_value = true)]
    columns: String,
    #[command(flatten)]
    format: FormatFlag,
}

struct Column {
    letter: char,
    header: &'static str,
    cell: fn(&Image) -> String,
}

const fn column(letter: char, header: &'static str, cell: fn(&Image) -> String) -> Column {
    Column { letter, header, cell }
}

static COLUMNS: &[Column] = &[
    column('a', "ARCH", |image| image.architecture.clone()),
    column('d', "DESCRIPTION", |image| image.properties.get("description").cloned().unwrap_or_default()),
    column('e', "EXPIRY DATE", |image| if units::is_unset(image.expires_at) { String::new() } else { units::words(image.expires_at) }),
    column('f', "FINGERPRINT", |image| image.fingerprint.chars().take(12).collect()),
    column('F', "FINGERPRINT", |image| image.fingerprint.clone()),
    column('l', "ALIAS", |image| shortest_alias(&image.aliases)),
    column('L', "ALIASES", |image| image.aliases.iter().map(|alias| alias.name.as_str()).collect::<Vec<_>>().join("\n")),
    column('p', "PUBLIC", |image| if image.public { "yes" } else { "no" }.to_owned()),
    column('s', "SIZE", |image| units::megabytes(image.size)),
    column('t', "TYPE", |image| image.kind.to_uppercase()),
    column('u', "UPLOAD DATE", |image| units::words(image.uploaded_at)),
];

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let columns = columns(&self.columns)?;
        let first = self.filters.first().map_or("", String::as_str);
        let target = app.target(if first.contains('=') { "" } else { first })?;
        let server = ImageServer::of(app, &target.remote)?;
        let filters =
            if target.is_explicit { Filters::new([target.name].iter().chain(&self.filters[1..])) } else { Filters::new(&self.filters) };
        let mut images = server.list().await?;
        images.retain(|image| filters.fits_image(image));
        format.write(&table(&columns, &images), || Ok(serde_json::to_value(&images)?))
    }
}

fn columns(letters: &str) -> Result<Vec<&'static Column>> {
    let found = letters.chars().filter(|letter| *letter != ',').map(|letter| COLUMNS.iter().find(|column| column.letter == letter));
    match found.collect::<Option<Vec<_>>>() {
        Some(columns) if !columns.is_empty() => Ok(columns),
        _ => bail!("{letters} contains invalid column characters (`lxc image list --help` shows the valid ones)"),
    }
}

fn table(columns: &[&Column], images: &[Image]) -> Table {
    let mut table = Table::new(columns.iter().map(|column| column.header));
    for image in images {
        table.row(columns.iter().map(|column| (column.cell)(image)));
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
        let usual = columns(DEFAULT_COLUMNS).expect("columns");
        assert_eq!(table(&usual, &[image("b", &[]), image("a", &["debian/bookworm", "debian/12"])]).bordered(), expected);
    }

    #[test]
    fn chosen_columns() {
        let letters = |text: &str| columns(text).map(|columns| columns.iter().map(|column| column.letter).collect::<String>());
        assert_eq!(letters("l,F").expect("valid"), "lF");
        assert!(letters("lx").is_err() && letters("").is_err());
    }
}
