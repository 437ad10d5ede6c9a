//! What can be asked for: names of recipes and packages. Pure.

use crate::{Error, Result};

/// A distribution that can be built from its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// A tiny image from a static busybox.
    Busybox,
    /// A distribution's release.
    Distribution {
        /// Whose packages.
        distribution: Distribution,
        /// Code name, as in the archive.
        suite: String,
        /// Number, where there is one.
        version: Option<String>,
    },
}

/// Code names by number.
const DEBIAN: &[(&str, &str)] = &[("10", "buster"), ("11", "bullseye"), ("12", "bookworm"), ("13", "trixie"), ("14", "forky")];
const UBUNTU: &[(&str, &str)] = &[("20.04", "focal"), ("22.04", "jammy"), ("24.04", "noble"), ("25.10", "questing"), ("26.04", "resolute")];
/// The longest name of a release or package.
const MAX_NAME_BYTES: usize = 100;
/// The most additional packages.
const MAX_PACKAGES: usize = 500;

impl Distribution {
    /// As in `os-release` and in recipes.
    pub(super) fn id(self) -> &'static str {
        match self {
            Distribution::Debian => "debian",
            Distribution::Ubuntu => "ubuntu",
        }
    }

    /// As people write it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Distribution::Debian => "Debian",
            Distribution::Ubuntu => "Ubuntu",
        }
    }

    fn releases(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Distribution::Debian => DEBIAN,
            Distribution::Ubuntu => UBUNTU,
        }
    }
}

impl Recipe {
    /// Parses `busybox` or `DISTRIBUTION/RELEASE`, where the release is a number or a code name.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::Recipe { recipe: text.chars().take(MAX_NAME_BYTES).collect(), reason: reason.to_owned() };
        if text == "busybox" {
            return Ok(Recipe::Busybox);
        }
        let (distribution, release) = match text.split_once('/') {
            Some(("debian", release)) => (Distribution::Debian, release),
            Some(("ubuntu", release)) => (Distribution::Ubuntu, release),
            _ => return Err(bad("it must be `busybox` or a distribution and a release such as `debian/12`")),
        };
        let plain = !release.is_empty()
            && release.len() <= MAX_NAME_BYTES
            && release.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.');
        if !plain {
            return Err(bad("the release must be a number or a code name"));
        }
        let known = distribution.releases().iter().find(|(version, suite)| release == *version || release == *suite);
        match known {
            Some((version, suite)) => {
                Ok(Recipe::Distribution { distribution, suite: (*suite).to_owned(), version: Some((*version).to_owned()) })
            }
            None if release.starts_with(|c: char| c.is_ascii_lowercase()) => {
                Ok(Recipe::Distribution { distribution, suite: release.to_owned(), version: None })
            }
            None => {
                let numbers: Vec<&str> = distribution.releases().iter().map(|(version, _)| *version).collect();
                Err(bad(&format!("no release has that number; known are {}, others by their code names", numbers.join(", "))))
            }
        }
    }

    /// Names for the image.
    pub fn aliases(&self) -> Vec<String> {
        match self {
            Recipe::Busybox => vec!["busybox".to_owned()],
            Recipe::Distribution { distribution, suite, version } => {
                version.iter().chain([suite]).map(|release| format!("{}/{release}", distribution.id())).collect()
            }
        }
    }
}

/// Checks names of packages before anything is run: they become arguments.
pub(super) fn check_packages(recipe: &str, parsed: &Recipe, packages: &[String]) -> Result<()> {
    let bad = |reason: String| Err(Error::Recipe { recipe: recipe.to_owned(), reason });
    if *parsed == Recipe::Busybox && !packages.is_empty() {
        return bad("it takes no packages".to_owned());
    }
    if packages.len() > MAX_PACKAGES {
        return bad(format!("more than {MAX_PACKAGES} packages"));
    }
    for package in packages {
        let starts = package.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let plain = package.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
        if !starts || !plain || package.len() > MAX_NAME_BYTES {
            let shown: String = package.chars().take(MAX_NAME_BYTES).map(|c| if c.is_control() { ' ' } else { c }).collect();
            return bad(format!("`{shown}` is not the name of a package"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_code_names_are_the_same() {
        let recipe = Recipe::parse("debian/12").expect("known");
        assert_eq!(recipe, Recipe::parse("debian/bookworm").expect("known"));
        assert_eq!(recipe.aliases(), ["debian/12", "debian/bookworm"]);
        assert_eq!(Recipe::parse("debian/sid").expect("passed on").aliases(), ["debian/sid"]);
        assert_eq!(Recipe::parse("ubuntu/24.04").expect("known").aliases(), ["ubuntu/24.04", "ubuntu/noble"]);
        assert_eq!(Recipe::parse("busybox").expect("known").aliases(), ["busybox"]);
    }

    #[test]
    fn nothing_else_passes() {
        for text in [
            "",
            "debian",
            "debian/",
            "debian/99",
            "debian/../etc",
            "debian/-x",
            "debian/Bookworm",
            "debian/a b",
            "fedora/40",
            "busybox/1",
            "debian/12\n",
        ] {
            assert!(Recipe::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn package_names_cannot_be_options_or_lists() {
        let recipe = Recipe::parse("debian/12").expect("known");
        let check = |name: &str| check_packages("debian/12", &recipe, &[name.to_owned()]);
        for name in ["openssh-server", "g++", "libstdc++6", "0ad", "python3.11"] {
            check(name).expect("accepted");
        }
        for name in ["", "-x", "--hook=rm", "a,b", "a b", "?essential", "a/b", "a=1", "A", "a\n", "~n."] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check_packages("busybox", &Recipe::Busybox, &["vim".to_owned()]).is_err());
    }
}
