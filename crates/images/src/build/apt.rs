//! This machine's apt sources, from which mirror and keys of an image come.
//!
//! Both formats of sources.list(5): one line each, and deb822. Nothing here names a host.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

use super::recipe::Distribution;

/// Where apt keeps its configuration.
const APT_DIR: &str = "/etc/apt";

/// One source of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) suite: String,
    pub(super) components: Vec<String>,
    /// Files with keys, absolute.
    pub(super) keyrings: Vec<PathBuf>,
    /// A key in the source itself.
    pub(super) key: Option<String>,
    pub(super) trusted: bool,
}

/// The machine's own release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// `ID` of os-release.
    pub(super) id: String,
    /// Its code name.
    pub(super) suite: String,
}

impl Host {
    /// Reads os-release(5).
    pub(super) fn read() -> Result<Self> {
        Ok(Self::parse(&sys::fs::read_to_string("/etc/os-release")?))
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        Self { id: value("ID"), suite: value("VERSION_CODENAME") }
    }
}

/// All enabled binary sources.
pub(super) fn read_sources() -> Result<Vec<Source>> {
    let apt = Path::new(APT_DIR);
    let mut sources = Vec::new();
    let main = apt.join("sources.list");
    if sys::fs::exists(&main) {
        sources.extend(parse_lines(&sys::fs::read_to_string(&main)?));
    }
    let parts = apt.join("sources.list.d");
    let names = if sys::fs::exists(&parts) { sys::fs::list_dir(&parts)? } else { Vec::new() };
    for name in names {
        if name.ends_with(".list") {
            sources.extend(parse_lines(&sys::fs::read_to_string(parts.join(&name))?));
        } else if name.ends_with(".sources") {
            sources.extend(parse_deb822(&sys::fs::read_to_string(parts.join(&name))?));
        }
    }
    for source in &mut sources {
        resolve_mirror_list(source)?;
    }
    Ok(sources)
}

/// Machines in clouds name a file with mirrors: its first one is taken, see apt-transport-mirror(1).
fn resolve_mirror_list(source: &mut Source) -> Result<()> {
    if let Some(path) = source.uri.strip_prefix("mirror+file:") {
        let list = sys::fs::read_to_string(Path::new("/").join(path.trim_start_matches('/')))?;
        source.uri = first_mirror(&list).unwrap_or_default().to_owned();
    }
    Ok(())
}

fn first_mirror(list: &str) -> Option<&str> {
    let uris = list.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    uris.filter(|uri| uri.starts_with("http")).find(|uri| uri.contains("://"))
}

/// `deb [option=value ...] URI SUITE COMPONENT...`
fn parse_lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim_start) else { continue };
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let option = |name: &str| options.split_whitespace().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        sources.push(Source {
            uri,
            suite,
            components: words.collect(),
            keyrings: keyrings(option("signed-by").unwrap_or_default()),
            key: None,
            trusted: option("trusted") == Some("yes"),
        });
    }
    sources
}

/// Stanzas of `Field: value`, lines that begin with a space going on with the value.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza {
            if let Some((_, value)) = fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                value.push('\n');
                value.push_str(line.trim());
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        if !field("types").split_whitespace().any(|kind| kind == "deb") || field("enabled").eq_ignore_ascii_case("no") {
            continue;
        }
        let signed_by = field("signed-by");
        let key = signed_by.contains("BEGIN PGP").then(|| embedded_key(signed_by));
        for suite in field("suites").split_whitespace() {
            sources.push(Source {
                // The others are the same archive elsewhere.
                uri: field("uris").split_whitespace().next().unwrap_or_default().to_owned(),
                suite: suite.to_owned(),
                components: field("components").split_whitespace().map(str::to_owned).collect(),
                keyrings: if key.is_some() { Vec::new() } else { keyrings(signed_by) },
                key: key.clone(),
                trusted: field("trusted").eq_ignore_ascii_case("yes"),
            });
        }
    }
    sources
}

/// An empty line of an embedded key is written as a dot.
fn embedded_key(value: &str) -> String {
    let lines = value.lines().map(|line| if line == "." { "" } else { line }).skip_while(|line| line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

fn keyrings(value: &str) -> Vec<PathBuf> {
    value.split([',', ' ', '\n', '\t']).filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

/// The archive's parts that an image needs, in the order in which they are looked for.
const POCKETS: &[&str] = &["", "-updates", "-security", "/updates"];

/// The sources for a release: those that name it, or the machine's own with another release.
pub(super) fn select(sources: &[Source], host: &Host, distribution: Distribution, suite: &str) -> Result<Vec<Source>> {
    let own = host.id == distribution.id();
    let mut selected = of_suite(sources, distribution, suite, own);
    if !selected.iter().any(|source| source.suite == suite) && own {
        selected = of_suite(sources, distribution, &host.suite, true);
        for source in &mut selected {
            let pocket = source.suite.strip_prefix(host.suite.as_str()).unwrap_or_default();
            source.suite = format!("{suite}{}", pocket_of(suite, pocket));
            // Components come and go between releases; these are in all of them.
            source.components.retain(|component| component == "main" || component == "universe");
        }
        // What is always moving has neither updates nor security support.
        selected.retain(|source| source.suite == suite || !matches!(suite, "sid" | "unstable" | "testing"));
    }
    if !selected.iter().any(|source| source.suite == suite) {
        let reason = format!(
            "the apt sources of this machine ({APT_DIR}) have no mirror of {} for {suite}; add a source for it there",
            distribution.title()
        );
        return Err(Error::Recipe { recipe: format!("{}/{suite}", distribution.id()), reason });
    }
    Ok(selected)
}

/// Security updates lay elsewhere before Debian 11.
fn pocket_of(suite: &str, pocket: &str) -> String {
    let old = matches!(suite, "buster" | "stretch" | "jessie");
    match pocket {
        "-security" if old => "/updates".to_owned(),
        "/updates" if !old => "-security".to_owned(),
        other => other.to_owned(),
    }
}

/// Sources of the distribution itself: vendors use its code names too, but neither its
/// component `main` nor its directory together.
fn of_suite(sources: &[Source], distribution: Distribution, suite: &str, own: bool) -> Vec<Source> {
    let named: Vec<&Source> = sources
        .iter()
        .filter(|source| source.suite.strip_prefix(suite).is_some_and(|pocket| POCKETS.contains(&pocket)))
        .filter(|source| source.components.iter().any(|component| component == "main"))
        .filter(|source| source.uri.starts_with("http://") || source.uri.starts_with("https://"))
        .collect();
    let in_its_directory = |source: &&&Source| {
        let last = source.uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        last.starts_with(distribution.id())
    };
    let certain: Vec<Source> = named.iter().filter(in_its_directory).map(|source| (*source).clone()).collect();
    if certain.is_empty() && own { named.into_iter().cloned().collect() } else { certain }
}

impl Source {
    /// As a line of sources.list, with `keyring` for its keys.
    pub(super) fn line(&self, keyrings: &[PathBuf]) -> String {
        let mut options = Vec::new();
        if !keyrings.is_empty() {
            let paths: Vec<String> = keyrings.iter().map(|path| path.display().to_string()).collect();
            options.push(format!("signed-by={}", paths.join(",")));
        }
        if self.trusted {
            options.push("trusted=yes".to_owned());
        }
        let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
        format!("deb {options}{} {} {}", self.uri, self.suite, self.components.join(" "))
    }
}

/// Settings of this machine's apt without which its mirror cannot be reached.
const NEEDED: &[&str] = &["Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::https::CaInfo", "Acquire::https::CAInfo"];

/// Those that are set, as `apt.conf` lines; from `apt-config dump`.
pub(super) fn needed_settings(dump: &str) -> Vec<String> {
    let is_needed = |line: &&str| {
        let (name, value) = line.split_once(' ').unwrap_or_default();
        let set = value != "\"\";" && value.starts_with('"') && value.ends_with("\";");
        set && NEEDED.iter().any(|needed| name == *needed || name.strip_prefix(needed).is_some_and(|rest| rest.starts_with("::")))
    };
    dump.lines().filter(is_needed).map(|line| line.trim_end_matches(';').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "
# a comment
deb http://mirror.test/debian/ bookworm main contrib # more
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/debian bookworm-updates main
deb http://mirror.test/debian-security bookworm-security main
deb-src http://mirror.test/debian bookworm main
deb [trusted=yes] https://vendor.test/linux/debian bookworm stable
deb https://vendor.test/apt bookworm main
";

    const DEB822: &str = "
Types: deb deb-src
URIs: http://mirror.test/debian http://second.test/debian
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# Types: deb
Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://mirror.test/ubuntu
Suites: noble noble-security
Components: main universe
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
";

    fn host() -> Host {
        Host::parse("NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n")
    }

    #[test]
    fn lines_and_stanzas_are_read() {
        let lines = parse_lines(LINES);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0].components, ["main", "contrib"]);
        assert_eq!(lines[1].keyrings, [PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg")]);
        assert!(lines[3].trusted);
        let stanzas = parse_deb822(DEB822);
        assert_eq!(
            stanzas.iter().map(|source| source.suite.as_str()).collect::<Vec<_>>(),
            ["bookworm", "bookworm-updates", "noble", "noble-security"]
        );
        assert_eq!(stanzas[0].components, ["main", "contrib"]);
        assert_eq!(stanzas[0].uri, "http://mirror.test/debian");
        let key = stanzas[2].key.as_deref().expect("embedded");
        assert!(key.starts_with("-----BEGIN") && key.contains("\n\nabc\n"), "{key}");
    }

    #[test]
    fn own_release_comes_with_updates_and_without_vendors() {
        let selected = select(&parse_lines(LINES), &host(), Distribution::Debian, "bookworm").expect("there");
        let suites: Vec<&str> = selected.iter().map(|source| source.suite.as_str()).collect();
        assert_eq!(suites, ["bookworm", "bookworm-updates", "bookworm-security"]);
        assert!(selected.iter().all(|source| source.uri.starts_with("http://mirror.test/")));
    }

    #[test]
    fn other_releases_come_from_the_same_mirror() {
        let suites = |suite: &str| {
            let selected = select(&parse_lines(LINES), &host(), Distribution::Debian, suite).expect("derived");
            assert!(selected.iter().all(|source| source.components == ["main"]));
            selected.into_iter().map(|source| source.suite).collect::<Vec<_>>()
        };
        assert_eq!(suites("trixie"), ["trixie", "trixie-updates", "trixie-security"]);
        assert_eq!(suites("buster"), ["buster", "buster-updates", "buster/updates"]);
        assert_eq!(suites("sid"), ["sid"]);
    }

    #[test]
    fn another_distribution_needs_a_source_of_its_own() {
        let error = select(&parse_lines(LINES), &host(), Distribution::Ubuntu, "noble").expect_err("none").to_string();
        assert!(error.contains("no mirror"), "{error}");
        let selected = select(&parse_deb822(DEB822), &host(), Distribution::Ubuntu, "noble").expect("there");
        assert_eq!(selected.len(), 2);
    }

    #[test]
    fn mirror_lists_name_a_mirror() {
        assert_eq!(first_mirror("# list\n\nhttps://a.test/debian priority:1\nhttp://b.test/debian\n"), Some("https://a.test/debian"));
        assert_eq!(first_mirror("ftp://a.test\n"), None);
        let file = tempfile::NamedTempFile::new().expect("file");
        sys::fs::write(file.path(), "http://c.test/debian\n").expect("write");
        for slashes in ["", "//"] {
            let mut source = Source { uri: format!("mirror+file:{slashes}{}", file.path().display()), ..Source::default() };
            resolve_mirror_list(&mut source).expect("read");
            assert_eq!(source.uri, "http://c.test/debian");
        }
    }

    #[test]
    fn lines_for_the_image() {
        let source = Source {
            uri: "http://mirror.test/debian".into(),
            suite: "sid".into(),
            components: vec!["main".into()],
            trusted: true,
            ..Source::default()
        };
        assert_eq!(source.line(&["/k.gpg".into()]), "deb [signed-by=/k.gpg trusted=yes] http://mirror.test/debian sid main");
    }

    #[test]
    fn only_settings_for_reaching_the_mirror_are_taken() {
        let dump = "Acquire::http \"\";\nAcquire::http::Proxy \"http://proxy.test:3128\";\nAcquire::http::Proxy::a.test \"DIRECT\";\nAPT::Get::Assume-Yes \"1\";\nAcquire::https::Proxy \"\";\n";
        assert_eq!(needed_settings(dump), ["Acquire::http::Proxy \"http://proxy.test:3128\"", "Acquire::http::Proxy::a.test \"DIRECT\""]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z0-9:/\\[\\]=# \n.-]{0,200}") {
            drop((parse_lines(&text), parse_deb822(&text), Host::parse(&text)));
        }
    }
}
