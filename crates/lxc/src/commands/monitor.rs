//! `lxc monitor`.

use anyhow::{Result, bail};
use api::events::Event;
use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::{output, yaml};

/// Monitor a local or remote server's events
///
/// Each event is written as it happens: operations, log lines, and changes in the life of containers.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc monitor # until interrupted
lxc monitor --type=lifecycle --pretty
lxc monitor --type=logging --loglevel=warn")]
pub struct Monitor {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    /// Event type to listen for (operation, logging, lifecycle)
    #[arg(long = "type", short, value_name = "TYPE")]
    types: Vec<String>,
    /// Least level of logging events (dbug, info, warn, eror, crit)
    #[arg(long, value_name = "LEVEL")]
    loglevel: Option<String>,
    /// Same as --format=pretty
    #[arg(long)]
    pretty: bool,
    /// Format (json|pretty|yaml)
    #[arg(long, short, default_value = "yaml", value_name = "FORMAT")]
    format: String,
}

#[derive(Clone, Copy)]
enum Style {
    Yaml,
    Json,
    Pretty,
}

const TYPES: &[&str] = &["operation", "logging", "lifecycle"];
const LEVELS: &[&str] = &["dbug", "info", "warn", "eror", "crit"];

impl Monitor {
    pub async fn run(self, app: &App) -> Result<()> {
        let style = match self.format.as_str() {
            _ if self.pretty => Style::Pretty,
            "yaml" => Style::Yaml,
            "json" => Style::Json,
            "pretty" => Style::Pretty,
            other => bail!("invalid format \"{other}\" (json, pretty or yaml)"),
        };
        let least = self.loglevel.as_deref().map(rank).transpose()?.unwrap_or(0);
        if let Some(unknown) = self.types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
            bail!("Unknown event type \"{unknown}\" ({} are known)", TYPES.join(", "));
        }
        let client = app.server(self.remote.as_deref())?;
        let types: Vec<&str> = self.types.iter().map(String::as_str).collect();
        let mut events = client.events(&types).await?;
        while let Some(event) = events.next().await? {
            if event.kind != "logging" || event_level(&event) >= least {
                output::safe_block(&text(&event, style)?);
            }
        }
        bail!("The server closed the connection")
    }
}

/// Position of a level; long names are understood too.
fn rank(level: &str) -> Result<usize> {
    let short = match level {
        "debug" => "dbug",
        "error" => "eror",
        "warning" => "warn",
        other => other,
    };
    LEVELS.iter().position(|known| *known == short).ok_or_else(|| anyhow::anyhow!("Invalid log level \"{level}\" ({} are known)", LEVELS.join(", ")))
}

fn event_level(event: &Event) -> usize {
    let level = event.metadata.get("level").and_then(|level| level.as_str());
    level.and_then(|level| rank(level).ok()).unwrap_or(LEVELS.len())
}

fn text(event: &Event, style: Style) -> Result<String> {
    Ok(match style {
        Style::Yaml => {
            let shown = json!({"metadata": yaml::sorted(event.metadata.clone()), "timestamp": event.timestamp, "type": event.kind});
            format!("{}\n", yaml::emit(&shown))
        }
        Style::Json => format!("{}\n", serde_json::to_string(event)?),
        Style::Pretty => format!("{}\n", pretty(event)),
    })
}

fn pretty(event: &Event) -> String {
    let field = |name: &str| event.metadata.get(name).and_then(|value| value.as_str()).unwrap_or("").to_owned();
    let time = event.timestamp.0.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    let line = match event.kind.as_str() {
        "logging" => format!("{} {} {}", field("level").to_uppercase(), field("message"), event.metadata.get("context").map(ToString::to_string).unwrap_or_default()),
        "operation" => format!("operation {} {} {}", field("id"), field("description"), field("status")),
        "lifecycle" => format!("lifecycle {} {}", field("action"), field("source")),
        other => format!("{other} {}", event.metadata),
    };
    // Guests can write into the log: their escape sequences must not reach the terminal.
    format!("{time} {}", line.chars().filter(|c| !c.is_control()).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let event = Event {
            kind: "logging".to_owned(),
            timestamp: api::Timestamp::from_unix(1_461_187_680),
            metadata: json!({"message": "started \u{1b}[2J", "level": "info", "context": {"b": "1", "a": "x"}}),
            project: String::new(),
        };
        let yaml = "metadata:\n  context:\n    a: x\n    b: \"1\"\n  level: info\n  message: \"started \\e[2J\"\ntimestamp: 2016-04-20T21:28:00Z\ntype: logging\n\n";
        assert_eq!(text(&event, Style::Yaml).expect("yaml"), yaml);
        assert_eq!(text(&event, Style::Pretty).expect("pretty"), "2016-04-20T21:28:00Z INFO started [2J {\"b\":\"1\",\"a\":\"x\"}\n");
        assert!(event_level(&event) < rank("warning").expect("level"));
    }
}
