//! Filters of what an instance's cards may send. One is in force before its card is there, and goes after it.

use std::collections::BTreeMap;

use api::Config;
use keys::devices::nic as key;
use network::CardFilter;
use runtime::Nic;

use super::Instances;
use super::expand::{Expanded, expand_record};
use crate::devices::{Part, Parts};
use crate::error::Context;
use crate::{Error, Result};

impl Instances {
    /// Puts the filters of cards in force that are to have one, and lifts those of cards that `before` had one and have none
    /// any more.
    pub(super) fn filter_cards(&self, parts: &Parts, (before, after): (&Expanded, &Expanded)) -> Result<()> {
        for (name, part) in parts {
            let Part::Nic(nic) = part else { continue };
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
    }

    /// Lifts all filters of an instance that has ended.
    pub(super) fn lift_all_filters(&self, name: &str) {
        let Some(record) = self.engine.records.instances.get(name) else { return };
        let expanded = expand_record(&self.engine.records, &record);
        let kept = |device: &str| record.config.get(&keys::instance::volatile::device(device, "host_name")).map(String::as_str);
        for (device, config) in expanded.devices.iter().filter(|(_, config)| key::is_filtered(config)) {
            lift(key::bridged::HOST_NAME.text(config).or(kept(device)));
        }
    }
}

fn filter(nic: &Nic, config: &Config) -> Result<CardFilter> {
    let mac = nic.hwaddr.as_deref().and_then(netlink::parse_mac);
    let (Some(mac), Some(host_name)) = (mac, nic.host_name.clone()) else {
        return Err(Error::internal(format!("device '{}' has no address of its own yet", nic.device)));
    };
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
