//! `lxc __complete`, which the completion scripts run.

use anyhow::Result;
use api::images::ImageAliasEntry;
use api::instances::Instance;
use clap::Args;
use client::{Client, path};

use crate::app::App;
use crate::complete::{self, Source, Wanted};
use crate::names::{self, split_snapshot};
use crate::{cli, help, outln};

/// The line that stands for the files of this host.
const FILES: &str = ":files";

/// Print what the last word of a command line could be
///
/// One a line, with a remark after a tab; `:files` stands for the files of this host. Used by the
/// scripts of `lxc completion`. What can't be found out is left out.
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Complete {
    /// The words after the program's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A word and a remark on it.
type Candidate = (String, String);

impl Complete {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut root = cli::command();
        root.build();
        let current = self.words.last().cloned().unwrap_or_default();
        let candidates = match complete::wanted(&root, &self.words) {
            None => Vec::new(),
            Some(Wanted::Commands(command)) => commands(app, command),
            Some(Wanted::Flags(command)) => flags(command),
            Some(Wanted::Values { sources, prefix, subject }) => {
                let typed = current.strip_prefix(&prefix).unwrap_or(&current);
                let found = values(app, &sources, typed, subject.as_deref().unwrap_or("")).await;
                found.into_iter().map(|(word, remark)| (format!("{prefix}{word}"), remark)).collect()
            }
        };
        for (word, remark) in candidates {
            if word == FILES {
                outln!("{FILES}");
            } else if word.starts_with(&current) {
                // What a server says must stay within its line.
                let remark: String = remark.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).collect();
                outln!("{word}\t{remark}");
            }
        }
        Ok(())
    }
}

fn commands(app: &App, command: &clap::Command) -> Vec<Candidate> {
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let mut found: Vec<Candidate> = inner.map(|inner| (inner.get_name().to_owned(), help::summary(inner))).collect();
    if command.get_name() == "lxc" {
        let aliases = app.config.aliases.iter().filter(|(name, _)| !name.contains(char::is_whitespace));
        found.extend(aliases.map(|(name, target)| (name.clone(), format!("alias of {target}"))));
    }
    found
}

fn flags(command: &clap::Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown
        .filter_map(|argument| Some((format!("--{}", argument.get_long()?), help::help_of(argument))))
        .filter(|(flag, _)| flag != "--")
        .collect()
}

/// The values of all sources; on the server that the typed word names, if it names one.
async fn values(app: &App, sources: &[Source], typed: &str, subject: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let target = names::parse(typed, &app.config.default_remote);
    let Ok(client) = app.client(&target.remote) else { return found };
    let prefix = if target.is_explicit { format!("{}:", target.remote) } else { String::new() };
    for source in sources {
        // Without a server there is still the rest.
        let candidates = source_values(app, &client, source, (&target.name, subject)).await.unwrap_or_default();
        let is_of_server = !matches!(source, Source::Files | Source::Remotes | Source::RemoteNames | Source::Fixed(_));
        found.extend(candidates.into_iter().map(|(word, remark)| (if is_of_server { format!("{prefix}{word}") } else { word }, remark)));
    }
    found
}

async fn source_values(app: &App, client: &Client, source: &Source, (typed, subject): (&str, &str)) -> Result<Vec<Candidate>> {
    let subject = names::parse(subject, "").name;
    Ok(match source {
        Source::Containers => instances(client).await?,
        Source::Paths => instances(client).await?.into_iter().map(|(name, status)| (format!("{name}/"), status)).collect(),
        Source::FullSnapshots => match split_snapshot(typed) {
            (_, None) => Vec::new(),
            (instance, Some(_)) => {
                plain(urls(client, &["instances", instance, "snapshots"]).await?.iter().map(|name| format!("{instance}/{name}")))
            }
        },
        Source::Snapshots => plain(urls(client, &["instances", &subject, "snapshots"]).await?),
        Source::Devices => devices(client, &subject).await?,
        Source::Images => {
            let aliases: Vec<ImageAliasEntry> = client.get(&format!("{}?recursion=1", path(&["images", "aliases"]))).await?;
            aliases.into_iter().map(|alias| (alias.name, alias.description)).collect()
        }
        Source::Profiles => plain(urls(client, &["profiles"]).await?),
        Source::Networks => plain(urls(client, &["networks"]).await?),
        Source::Pools => plain(urls(client, &["storage-pools"]).await?),
        Source::Volumes => plain(volumes(client, &subject).await?),
        Source::FullVolumes => {
            let mut found = Vec::new();
            for pool in urls(client, &["storage-pools"]).await? {
                found.extend(volumes(client, &pool).await?.iter().map(|name| format!("{pool}/{name}")));
            }
            plain(found)
        }
        Source::Operations => {
            let by_status: std::collections::BTreeMap<String, Vec<String>> = client.get(&path(&["operations"])).await?;
            plain(by_status.into_values().flatten().map(|url| names::from_url(&url).to_owned()))
        }
        Source::Warnings => plain(urls(client, &["warnings"]).await?),
        Source::Remotes => {
            plain(app.config.remotes.keys().map(|name| format!("{name}:")))
        }
        Source::RemoteNames => plain(app.config.remotes.keys().cloned()),
        Source::InstanceKeys(has_value) => keys(keys::instance::ROWS, if *has_value { "=" } else { "" }),
        Source::ServerKeys => keys(keys::server::ROWS, ""),
        Source::NetworkKeys => keys(keys::network::ROWS, ""),
        Source::VolumeKeys => keys(keys::storage_volume::ROWS, ""),
        Source::Files => plain([FILES.to_owned()]),
        Source::Fixed(values) => plain(values.iter().cloned()),
    })
}

async fn instances(client: &Client) -> Result<Vec<Candidate>> {
    let instances: Vec<Instance> = client.get(&format!("{}?recursion=1", path(&["instances"]))).await?;
    Ok(instances.into_iter().map(|instance| (instance.name, instance.status)).collect())
}

/// Names of a pool's custom volumes.
async fn volumes(client: &Client, pool: &str) -> Result<Vec<String>> {
    urls(client, &["storage-pools", pool, "volumes", "custom"]).await
}

/// Devices of an instance, else of a profile of that name: commands of both ask.
async fn devices(client: &Client, subject: &str) -> Result<Vec<Candidate>> {
    let devices = match client.get::<Instance>(&path(&["instances", subject])).await {
        Ok(instance) => instance.expanded_devices,
        Err(error) if error.is_not_found() => client.get::<api::profiles::Profile>(&path(&["profiles", subject])).await?.devices,
        Err(error) => return Err(error.into()),
    };
    Ok(devices.into_iter().map(|(name, keys)| (name, keys.get("type").cloned().unwrap_or_default())).collect())
}

/// Names in a list of URLs.
async fn urls(client: &Client, segments: &[&str]) -> Result<Vec<String>> {
    let urls: Vec<String> = client.get(&path(segments)).await?;
    Ok(urls.iter().map(|url| names::from_url(url).to_owned()).collect())
}

fn plain(words: impl IntoIterator<Item = String>) -> Vec<Candidate> {
    words.into_iter().map(|word| (word, String::new())).collect()
}

/// Keys of a table; of families such as `user.*` the beginning.
fn keys(rows: &[keys::Row], suffix: &str) -> Vec<Candidate> {
    let settable = rows.iter().filter(|row| !row.name.starts_with("volatile."));
    let candidate = |row: &keys::Row| match row.name.split_once('*') {
        Some((family, _)) => (family.to_owned(), row.doc.to_owned()),
        None => (format!("{}{suffix}", row.name), row.doc.to_owned()),
    };
    settable.map(candidate).collect()
}
