//! The types that keys can have: each pairs a parser with the words that describe it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{cpu, idmap, names, values};

/// A type of value.
pub trait Value {
    /// What a value parses to.
    type Out;
    /// What the key takes, in words.
    const KIND: &'static str;
    /// The only values, where there is a list of them.
    const CHOICES: &'static [&'static str] = &[];
    /// Parses a value; the error is one sentence without the key's name.
    fn parse(text: &str) -> Result<Self::Out, String>;
}

/// [`Value::parse`] without its result, for table rows.
pub fn check<T: Value>(text: &str) -> Result<(), String> {
    T::parse(text).map(drop)
}

/// The kind of secrets.
pub(crate) const SECRET_KIND: &str = "a secret text";

/// Declares a type of value whose parser is a function.
macro_rules! value_types {
    ($($(#[$doc:meta])* $name:ident -> $out:ty = $kind:expr, $parse:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Value for $name {
            type Out = $out;
            const KIND: &'static str = $kind;
            fn parse(text: &str) -> Result<$out, String> {
                $parse(text)
            }
        }
    )*};
}

/// Declares an enum of fixed texts.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident ($kind:literal) { $($(#[$item_doc:meta])* $item:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$item_doc])* $item,)*
        }
        impl Value for $name {
            type Out = Self;
            const KIND: &'static str = $kind;
            const CHOICES: &'static [&'static str] = &[$($text,)*];
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$item),)*
                    _ => Err(format!("Invalid value: {text} (not one of [{}])", Self::CHOICES.join(" "))),
                }
            }
        }
        impl $name {
            /// The text of the choice.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)*
                }
            }
        }
    )*};
}

impl Value for bool {
    type Out = bool;
    const KIND: &'static str = "true or false";
    fn parse(text: &str) -> Result<bool, String> {
        values::parse_bool(text)
    }
}

impl Value for i64 {
    type Out = i64;
    const KIND: &'static str = "a number";
    fn parse(text: &str) -> Result<i64, String> {
        values::parse_int(text)
    }
}

value_types! {
    /// Text of any number of lines, without NUL.
    Text -> String = "a text", |text: &str| text_without(text, |c| c == '\0');
    /// One line of text: what ends up in an environment, a file of lines or a header.
    Line -> String = "one line of text", |text: &str| text_without(text, char::is_control);
    /// A text that is stored hashed and never shown.
    Secret -> String = SECRET_KIND, |text: &str| text_without(text, |c| c == '\0');
    /// A value of the environment: no NUL (execve takes none) and no line break.
    Environment -> String = "one line of text", |text: &str| text_without(text, |c| matches!(c, '\0' | '\n' | '\r'));
    /// A number that is not negative.
    Count -> u64 = "a number, 0 or more", values::parse_count;
    /// A number of at least one.
    Positive -> u64 = "a number, 1 or more", |text: &str| Count::parse(text).and_then(|number| if number == 0 { Err(format!("Invalid value for an integer: {text}")) } else { Ok(number) });
    /// A number of 0 to 10.
    Priority -> i64 = "a number from 0 to 10", priority;
    /// A number of 31 bits.
    Uint32 -> u32 = "a number from 0 to 2147483647", values::parse_uint32;
    /// Bytes.
    Size -> u64 = "a size such as 512MB or 10GiB", values::parse_size;
    /// Bits per second.
    BitRate -> u64 = "a bit rate such as 100Mbit", values::parse_bit_rate;
    /// Bytes or operations per second.
    DiskRate -> values::DiskRate = "a size per second such as 30MB, or a number of operations such as 500iops", values::parse_disk_rate;
    /// Bytes or percent of the host's memory.
    Memory -> values::MemoryLimit = "a size such as 512MB, or a share of the host's memory such as 25%", values::parse_memory;
    /// Number or set of processors.
    Cpu -> cpu::CpuLimit = "a number of CPUs such as 2, or a set such as 0-1,3", cpu::parse_cpu_limit;
    /// Share or time of processors.
    CpuAllowance -> cpu::CpuAllowance = "a share such as 50%, or a time slice such as 20ms/100ms", cpu::parse_cpu_allowance;
    /// Lines of `both|uid|gid HOST CONTAINER`.
    RawIdmap -> Vec<idmap::RawEntry> = "lines of `both|uid|gid HOST CONTAINER`, each a number or a range a-b", idmap::parse_raw_idmap;
    /// Settings in liblxc's words.
    RawLxc -> crate::raw_lxc::RawLxc = "lines of `lxc.KEY = VALUE`", |text: &str| text_without(text, |c| c == '\0').and_then(|text| crate::raw_lxc::parse(&text));
    /// Soft and hard limit of a resource of processes.
    ResourceLimit -> values::ResourceLimit = "a number or unlimited, or two of them for soft and hard such as 1024:4096", values::parse_resource_limit;
    /// Permission bits.
    Mode -> u32 = "an octal mode such as 0660", values::parse_mode;
    /// A hardware address, as given.
    Mac -> String = "a hardware address such as 00:16:3e:12:34:56", |text: &str| values::parse_mac(text).map(|_| text.to_ascii_lowercase());
    /// The name of a network interface.
    Interface -> String = "a network interface's name of at most 15 characters", |text: &str| names::check_interface(text).map(|()| text.to_owned());
    /// Names of network interfaces.
    Interfaces -> Vec<String> = "network interfaces' names with commas between", |text: &str| comma_list(text, names::check_interface);
    /// The name of a managed network.
    NetworkName -> String = "the name of a network", |text: &str| names::check_network(text).map(|()| text.to_owned()).map_err(|error| error.to_string());
    /// The name of a storage pool.
    PoolName -> String = "the name of a storage pool", |text: &str| names::check_pool(text).map(|()| text.to_owned()).map_err(|error| error.to_string());
    /// MTU of an interface.
    Mtu -> u32 = "a number from 68 to 65535", |text: &str| text.parse().ok().filter(|mtu| (68..=65535).contains(mtu)).ok_or_else(|| format!("Invalid MTU: {text}"));
    /// Names of kernel modules.
    Modules -> Vec<String> = "names of kernel modules with commas between", |text: &str| comma_list(text, names::check_module);
    /// A time span.
    Expiry -> u64 = "a time span such as 30M, 12H, 7d or 2w 3d", values::parse_expiry;
    /// Address and prefix length of a bridge, or none, or auto.
    Ipv4Subnet -> Subnet<Ipv4Addr> = "an address with prefix length such as 10.0.3.1/24, none or auto", |text: &str| subnet(text, 32);
    /// Address and prefix length of a bridge, or none, or auto.
    Ipv6Subnet -> Subnet<Ipv6Addr> = "an address with prefix length such as fd42::1/64, none or auto", |text: &str| subnet(text, 128);
    /// An IPv4 address.
    Ipv4 -> Ipv4Addr = "an IPv4 address", |text: &str| text.parse().map_err(|_| format!("Invalid IPv4 address: {text}"));
    /// An IPv6 address.
    Ipv6 -> Ipv6Addr = "an IPv6 address", |text: &str| text.parse().map_err(|_| format!("Invalid IPv6 address: {text}"));
    /// Ranges of IPv4 addresses.
    Ipv4Ranges -> Vec<(Ipv4Addr, Ipv4Addr)> = "address ranges such as 10.0.3.10-10.0.3.99, with commas between", ranges;
    /// Ranges of IPv6 addresses.
    Ipv6Ranges -> Vec<(Ipv6Addr, Ipv6Addr)> = "address ranges such as fd42::10-fd42::99, with commas between", ranges;
    /// A DNS domain.
    Domain -> String = "a DNS domain such as lxd", |text: &str| names::check_domain(text).map(|()| text.to_owned());
    /// An absolute path.
    AbsolutePath -> String = "an absolute path", absolute_path;
    /// What a disk shows: a path of the host, or the name of a custom volume.
    DiskSource -> String = "an absolute path, or with `pool` the name of a volume", disk_source;
    /// A path in an instance; relative ones start at its root.
    GuestPath -> String = "a path in the instance, without ..", guest_path;
    /// Mount options of btrfs.
    MountOptions -> String = "mount options with commas between, such as compress=zstd,noatime", mount_options;
    /// Mount options of a disk device.
    DiskOptions -> Vec<DiskOption> = "mount options with commas between, such as noatime,nosuid", disk_options;
    /// Where to listen.
    ListenAddress -> String = "an address such as 192.0.2.1, [::]:8443 or :8443", listen_address;
    /// Four hexadecimal digits.
    HexId -> u16 = "four hexadecimal digits", |text: &str| u16::from_str_radix(text, 16).ok().filter(|_| text.len() == 4).ok_or_else(|| format!("Invalid id: {text}"));
    /// Address of a PCI device.
    PciAddress -> String = "a PCI address such as 0000:01:00.0", pci_address;
    /// When to take snapshots.
    Schedule -> crate::schedule::Schedule = "five cron fields, or @hourly, @daily, @weekly, @monthly, @yearly, @midnight, @startup or @never", crate::schedule::Schedule::parse;
    /// When to take snapshots of what does not start.
    VolumeSchedule -> crate::schedule::Schedule = "five cron fields, or @hourly, @daily, @weekly, @monthly, @yearly, @midnight or @never", crate::schedule::Schedule::parse_without_start;
    /// Pattern of snapshot names.
    SnapshotPattern -> String = "a name without slashes, with %d for a number", snapshot_pattern;
    /// Where a pool keeps its files: a directory or a device.
    PoolSource -> String = "an absolute path", absolute_path;
}

choices! {
    /// What happens at a memory limit.
    MemoryEnforce ("hard or soft") {
        /// The kernel never gives more.
        Hard = "hard",
        /// The kernel takes back what is above when memory gets short.
        Soft = "soft",
    }
    /// How saved running states are compressed.
    StateCompression ("none or zstd") {
        /// Not at all.
        None = "none",
        /// zstd, quickly.
        Zstd = "zstd",
    }
    /// How images and backups are compressed.
    Compression ("one of none, gzip, bzip2, xz, lzma, zstd") {
        /// Not at all.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// bzip2.
        Bzip2 = "bzip2",
        /// xz.
        Xz = "xz",
        /// lzma.
        Lzma = "lzma",
        /// zstd.
        Zstd = "zstd",
    }
    /// How names of instances get into the DNS of a network.
    DnsMode ("managed, dynamic or none") {
        /// The names that the server knows.
        Managed = "managed",
        /// The names that the guests send with DHCP.
        Dynamic = "dynamic",
        /// No names.
        None = "none",
    }
    /// What drives a bridge.
    BridgeDriver ("native") {
        /// The kernel's bridge.
        Native = "native",
    }
    /// How a network interface reaches the outside.
    NicType ("one of bridged, macvlan, p2p, physical") {
        /// A veth pair with its host end in a bridge.
        Bridged = "bridged",
        /// A macvlan child of a host interface.
        Macvlan = "macvlan",
        /// A veth pair without a bridge.
        P2p = "p2p",
        /// A host interface moved into the instance.
        Physical = "physical",
    }
    /// Which mounts pass between the host and an instance.
    Propagation ("one of private, rprivate, slave, rslave, shared, rshared") {
        /// None.
        Private = "private",
        /// None.
        RecursivelyPrivate = "rprivate",
        /// Those that the host makes are seen inside.
        Slave = "slave",
        /// The same.
        RecursiveSlave = "rslave",
        /// Both ways.
        Shared = "shared",
        /// The same.
        RecursivelyShared = "rshared",
    }
    /// Which part of a graphics card is passed.
    GpuType ("physical") {
        /// All of it.
        Physical = "physical",
    }
}

/// A mount option of a disk device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOption {
    /// Of every mount: `nosuid`.
    Flag(&'static str),
    /// Of file systems on block devices: `commit=30`.
    FileSystem(String, Option<String>),
}

/// Address of a managed bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet<A> {
    /// The family is off.
    None,
    /// To be chosen.
    Auto,
    /// Address and prefix length.
    Fixed(A, u8),
}

/// Longest value of any key, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;

fn text_without(text: &str, refused: impl Fn(char) -> bool) -> Result<String, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err("Invalid value: longer than 1MiB".into());
    }
    match text.chars().find(|c| refused(*c)) {
        Some(c) => Err(format!("Invalid value: contains the character {c:?}")),
        None => Ok(text.to_owned()),
    }
}

fn priority(text: &str) -> Result<i64, String> {
    let number = values::parse_int(text)?;
    if (0..=10).contains(&number) { Ok(number) } else { Err(format!("Invalid priority: {text}")) }
}

fn comma_list(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim);
    items.map(|item| check(item).map(|()| item.to_owned())).collect()
}

fn subnet<A: std::str::FromStr>(text: &str, longest: u8) -> Result<Subnet<A>, String> {
    match text {
        "none" => return Ok(Subnet::None),
        "auto" => return Ok(Subnet::Auto),
        _ => {}
    }
    let bad = || format!("Invalid network address: {text}");
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let prefix = prefix.parse().ok().filter(|prefix| (1..=longest).contains(prefix)).ok_or_else(bad)?;
    Ok(Subnet::Fixed(address.parse().map_err(|_| bad())?, prefix))
}

fn ranges<A: std::str::FromStr + PartialOrd + Copy>(text: &str) -> Result<Vec<(A, A)>, String> {
    let parse = |part: &str| {
        let (first, last) = part.trim().split_once('-')?;
        let (first, last): (A, A) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.split(',').map(|part| parse(part).ok_or_else(|| format!("Invalid address range: {part}"))).collect()
}

fn disk_source(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return absolute_path(text);
    }
    let name = text.strip_prefix("custom/").unwrap_or(text);
    names::check_volume(name).map(|()| name.to_owned()).map_err(|_| format!("Invalid path or volume: {text}"))
}

fn absolute_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("Invalid path: {text} isn't absolute"));
    }
    guest_path(text)
}

fn guest_path(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) || text.len() > 4095 {
        return Err(format!("Invalid path: {}", text.escape_debug()));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("Invalid path: {text} contains .."));
    }
    Ok(text.to_owned())
}

/// Only what changes speed and layout; nothing that names a device or another subvolume.
fn mount_options(text: &str) -> Result<String, String> {
    const PLAIN: &[&str] = &[
        "autodefrag",
        "compress",
        "compress-force",
        "discard",
        "flushoncommit",
        "noatime",
        "nodatacow",
        "nodatasum",
        "nodiratime",
        "nodiscard",
        "noflushoncommit",
        "nossd",
        "relatime",
        "space_cache",
        "ssd",
        "ssd_spread",
        "user_subvol_rm_allowed",
    ];
    const VALUED: &[(&str, &[&str])] = &[
        ("compress", &["lzo", "no", "zlib", "zstd"]),
        ("compress-force", &["lzo", "no", "zlib", "zstd"]),
        ("discard", &["async", "sync"]),
        ("space_cache", &["v1", "v2"]),
    ];
    for option in text.split(',') {
        let known = match option.split_once('=') {
            None => PLAIN.contains(&option),
            Some(("commit", value)) => value.parse::<u16>().is_ok(),
            Some((name, value)) => {
                let value = value.split_once(':').filter(|(_, level)| level.parse::<u8>().is_ok()).map_or(value, |(value, _)| value);
                VALUED.iter().any(|(known, values)| *known == name && values.contains(&value))
            }
        };
        if !known {
            return Err(format!("Invalid mount option: {}", option.escape_debug()));
        }
    }
    Ok(text.to_owned())
}

/// Options of every mount, see mount(8). `ro` is the key `readonly`.
const MOUNT_FLAGS: &[&str] = &["noatime", "nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "relatime", "strictatime"];

/// Only what is known to change nothing but speed, layout, and what is refused.
fn disk_options(text: &str) -> Result<Vec<DiskOption>, String> {
    const PLAIN: &[&str] =
        &["acl", "discard", "grpquota", "lazytime", "noacl", "nodiscard", "nouser_xattr", "prjquota", "user_xattr", "usrquota"];
    const VALUED: &[(&str, &[&str])] = &[
        ("compress", &["lzo", "no", "zlib", "zstd"]),
        ("compress-force", &["lzo", "no", "zlib", "zstd"]),
        ("data", &["journal", "ordered", "writeback"]),
        ("errors", &["continue", "remount-ro"]),
    ];
    let parse = |option: &str| {
        if let Some(flag) = MOUNT_FLAGS.iter().find(|flag| **flag == option) {
            return Some(DiskOption::Flag(flag));
        }
        match option.split_once('=') {
            None => PLAIN.contains(&option).then(|| DiskOption::FileSystem(option.to_owned(), None)),
            Some((name, value)) => {
                let is_known = (name == "commit" && value.parse::<u16>().is_ok())
                    || VALUED.iter().any(|(known, values)| *known == name && values.contains(&value));
                is_known.then(|| DiskOption::FileSystem(name.to_owned(), Some(value.to_owned())))
            }
        }
    };
    let all = text.split(',').map(|option| parse(option).ok_or_else(|| format!("Invalid mount option: {}", option.escape_debug())));
    all.collect()
}

fn listen_address(text: &str) -> Result<String, String> {
    let bad = || format!("Invalid address: {}", text.escape_debug());
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) => return Err(bad()),
        None => text,
    };
    if host.is_empty() || names::check_domain(host).is_ok() { Ok(text.to_owned()) } else { Err(bad()) }
}

fn pci_address(text: &str) -> Result<String, String> {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let full = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.to_owned() };
    let parts: Vec<&str> = full.split([':', '.']).collect();
    match parts.as_slice() {
        [domain, bus, slot, function] if hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && hex(function, 1) => Ok(full.to_ascii_lowercase()),
        _ => Err(format!("Invalid PCI address: {text}")),
    }
}

fn snapshot_pattern(text: &str) -> Result<String, String> {
    names::check_snapshot(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        assert_eq!(Ipv4Subnet::parse("10.0.3.1/24"), Ok(Subnet::Fixed("10.0.3.1".parse().expect("address"), 24)));
        assert_eq!(Ipv6Subnet::parse("auto"), Ok(Subnet::Auto));
        for bad in ["10.0.3.1", "10.0.3.1/33", "fd42::1/64", "10.0.3.1/24 ", "10.0.3.1/0"] {
            assert!(Ipv4Subnet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_ordered() {
        assert!(Ipv4Ranges::parse("10.0.0.2-10.0.0.9,10.0.0.20-10.0.0.30").is_ok());
        assert!(Ipv4Ranges::parse("10.0.0.9-10.0.0.2").is_err());
        assert!(Ipv4Ranges::parse("10.0.0.2-10.0.0.9,option").is_err());
    }

    #[test]
    fn control_characters_are_refused_where_they_matter() {
        assert!(Text::parse("#cloud-config\nusers: []\n").is_ok());
        assert!(Text::parse("a\0b").is_err());
        assert!(Environment::parse("a\nb").is_err());
        assert!(Environment::parse("tab\tis fine").is_ok());
        assert!(Line::parse("a\tb").is_err());
    }

    #[test]
    fn mount_options_are_a_list_of_known_ones() {
        assert!(MountOptions::parse("compress=zstd:3,noatime").is_ok());
        for bad in ["subvolid=5", "device=/dev/sda", "compress=$(id)", "compress=zstd:x", "", "noatime,,ssd"] {
            assert!(MountOptions::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        for good in ["[::]", "[::]:8443", "::", "0.0.0.0", "192.0.2.1:443", ":8443", "host.example", "host:8443"] {
            assert!(ListenAddress::parse(good).is_ok(), "{good}");
        }
        for bad in ["host:port", "a b", "host:99999", "-x"] {
            assert!(ListenAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schedules() {
        assert!(Schedule::parse("0 6 * * *").is_ok());
        assert!(Schedule::parse("@daily").is_ok());
        assert!(Schedule::parse("@sometimes").is_err());
        assert!(Schedule::parse("0 6 * *").is_err());
    }

    #[test]
    fn pci_addresses_get_their_domain() {
        assert_eq!(PciAddress::parse("01:00.0"), Ok("0000:01:00.0".into()));
        assert!(PciAddress::parse("../../etc").is_err());
    }
}
