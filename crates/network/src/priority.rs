//! How urgent what a container's card sends is: the priority of its packets (`skb->priority`), by which the queueing
//! disciplines of the host's interfaces go, tc(8).
//!
//! The kernel clears the priority on the way out of a network namespace and sets it anew when it routes, so neither the
//! container's control group nor the card can say it. Two nftables tables of the card do: one of the bridge family for
//! what a bridge passes on, one of the family inet for what is routed.

use crate::Result;
use crate::filter::card_table;
use crate::nft;

/// The priority of a card's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardPriority {
    /// Interface name of the host's end.
    pub host_name: String,
    /// The card's hardware address: behind a bridge, that is all that is known of it when a packet is routed.
    pub mac: [u8; 6],
    /// What its packets get.
    pub priority: u16,
}

impl CardPriority {
    /// Puts it in force, in place of an earlier one of the same card.
    pub fn load(&self) -> Result<()> {
        nft::load(&self.ruleset()?)
    }

    fn ruleset(&self) -> Result<String> {
        let table = table_name(&self.host_name)?;
        let (host, mac) = (&self.host_name, netlink::format_mac(self.mac));
        let set = format!("meta priority set 0:{:x}", self.priority);
        let chain = |hook: &str, rule: &str| format!("chain {hook} {{\ntype filter hook {hook} priority -190; policy accept;\n{rule}}}\n");
        let passed = chain("prerouting", &format!("iifname \"{host}\" {set}\n"));
        // A card without a bridge is known by its name there, too.
        let routed = format!("iifname \"{host}\" {set}\niiftype ether ether saddr {mac} {set}\n");
        let (received, routed) = (chain("input", &routed), chain("forward", &routed));
        Ok(format!("{}table bridge {table} {{\n{passed}}}\ntable inet {table} {{\n{received}{routed}}}\n", removal(&table)))
    }
}

/// Lets the packets of a card have no priority; that they have none is fine.
pub fn remove_card_priority(host_name: &str) -> Result<()> {
    nft::load(&removal(&table_name(host_name)?))
}

/// The first line of each makes the second succeed where there is no table yet.
fn removal(table: &str) -> String {
    ["bridge", "inet"].map(|family| format!("table {family} {table} {{}}\ndelete table {family} {table}\n")).concat()
}

fn table_name(host_name: &str) -> Result<String> {
    card_table("lxd_prio", host_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_out_are_covered() {
        let card = CardPriority { host_name: "veth1".into(), mac: [0, 0x16, 0x3e, 1, 2, 3], priority: 10 };
        let rules = card.ruleset().expect("rules");
        assert!(rules.contains("table bridge lxd_prio_7665746831 {\nchain prerouting"), "{rules}");
        assert!(rules.contains("iiftype ether ether saddr 00:16:3e:01:02:03 meta priority set 0:a"), "{rules}");
        assert!(CardPriority { host_name: "a\"}".into(), ..card }.ruleset().is_err());
    }
}
