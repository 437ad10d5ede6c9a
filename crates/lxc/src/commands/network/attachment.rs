//! A network among the devices of a container or profile.

use anyhow::{Result, bail};
use api::Config;
use api::networks::Network;

use crate::commands::device::Owner;
use crate::record::{Equipped, Record};

/// Adds a card on the network; without a name the device has the network's.
pub async fn attach<T: Equipped>(network: &Network, owner: &Owner, (device, interface): (Option<String>, Option<String>)) -> Result<()> {
    let nictype = if network.kind == "bridge" { "bridged" } else { "macvlan" };
    let name = device.unwrap_or_else(|| network.name.clone());
    let keys = [("type", "nic"), ("nictype", nictype), ("parent", &network.name)];
    let mut keys: Config = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    if let Some(interface) = interface {
        keys.insert("name".to_owned(), interface);
    }
    let mut record = Record::<T>::load(&owner.client, owner.path.clone()).await?;
    if record.value.devices().contains_key(&name) {
        bail!("The device already exists ({0} has a device {name}: give another name after {0})", owner.name);
    }
    record.value.devices().insert(name, keys);
    record.save().await
}

/// Removes the card on the network; `device` names it where there are several. `list` is the command that lists devices.
pub async fn detach<T: Equipped>(network: &str, owner: &Owner, (device, list): (Option<String>, &str)) -> Result<()> {
    let mut record = Record::<T>::load(&owner.client, owner.path.clone()).await?;
    let is_on_network = |keys: &Config| ["parent", "network"].iter().any(|key| keys.get(*key).is_some_and(|value| value == network));
    let name = match device {
        Some(name) => name,
        None => {
            let mut found = record.value.devices().iter().filter(|(_, keys)| is_on_network(keys)).map(|(name, _)| name.clone());
            match (found.next(), found.next()) {
                (Some(name), None) => name,
                (None, _) => bail!(
                    "No device found for this network ({} has none of its own on {network}; those of a profile are the profile's)",
                    owner.name
                ),
                (Some(_), Some(_)) => {
                    bail!("More than one device matches, specify the device name (`{list} {}` shows them)", owner.name)
                }
            }
        }
    };
    match record.value.devices().get(&name) {
        None => {
            bail!("The specified device doesn't exist ({0} has no {name} of its own; `{list} {0}` shows those it has)", owner.name)
        }
        Some(keys) if !is_on_network(keys) => bail!("The specified device doesn't match the network ({name} is not on {network})"),
        Some(_) => record.value.devices().remove(&name),
    };
    record.save().await
}
