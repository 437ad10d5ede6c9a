//! The user's `config.yml`: servers, the default one, and command aliases.
//!
//! Other parts of the file are kept as they are when it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::remotes::{self, LOCAL, Remote};
use crate::yaml;

/// What `config.yml` says.
#[derive(Debug, Default)]
pub struct Config {
    path: Option<PathBuf>,
    /// The server of names without one.
    pub default_remote: String,
    /// The servers by name, those that are always there included.
    pub remotes: BTreeMap<String, Remote>,
    /// Command words to their replacement.
    pub aliases: BTreeMap<String, String>,
    document: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Document {
    default_remote: Option<String>,
    remotes: Option<BTreeMap<String, Remote>>,
    aliases: Option<BTreeMap<String, String>>,
}

impl Config {
    /// The built-in configuration: the servers that everybody has, no aliases.
    pub fn built_in() -> Self {
        let remotes = remotes::all_fixed().chain([remotes::first()]).collect();
        Self { default_remote: LOCAL.to_owned(), remotes, ..Self::default() }
    }

    /// Reads `$LXD_CONF/config.yml`, else that of `$HOME/.config/lxc`; an absent file is the
    /// built-in configuration.
    pub fn load() -> Result<Self> {
        let mut config = Self::built_in();
        config.path = directory().map(|directory| directory.join("config.yml"));
        let Some(path) = &config.path else { return Ok(config) };
        match sys::fs::read_to_string(path) {
            Ok(text) => config.read(&text)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(config)
    }

    fn read(&mut self, text: &str) -> Result<()> {
        const WHAT: &str = "Unable to decode the configuration";
        let value: Option<Value> = if text.trim().is_empty() { None } else { yaml::parse(text).context(WHAT)? };
        let Some(Value::Object(document)) = value else { return Ok(()) };
        let known: Document = serde_json::from_value(Value::Object(document.clone())).context(WHAT)?;
        self.default_remote = known.default_remote.filter(|name| !name.is_empty()).unwrap_or_else(|| LOCAL.to_owned());
        if let Some(remotes) = known.remotes {
            self.remotes = remotes;
            self.remotes.iter_mut().for_each(|(name, remote)| remotes::renew(name, remote));
            self.remotes.extend(remotes::all_fixed());
        }
        self.aliases = known.aliases.unwrap_or_default();
        self.document = document;
        Ok(())
    }

    /// Writes the aliases back.
    pub fn save_aliases(&mut self) -> Result<()> {
        self.document.insert("aliases".to_owned(), serde_json::to_value(&self.aliases)?);
        self.save()
    }

    /// Writes the servers back; those that are always there are not part of the file.
    pub fn save_remotes(&mut self) -> Result<()> {
        let own = self.remotes.iter().filter(|(name, _)| remotes::fixed(name).is_none());
        let own: BTreeMap<&String, &Remote> = own.collect();
        let own = serde_json::to_value(own)?;
        self.document.insert("default-remote".to_owned(), Value::String(self.default_remote.clone()));
        // Fields that are not known here are kept.
        let before = self.document.get("remotes").cloned();
        self.document.insert("remotes".to_owned(), merged(before.as_ref(), own));
        self.save()
    }

    fn save(&self) -> Result<()> {
        let path = self.path.as_ref().with_context(|| NO_PLACE)?;
        if let Some(directory) = path.parent() {
            sys::fs::ensure_dir_all(directory, 0o750)?;
        }
        sys::fs::write_durable(path, yaml::emit(&Value::Object(self.document.clone())).as_bytes(), 0o600)?;
        Ok(())
    }

    /// A server by its name.
    pub fn remote(&self, name: &str) -> Result<&Remote> {
        let found = self.remotes.get(name);
        found.with_context(|| format!("The remote \"{name}\" doesn't exist (`lxc remote list` shows those there are)"))
    }

    /// Where this user's configuration, certificate and key are.
    pub fn directory(&self) -> Result<&Path> {
        self.path.as_deref().and_then(Path::parent).with_context(|| NO_PLACE)
    }
}

const NO_PLACE: &str = "There is no place for the configuration: neither LXD_CONF nor HOME is set, or --force-local is given";

/// The new remotes, each with what was written of it before and is not known here.
fn merged(before: Option<&Value>, mut new: Value) -> Value {
    const KNOWN: [&str; 4] = ["addr", "public", "protocol", "auth_type"];
    for (name, remote) in new.as_object_mut().into_iter().flatten() {
        let (Some(Value::Object(before)), Value::Object(remote)) = (before.and_then(|before| before.get(name)), remote) else { continue };
        let is_same_server = before.get("addr") == remote.get("addr");
        let unknown = before.iter().filter(|(key, _)| is_same_server && !KNOWN.contains(&key.as_str()));
        remote.extend(unknown.map(|(key, value)| (key.clone(), value.clone())));
    }
    new
}

fn directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("LXD_CONF").or_else(|| variable("HOME").map(|home| home.join(".config/lxc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_and_unknown_keys_are_tolerated() {
        let mut config = Config::built_in();
        config.read("default-remote: other\naliases: {}\nfuture: [1]\naliases:\n  ls: list -c ns\n").expect("read");
        assert_eq!(config.default_remote, "other");
        assert_eq!(config.aliases["ls"], "list -c ns");
    }

    #[test]
    fn empty_and_broken_files() {
        let mut config = Config::built_in();
        config.read("").expect("empty");
        config.read("remotes:\naliases:\n").expect("nulls");
        assert_eq!(config.default_remote, LOCAL);
        let error = config.read("a: [").expect_err("broken");
        assert!(error.to_string().starts_with("Unable to decode the configuration"), "{error}");
    }

    #[test]
    fn saving_keeps_the_rest() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("lxc/config.yml");
        let mut config = Config { path: Some(path.clone()), ..Config::built_in() };
        config.read("default-remote: local\nremotes:\n  work: {addr: \"https://x:8443\"}\n").expect("read");
        config.aliases.insert("ls".to_owned(), "list".to_owned());
        config.save_aliases().expect("save");
        let text = sys::fs::read_to_string(&path).expect("written");
        assert_eq!(text, "default-remote: local\nremotes:\n  work:\n    addr: https://x:8443\naliases:\n  ls: list\n");
    }

    #[test]
    fn servers_that_everybody_has() {
        let mut config = Config::built_in();
        assert_eq!(config.remotes.keys().collect::<Vec<_>>(), ["images", "local", "ubuntu", "ubuntu-daily"]);
        config.read("remotes:\n  local: {addr: \"https://evil\"}\n  other: {addr: \"unix:///run/x.socket\"}\n").expect("read");
        assert_eq!(config.remotes.keys().collect::<Vec<_>>(), ["local", "other", "ubuntu", "ubuntu-daily"]);
        assert_eq!(config.remote("local").expect("local").addr, "unix://");
        assert!(config.remote("none").is_err());
    }

    #[test]
    fn the_first_remote_of_old_is_read_as_what_it_is_now() {
        let mut config = Config::built_in();
        let remote = |name: &str| format!("  {name}: {{addr: \"https://images.linuxcontainers.org:8443\", public: true}}\n");
        config.read(&format!("remotes:\n{}{}", remote("images"), remote("mine"))).expect("read");
        let images = config.remote("images").expect("images");
        assert_eq!(
            (images.addr.as_str(), images.protocol(), images.public),
            ("https://images.linuxcontainers.org", remotes::SIMPLESTREAMS, true)
        );
        assert_eq!(config.remote("mine").expect("mine").protocol(), remotes::LXD, "what the user calls otherwise is the user's");
    }

    #[test]
    fn saving_remotes_keeps_what_is_not_known() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("config.yml");
        let mut config = Config { path: Some(path.clone()), ..Config::built_in() };
        config.read("remotes:\n  work: {addr: \"https://x:8443\", project: p}\nfuture: 1\n").expect("read");
        config.remotes.insert("two".to_owned(), Remote::lxd("https://y:8443", false));
        config.default_remote = "two".to_owned();
        config.save_remotes().expect("save");
        let text = sys::fs::read_to_string(&path).expect("written");
        let expected = "\
remotes:
  two:
    addr: https://y:8443
    public: false
    auth_type: tls
  work:
    addr: https://x:8443
    public: false
    project: p
future: 1
default-remote: two
";
        assert_eq!(text, expected);
    }
}
