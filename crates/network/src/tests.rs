//! Against the real kernel, dnsmasq and nft, each test with network and mount namespaces of its
//! own that stand for a host.

#![allow(clippy::print_stdout, reason = "timings, shown on request")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlink::{Netlink, VethSpec};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use sys::cmd::Cmd;

use super::*;

const ALICE: &str = "00:16:3e:00:00:0a";
const BOB: &str = "00:16:3e:00:00:0b";

/// A pretended host with a directory for state; takes down what a failed test left.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn run(body: impl FnOnce(&World) + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter_new_namespaces();
                let dir = tempfile::tempdir().expect("temporary directory");
                std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("chmod");
                let mut netlink = Netlink::open().expect("netlink");
                let lo = netlink.link_by_name("lo").expect("lo").index;
                netlink.set_up(lo).expect("lo up");
                body(&World { dir });
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    fn state_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spec(&self, name: &str, pairs: &[(&str, &str)]) -> BridgeSpec {
        BridgeSpec { name: name.to_owned(), config: config(pairs), state_dir: self.state_dir(name) }
    }

    fn usual(&self) -> BridgeSpec {
        self.spec("lxdbr0", USUAL)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in sys::fs::list_dir(self.dir.path()).unwrap_or_default() {
            Network::clean_up(&name, &self.state_dir(&name));
        }
    }
}

const USUAL: &[(&str, &str)] =
    &[("ipv4.address", "10.77.3.1/24"), ("ipv4.nat", "true"), ("ipv6.address", "fd42:77:3:1::1/64"), ("ipv6.nat", "true")];

fn config(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn enter_new_namespaces() {
    // Not for files: the safe name does for namespaces.
    #[allow(deprecated, reason = "deprecated for CLONE_FILES only")]
    rustix::thread::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS).expect("unshare needs root");
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
    rustix::mount::mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).expect("sysfs");
}

/// Another machine: a namespace reached through a descriptor.
struct Guest {
    netns: File,
}

impl Guest {
    fn new() -> Self {
        let netns = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter_new_namespaces();
                File::open("/proc/thread-self/ns/net").expect("open namespace")
            });
            thread.join().expect("thread")
        });
        Self { netns }
    }

    /// A guest on the bridge with its link up.
    fn on(bridge: &str, host_name: &str, mac: &str) -> Self {
        let guest = Self::new();
        let mut netlink = Netlink::open().expect("netlink");
        let master = Some(netlink.link_by_name(bridge).expect("bridge").index);
        guest.attach(host_name, mac, master);
        guest
    }

    fn attach(&self, host_name: &str, mac: &str, master: Option<u32>) {
        let mac = netlink::parse_mac(mac);
        let peer_netns = self.netns.as_fd();
        let spec = VethSpec { host_name, host_mac: None, peer_name: "eth0", peer_mac: mac, peer_netns, master, mtu: None };
        Netlink::open().expect("netlink").create_veth(&spec).expect("veth");
        let mut inside = Netlink::open_in(self.netns.as_fd()).expect("inside");
        for link in inside.link_list().expect("links") {
            inside.set_up(link.index).expect("up");
        }
    }

    fn run(&self, program: &'static str, args: &[&str]) -> std::result::Result<String, sys::cmd::CmdError> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(self.netns.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                let output = Cmd::new(program, program).args(args.iter().copied()).deadline(Duration::from_secs(20)).run()?;
                Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), output.stderr))
            });
            thread.join().expect("thread")
        })
    }

    /// Asks for an address as a small distribution does, and says how long that took.
    fn dhcp(&self, script: &Path, extra: &[&str]) -> Duration {
        let script = script.display().to_string();
        let start = Instant::now();
        let mut args = vec!["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", &script];
        args.extend_from_slice(extra);
        self.run("busybox", &args).expect("lease");
        start.elapsed()
    }

    fn addresses(&self) -> Vec<String> {
        let interfaces = netlink::interfaces_in(self.netns.as_fd()).expect("interfaces");
        let eth0 = interfaces.into_iter().find(|interface| interface.link.name == "eth0").expect("eth0");
        eth0.addresses.iter().map(|addr| addr.net.to_string()).collect()
    }

    fn resolves(&self, name: &str) -> Option<String> {
        // It asks for A and AAAA, and fails if either has no answer.
        self.run("busybox", &["nslookup", name, "10.77.3.1"]).ok()
    }
}

/// What udhcpc runs to use its lease.
fn udhcpc_script(world: &World) -> PathBuf {
    let path = world.state_dir("udhcpc.sh");
    let text = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\nip route add default via $router\n";
    std::fs::write(&path, text).expect("script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}

fn host(name: &str, hwaddr: &str) -> Host {
    Host { name: name.to_owned(), hwaddr: hwaddr.to_owned(), ipv4: None, ipv6: None }
}

fn rules() -> String {
    let output = Cmd::new("nft", "nftables").args(["list", "ruleset"]).run().expect("nft");
    String::from_utf8(output.stdout).expect("text")
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(10), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

#[test]
fn guest_gets_address_name_prefix_and_a_way_out() {
    World::run(|world| {
        let script = udhcpc_script(world);
        let start = Instant::now();
        let network = Network::up(world.usual(), &[host("alice", ALICE)]).expect("up");
        println!("up: {:?}", start.elapsed());
        let alice = Guest::on("lxdbr0", "vetha", ALICE);
        let took = alice.dhcp(&script, &["-x", "hostname:evil"]);
        println!("udhcpc: {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");

        let lease = network.leases().into_iter().find(|lease| lease.address.is_ipv4()).expect("lease");
        assert_eq!((lease.hostname.as_str(), lease.hwaddr.as_str(), lease.dynamic), ("alice", ALICE, true));
        assert!(alice.addresses().contains(&format!("{}/24", lease.address)));
        let took =
            eventually("address from the announced prefix", || alice.addresses().contains(&"fd42:77:3:1:216:3eff:fe00:a/64".to_owned()));
        println!("prefix: {took:?} later");

        for name in ["alice.lxd", "alice"] {
            assert!(alice.resolves(name).expect("resolves").contains(&lease.address.to_string()), "{name}");
        }
        assert!(alice.resolves("evil.lxd").is_none(), "a name claimed by the guest must not count");

        // A machine outside that knows no way back to the guests' subnet.
        let outside = Guest::new();
        outside.attach("uplink", "02:00:00:00:00:99", None);
        let mut netlink = Netlink::open().expect("netlink");
        let uplink = netlink.link_by_name("uplink").expect("uplink").index;
        netlink.add_addr(uplink, "192.0.2.1/24".parse().expect("net")).expect("address");
        outside.run("ip", &["addr", "add", "192.0.2.2/24", "dev", "eth0"]).expect("address");
        alice.run("busybox", &["ping", "-c", "1", "-W", "5", "192.0.2.2"]).expect("masqueraded ping");
    });
}

#[test]
fn host_entries_change_while_it_runs() {
    World::run(|world| {
        let script = udhcpc_script(world);
        let network = Network::up(world.usual(), &[]).expect("up");
        network.set_host(Host { ipv4: Some([10, 77, 3, 200].into()), ..host("bob", BOB) }).expect("set");
        let bob = Guest::on("lxdbr0", "vethb", BOB);
        bob.dhcp(&script, &[]);
        assert!(bob.addresses().contains(&"10.77.3.200/24".to_owned()), "{:?}", bob.addresses());
        let static_lease = Lease { hostname: "bob".into(), hwaddr: BOB.into(), address: [10, 77, 3, 200].into(), dynamic: false };
        assert!(network.leases().contains(&static_lease), "{:?}", network.leases());

        network.set_host(Host { ipv4: Some([10, 77, 3, 200].into()), ..host("robert", BOB) }).expect("rename");
        eventually("new name", || bob.resolves("robert.lxd").is_some_and(|text| text.contains("10.77.3.200")));
        // The name moves to another device, as when an instance is made anew.
        network.remove_host(BOB).expect("remove");
        eventually("the lease is given back", || bob.resolves("robert.lxd").is_none());
        network.set_host(host("robert", ALICE)).expect("set");
        let alice = Guest::on("lxdbr0", "vetha", ALICE);
        alice.dhcp(&script, &[]);
        let own = alice.addresses().into_iter().find(|address| address.starts_with("10.77.3.")).expect("address");
        let own = own.trim_end_matches("/24");
        eventually("moved name", || alice.resolves("robert.lxd").is_some_and(|text| text.contains(own)));
        assert!(network.set_host(host("bad\nname", ALICE)).is_err());
    });
}

#[test]
fn up_again_changes_nothing_and_adopts_dnsmasq() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[host("alice", ALICE)]).expect("up");
        let pid = network.dnsmasq_pid().expect("dnsmasq");
        let before = (rules(), Netlink::open().expect("netlink").link_by_name("lxdbr0").expect("link").index);
        drop(network);
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        let network = Network::up(world.usual(), &[host("alice", ALICE)]).expect("again");
        println!("up again: {:?}", start.elapsed());
        assert_eq!(network.dnsmasq_pid(), Some(pid));
        assert_eq!((rules(), Netlink::open().expect("netlink").link_by_name("lxdbr0").expect("link").index), before);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        assert!(!status.contains("Uid:\t0\t"), "dnsmasq must not stay root: {status}");
        // In another session, so that it survives the manager's terminal and service.
        let session = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
            stat.rsplit(')').next().expect("fields").split_whitespace().nth(3).map(str::to_owned)
        };
        assert_ne!(session(&pid.to_string()), session("self"));
    });
}

#[test]
fn dnsmasq_that_dies_is_started_again() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[]).expect("up");
        for _ in 0..2 {
            let pid = network.dnsmasq_pid().expect("dnsmasq");
            let pidfd = sys::process::pidfd_open(pid).expect("pidfd");
            sys::process::pidfd_signal(&pidfd, 9).expect("kill");
            let took = eventually("a new dnsmasq", || network.dnsmasq_pid().is_some_and(|new| new != pid));
            println!("revived after {took:?}");
        }
    });
}

#[test]
fn configuration_changes_in_place() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[]).expect("up");
        let first = network.dnsmasq_pid();
        let index = Netlink::open().expect("netlink").link_by_name("lxdbr0").expect("link").index;
        let new = [("ipv4.address", "10.77.9.1/24"), ("ipv4.nat", "false"), ("bridge.mtu", "1400"), ("bridge.hwaddr", "00:16:3e:00:00:77")];
        network.update(config(&new)).expect("update");
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name("lxdbr0").expect("link");
        assert_eq!((link.index, link.mtu, link.mac), (index, 1400, netlink::parse_mac("00:16:3e:00:00:77")));
        let addresses: Vec<String> =
            netlink.addr_list().expect("list").iter().filter(|addr| addr.index == index).map(|addr| addr.net.to_string()).collect();
        assert_eq!(addresses, ["10.77.9.1/24"], "old addresses of both families are gone");
        assert!(!rules().contains("masquerade"));
        assert_ne!(network.dnsmasq_pid(), first);

        // A port with larger packets does not change the bridge.
        let _guest = Guest::on("lxdbr0", "vethg", ALICE);
        assert_eq!(netlink.link_by_name("lxdbr0").expect("link").mtu, 1400);

        assert!(network.update(config(&[("ipv4.address", "nonsense")])).is_err());
        assert!(network.update(config(&[("ipv4.address", "auto")])).is_err());
        network.update(config(&[("ipv4.address", "none"), ("ipv6.address", "none")])).expect("bare");
        assert_eq!((network.dnsmasq_pid(), rules().as_str()), (None, ""));
    });
}

#[test]
fn down_leaves_nothing() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[]).expect("up");
        let pid = network.dnsmasq_pid().expect("dnsmasq");
        let _guest = Guest::on("lxdbr0", "vetha", ALICE);
        let start = Instant::now();
        let errors = network.down();
        println!("down: {:?}", start.elapsed());
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!Path::new(&format!("/proc/{pid}/exe")).exists() || std::fs::read_link(format!("/proc/{pid}/exe")).is_err());
        assert_eq!(rules(), "");
        assert!(host_interface("lxdbr0").expect("look up").is_none());
        assert!(network.down().is_empty(), "again is fine");
        std::thread::sleep(Duration::from_millis(300));
        assert!(network.dnsmasq_pid().is_none(), "not revived");
    });
}

#[test]
fn two_networks_and_a_resolver_on_loopback_live_together() {
    World::run(|world| {
        let resolver = std::net::UdpSocket::bind("127.0.0.1:53").expect("resolver");
        let one = Network::up(world.usual(), &[]).expect("one");
        let two = Network::up(world.spec("other0", &[("ipv4.address", "10.78.0.1/24"), ("ipv4.nat", "true")]), &[]).expect("two");
        let rules_of_both = rules();
        assert!(rules_of_both.contains("table inet lxd_lxdbr0") && rules_of_both.contains("table inet lxd_other0"));
        assert!(two.down().is_empty());
        assert!(rules().contains("table inet lxd_lxdbr0") && !rules().contains("lxd_other0"));
        assert!(sys::fs::exists(format!("/proc/{}", one.dnsmasq_pid().expect("dnsmasq"))));
        drop(resolver);
    });
}

#[test]
fn failed_start_is_undone_and_explained() {
    World::run(|world| {
        // dnsmasq cannot open a directory as its lease file.
        std::fs::create_dir_all(world.state_dir("lxdbr0").join("dnsmasq.leases")).expect("mkdir");
        let error = Network::up(world.usual(), &[]).expect_err("must fail").to_string();
        assert!(error.contains("dnsmasq") && error.contains("lease"), "{error}");
        assert!(host_interface("lxdbr0").expect("look up").is_none());
        assert_eq!(rules(), "");
    });
}

#[test]
fn foreign_interface_is_left_alone() {
    World::run(|world| {
        let elsewhere = Guest::new();
        elsewhere.attach("taken0", ALICE, None);
        let error = Network::up(world.spec("taken0", USUAL), &[]).expect_err("not a bridge");
        assert!(matches!(error, Error::NotABridge { .. }), "{error}");
        let found = host_interface("taken0").expect("look up").expect("still there");
        assert_eq!(found.kind, InterfaceKind::Unknown);
        assert!(host_interface("lo").expect("look up").is_some_and(|lo| lo.kind == InterfaceKind::Loopback));
    });
}

#[test]
fn process_that_only_looks_like_dnsmasq_is_not_touched() {
    World::run(|world| {
        let spec = world.usual();
        std::fs::create_dir_all(&spec.state_dir).expect("mkdir");
        let mut sleeper = Cmd::new("sleep", "coreutils").arg("60").spawn().expect("sleep");
        std::fs::write(spec.state_dir.join("dnsmasq.pid"), sleeper.id().to_string()).expect("write");
        let network = Network::up(spec, &[]).expect("up");
        assert_ne!(network.dnsmasq_pid(), Some(sleeper.id().cast_signed()));
        assert!(network.down().is_empty());
        assert!(sleeper.try_wait().expect("wait").is_none(), "still running");
        sleeper.kill().expect("kill");
        sleeper.wait().expect("wait");
    });
}

#[test]
fn forwarding_keeps_announcements_accepted_elsewhere() {
    World::run(|world| {
        let outside = Guest::new();
        outside.attach("uplink", "02:00:00:00:00:99", None);
        let read = |path: &str| std::fs::read_to_string(path).expect("sysctl").trim().to_owned();
        assert_eq!(read("/proc/sys/net/ipv6/conf/uplink/accept_ra"), "1");
        let network = Network::up(world.usual(), &[]).expect("up");
        assert_eq!(read("/proc/sys/net/ipv6/conf/all/forwarding"), "1");
        assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "1");
        assert_eq!(read("/proc/sys/net/ipv6/conf/uplink/accept_ra"), "2");
        assert_eq!(read("/proc/sys/net/ipv6/conf/lxdbr0/accept_ra"), "0");
        assert!(network.down().is_empty());
    });
}

#[test]
fn free_subnets_avoid_the_hosts_own() {
    World::run(|_| {
        let mut netlink = Netlink::open().expect("netlink");
        netlink.create_bridge("vpn0", netlink::BridgeOptions::default()).expect("bridge");
        let index = netlink.link_by_name("vpn0").expect("vpn0").index;
        netlink.add_addr(index, "10.200.0.1/8".parse().expect("net")).expect("address");
        let used = in_use().expect("in use");
        assert!(used.iter().any(|net| net.to_string() == "10.0.0.0/8"), "{used:?}");
        let filled = fill_defaults(&Config::new(), &used);
        assert!(filled["ipv4.address"].starts_with("192.168."), "{}", filled["ipv4.address"]);
    });
}

#[test]
fn dnsmasq_accepts_every_option() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[]).expect("up");
        for pairs in [
            &[("ipv6.dhcp.stateful", "true")][..],
            &[("ipv6.dhcp.stateful", "true"), ("ipv6.dhcp.ranges", "fd42:77:3:1::10-fd42:77:3:1::ff"), ("ipv6.dhcp.expiry", "1d")],
            &[("ipv6.dhcp", "false"), ("ipv4.dhcp", "false")],
            &[("ipv4.dhcp.ranges", "10.77.3.10-10.77.3.20,10.77.3.30-10.77.3.40"), ("ipv4.dhcp.expiry", "infinite")],
            &[("ipv4.dhcp.ranges", "10.77.3.10-10.77.3.20,10.77.3.15-10.77.3.40")],
            &[("ipv4.dhcp.gateway", "10.77.3.9"), ("bridge.mtu", "1300"), ("dns.domain", "lab.example")],
            &[("ipv4.routing", "false"), ("ipv6.routing", "false"), ("ipv4.firewall", "false")],
            &[("dns.mode", "dynamic")],
            &[("dns.mode", "none")],
        ] {
            let mut config = config(USUAL);
            config.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            network.update(config).unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
            assert!(network.dnsmasq_pid().is_some(), "{pairs:?}");
        }
    });
}

#[test]
fn read_only_kernel_settings_are_no_obstacle_once_right() {
    World::run(|world| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("sysctl");
        rustix::mount::mount_bind("/proc/sys", "/proc/sys").expect("bind");
        rustix::mount::mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").expect("read-only");
        let error = Network::up(world.usual(), &[]).expect_err("cannot forward").to_string();
        assert!(error.contains("/proc/sys/net/ipv4/ip_forward"), "{error}");
        assert!(host_interface("lxdbr0").expect("look up").is_none(), "undone");

        rustix::mount::unmount("/proc/sys", rustix::mount::UnmountFlags::empty()).expect("unmount");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("sysctl");
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("sysctl");
        rustix::mount::mount_bind("/proc/sys", "/proc/sys").expect("bind");
        rustix::mount::mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").expect("read-only");
        Network::up(world.usual(), &[]).expect("up");
    });
}

#[test]
fn firewall_that_drops_forwarded_packets_is_noticed() {
    World::run(|_| {
        assert_eq!(nft::foreign_forward_drop(), None);
        nft::load("table ip filter {\n chain FORWARD { type filter hook forward priority filter; policy drop; }\n}\n").expect("load");
        assert_eq!(nft::foreign_forward_drop(), Some("ip filter FORWARD"));
    });
}

#[test]
fn configuration_that_fails_is_rolled_back() {
    World::run(|world| {
        let network = Network::up(world.usual(), &[]).expect("up");
        let before = rules();
        // dnsmasq cannot start while something else holds its port on the new address.
        let mut netlink = Netlink::open().expect("netlink");
        let lo = netlink.link_by_name("lo").expect("lo").index;
        netlink.add_addr(lo, "10.79.0.1/32".parse().expect("net")).expect("address");
        let _listener = std::net::TcpListener::bind("10.79.0.1:53").expect("listener");
        let error = network.update(config(&[("ipv4.address", "10.79.0.1/24")])).expect_err("port in use");
        assert!(error.to_string().contains("in use"), "{error}");
        assert_eq!(rules(), before);
        assert!(network.dnsmasq_pid().is_some_and(|pid| sys::fs::exists(format!("/proc/{pid}/exe"))));
        let index = netlink.link_by_name("lxdbr0").expect("link").index;
        let addresses = netlink.addr_list().expect("list");
        assert!(addresses.iter().any(|addr| addr.index == index && addr.net.to_string() == "10.77.3.1/24"), "{addresses:?}");
    });
}
