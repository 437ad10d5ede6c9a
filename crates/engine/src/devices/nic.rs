//! Network cards.

use std::collections::BTreeSet;

use api::{Config, Devices};
use keys::devices::DeviceType;
use keys::devices::nic as key;
use keys::instance::volatile;
use keys::types::NicType;
use runtime::{Nic, NicKind, NicRates};

use super::{Device, Owner, Part};
use crate::{Error, Result};

/// What a card must know of a managed network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BridgeFacts {
    pub mtu: Option<u32>,
}

pub(super) struct NicDevice;

impl Device for NicDevice {
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
        let kind = key::nic_type(config).ok_or_else(|| Error::bad_request(format!("nic '{name}' has no type")))?;
        let network = key::bridged::NETWORK.text(config);
        let bridge = network.map(|network| {
            (owner.bridge)(network).ok_or_else(|| {
                Error::bad_request(format!("Missing network '{network}' for nic '{name}'")).hint("`lxc network list` shows those there are")
            })
        });
        let bridge = bridge.transpose()?;
        let parent = || key::parent_of(config).map(str::to_owned).unwrap_or_default();
        let kind = match kind {
            NicType::Bridged => NicKind::Bridged { parent: parent() },
            NicType::P2p => NicKind::P2p,
            NicType::Macvlan => NicKind::Macvlan { parent: parent() },
            NicType::Physical => NicKind::Physical { parent: parent() },
        };
        let kept = |what: &str| owner.config.get(&volatile::device(name, what)).filter(|text| !text.is_empty()).cloned();
        let given = |what: &str| config.get(what).filter(|text| !text.is_empty()).cloned();
        Ok(Some(Part::Nic(Nic {
            device: name.to_owned(),
            kind,
            name: given("name").or_else(|| kept("name")).unwrap_or_else(|| name.to_owned()),
            host_name: given("host_name").or_else(|| kept("host_name")),
            hwaddr: given("hwaddr").or_else(|| kept("hwaddr")),
            rates: NicRates {
                ingress: key::bridged::LIMITS_INGRESS.get(config).or_else(|| key::bridged::LIMITS_MAX.get(config)),
                egress: key::bridged::LIMITS_EGRESS.get(config).or_else(|| key::bridged::LIMITS_MAX.get(config)),
            },
            isolated: key::bridged::SECURITY_PORT_ISOLATION.is_true(config),
            mtu: given("mtu").and_then(|mtu| mtu.parse().ok()).or(bridge.and_then(|bridge| bridge.mtu)),
        })))
    }
}

/// The managed network of a card, if `network` or `parent` names one.
pub(crate) fn managed_network(config: &Config) -> Option<&str> {
    (DeviceType::of(config) == Some(DeviceType::Nic) && key::nic_type(config) == Some(NicType::Bridged))
        .then(|| key::parent_of(config))
        .flatten()
}

/// The generated values that the cards still lack: MAC address, name inside, name of the host's
/// end. `random` gives random bytes.
pub(crate) fn generate_volatile(devices: &Devices, config: &Config, mut random: impl FnMut() -> u128) -> Config {
    let mut new = Config::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let nics: Vec<(&String, &Config)> = devices.iter().filter(|(_, device)| DeviceType::of(device) == Some(DeviceType::Nic)).collect();
    for (name, device) in &nics {
        names.extend(device.get("name").or_else(|| config.get(&volatile::device(name, "name"))).cloned());
    }
    for (name, device) in nics {
        let kind = key::nic_type(device);
        let is_missing = |what: &str| {
            let has = |map: &Config, key: &str| map.get(key).is_some_and(|text| !text.is_empty());
            !has(device, what) && !has(config, &volatile::device(name, what))
        };
        if is_missing("hwaddr") && kind != Some(NicType::Physical) {
            let bytes = random().to_be_bytes();
            new.insert(volatile::device(name, "hwaddr"), format!("00:16:3e:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2]));
        }
        if is_missing("name") {
            let free = (0..).map(|number| format!("eth{number}")).find(|candidate| !names.contains(candidate)).unwrap_or_default();
            names.insert(free.clone());
            new.insert(volatile::device(name, "name"), free);
        }
        if is_missing("host_name") && matches!(kind, Some(NicType::Bridged | NicType::P2p)) {
            new.insert(volatile::device(name, "host_name"), format!("veth{:08x}", (random() >> 96) as u32));
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn missing_values_are_generated_once() {
        let devices: Devices = [
            ("a".to_owned(), map(&[("type", "nic"), ("nictype", "bridged"), ("parent", "br0")])),
            ("b".to_owned(), map(&[("type", "nic"), ("nictype", "physical"), ("parent", "eth9"), ("name", "eth0")])),
            ("d".to_owned(), map(&[("type", "disk"), ("path", "/")])),
        ]
        .into();
        let new = generate_volatile(&devices, &Config::new(), || 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00);
        let expected =
            map(&[("volatile.a.host_name", "veth11223344"), ("volatile.a.hwaddr", "00:16:3e:11:22:33"), ("volatile.a.name", "eth1")]);
        assert_eq!(new, expected);
        assert!(generate_volatile(&devices, &new, || 0).is_empty());
    }

    #[test]
    fn part_takes_kept_values_and_the_bridge_mtu() {
        let config = map(&[("volatile.eth0.hwaddr", "00:16:3e:00:00:01"), ("volatile.eth0.name", "eth0")]);
        let bridge = |name: &str| (name == "lxdbr0").then_some(BridgeFacts { mtu: Some(1400) });
        let owner = Owner {
            name: "c1",
            config: &config,
            devices_dir: std::path::Path::new("/d"),
            sysfs: std::path::Path::new("/sys"),
            bridge: &bridge,
            volume: &super::super::tests::no_volumes,
        };
        let part = NicDevice.part("eth0", &map(&[("type", "nic"), ("network", "lxdbr0")]), &owner).expect("part");
        let Some(Part::Nic(nic)) = part else { panic!("not a nic") };
        assert_eq!(nic.kind, NicKind::Bridged { parent: "lxdbr0".into() });
        assert_eq!((nic.mtu, nic.hwaddr.as_deref()), (Some(1400), Some("00:16:3e:00:00:01")));
        let error = NicDevice.part("eth0", &map(&[("type", "nic"), ("network", "gone")]), &owner).expect_err("no network");
        assert!(error.to_string().contains("Missing network 'gone'"));
    }
}
