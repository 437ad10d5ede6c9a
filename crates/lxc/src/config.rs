//! The user's `config.yml`: default server and command aliases.
//!
//! Other parts of the file are kept as they are when it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::yaml;

/// The name of the server on this host.
pub const LOCAL: &str = "local";

/// What `config.yml` says.
#[derive(Debug, Default)]
pub struct Config {
    path: Option<PathBuf>,
    /// The server of names without one.
    pub default_remote: String,
    /// Addresses of further servers by name.
    pub remotes: BTreeMap<String, Remote>,
    /// Command words to their replacement.
    pub aliases: BTreeMap<String, String>,
    document: Map<String, Value>,
}

/// A server.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Remote {
    /// Its URL.
    #[serde(default)]
    pub addr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Document {
    default_remote: Option<String>,
    remotes: Option<BTreeMap<String, Remote>>,
    aliases: Option<BTreeMap<String, String>>,
}

impl Config {
    /// The built-in configuration: this host, no aliases.
    pub fn built_in() -> Self {
        Self { default_remote: LOCAL.to_owned(), ..Self::default() }
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
        self.remotes = known.remotes.unwrap_or_default();
        self.aliases = known.aliases.unwrap_or_default();
        self.document = document;
        Ok(())
    }

    /// Writes the aliases back.
    pub fn save_aliases(&mut self) -> Result<()> {
        let path = self.path.as_ref().context("Neither LXD_CONF nor HOME is set: there is no place for the configuration")?;
        self.document.insert("aliases".to_owned(), serde_json::to_value(&self.aliases)?);
        if let Some(directory) = path.parent() {
            sys::fs::ensure_dir_all(directory, 0o750)?;
        }
        sys::fs::write_durable(path, yaml::emit(&Value::Object(self.document.clone())).as_bytes(), 0o600)?;
        Ok(())
    }

    /// The unix socket behind a server's name, `None` for the default one.
    pub fn socket(&self, remote: &str) -> Result<Option<PathBuf>> {
        if remote == LOCAL {
            return Ok(None);
        }
        let address = self.remotes.get(remote).map(|known| known.addr.as_str());
        let address =
            address.with_context(|| format!("The remote \"{remote}\" doesn't exist (`lxc remote list` shows those there are)"))?;
        let address = address.strip_prefix("unix:").with_context(|| {
            format!("The remote \"{remote}\" is at {address}: only servers on this host, at unix: addresses, can be reached so far")
        })?;
        let path = address.strip_prefix("//").unwrap_or(address);
        Ok((!path.is_empty()).then(|| PathBuf::from(path)))
    }
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
    fn remotes_by_socket() {
        let mut config = Config::built_in();
        config.read("remotes:\n  other: {addr: \"unix:///run/x.socket\"}\n  far: {addr: \"https://x\"}\n").expect("read");
        assert_eq!(config.socket("local").expect("local"), None);
        assert_eq!(config.socket("other").expect("other"), Some(PathBuf::from("/run/x.socket")));
        assert_eq!(
            config.socket("far").expect_err("https").to_string(),
            "The remote \"far\" is at https://x: only servers on this host, at unix: addresses, can be reached so far"
        );
        assert!(config.socket("none").is_err());
    }
}
