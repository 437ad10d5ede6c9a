//! What arguments say of a volume: its pool, its type, its name, and a snapshot of it.

use anyhow::{Result, bail};
use client::{Client, path};

use crate::app::App;
use crate::names::split_snapshot;

/// The type of the volumes that users make.
pub const CUSTOM: &str = "custom";
/// What is done to keys of volumes.
pub const CONFIGURED: &str = "configured";
/// Types that may stand before a volume's name.
const KINDS: &[&str] = &[CUSTOM, "container", "image", "virtual-machine"];

/// A volume, or a snapshot of one.
#[derive(Debug)]
pub struct Place {
    /// The server.
    pub client: Client,
    /// The remote's name.
    pub remote: String,
    /// The pool.
    pub pool: String,
    /// The type: `custom`, `container`, `image`.
    pub kind: String,
    /// The volume.
    pub volume: String,
    /// The snapshot, where one is meant.
    pub snapshot: Option<String>,
}

impl Place {
    /// From `[REMOTE:]POOL` and `[TYPE/]VOLUME[/SNAPSHOT]`.
    pub fn of(app: &App, pool: &str, volume: &str) -> Result<Self> {
        let target = app.target(pool)?;
        if let Some((pool, rest)) = target.name.split_once('/') {
            bail!("\"{}\" is not the name of a pool, which has no slash (pool and volume are two words here: {pool} {rest})", target.name);
        }
        let (client, pool) = app.resolve_named(pool, "Pool")?;
        Self::new(app, (client, target.remote), pool, volume)
    }

    /// From `[REMOTE:]POOL/[TYPE/]VOLUME[/SNAPSHOT]`, one word.
    pub fn of_word(app: &App, word: &str) -> Result<Self> {
        let target = app.target(word)?;
        let Some((pool, volume)) = target.name.split_once('/').filter(|(pool, volume)| !pool.is_empty() && !volume.is_empty()) else {
            bail!("Invalid volume {word} (it has the form POOL/VOLUME, such as default/data)");
        };
        app.note("Pool", pool);
        Self::new(app, (app.client(&target.remote)?, target.remote), pool.to_owned(), volume)
    }

    fn new(app: &App, (client, remote): (Client, String), pool: String, volume: &str) -> Result<Self> {
        let (kind, name, snapshot) = parse(volume)?;
        let place = Self { client, remote, pool, kind: kind.to_owned(), volume: name.to_owned(), snapshot: snapshot.map(str::to_owned) };
        app.note_listed("Volume", &format!("{}/{}", place.pool, place.volume), &format!("lxc storage volume list {}", place.pool));
        if let Some(snapshot) = &place.snapshot {
            let list = format!("lxc storage volume info {} {}", place.pool, place.volume);
            app.note_listed("Snapshot", &format!("{}/{}/{snapshot}", place.pool, place.volume), &list);
        }
        Ok(place)
    }

    /// Path of the volume, or of the snapshot that is meant.
    pub fn path(&self) -> String {
        match &self.snapshot {
            Some(snapshot) => self.below(&["snapshots", snapshot]),
            None => self.below(&[]),
        }
    }

    /// Path of something that belongs to the volume.
    pub fn below(&self, rest: &[&str]) -> String {
        path(&[&["storage-pools", &self.pool, "volumes", &self.kind, &self.volume], rest].concat())
    }

    /// `VOLUME` or `VOLUME/SNAPSHOT`.
    pub fn title(&self) -> String {
        match &self.snapshot {
            Some(snapshot) => format!("{}/{snapshot}", self.volume),
            None => self.volume.clone(),
        }
    }

    /// Refuses volumes that belong to containers and images; `verb` says what is not done to them.
    pub fn ensure_custom(&self, verb: &str) -> Result<()> {
        match self.kind.as_str() {
            CUSTOM => Ok(()),
            "container" | "virtual-machine" => bail!(
                "Storage volume '{}/{}' can't be {verb}: it is the container's ({})",
                self.kind,
                self.volume,
                if verb == CONFIGURED { "its root disk has the keys: `lxc config device`" } else { "it comes and goes with that" }
            ),
            kind => bail!("Storage volume '{kind}/{}' can't be {verb}: it comes and goes with the {kind}", self.volume),
        }
    }

    /// Refuses a snapshot where the volume itself is needed; `instead` is a sentence that begins small.
    pub fn ensure_whole(&self, instead: &str) -> Result<()> {
        match &self.snapshot {
            Some(_) => bail!("\"{}\" is a snapshot: {instead}", self.title()),
            None => Ok(()),
        }
    }
}

/// Type, name and snapshot in `[TYPE/]VOLUME[/SNAPSHOT]`.
fn parse(text: &str) -> Result<(&str, &str, Option<&str>)> {
    let (kind, rest) = match text.split_once('/') {
        Some((kind, rest)) if KINDS.contains(&kind) => (kind, rest),
        _ => (CUSTOM, text),
    };
    let (volume, snapshot) = split_snapshot(rest);
    if volume.is_empty() || snapshot.is_some_and(str::is_empty) {
        bail!("Volume name is mandatory (\"{text}\" has none; it has the form VOLUME, or VOLUME/SNAPSHOT)");
    }
    Ok((kind, volume, snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes() {
        let cases = [
            ("data", (CUSTOM, "data", None)),
            ("data/snap0", (CUSTOM, "data", Some("snap0"))),
            ("custom/data", (CUSTOM, "data", None)),
            ("custom/data/snap0", (CUSTOM, "data", Some("snap0"))),
            ("container/c1", ("container", "c1", None)),
            ("container", (CUSTOM, "container", None)),
            ("custom/container/s", (CUSTOM, "container", Some("s"))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).expect(text), expected, "{text}");
        }
        for text in ["", "/", "custom/", "/x", "data/"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
