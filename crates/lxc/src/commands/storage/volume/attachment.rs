//! A volume among the devices of a container or profile.

use anyhow::{Result, bail};
use api::Config;

use super::place::{CUSTOM, Place};
use crate::commands::device::Owner;
use crate::record::{Equipped, Record};
use crate::usage::WrongArguments;

/// Adds the volume as a disk. `words` are `[DEVICE] PATH`; without a name the device has the volume's.
pub async fn attach<T: Equipped>(place: &Place, owner: &Owner, words: &[String]) -> Result<()> {
    place.ensure_whole("only a whole volume can be attached (`lxc storage volume copy` makes one of a snapshot)")?;
    if place.kind != CUSTOM {
        bail!("Only \"custom\" volumes can be attached to containers ({}/{} is another's)", place.kind, place.volume);
    }
    let (device, path) = match words {
        [path] => (&place.volume, path),
        [device, path] => (device, path),
        _ => bail!(WrongArguments),
    };
    if !path.starts_with('/') {
        bail!("\"{path}\" is not a place in {}: the last word is an absolute path, such as /data", owner.name);
    }
    let mut record = Record::<T>::load(&owner.client, owner.path.clone()).await?;
    if record.value.devices().contains_key(device) {
        bail!("The device already exists ({0} has a device {device}: give another name after {0})", owner.name);
    }
    let keys = [("type", "disk"), ("pool", &place.pool), ("source", &place.volume), ("path", path)];
    record.value.devices().insert(device.clone(), keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    record.save().await
}

/// Removes the device that attaches the volume; `device` names it where there are several.
pub async fn detach<T: Equipped>(place: &Place, owner: &Owner, device: Option<&str>) -> Result<()> {
    place.ensure_whole("only a whole volume can be attached, and so detached")?;
    let mut record = Record::<T>::load(&owner.client, owner.path.clone()).await?;
    let attaches = |keys: &Config| {
        let has = |key, value| keys.get(key).map(String::as_str) == Some(value);
        has("type", "disk") && has("pool", &place.pool) && has("source", &place.volume)
    };
    let volume = format!("{}/{}", place.pool, place.volume);
    let name = match device {
        Some(name) => name.to_owned(),
        None => {
            let mut found = record.value.devices().iter().filter(|(_, keys)| attaches(keys)).map(|(name, _)| name.clone());
            match (found.next(), found.next()) {
                (Some(name), None) => name,
                (None, _) => bail!(
                    "No device found for this storage volume ({} has none of its own with {volume}; those of a profile are the profile's)",
                    owner.name
                ),
                (Some(one), Some(other)) => {
                    bail!("More than one device matches, specify the device name ({one} and {other} are such devices of {})", owner.name)
                }
            }
        }
    };
    match record.value.devices().get(&name) {
        None => bail!("The specified device doesn't exist ({} has no {name} of its own)", owner.name),
        Some(keys) if !attaches(keys) => {
            bail!("The specified device doesn't match the storage volume ({name} of {} is not {volume})", owner.name)
        }
        Some(_) => record.value.devices().remove(&name),
    };
    record.save().await
}
