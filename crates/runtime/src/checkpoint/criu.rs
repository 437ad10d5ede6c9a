//! The program CRIU: where it is, what it can do, and the flags of every run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sys::cmd::Cmd;

use crate::error::{Error, Result};

/// Where set-up puts a newer CRIU than the distribution's.
const OWN_PLACE: &str = "/usr/local/libexec/lxd-criu/criu";
/// The first version that knows what today's kernels do (a third page of the vDSO, options of netlink sockets).
const LEAST: (u32, u32) = (4, 2);
/// What to do about a missing or old one.
const REMEDY: &str = "install CRIU 4.2 or newer: the package `criu` of a recent distribution, or scripts/setup.sh run of this project";
/// Dumping and restoring gigabytes takes a while.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1800);

/// Prefix of what comes from outside the container.
pub(crate) const EXTERNAL: &str = "--external";

/// An installed CRIU that is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criu {
    path: PathBuf,
    version: String,
}

impl Criu {
    /// Looks for one: our own place first, then PATH.
    pub fn find() -> Result<Self> {
        let mut old = None;
        for path in Self::candidates() {
            match version_of(&path) {
                Ok(version) if parse(&version).is_some_and(|version| version >= LEAST) => return Ok(Self { path, version }),
                Ok(version) => old = Some(format!("CRIU {version} (`{}`) is too old", path.display())),
                Err(error) => old = Some(format!("`{}` does not work: {error}", path.display())),
            }
        }
        let what = old.unwrap_or_else(|| "CRIU is not installed".into());
        Err(Error::Unsupported { what, remedy: REMEDY.into() })
    }

    /// The files that [`Self::find`] runs, in that order: while these stay the same, so does its answer.
    pub fn candidates() -> Vec<PathBuf> {
        let places = [Some(PathBuf::from(OWN_PLACE)), sys::cmd::find_in_path("criu")];
        places.into_iter().flatten().filter(|path| path.is_file()).collect()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, `4.2.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether CRIU can learn from this kernel which pages were written since it last looked.
    pub(crate) fn tracks_memory(&self) -> bool {
        // The kernel stays the same for as long as this runs.
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| Self::command(&self.path, "check").args(["--feature", "mem_dirty_track"]).run().is_ok())
    }

    /// By path, as the monitor gets it.
    pub(crate) fn command(path: &Path, action: &'static str) -> Cmd {
        Cmd::at(path, "criu", "criu").arg(action).deadline(PATIENCE)
    }
}

fn version_of(path: &Path) -> Result<String> {
    let output = Cmd::at(path, "criu", "criu").arg("--version").deadline(Duration::from_secs(10)).run();
    let output = output.map_err(|error| Error::step("ask CRIU for its version", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version:")).map(|version| version.trim().to_owned());
    version.ok_or_else(|| Error::step("ask CRIU for its version", format_args!("it said `{}`", text.trim())))
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next().unwrap_or("0").parse().ok()?))
}

/// Arguments of a run.
#[derive(Debug, Default)]
pub(crate) struct Flags(pub Vec<OsString>);

impl Flags {
    /// What dump and restore have in common.
    pub fn common(images: &Path, work: &Path, log: &str, cgroup_root: &Path) -> Self {
        let mut flags = Self::default();
        flags.pair("--images-dir", images);
        flags.pair("--work-dir", work);
        flags.pair("--log-file", log);
        flags.pair("--cgroup-root", cgroup_root);
        // Established connections go on; the network is shut for the time between by the tool that is there anyway.
        flags.pair("--network-lock", "nftables");
        // Warnings and errors. With all that it could tell, a line for every mapping and every message to its helper in
        // each process, a guest would stand still for a tenth longer.
        flags.add([if tracing::enabled!(tracing::Level::DEBUG) { "-v4" } else { "-v2" }]);
        // `soft`: groups that are there keep their limits, those of the guest's own get them back.
        flags.add(["--tcp-established", "--file-locks", "--link-remap", "--manage-cgroups=soft"]);
        flags
    }

    pub fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    pub fn add<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        self.0.extend(words.into_iter().map(OsString::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse("4.2.1"), Some((4, 2)));
        assert_eq!(parse("5"), Some((5, 0)));
        assert!(parse("4.1.1") < Some(LEAST) && parse("3.17.1") < Some(LEAST) && parse("4.10") > Some(LEAST));
        assert_eq!(parse("nonsense"), None);
    }
}
