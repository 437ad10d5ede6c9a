//! `lxc query`.

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{Method, Request};
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::{output, outln};

/// Largest reply that is not JSON, bytes.
const RAW_LIMIT_BYTES: usize = 1 << 30;

/// Send a raw query to a server
#[derive(Debug, Args)]
#[command(after_help = "\
lxc query /1.0/instances
lxc query -X POST --wait -d \"{\\\"name\\\": \\\"s1\\\"}\" /1.0/instances/c1/snapshots")]
pub struct Query {
    /// The path, which begins with a slash
    #[arg(value_name = "[REMOTE:]PATH")]
    path: String,
    /// Input data, `-` for standard input
    #[arg(long, short, value_name = "JSON")]
    data: Option<String>,
    /// Print the raw response
    #[arg(long)]
    raw: bool,
    /// Action
    #[arg(long, short = 'X', default_value = "GET", value_name = "METHOD")]
    request: String,
    /// Wait for the operation to complete
    #[arg(long)]
    wait: bool,
}

/// JSON with a tab for each level.
fn indented(value: &Value) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8(text)?)
}

impl Query {
    pub async fn run(self, app: &App) -> Result<()> {
        let target = app.target(&self.path)?;
        if !target.name.starts_with('/') {
            bail!("Query path must start with /");
        }
        let client = app.client(&target.remote)?;
        let method: Method = self.request.to_uppercase().parse().context("Invalid request method")?;
        let mut request = Request::new(method, &target.name);
        if let Some(data) = self.data {
            let data: Value = serde_json::from_str(&crate::pairs::read_value(data)?).context("The input is no JSON")?;
            request = request.json(&data)?;
        }
        if self.raw {
            output::bytes(&client.download(request).await?.bytes(RAW_LIMIT_BYTES).await?);
            return Ok(());
        }
        let reply = client.request(request).await?;
        let metadata: Value = match (self.wait, reply.is_async) {
            (true, true) => serde_json::to_value(client.wait(&reply).await?)?,
            _ => reply.metadata()?,
        };
        match metadata {
            Value::Null => {}
            Value::String(text) => output::value(&text),
            Value::Object(map) if map.is_empty() => {}
            other => outln!("{}", indented(&other)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_values_stay() {
        let value = serde_json::json!({"a": ["x  y"], "b": {}});
        assert_eq!(indented(&value).expect("text"), "{\n\t\"a\": [\n\t\t\"x  y\"\n\t],\n\t\"b\": {}\n}");
    }
}
