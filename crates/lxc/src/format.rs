//! The output formats of lists.

use anyhow::Result;
use serde_json::Value;

use crate::table::Table;
use crate::{outln, output, yaml};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bordered table.
    Table,
    /// Comma-separated values.
    Csv,
    /// One line of JSON.
    Json,
    /// YAML.
    Yaml,
    /// Table without borders.
    Compact,
}

/// The flag that chooses a format.
#[derive(Debug, clap::Args)]
pub struct FormatFlag {
    /// Format (table|csv|json|yaml|compact)
    #[arg(long, short = 'f', default_value = "table", value_name = "FORMAT")]
    pub format: String,
}

impl FormatFlag {
    /// The format named.
    pub fn parse(&self) -> Result<Format> {
        Ok(match self.format.as_str() {
            "table" => Format::Table,
            "csv" => Format::Csv,
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "compact" => Format::Compact,
            other => anyhow::bail!("invalid format \"{other}\" (table, csv, json, yaml or compact)"),
        })
    }
}

impl Format {
    /// Whether it shows whole records instead of columns.
    pub fn is_structured(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }

    /// Writes rows, or records for the structured formats.
    pub fn write(self, table: &Table, records: impl FnOnce() -> Result<Value>) -> Result<()> {
        match self {
            Self::Table => output::text_block(&table.bordered()),
            Self::Csv => output::text_block(&table.csv()),
            Self::Compact => output::text_block(&table.compact()),
            Self::Json => outln!("{}", records()?),
            Self::Yaml => output::text_block(&yaml::emit(&yaml::sorted(records()?))),
        }
        Ok(())
    }
}
