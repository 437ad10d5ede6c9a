//! `lxc storage volume list`.

use anyhow::{Result, bail};
use api::storage_pools::StorageVolume;
use clap::Args;
use client::path;

use crate::app::App;
use crate::filter::Filters;
use crate::format::FormatFlag;
use crate::table::Table;

/// List storage volumes
///
/// Those of containers and images, too. Columns: t type, n name, d description, c content type, u number of users.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume list default
lxc storage volume list default type=custom
lxc storage volume list default da -c nu # whose name begins with da")]
pub struct List {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// Beginnings of names, or KEY=VALUE (type, name, description, content_type, or a configuration key)
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Columns
    #[arg(long, short, default_value = "tndcu", value_name = "COLUMNS")]
    columns: String,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let columns = columns(&self.columns)?;
        let filters = Filters::new(&self.filters);
        let (client, pool) = app.resolve_named(&self.pool, "Pool")?;
        let mut volumes: Vec<StorageVolume> = client.get(&format!("{}?recursion=1", path(&["storage-pools", &pool, "volumes"]))).await?;
        volumes.retain(|volume| filters.fits_volume(volume));
        let mut table = Table::new(columns.iter().map(|column| column.0));
        for volume in &volumes {
            table.row(columns.iter().map(|column| (column.1)(volume)));
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&volumes)?))
    }
}

/// A header, and what stands below it.
type Column = (&'static str, fn(&StorageVolume) -> String);

fn columns(letters: &str) -> Result<Vec<Column>> {
    let column = |letter| -> Option<Column> {
        Some(match letter {
            't' => ("TYPE", |volume| volume.kind.clone()),
            'n' => ("NAME", |volume| volume.name.clone()),
            'd' => ("DESCRIPTION", |volume| volume.description.clone()),
            'c' => ("CONTENT-TYPE", |volume| volume.content_type.clone()),
            'u' => ("USED BY", |volume| volume.used_by.len().to_string()),
            _ => return None,
        })
    };
    let found: Option<Vec<Column>> = letters.chars().filter(|letter| *letter != ',').map(column).collect();
    match found.filter(|columns| !columns.is_empty()) {
        Some(columns) => Ok(columns),
        None => bail!("{letters} contains invalid column characters (there are t, n, d, c and u)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_by_letter() {
        let headers = |letters| columns(letters).map(|columns| columns.iter().map(|column| column.0).collect::<Vec<_>>());
        assert_eq!(headers("nu").expect("columns"), ["NAME", "USED BY"]);
        assert_eq!(headers("t,n").expect("columns"), ["TYPE", "NAME"]);
        for bad in ["", ",", "nx"] {
            assert!(headers(bad).is_err(), "{bad:?}");
        }
    }
}
