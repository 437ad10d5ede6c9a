//! Confinement by AppArmor: one profile for each container, loaded while it runs.
//!
//! Init and every command of `exec` change into it as they are executed. Where the host has no AppArmor, or
//! this daemon is confined itself, containers run without: unprivileged ones do not depend on it.

mod profile;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::cmd::{Cmd, CmdError};

pub use profile::Rules;

use crate::error::{Error, Result};

const PARSER: &str = "apparmor_parser";
const PACKAGE: &str = "apparmor";
/// The kernel's side of it.
const KERNEL: &str = "/sys/kernel/security/apparmor";
/// The longest name of a profile, bytes: it is also a file's.
const MAX_NAME_BYTES: usize = 230;
/// How long the parser may take for one profile.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is needed to confine containers.
#[derive(Clone, Debug)]
pub struct AppArmor {
    /// Profiles as text, below `profiles`, and as the parser compiled them, below `cache`.
    dir: PathBuf,
    /// Tells this daemon's profiles from another's.
    owner: String,
}

impl AppArmor {
    /// Finds out whether containers can be confined, or why not. `dir` is made; `owner` is part of the names.
    pub fn find(dir: Option<&Path>, owner: &Path) -> std::result::Result<Self, String> {
        let Some(dir) = dir else { return Err("switched off by LXD_SECURITY_APPARMOR=false".into()) };
        let is_on = sys::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
        if !is_on {
            return Err("the kernel has no AppArmor, or it is off".into());
        }
        if !sys::fs::exists(Path::new(KERNEL).join(".remove")) {
            return Err(format!("`{KERNEL}` is not there: mount securityfs on /sys/kernel/security"));
        }
        if !sys::process::has_all_ids() {
            return Err("this daemon is in a user namespace".into());
        }
        let own = current_profile().unwrap_or_default();
        if own != "unconfined" {
            return Err(format!("this daemon is confined itself, by `{own}`, and so are containers"));
        }
        if !Cmd::is_installed(PARSER) {
            return Err(format!("the program `{PARSER}` is not installed (Debian package `{PACKAGE}`)"));
        }
        for name in ["profiles", "cache"] {
            sys::fs::ensure_dir_all(dir.join(name), 0o700).map_err(|error| error.to_string())?;
        }
        Ok(Self { dir: dir.to_owned(), owner: printable(&owner.to_string_lossy()) })
    }

    /// Name of a container's profile.
    pub fn name(&self, container: &str) -> String {
        let name = format!("lxd-{container}_<{}>", self.owner);
        name.chars().take(MAX_NAME_BYTES).collect()
    }

    /// Says in the parser's words what is wrong with rules.
    pub fn check(&self, container: &str, rules: Rules<'_>) -> Result<()> {
        let name = self.name(container);
        let text = profile::profile(&name, rules);
        let parser =
            |flags: &[&str]| Cmd::new(PARSER, PACKAGE).args(flags.iter().copied()).stdin_bytes(text.clone()).deadline(PATIENCE).run();
        let names = parser(&["--names"]).map_err(refused)?.stdout;
        // A brace in the rules must not end the profile and begin another.
        if let Some(other) = String::from_utf8_lossy(&names).lines().find(|line| !is_part_of(line, &name)) {
            return Err(Error::Invalid(format!(
                "raw.apparmor: the rules define a profile of their own, `{other}`; they can only add to the container's"
            )));
        }
        parser(&["--skip-kernel-load", "--skip-cache", "--quiet"]).map(drop).map_err(refused)
    }

    /// Writes the profile and loads it, in place of an earlier one, which holds for what runs already. Returns its name.
    pub fn load(&self, container: &str, rules: Rules<'_>) -> Result<String> {
        let name = self.name(container);
        let (path, text) = (self.path(container), profile::profile(&name, rules));
        // What the parser compiled counts as long as the text is not younger.
        if sys::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            sys::fs::write_atomic(&path, text.as_bytes(), 0o600)?;
        }
        let cache = self.dir.join("cache");
        let parser = Cmd::new(PARSER, PACKAGE).args(["--replace", "--write-cache", "--quiet", "--cache-loc"]);
        let loaded = parser.arg(cache.into_os_string()).arg(path.into_os_string()).deadline(PATIENCE).run();
        loaded.map(|_| name).map_err(|error| Error::step("load the AppArmor profile", error))
    }

    /// Takes the profile out of the kernel; absent is fine.
    pub fn unload(&self, container: &str) {
        match sys::fs::write_kernel(Path::new(KERNEL).join(".remove"), &self.name(container)) {
            Err(error) if !error.is_not_found() => tracing::warn!(container, %error, "the AppArmor profile could not be removed"),
            _ => {}
        }
    }

    /// Removes what is kept of the profile.
    pub fn forget(&self, container: &str) {
        let file = file_name(container);
        let caches = sys::fs::list_dir(self.dir.join("cache")).unwrap_or_default();
        let compiled = caches.into_iter().map(|cache| self.dir.join("cache").join(cache).join(&file));
        for path in compiled.chain([self.path(container)]) {
            match sys::fs::remove_file(&path) {
                Err(error) if !error.is_not_found() => tracing::warn!(container, %error, "the AppArmor profile could not be removed"),
                _ => {}
            }
        }
    }

    fn path(&self, container: &str) -> PathBuf {
        self.dir.join("profiles").join(file_name(container))
    }
}

fn file_name(container: &str) -> String {
    format!("lxd-{container}")
}

/// Lets the next program that this process, or a child that it forks, executes be confined. To be called while
/// `/proc` is the host's.
pub(crate) fn confine_next_exec(profile: &str) -> Result<()> {
    Ok(sys::fs::write_kernel(attribute("exec"), &format!("exec {profile}"))?)
}

fn current_profile() -> Option<String> {
    let text = sys::fs::read_to_string(attribute("current")).ok()?;
    Some(text.trim_end_matches(['\n', '\0']).to_owned())
}

/// Apart from those of other security modules, where the kernel (since 5.8) has them apart.
fn attribute(name: &str) -> PathBuf {
    let own = Path::new("/proc/self/attr/apparmor").join(name);
    if sys::fs::exists(&own) { own } else { Path::new("/proc/self/attr").join(name) }
}

/// A line of the parser's list: the profile, or one within it.
fn is_part_of(line: &str, name: &str) -> bool {
    line == name || line.strip_prefix(name).is_some_and(|rest| rest.starts_with("//"))
}

/// Without what has a meaning in a profile's text.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "/._-".contains(c) { c } else { '_' }).collect()
}

fn refused(error: CmdError) -> Error {
    match error {
        CmdError::Failed { stderr, .. } => Error::Invalid(format!("raw.apparmor: {}", stderr.trim())),
        other => Error::step("load the AppArmor profile", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let apparmor = AppArmor { dir: "/d".into(), owner: printable("/var/lib/my \"lxd\"") };
        assert_eq!(apparmor.name("c1"), "lxd-c1_</var/lib/my__lxd_>");
        assert!(is_part_of("lxd-c1_<x>//inner", "lxd-c1_<x>"));
        assert!(!is_part_of("lxd-c1_<x>2", "lxd-c1_<x>") && !is_part_of("other", "lxd-c1_<x>"));
    }
}
