//! What a container's card may send: its own hardware address, and where asked for its own IP addresses.
//!
//! Each card with a filter has an nftables table of the bridge family, named after the host's end. Rules name
//! that end, so they can be there before it is, and a card is never without them.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::nft;
use crate::{Error, Result};

/// A card's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFilter {
    /// Interface name of the host's end.
    pub host_name: String,
    /// The only hardware address that it may use.
    pub mac: [u8; 6],
    /// The only IPv4 address that it may use; any if unset.
    pub ipv4: Option<Ipv4Addr>,
    /// The only global IPv6 address that it may use; any if unset.
    pub ipv6: Option<Ipv6Addr>,
}

impl CardFilter {
    /// Puts the filter in force, in place of an earlier one of the same card.
    pub fn load(&self) -> Result<()> {
        nft::load(&self.ruleset()?)
    }

    /// The table as a whole. The first line makes the second succeed where there is no table yet.
    fn ruleset(&self) -> Result<String> {
        let table = table_name(&self.host_name)?;
        let mac = netlink::format_mac(self.mac);
        let mut rules = format!("ether saddr != {mac} drop\nether type arp arp saddr ether != {mac} drop\n");
        // Writing to a String cannot fail.
        if let Some(ipv4) = self.ipv4 {
            let _ = write!(
                rules,
                "ether type arp arp saddr ip != {{ {ipv4}, 0.0.0.0 }} drop\n\
                 ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp dport 67 accept\n\
                 ether type ip ip saddr != {ipv4} drop\n"
            );
        }
        if let Some(ipv6) = self.ipv6 {
            let _ = write!(
                rules,
                "icmpv6 type nd-router-advert drop\n\
                 ether type ip6 ip6 saddr != {{ {ipv6}, ::, fe80::/10 }} drop\n"
            );
        }
        if self.ipv4.is_some() || self.ipv6.is_some() {
            // What is wrapped in something else, such as a VLAN tag, would pass the rules above.
            rules.push_str("ether type != { arp, ip, ip6 } drop\n");
        }
        let host = &self.host_name;
        let chain = |hook: &str| {
            format!("chain {hook} {{\ntype filter hook {hook} priority -200; policy accept;\niifname \"{host}\" jump card\n}}\n")
        };
        Ok(format!(
            "table bridge {table} {{}}\ndelete table bridge {table}\ntable bridge {table} {{\nchain card {{\n{rules}}}\n{}{}}}\n",
            chain("input"),
            chain("forward")
        ))
    }
}

/// Removes the filter of a card; that it has none is fine.
pub fn remove_card_filter(host_name: &str) -> Result<()> {
    let table = table_name(host_name)?;
    nft::load(&format!("table bridge {table} {{}}\ndelete table bridge {table}\n"))
}

/// Links may have names that mean something to nft; such are refused.
fn table_name(host_name: &str) -> Result<String> {
    card_table("lxd_card", host_name)
}

/// The name of a table that is about one card.
pub(crate) fn card_table(prefix: &str, host_name: &str) -> Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if host_name.is_empty() || !host_name.bytes().all(is_plain) {
        let reason = "an interface with rules of its own may have letters, digits, dots, hyphens and underscores in its name only";
        return Err(Error::Host { host: host_name.to_owned(), reason: reason.into() });
    }
    let hex = host_name.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(format!("{prefix}_{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> CardFilter {
        CardFilter { host_name: "veth1".into(), mac: [0, 0x16, 0x3e, 1, 2, 3], ipv4: None, ipv6: None }
    }

    #[test]
    fn only_what_was_asked_for_is_filtered() {
        let plain = filter().ruleset().expect("rules");
        assert!(plain.contains("ether saddr != 00:16:3e:01:02:03 drop") && !plain.contains("ip saddr !=") && !plain.contains("ip6"));
        assert!(plain.contains("table bridge lxd_card_7665746831 {") && plain.contains("iifname \"veth1\" jump card"));
        let both = CardFilter { ipv4: Some([10, 0, 0, 9].into()), ipv6: Some("fd42::9".parse().expect("address")), ..filter() };
        let both = both.ruleset().expect("rules");
        assert!(both.contains("ip saddr != 10.0.0.9 drop") && both.contains("ip6 saddr != { fd42::9, ::, fe80::/10 } drop"), "{both}");
    }

    #[test]
    fn no_name_becomes_a_rule() {
        for name in ["a\"}", "x;y", "", "a b", "{x}"] {
            assert!(CardFilter { host_name: name.into(), ..filter() }.ruleset().is_err(), "{name}");
            assert!(remove_card_filter(name).is_err());
        }
    }
}
