//! `metadata.yaml`: what an image says of itself. Parsing has caps; unknown keys are ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::{Error, Result};

/// The largest `metadata.yaml` that is read.
pub(crate) const MAX_METADATA_BYTES: usize = 1 << 20;
/// How deeply it may be nested; a valid one needs four levels.
const MAX_DEPTH: usize = 16;
/// How many values it may hold.
const MAX_NODES: usize = 50_000;
/// How many YAML aliases it may use; none is needed.
const MAX_ALIASES: usize = 100;

/// The content of `metadata.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Metadata {
    /// Canonical name of the architecture after parsing, such as `x86_64`.
    #[serde(default)]
    pub architecture: String,
    /// Unix seconds, never 0 after parsing.
    #[serde(default)]
    pub creation_date: i64,
    /// Unix seconds, 0 for never.
    #[serde(default)]
    pub expiry_date: i64,
    /// Free text by key; keys `os`, `release`, `description` and others are customary.
    #[serde(default, deserialize_with = "text_map")]
    pub properties: BTreeMap<String, String>,
    /// Files to be made in the container, by absolute path.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, Template>,
}

/// One file to be made from a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Template {
    /// Triggers: `create`, `copy`, `start`.
    #[serde(default, deserialize_with = "nullable")]
    pub when: Vec<String>,
    /// Leave an existing file alone.
    #[serde(default)]
    pub create_only: bool,
    /// File below `templates/`.
    #[serde(default)]
    pub template: String,
    /// Passed to the template.
    #[serde(default, deserialize_with = "text_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Metadata {
    /// Parses and validates; YAML and JSON alike.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut metadata: Metadata = parse_yaml(bytes)?;
        metadata.architecture = match metadata.architecture.as_str() {
            "" => return Err(Error::Metadata("Missing architecture.".to_owned())),
            name => canonical_architecture(name)
                .ok_or_else(|| Error::Metadata(format!("Architecture isn't supported: {}", brief(name))))?
                .to_owned(),
        };
        if metadata.creation_date == 0 {
            return Err(Error::Metadata("Missing creation date.".to_owned()));
        }
        Ok(metadata)
    }

    /// As YAML.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|error| Error::Metadata(error.to_string()))
    }
}

/// The same document with other properties; keys that are not known here stay.
pub(crate) fn with_properties(bytes: &[u8], properties: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut document: serde_json::Map<String, serde_json::Value> = parse_yaml(bytes)?;
    let properties = properties.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    document.insert("properties".to_owned(), serde_json::Value::Object(properties));
    let text = serde_saphyr::to_string(&document).map_err(|error| Error::Metadata(error.to_string()))?;
    Ok(text.into_bytes())
}

pub(crate) fn parse_yaml<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if bytes.len() > MAX_METADATA_BYTES {
        return Err(Error::Limit { what: "bytes of metadata.yaml", limit: MAX_METADATA_BYTES as u64 });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_documents: 1,
        },
        with_snippet: false,
    };
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| Error::Metadata(brief(&error.to_string())))
}

/// Foreign text is shown, but not without end nor with control characters.
fn brief(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Absent and null are the same.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn text_map<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    let map: BTreeMap<String, Option<Text>> = nullable(deserializer)?;
    Ok(map.into_iter().map(|(key, value)| (key, value.map(|text| text.0).unwrap_or_default())).collect())
}

/// A scalar as text: images write versions without quotes.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Text, E> {
        Ok(Text(value.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Text, E> {
        Ok(Text(value.to_string()))
    }
}

/// Names that a kernel's architecture goes by, the canonical one first.
const ARCHITECTURES: &[&[&str]] = &[
    &["i686", "i386", "i486", "i586", "386", "x86", "generic_32"],
    &["x86_64", "amd64", "generic_64"],
    &["armv6l", "arm", "armel"],
    &["armv7l", "armhf", "armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp"],
    &["armv8l"],
    &["aarch64", "arm64", "arm64_generic"],
    &["loongarch64", "loong64"],
    &["mips", "mipsel", "mipsle"],
    &["mips64", "mips64el", "mips64le"],
    &["ppc", "powerpc"],
    &["ppc64", "powerpc64"],
    &["ppc64le", "ppc64el"],
    &["riscv32"],
    &["riscv64"],
    &["s390x"],
];

/// The canonical name of an architecture, `None` for an unknown one.
pub fn canonical_architecture(name: &str) -> Option<&'static str> {
    ARCHITECTURES.iter().find(|names| names.contains(&name)).map(|names| names[0])
}

/// The canonical name of this machine's architecture.
pub fn host_architecture() -> &'static str {
    canonical_architecture(std::env::consts::ARCH).unwrap_or(std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
architecture: amd64
creation_date: 1424284563
unknown: [1, 2]
properties:
  os: Debian
  release: 12.10
  flag: true
  empty:
templates:
  /etc/hostname:
    when: [create, copy]
    create_only: true
    template: hostname.tpl
    properties: {foo: bar}
";

    fn fails_with(text: &str, part: &str) {
        let error = Metadata::parse(text.as_bytes()).expect_err("must fail").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn reads_yaml_and_normalises() {
        let metadata = Metadata::parse(GOOD.as_bytes()).expect("valid");
        assert_eq!(metadata.architecture, "x86_64");
        assert_eq!(metadata.creation_date, 1_424_284_563);
        assert_eq!(metadata.properties["release"], "12.10", "a version is text");
        assert_eq!(metadata.properties["flag"], "true");
        assert_eq!(metadata.properties["empty"], "");
        let template = &metadata.templates["/etc/hostname"];
        assert_eq!(template.when, ["create", "copy"]);
        assert!(template.create_only);
        assert_eq!(template.properties["foo"], "bar");
    }

    #[test]
    fn reads_json_and_its_own_output() {
        let json =
            r#"{"architecture":"x86_64","creation_date":1,"properties":null,"templates":{"/a":{"when":["start"],"template":"a.tpl"}}}"#;
        let metadata = Metadata::parse(json.as_bytes()).expect("valid");
        assert_eq!(metadata.templates["/a"].when, ["start"]);
        let yaml = metadata.to_yaml().expect("yaml");
        assert_eq!(Metadata::parse(yaml.as_bytes()).expect("valid"), metadata);
    }

    #[test]
    fn says_what_is_wrong() {
        fails_with("creation_date: 1", "Missing architecture");
        fails_with("architecture: x86_64", "Missing creation date.");
        fails_with("architecture: pdp11\ncreation_date: 1", "pdp11");
        fails_with("architecture: [x86_64]\ncreation_date: 1", "metadata.yaml");
        fails_with("", "metadata.yaml");
        fails_with("\u{0}\u{1}", "metadata.yaml");
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
        for level in 1..12 {
            let previous = level - 1;
            laughs += &format!(
                "a{level}: &a{level} [*a{previous},*a{previous},*a{previous},*a{previous},*a{previous},*a{previous},*a{previous},*a{previous},*a{previous}]\n"
            );
        }
        let start = std::time::Instant::now();
        assert!(Metadata::parse(laughs.as_bytes()).is_err());
        assert!(Metadata::parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(Metadata::parse("{a: ".repeat(100_000).as_bytes()).is_err());
        assert!(Metadata::parse("- ".repeat(100_000).as_bytes()).is_err());
        assert!(Metadata::parse(&vec![b' '; MAX_METADATA_BYTES + 1]).is_err());
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn replacing_properties_keeps_the_rest() {
        let properties = BTreeMap::from([("name".to_owned(), "yes".to_owned())]);
        let changed = with_properties(GOOD.as_bytes(), &properties).expect("changed");
        let metadata = Metadata::parse(&changed).expect("valid");
        assert_eq!(metadata.properties, properties);
        assert_eq!(metadata.templates.len(), 1);
        assert!(String::from_utf8_lossy(&changed).contains("unknown"));
    }

    #[test]
    fn architecture_names_are_unique() {
        let mut names: Vec<_> = ARCHITECTURES.iter().flat_map(|names| names.iter()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(canonical_architecture(host_architecture()).is_some());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            drop(Metadata::parse(&bytes));
        }

        #[test]
        fn never_panics_on_nearly_valid(at in 0..GOOD.len(), byte: u8) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            drop(Metadata::parse(&bytes));
        }
    }
}
