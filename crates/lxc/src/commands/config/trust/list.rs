//! `lxc config trust list`.

use anyhow::Result;
use api::Timestamp;
use api::certificates::Certificate;
use clap::Args;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;
use crate::units;

/// List trusted clients
#[derive(Debug, Args)]
#[command(after_help = "lxc config trust list")]
pub struct List {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let client = app.server(self.remote.as_deref())?;
        let certificates: Vec<Certificate> = client.get("/1.0/certificates?recursion=1").await?;
        let mut table = Table::new(["FINGERPRINT", "COMMON NAME", "ISSUE DATE", "EXPIRY DATE"]);
        for certificate in &certificates {
            let parsed = super::parsed(certificate);
            let date = |seconds: Option<i64>| seconds.map(|seconds| units::words(Timestamp::from_unix(seconds))).unwrap_or_default();
            table.row([
                certificate.fingerprint.chars().take(12).collect(),
                parsed.as_ref().map(|parsed| parsed.common_name().to_owned()).unwrap_or_default(),
                date(parsed.as_ref().map(pki::Certificate::not_before)),
                date(parsed.as_ref().map(pki::Certificate::not_after)),
            ]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&certificates)?))
    }
}
