//! Names on the command line: `[REMOTE:]NAME`, `INSTANCE/SNAPSHOT`, `INSTANCE/PATH`.

use anyhow::{Result, bail};

/// A name on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server; the default one if none was given.
    pub remote: String,
    /// What follows the colon; empty for the server itself.
    pub name: String,
    /// Whether a server was named.
    pub is_explicit: bool,
}

/// Splits off the server. A colon after a slash belongs to the name (`c1/snap:1`).
pub fn parse(text: &str, default_remote: &str) -> Target {
    match text.split_once(':') {
        Some((remote, name)) if !remote.contains('/') => Target { remote: remote.to_owned(), name: name.to_owned(), is_explicit: true },
        _ => Target { remote: default_remote.to_owned(), name: text.to_owned(), is_explicit: false },
    }
}

/// `INSTANCE/SNAPSHOT` or `INSTANCE`.
pub fn split_snapshot(name: &str) -> (&str, Option<&str>) {
    match name.split_once('/') {
        Some((instance, snapshot)) => (instance, Some(snapshot)),
        None => (name, None),
    }
}

/// `INSTANCE/PATH`: the instance and an absolute path in it.
pub fn split_path(name: &str) -> Option<(&str, String)> {
    let (instance, path) = name.split_once('/')?;
    (!instance.is_empty()).then(|| (instance, format!("/{path}")))
}

/// The last component of a path in an instance; empty for the root.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

/// A directory and a name in it as one path.
pub fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

/// Refuses a name from a server that is not a plain file name: what is written on this side
/// must never depend on the other side's honesty.
pub fn check_file_name(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        bail!("The server named a file {name:?}, which is not a file name");
    }
    Ok(())
}

/// The last part of a URL such as `/1.0/instances/c1?project=default`.
pub fn from_url(url: &str) -> &str {
    let path = url.split('?').next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes() {
        let target = |remote: &str, name: &str, is_explicit| Target { remote: remote.to_owned(), name: name.to_owned(), is_explicit };
        assert_eq!(parse("c1", "local"), target("local", "c1", false));
        assert_eq!(parse("r:c1/s", "local"), target("r", "c1/s", true));
        assert_eq!(parse("r:", "local"), target("r", "", true));
        assert_eq!(parse("c1/snap:1", "local"), target("local", "c1/snap:1", false));
        assert_eq!(parse("", "local"), target("local", "", false));
    }

    #[test]
    fn snapshots_and_paths() {
        assert_eq!(split_snapshot("c1/s/x"), ("c1", Some("s/x")));
        assert_eq!(split_snapshot("c1"), ("c1", None));
        assert_eq!(split_path("c1/etc/hosts"), Some(("c1", "/etc/hosts".to_owned())));
        assert_eq!(split_path("c1/"), Some(("c1", "/".to_owned())));
        assert_eq!(split_path("c1"), None);
        assert_eq!(split_path("/etc"), None);
        assert_eq!(base_name("/etc/hosts/"), "hosts");
        assert_eq!(join("/etc/", "x"), "/etc/x");
    }

    #[test]
    fn names_from_servers() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        assert!(check_file_name("...").is_ok());
    }
}
