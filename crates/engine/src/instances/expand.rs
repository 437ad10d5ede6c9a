//! Stacking: the profiles in their order, later over earlier, then what is the instance's own.

use std::sync::Arc;

use api::{Config, Devices};

use crate::records::{InstanceRecord, ProfileRecord, Records};
use crate::{Error, Result};

/// What an instance runs with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expanded {
    pub config: Config,
    pub devices: Devices,
}

/// Configuration is merged key by key; a device replaces one of the same name as a whole.
pub(crate) fn expand<'a>(profiles: impl IntoIterator<Item = &'a ProfileRecord>, config: &Config, devices: &Devices) -> Expanded {
    let mut expanded = Expanded::default();
    for profile in profiles {
        expanded.config.extend(profile.config.iter().map(|(key, value)| (key.clone(), value.clone())));
        expanded.devices.extend(profile.devices.iter().map(|(name, device)| (name.clone(), device.clone())));
    }
    expanded.config.extend(config.iter().map(|(key, value)| (key.clone(), value.clone())));
    expanded.devices.extend(devices.iter().map(|(name, device)| (name.clone(), device.clone())));
    expanded
}

/// Expands a record with today's profiles; one that has gone counts for nothing.
pub(crate) fn expand_record(records: &Records, record: &InstanceRecord) -> Expanded {
    let profiles: Vec<_> = record.profiles.iter().filter_map(|name| records.profiles.get(name)).collect();
    expand(profiles.iter().map(|held| &*held.record), &record.config, &record.devices)
}

/// Puts the root disk of a record on a pool, whatever its profiles say. One that has none, since its profiles were those of
/// another server, gets one.
pub(crate) fn place_root(records: &Records, record: &mut InstanceRecord, pool: &str) -> Result<()> {
    let expanded = expand_record(records, record);
    let Some((device, root)) = keys::devices::root_disk(&expanded.devices)? else {
        add_root(record, &expanded, pool);
        return Ok(());
    };
    if root.get("pool").is_none_or(|current| current != pool) {
        let mut root = root.clone();
        root.insert("pool".to_owned(), pool.to_owned());
        record.devices.insert(device.to_owned(), root);
    }
    Ok(())
}

/// Adds a root disk on a pool, under a name that is free.
pub(crate) fn add_root(record: &mut InstanceRecord, expanded: &Expanded, pool: &str) {
    let mut name = "root".to_owned();
    while expanded.devices.contains_key(&name) {
        name.push('_');
    }
    let device = [("type", "disk"), ("path", "/"), ("pool", pool)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    record.devices.insert(name, device.into());
}

/// What a record means, with `profile` as the profile `name`.
pub(crate) fn expand_with(records: &Records, record: &InstanceRecord, (name, profile): (&str, &Arc<ProfileRecord>)) -> Expanded {
    let find = |other: &String| if other == name { Some(profile.clone()) } else { records.profiles.get(other).map(|held| held.record) };
    let profiles: Vec<_> = record.profiles.iter().filter_map(find).collect();
    expand(profiles.iter().map(|profile| &**profile), &record.config, &record.devices)
}

/// Refuses profiles that do not exist or are named twice.
pub(crate) fn check_profiles(records: &Records, profiles: &[String]) -> Result<()> {
    for (index, name) in profiles.iter().enumerate() {
        if !records.profiles.contains(name) {
            return Err(
                Error::bad_request(format!("Requested profile '{name}' doesn't exist")).hint("`lxc profile list` shows those there are")
            );
        }
        if profiles[..index].contains(name) {
            return Err(Error::bad_request(format!("Profile '{name}' is given twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn later_wins_and_devices_are_replaced_whole() {
        let one = ProfileRecord {
            config: map(&[("a", "1"), ("b", "1")]),
            devices: [("eth0".to_owned(), map(&[("type", "nic"), ("mtu", "9000")])), ("root".to_owned(), map(&[("type", "disk")]))].into(),
            ..ProfileRecord::default()
        };
        let two = ProfileRecord { config: map(&[("b", "2"), ("c", "2")]), ..ProfileRecord::default() };
        let own_devices = [("eth0".to_owned(), map(&[("type", "none")]))].into();
        let expanded = expand([&one, &two], &map(&[("c", "3")]), &own_devices);
        assert_eq!(expanded.config, map(&[("a", "1"), ("b", "2"), ("c", "3")]));
        assert_eq!(expanded.devices["eth0"], map(&[("type", "none")]));
        assert!(expanded.devices.contains_key("root"));
    }
}
