//! What `/1.0/metadata/configuration` shows: every configuration key, from the rows by which they are checked.

use std::collections::BTreeMap;

use api::metadata::{MetadataConfigKey, MetadataConfiguration};
use keys::reference::{group_of, scopes};
use keys::{Live, Row};

/// All keys.
pub fn configuration_metadata() -> MetadataConfiguration {
    let mut metadata = MetadataConfiguration::default();
    for scope in scopes() {
        let groups = metadata.configs.entry(scope.name.to_owned()).or_default();
        for row in scope.rows {
            let group = if scope.group.is_empty() { group_of(row.name) } else { scope.group };
            groups.entry(group.to_owned()).or_default().keys.push(BTreeMap::from([(row.name.to_owned(), describe(row))]));
        }
    }
    metadata
}

fn describe(row: &Row) -> MetadataConfigKey {
    let kind = match row.kind {
        "true or false" => "bool",
        kind if kind == "a number" || kind.starts_with("a number, ") || kind.starts_with("a number from ") => "integer",
        _ => "string",
    };
    MetadataConfigKey {
        defaultdesc: if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) },
        liveupdate: if row.live == Live::Now { "yes" } else { "no" }.to_owned(),
        longdesc: format!("It takes {}. A change takes effect {}.", row.kind, effect(row.live)),
        shortdesc: row.doc.to_owned(),
        kind: kind.to_owned(),
    }
}

fn effect(live: Live) -> &'static str {
    if live == Live::Fixed { "never: it is fixed at creation" } else { live.text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_object_and_group() {
        let metadata = configuration_metadata();
        let find = |object: &str, group: &str, key: &str| {
            let keys = &metadata.configs[object][group].keys;
            keys.iter().find_map(|entry| entry.get(key)).cloned().expect(key)
        };
        let nesting = find("instance", "security", "security.nesting");
        assert_eq!((nesting.kind.as_str(), nesting.liveupdate.as_str(), nesting.defaultdesc.as_str()), ("bool", "no", "`false`"));
        assert_eq!(find("instance", "resource-limits", "limits.processes").kind, "integer");
        assert_eq!(find("instance", "resource-limits", "limits.cpu").kind, "string");
        assert_eq!(find("storage-btrfs", "volume-conf", "size").liveupdate, "yes");
        find("device-nic-bridged", "device-conf", "security.port_isolation");
        find("server", "core", "core.https_address");
    }
}
