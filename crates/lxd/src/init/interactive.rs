//! `lxd init` without options: the dialogue.

use std::io::{BufRead, Write};

use anyhow::{Result, bail};
use api::Devices;

use super::auto::{self, Present};
use super::backend::{Backend, HostFacts};
use super::preseed::{Network, Pool, Preseed, Profile};
use super::prompt::Prompt;

/// Asks everything and returns what is to be made true.
pub fn ask<R: BufRead, W: Write>(prompt: &mut Prompt<R, W>, host: &HostFacts, present: &Present) -> Result<Preseed> {
    let mut wanted = Preseed::default();
    let mut devices = Devices::new();
    if prompt.yes_no("Do you want to configure a new storage pool", present.pools.is_empty())? {
        let pool = ask_pool(prompt, host, present)?;
        devices.insert("root".into(), auto::root_device(&pool.name));
        wanted.storage_pools.push(pool);
    }
    if prompt.yes_no("Would you like LXD to be available over the network", false)? {
        ask_listener(prompt, &mut wanted)?;
    }
    if prompt.yes_no("Would you like to create a new network bridge", present.networks.is_empty())? {
        let network = ask_bridge(prompt, present)?;
        devices.insert("eth0".into(), auto::nic_device(&network.name));
        wanted.networks.push(network);
    }
    if !devices.is_empty() {
        wanted.profiles.push(Profile::with_devices("default", devices));
    }
    Ok(wanted)
}

fn ask_pool<R: BufRead, W: Write>(prompt: &mut Prompt<R, W>, host: &HostFacts, present: &Present) -> Result<Pool> {
    let offered: Vec<&str> = Backend::ALL.into_iter().filter(|backend| host.can(*backend)).map(Backend::name).collect();
    let name = if present.pools.contains(auto::POOL) {
        let free = |name: &str| check_new_pool(name, present);
        prompt.text("Name of the new storage pool", None, free)?
    } else {
        auto::POOL.to_owned()
    };
    let question = format!("Name of the storage backend to use ({})", listed(&offered));
    let driver = prompt.word(&question, host.best().name(), &offered)?;
    let mut pool = Pool { name, driver, ..Pool::default() };
    if pool.driver == Backend::Btrfs.name() {
        ask_btrfs(prompt, host, &mut pool)?;
    }
    Ok(pool)
}

fn ask_btrfs<R: BufRead, W: Write>(prompt: &mut Prompt<R, W>, host: &HostFacts, pool: &mut Pool) -> Result<()> {
    if !prompt.yes_no("Create a new BTRFS pool", true)? {
        let source = prompt.text("Path of the existing BTRFS directory", None, check_btrfs)?;
        pool.config.insert("source".into(), source);
        return Ok(());
    }
    let question = format!("Would you like to create a new btrfs subvolume under {}", host.dir.display());
    if host.is_on_btrfs && prompt.yes_no(&question, true)? {
        // Without source and size the pool is made beside the state directory.
        return Ok(());
    }
    let size = prompt.number("Size in GB of the new loop device (1GB minimum)", host.loop_size_gb(), 1)?;
    pool.config.insert("size".into(), format!("{size}GiB"));
    Ok(())
}

fn ask_listener<R: BufRead, W: Write>(prompt: &mut Prompt<R, W>, wanted: &mut Preseed) -> Result<()> {
    let check = |address: &str| if address == "all" { Ok(()) } else { check_address(address) };
    let address = prompt.text("Address to bind LXD to (not including port)", Some("all"), check)?;
    let address = match address.as_str() {
        "all" => "[::]".to_owned(),
        address if address.contains(':') && !address.starts_with('[') => format!("[{address}]"),
        address => address.to_owned(),
    };
    let port = prompt.number("Port to bind LXD to", auto::HTTPS_PORT.into(), 1)?;
    wanted.config.insert("core.https_address".into(), format!("{address}:{port}"));
    wanted.config.insert("core.trust_password".into(), prompt.password("Trust password for new clients")?);
    Ok(())
}

fn ask_bridge<R: BufRead, W: Write>(prompt: &mut Prompt<R, W>, present: &Present) -> Result<Network> {
    let name = prompt.text("What should the new bridge be called", Some(auto::BRIDGE), |name| check_new_network(name, present))?;
    let address = |key: &'static str| move |text: &str| Ok(keys::network::TABLE.check(key, text)?);
    let words = "(CIDR subnet notation, \"auto\" or \"none\")";
    let ipv4 = prompt.text(&format!("What IPv4 address should be used {words}"), Some("auto"), address("ipv4.address"))?;
    let ipv6 = prompt.text(&format!("What IPv6 address should be used {words}"), Some("auto"), address("ipv6.address"))?;
    Ok(Network::bridge(&name, auto::addresses(&ipv4, &ipv6)))
}

fn check_new_pool(name: &str, present: &Present) -> Result<()> {
    keys::names::check_pool(name)?;
    if present.pools.contains(name) {
        bail!("The storage pool {name} already exists");
    }
    Ok(())
}

fn check_new_network(name: &str, present: &Present) -> Result<()> {
    keys::names::check_network(name)?;
    if present.networks.contains(name) || present.interfaces.contains(name) {
        bail!("The network interface {name} already exists");
    }
    Ok(())
}

fn check_btrfs(path: &str) -> Result<()> {
    keys::storage_pool::validate("btrfs", &[("source".to_owned(), path.to_owned())].into())?;
    if sys::fs::fs_magic(path)? != sys::fs::BTRFS_MAGIC {
        bail!("{path} is not on btrfs");
    }
    Ok(())
}

fn check_address(address: &str) -> Result<()> {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() {
        bail!("Not an IP address");
    }
    Ok(())
}

/// `btrfs, dir or overlay`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostFacts {
        HostFacts { dir: "/var/lib/lxd".into(), is_on_btrfs: false, has_btrfs: true, has_overlay: true, size_gb: 200 }
    }

    fn answers(input: &str) -> (Result<Preseed>, String) {
        let mut output = Vec::new();
        let wanted = ask(&mut Prompt::new(input.as_bytes(), &mut output, false), &host(), &Present::default());
        (wanted, String::from_utf8(output).expect("text"))
    }

    #[test]
    fn defaults_equal_auto() {
        let (wanted, _) = answers("");
        let auto = auto::decide(&crate::args::InitArgs::default(), &host(), &Present::default()).expect("auto");
        assert_eq!(wanted.expect("answers"), auto);
    }

    #[test]
    fn asks_in_the_known_words() {
        let (wanted, said) = answers("yes\nbtrfs\nyes\n20\nyes\nall\n\nsecret\nsecret\nno\n");
        let wanted = wanted.expect("answers");
        assert_eq!(wanted.storage_pools[0].config["size"], "20GiB");
        assert_eq!(wanted.config["core.https_address"], "[::]:8443");
        assert!(wanted.networks.is_empty() && !wanted.profiles[0].devices.contains_key("eth0"));
        for question in [
            "Do you want to configure a new storage pool (yes/no) [default=yes]? ",
            "Name of the storage backend to use (btrfs, dir or overlay) [default=overlay]: ",
            "Create a new BTRFS pool (yes/no) [default=yes]? ",
            "Size in GB of the new loop device (1GB minimum) [default=40]: ",
            "Would you like LXD to be available over the network (yes/no) [default=no]? ",
            "Address to bind LXD to (not including port) [default=all]: ",
            "Port to bind LXD to [default=8443]: ",
            "Trust password for new clients: ",
            "Again: ",
        ] {
            assert!(said.contains(question), "{question}\nin\n{said}");
        }
        assert!(!said.contains("secret"));
    }

    #[test]
    fn wrong_answers_are_explained() {
        let (wanted, said) = answers("yes\nzfs\ndir\nno\nyes\na b\nbr0\n300.0.0.1/24\n10.9.8.1/24\nnone\n");
        let network = &wanted.expect("answers").networks[0];
        assert_eq!((network.name.as_str(), network.config["ipv4.address"].as_str()), ("br0", "10.9.8.1/24"));
        assert!(!network.config.contains_key("ipv6.nat"));
        assert!(said.contains("Invalid input, try again.") && said.contains("Invalid input: Invalid network name 'a b'"), "{said}");
    }
}
