//! The network's own nftables table: replaced or removed as a whole, in one transaction.

use std::time::Duration;

use sys::cmd::Cmd;

use crate::Result;
use crate::plan::table_name;

const DEADLINE: Duration = Duration::from_secs(20);

/// Loads a ruleset.
pub(crate) fn load(ruleset: &str) -> Result<()> {
    Cmd::new("nft", "nftables").args(["-f", "-"]).stdin_bytes(ruleset).deadline(DEADLINE).run()?;
    Ok(())
}

/// Removes the network's table; that there is none is fine, as is a host without nft.
pub(crate) fn remove(network: &str) -> Result<()> {
    if !Cmd::is_installed("nft") {
        return Ok(());
    }
    let table = table_name(network);
    load(&format!("table inet {table} {{}}\ndelete table inet {table}\n"))
}

/// Whether another firewall drops forwarded packets unless its own rules accept them, as
/// Docker's and ufw's do: an `accept` in our table cannot overrule a `drop` in theirs.
pub(crate) fn foreign_forward_drop() -> Option<&'static str> {
    let chains = ["ip filter FORWARD", "ip6 filter FORWARD", "inet firewalld filter_FORWARD"];
    chains.into_iter().find(|chain| {
        let listed = Cmd::new("nft", "nftables").args(["list", "chain"]).args(chain.split(' ')).deadline(DEADLINE).run();
        listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("policy drop"))
    })
}
