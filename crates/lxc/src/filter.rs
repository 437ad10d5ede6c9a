//! Filters of `lxc list`, `lxc image list` and `lxc storage volume list`.

use std::collections::BTreeMap;

use api::images::Image;
use api::instances::Instance;
use api::storage_pools::StorageVolume;

use crate::pattern::Pattern;

/// One compiled filter.
#[derive(Debug)]
enum Filter {
    /// `KEY=VALUE`.
    Key { key: String, value: Text },
    /// Part of a name.
    Name { text: String, pattern: Option<Pattern> },
}

/// A text to compare with: an expression, or itself where it is none.
#[derive(Debug)]
struct Text {
    text: String,
    pattern: Option<Pattern>,
}

/// All filters of a command line; all must hold.
#[derive(Debug)]
pub struct Filters(Vec<Filter>);

impl Text {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), pattern: Pattern::anchored(text) }
    }

    fn fits(&self, value: &str) -> bool {
        self.pattern.as_ref().map_or(self.text == value, |pattern| pattern.matches(value))
    }
}

impl Filters {
    /// Compiles; empty filters hold always.
    pub fn new<S: AsRef<str>>(filters: impl IntoIterator<Item = S>) -> Self {
        let compile = |filter: S| {
            let filter = filter.as_ref();
            match filter.split_once('=') {
                _ if filter.is_empty() => None,
                Some((key, value)) => Some(Filter::Key { key: key.to_owned(), value: Text::new(value) }),
                None => Some(Filter::Name { text: filter.to_owned(), pattern: Pattern::anchored(filter) }),
            }
        };
        Self(filters.into_iter().filter_map(compile).collect())
    }

    /// Whether any of them is on more than names.
    pub fn ask_for_keys(&self) -> bool {
        self.0.iter().any(|filter| matches!(filter, Filter::Key { .. }))
    }

    /// Whether an instance is shown. A name that fits as an expression settles it.
    pub fn fits_instance(&self, instance: &Instance) -> bool {
        for filter in &self.0 {
            match filter {
                Filter::Key { key, value } => {
                    if !fits_instance_key(instance, key, value) {
                        return false;
                    }
                }
                Filter::Name { text, pattern } => {
                    if pattern.as_ref().is_some_and(|pattern| pattern.matches(&instance.name)) {
                        return true;
                    }
                    if !instance.name.starts_with(text) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether an image is shown: properties, else part of an alias or the fingerprint.
    pub fn fits_image(&self, image: &Image) -> bool {
        self.0.iter().all(|filter| match filter {
            Filter::Key { key, value } => fits_map(&image.properties, key, value),
            Filter::Name { text, .. } => image.fingerprint.contains(text) || image.aliases.iter().any(|alias| alias.name.contains(text)),
        })
    }

    /// Whether a volume is shown: the beginning of its name or an expression for it, fields, and keys.
    pub fn fits_volume(&self, volume: &StorageVolume) -> bool {
        self.0.iter().all(|filter| match filter {
            Filter::Key { key, value } => match key.as_str() {
                "type" => value.fits(&volume.kind),
                "name" => value.fits(&volume.name),
                "description" => value.fits(&volume.description),
                "content_type" => value.fits(&volume.content_type),
                key => fits_map(&volume.config, key, value),
            },
            Filter::Name { text, pattern } => {
                volume.name.starts_with(text) || pattern.as_ref().is_some_and(|pattern| pattern.matches(&volume.name))
            }
        })
    }
}

fn fits_instance_key(instance: &Instance, key: &str, value: &Text) -> bool {
    let attribute = match key.to_ascii_lowercase().as_str() {
        "status" | "state" => Some(instance.status.to_uppercase()),
        "type" => Some(if instance.ephemeral { "EPHEMERAL" } else { "PERSISTENT" }.to_owned()),
        "architecture" => Some(instance.architecture.clone()),
        "profile" => return instance.profiles.iter().any(|profile| value.fits(profile)),
        _ => None,
    };
    match attribute {
        Some(attribute) => value.fits(&attribute) || value.text.eq_ignore_ascii_case(&attribute),
        None => fits_map(&instance.expanded_config, key, value),
    }
}

fn fits_map(map: &BTreeMap<String, String>, key: &str, value: &Text) -> bool {
    map.iter().any(|(name, text)| abbreviates(key, name) && value.fits(text))
}

/// Whether each part of `short` begins the same part of `full`: `u.blah` for `user.blah`.
fn abbreviates(short: &str, full: &str) -> bool {
    let (short, full): (Vec<&str>, Vec<&str>) = (short.split('.').collect(), full.split('.').collect());
    short.len() == full.len() && short.iter().zip(full).all(|(short, full)| full.starts_with(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, config: &[(&str, &str)]) -> Instance {
        let expanded_config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Instance { name: name.to_owned(), expanded_config, status: "Running".to_owned(), ..Instance::default() }
    }

    #[test]
    fn instances() {
        let web = instance("web-1", &[("user.blah", "abc"), ("security.privileged", "true")]);
        let cases: &[(&[&str], bool)] = &[
            (&[], true),
            (&["web"], true),
            (&["we.-[0-9]"], true),
            (&["eb"], false),
            (&["^.*1$"], true),
            (&["user.blah=abc"], true),
            (&["u.blah=a.*"], true),
            (&["u.blah=b"], false),
            (&["s.privileged=true", "web"], true),
            (&["s.privileged=1"], false),
            (&["u.blah=*abc"], false),
            (&["blah=abc"], false),
            (&["status=running"], true),
            (&["status=stopped"], false),
            (&["web-1", "u.blah=never asked"], true),
            (&["web", "u.blah=asked"], false),
        ];
        for (filters, expected) in cases {
            assert_eq!(Filters::new(*filters).fits_instance(&web), *expected, "{filters:?}");
        }
    }

    #[test]
    fn invalid_expressions_compare() {
        assert!(Filters::new(["user.x=*a"]).fits_instance(&instance("c", &[("user.x", "*a")])));
    }

    #[test]
    fn volumes() {
        let config = [("user.note".to_owned(), "mine".to_owned())].into();
        let volume = StorageVolume { name: "data-1".into(), kind: "custom".into(), config, ..StorageVolume::default() };
        let cases: &[(&[&str], bool)] = &[
            (&[], true),
            (&["da"], true),
            (&[".*-[0-9]"], true),
            (&["type=custom", "name=data.*"], true),
            (&["type=image"], false),
            (&["u.note=mine"], true),
            (&["da", "user.note=other"], false),
        ];
        for (filters, expected) in cases {
            assert_eq!(Filters::new(*filters).fits_volume(&volume), *expected, "{filters:?}");
        }
    }

    #[test]
    fn images() {
        let image = Image {
            fingerprint: "abcdef".to_owned(),
            aliases: vec![api::images::ImageAlias { name: "debian/12".to_owned(), ..Default::default() }],
            properties: [("os".to_owned(), "Debian".to_owned())].into(),
            ..Image::default()
        };
        for (filters, expected) in
            [(vec!["ebian"], true), (vec!["bcd"], true), (vec!["o=Deb.*"], true), (vec!["os=Ubuntu"], false), (vec!["ebian", "x"], false)]
        {
            assert_eq!(Filters::new(&filters).fits_image(&image), expected, "{filters:?}");
        }
    }
}
