//! `lxc warning list`.

use anyhow::{Result, bail};
use api::warnings::Warning;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;
use crate::units;

const DEFAULT_COLUMNS: &str = "utSscpLl";

/// List warnings that nobody has acknowledged
///
/// Columns:
///   c - Count
///   f - First seen
///   l - Last seen
///   L - Location
///   m - Last message
///   p - Project
///   s - Severity
///   S - Status
///   t - Type
///   u - UUID
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
lxc warning list
lxc warning list --all -c utm")]
pub struct List {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    /// List acknowledged and resolved warnings, too
    #[arg(long, short)]
    all: bool,
    /// Columns
    #[arg(long, short, value_name = "COLUMNS", default_value = DEFAULT_COLUMNS)]
    columns: String,
    #[command(flatten)]
    format: FormatFlag,
}

struct Column {
    letter: char,
    header: &'static str,
    cell: fn(&Warning) -> String,
}

const fn column(letter: char, header: &'static str, cell: fn(&Warning) -> String) -> Column {
    Column { letter, header, cell }
}

static COLUMNS: &[Column] = &[
    column('c', "COUNT", |warning| warning.count.to_string()),
    column('f', "FIRST SEEN", |warning| units::minute(warning.first_seen_at)),
    column('l', "LAST SEEN", |warning| units::minute(warning.last_seen_at)),
    column('L', "LOCATION", |warning| warning.location.clone()),
    column('m', "LAST MESSAGE", |warning| warning.last_message.clone()),
    column('p', "PROJECT", |warning| warning.project.clone()),
    column('s', "SEVERITY", |warning| warning.severity.to_uppercase()),
    column('S', "STATUS", |warning| warning.status.to_uppercase()),
    column('t', "TYPE", |warning| warning.kind.clone()),
    column('u', "UUID", |warning| warning.uuid.clone()),
];

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let columns = chosen(&self.columns)?;
        let client = app.server(self.remote.as_deref())?;
        let mut warnings: Vec<Warning> = client.get(&format!("{}?recursion=1", path(&["warnings"]))).await?;
        warnings.retain(|warning| self.all || warning.status == "new");
        let mut table = Table::new(columns.iter().map(|column| column.header));
        for warning in &warnings {
            table.row(columns.iter().map(|column| (column.cell)(warning)));
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&warnings)?))
    }
}

fn chosen(letters: &str) -> Result<Vec<&'static Column>> {
    let wanted = letters.chars().filter(|letter| *letter != ',');
    let columns: Option<Vec<&Column>> = wanted.map(|letter| COLUMNS.iter().find(|column| column.letter == letter)).collect();
    match columns {
        Some(columns) if !columns.is_empty() => Ok(columns),
        _ => bail!("{letters} contains invalid column characters (`lxc warning list --help` shows the valid ones)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_checked() {
        assert_eq!(chosen(DEFAULT_COLUMNS).expect("columns").len(), DEFAULT_COLUMNS.len());
        assert_eq!(chosen("u,t").expect("columns").len(), 2);
        for letters in ["", ",", "x", "uX"] {
            assert!(chosen(letters).is_err(), "{letters}");
        }
    }
}
