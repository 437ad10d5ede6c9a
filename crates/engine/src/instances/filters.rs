//! Filters of what an instance's cards may send, and the priority of what they send. Both are in force before the card is
//! there, and go after it.

use std::collections::BTreeMap;

use api::Config;
use keys::devices::nic as key;
use keys::instance::LIMITS_NETWORK_PRIORITY;
use network::{CardFilter, CardPriority};
use runtime::{Nic, NicKind};

use super::Instances;
use super::expand::{Expanded, expand_record};
use crate::devices::{Part, Parts};
use crate::error::Context;
use crate::{Error, Result};

impl Instances {
    /// Puts the filters and priorities of cards in force that are to have one, and lifts those of cards that `before` had one
    /// and have none any more.
    pub(super) fn filter_cards(&self, parts: &Parts, (before, after): (&Expanded, &Expanded)) -> Result<()> {
        for (name, part) in parts {
            let Part::Nic(nic) = part else { continue };
            prioritize(nic, (priority(&before.config), priority(&after.config)))?;
            let config = after.devices.get(name);
            match config.filter(|config| key::is_filtered(config)) {
                Some(config) => filter(nic, config)?.load().context(format!("filter the traffic of device '{name}'"))?,
                None if before.devices.get(name).is_some_and(key::is_filtered) => lift(nic.host_name.as_deref()),
                None => {}
            }
        }
        Ok(())
    }

    /// Lifts the filters of cards that have gone.
    pub(super) fn lift_filters(&self, gone: &BTreeMap<String, Nic>, before: &Expanded) {
        let filtered = gone.iter().filter(|(name, _)| before.devices.get(*name).is_some_and(key::is_filtered));
        filtered.for_each(|(_, nic)| lift(nic.host_name.as_deref()));
        if priority(&before.config) > 0 {
            gone.values().for_each(|nic| unprioritize(nic.host_name.as_deref()));
        }
    }

    /// Lifts all filters of an instance that has ended.
    pub(super) fn lift_all_filters(&self, name: &str) {
        let Some(record) = self.engine.records.instances.get(name) else { return };
        let expanded = expand_record(&self.engine.records, &record);
        let kept = |device: &str| record.config.get(&keys::instance::volatile::device(device, "host_name")).map(String::as_str);
        for (device, config) in &expanded.devices {
            let host_name = key::bridged::HOST_NAME.text(config).or(kept(device));
            if key::is_filtered(config) {
                lift(host_name);
            }
            if priority(&expanded.config) > 0 && config.get("type").is_some_and(|kind| kind == "nic") {
                unprioritize(host_name);
            }
        }
    }
}

/// 0 is what all have.
fn priority(config: &Config) -> u16 {
    LIMITS_NETWORK_PRIORITY.get(config).and_then(|priority| u16::try_from(priority).ok()).unwrap_or_default()
}

/// Gives what a card sends its priority, where it comes by way of the host.
fn prioritize(nic: &Nic, (before, after): (u16, u16)) -> Result<()> {
    if !matches!(nic.kind, NicKind::Bridged { .. } | NicKind::P2p) || (before, after) == (0, 0) {
        return Ok(());
    }
    if after == 0 {
        unprioritize(nic.host_name.as_deref());
        return Ok(());
    }
    let (mac, host_name) = own_addresses(nic)?;
    let card = CardPriority { host_name, mac, priority: after };
    card.load().context(format!("set the priority of the traffic of device '{}'", nic.device))
}

fn unprioritize(host_name: Option<&str>) {
    if let Some(host_name) = host_name
        && let Err(error) = network::remove_card_priority(host_name)
    {
        tracing::warn!("lift the priority of `{host_name}`: {error}");
    }
}

fn own_addresses(nic: &Nic) -> Result<([u8; 6], String)> {
    let mac = nic.hwaddr.as_deref().and_then(netlink::parse_mac);
    mac.zip(nic.host_name.clone()).ok_or_else(|| Error::internal(format!("device '{}' has no address of its own yet", nic.device)))
}

fn filter(nic: &Nic, config: &Config) -> Result<CardFilter> {
    let (mac, host_name) = own_addresses(nic)?;
    let (ipv4, ipv6) = (key::bridged::SECURITY_IPV4_FILTERING.is_true(config), key::bridged::SECURITY_IPV6_FILTERING.is_true(config));
    Ok(CardFilter {
        host_name,
        mac,
        ipv4: key::bridged::IPV4_ADDRESS.get(config).filter(|_| ipv4),
        ipv6: key::bridged::IPV6_ADDRESS.get(config).filter(|_| ipv6),
    })
}

fn lift(host_name: Option<&str>) {
    if let Some(host_name) = host_name
        && let Err(error) = network::remove_card_filter(host_name)
    {
        tracing::warn!("lift the filter of `{host_name}`: {error}");
    }
}
