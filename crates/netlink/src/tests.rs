//! Against the real kernel, each test in a network namespace of its own.

#![allow(clippy::print_stdout, reason = "timings, shown on request")]

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;

use super::*;

/// Runs `body` on a thread in a new network namespace.
fn in_new_netns<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_new_netns();
            body()
        });
        thread.join().expect("the test's thread")
    })
}

fn enter_new_netns() {
    // Not for files: the safe name does for namespaces.
    #[allow(deprecated, reason = "deprecated for CLONE_FILES only")]
    rustix::thread::unshare(UnshareFlags::NEWNET).expect("unshare needs root");
}

/// A namespace of its own, kept by the descriptor.
fn other_netns() -> File {
    in_new_netns(|| File::open("/proc/thread-self/ns/net").expect("open namespace"))
}

fn veth<'a>(host_name: &'a str, peer_netns: &'a File) -> VethSpec<'a> {
    let (host_mac, peer_mac) = (None, Some([0x00, 0x16, 0x3e, 1, 2, 3]));
    VethSpec { host_name, host_mac, peer_name: "eth0", peer_mac, peer_netns: peer_netns.as_fd(), master: None, mtu: Some(1400) }
}

#[test]
fn new_namespace_has_lo_and_it_can_be_set_up() {
    in_new_netns(|| {
        let mut netlink = Netlink::open().expect("open");
        let lo = netlink.link_by_name("lo").expect("lo");
        assert_eq!((lo.is_up(), lo.medium(), lo.kind.as_deref()), (false, "loopback", None));
        netlink.set_up(lo.index).expect("up");
        assert!(netlink.link_by_index(lo.index).expect("lo").is_up());
        let addresses = netlink.addr_list().expect("addresses");
        let shown: Vec<_> = addresses.iter().map(|addr| (addr.net.to_string(), addr.reach())).collect();
        assert_eq!(shown, [("127.0.0.1/8".to_owned(), "local"), ("::1/128".to_owned(), "local")]);
        netlink.set_down(lo.index).expect("down");
        assert!(!netlink.link_by_index(lo.index).expect("lo").is_up());
    });
}

#[test]
fn veth_is_born_in_place() {
    in_new_netns(|| {
        let guest = other_netns();
        let mut netlink = Netlink::open().expect("open");
        netlink.create_bridge("br0", BridgeOptions { mac: Some([2, 0, 0, 0, 0, 1]), mtu: None }).expect("bridge");
        let bridge = netlink.link_by_name("br0").expect("br0");
        assert!(bridge.is_up() && bridge.is_kind("bridge"));
        assert_eq!(bridge.mac, Some([2, 0, 0, 0, 0, 1]));
        let start = Instant::now();
        netlink.create_veth(&VethSpec { master: Some(bridge.index), ..veth("vethaa", &guest) }).expect("veth");
        println!("create_veth: {:?}", start.elapsed());

        let host = netlink.link_by_name("vethaa").expect("host end");
        assert_eq!((host.is_up(), host.master, host.mtu), (true, Some(bridge.index), 1400));
        let start = Instant::now();
        let inside = interfaces_in(guest.as_fd()).expect("interfaces");
        println!("interfaces_in: {:?}", start.elapsed());
        let eth0 = inside.iter().find(|interface| interface.link.name == "eth0").expect("eth0");
        assert_eq!(eth0.host_name.as_deref(), Some("vethaa"));
        assert_eq!(eth0.link.mac, Some([0x00, 0x16, 0x3e, 1, 2, 3]));
        assert_eq!((eth0.link.is_up(), eth0.link.mtu, eth0.link.medium()), (false, 1400, "broadcast"));
        Netlink::open_in(guest.as_fd()).expect("open inside").set_up(eth0.link.index).expect("up");
        assert!(netlink.find_link("eth0").expect("look up").is_none(), "the peer must not be on the host");

        netlink.delete_link(host.index).expect("delete");
        assert_eq!(interfaces_in(guest.as_fd()).expect("interfaces").len(), 1);
        netlink.delete_link_by_name("vethaa").expect("absent is fine");
    });
}

#[test]
fn macvlan_is_born_in_place() {
    in_new_netns(|| {
        let guest = other_netns();
        let mut netlink = Netlink::open().expect("open");
        netlink.create_bridge("parent0", BridgeOptions::default()).expect("bridge");
        let parent = netlink.link_by_name("parent0").expect("parent").index;
        let spec = MacvlanSpec { name: "eth0", parent, mac: Some([2, 1, 1, 1, 1, 1]), mtu: Some(1300), netns: guest.as_fd() };
        netlink.create_macvlan(&spec).expect("macvlan");
        let inside = interfaces_in(guest.as_fd()).expect("interfaces");
        let eth0 = inside.iter().find(|interface| interface.link.name == "eth0").expect("eth0");
        assert!(eth0.link.is_kind("macvlan") && eth0.link.is_up());
        assert_eq!((eth0.link.mac, eth0.link.mtu, &eth0.host_name), (Some([2, 1, 1, 1, 1, 1]), 1300, &None));
    });
}

#[test]
fn link_moves_is_renamed_and_comes_back() {
    in_new_netns(|| {
        let here = File::open("/proc/thread-self/ns/net").expect("open namespace");
        let guest = other_netns();
        let mut netlink = Netlink::open().expect("open");
        netlink.create_bridge("phys0", BridgeOptions::default()).expect("bridge");
        // A bridge cannot move; a veth end can.
        netlink.create_veth(&VethSpec { peer_name: "mate", ..veth("phys1", &here) }).expect("veth");
        let index = netlink.link_by_name("phys1").expect("phys1").index;
        netlink.set_netns(index, guest.as_fd(), Some("eth7")).expect("move");
        let mut inside = Netlink::open_in(guest.as_fd()).expect("open inside");
        let moved = inside.link_by_name("eth7").expect("moved");
        assert!(!moved.is_up());
        inside.set_mac(moved.index, [2, 2, 2, 2, 2, 2]).expect("mac");
        inside.set_mtu(moved.index, 1280).expect("mtu");
        inside.set_netns(moved.index, here.as_fd(), Some("phys1")).expect("back");
        let back = netlink.link_by_name("phys1").expect("back");
        assert_eq!((back.mac, back.mtu), (Some([2, 2, 2, 2, 2, 2]), 1280));
        let bridge = netlink.link_by_name("phys0").expect("bridge").index;
        netlink.set_master(back.index, Some(bridge)).expect("into the bridge");
        assert_eq!(netlink.link_by_index(back.index).expect("link").master, Some(bridge));
        netlink.set_master(back.index, None).expect("out of the bridge");
        assert_eq!(netlink.link_by_index(back.index).expect("link").master, None);
        netlink.set_name(back.index, "other9").expect("rename");
        assert_eq!(netlink.link_by_index(back.index).expect("link").name, "other9");
    });
}

#[test]
fn addresses_and_routes() {
    in_new_netns(|| {
        let mut netlink = Netlink::open().expect("open");
        netlink.create_bridge("br0", BridgeOptions::default()).expect("bridge");
        let index = netlink.link_by_name("br0").expect("br0").index;
        for net in ["10.9.8.1/24", "fd42:1::1/64"] {
            let net = net.parse().expect("net");
            netlink.add_addr(index, net).expect("add");
            netlink.add_addr(index, net).expect("adding again is fine");
            assert!(netlink.addr_list().expect("list").iter().any(|addr| addr.net == net && addr.index == index));
        }
        let route = Route { destination: "0.0.0.0/0".parse().expect("net"), gateway: Some([10, 9, 8, 254].into()), index: Some(index) };
        netlink.add_route(&route).expect("default route");
        netlink.add_route(&route).expect("replacing is fine");
        let routes = netlink.route_list().expect("routes");
        assert_eq!(routes.iter().filter(|found| **found == route).count(), 1);
        assert!(routes.iter().any(|found| found.destination.to_string() == "10.9.8.0/24"));
        netlink.del_addr(index, "10.9.8.1/24".parse().expect("net")).expect("remove");
        assert!(netlink.addr_list().expect("list").iter().all(|addr| addr.net.addr().is_ipv6()));
    });
}

#[test]
fn errors_name_operation_subject_and_reason() {
    in_new_netns(|| {
        let guest = other_netns();
        let mut netlink = Netlink::open().expect("open");
        let absent = netlink.link_by_name("absent0").expect_err("must fail");
        assert!(absent.is_not_found());
        assert!(absent.to_string().starts_with("look up interface absent0: No such device"), "{absent}");
        netlink.create_veth(&veth("veth1", &guest)).expect("first");
        let taken = netlink.create_veth(&VethSpec { peer_name: "eth1", ..veth("veth1", &guest) }).expect_err("name is taken");
        assert!(taken.is_exists());
        assert!(taken.to_string().starts_with("create veth veth1 (peer eth1): File exists"), "{taken}");
        assert_eq!(interfaces_in(guest.as_fd()).expect("inside").len(), 2, "nothing half-made");
        // The kernel explains this one in words.
        let index = netlink.link_by_name("veth1").expect("veth1").index;
        let loop_error = netlink.set_master(index, Some(index)).expect_err("not a bridge");
        assert!(loop_error.to_string().contains("veth1"), "{loop_error}");
        let long = netlink.create_bridge("a-name-that-is-too-long", BridgeOptions::default()).expect_err("too long");
        println!("{loop_error}\n{long}");
    });
}

#[test]
fn listing_survives_many_links() {
    in_new_netns(|| {
        let mut netlink = Netlink::open().expect("open");
        let start = Instant::now();
        for number in 0..300 {
            netlink.create_bridge(&format!("br{number}"), BridgeOptions::default()).expect("bridge");
        }
        println!("300 bridges: {:?}", start.elapsed());
        let start = Instant::now();
        assert_eq!(netlink.link_list().expect("list").len(), 301);
        println!("list of 301 links: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn veth_creation_is_fast() {
    in_new_netns(|| {
        let mut netlink = Netlink::open().expect("open");
        netlink.create_bridge("br0", BridgeOptions::default()).expect("bridge");
        let master = Some(netlink.link_by_name("br0").expect("br0").index);
        let guests: Vec<File> = (0..20).map(|_| other_netns()).collect();
        let mut times: Vec<Duration> = Vec::new();
        for (number, guest) in guests.iter().enumerate() {
            let name = format!("veth{number}");
            let start = Instant::now();
            netlink.create_veth(&VethSpec { master, ..veth(&name, guest) }).expect("veth");
            times.push(start.elapsed());
        }
        times.sort();
        println!("create_veth: median {:?}, worst {:?}", times[10], times[19]);
        let mut times: Vec<Duration> = Vec::new();
        for guest in &guests {
            let start = Instant::now();
            let mut inside = Netlink::open_in(guest.as_fd()).expect("open inside");
            let index = inside.link_by_name("eth0").expect("eth0").index;
            inside.set_up(index).expect("up");
            times.push(start.elapsed());
        }
        times.sort();
        println!("open_in and set_up: median {:?}, worst {:?}", times[10], times[19]);
        let mut times: Vec<Duration> = Vec::new();
        for guest in &guests {
            let start = Instant::now();
            assert_eq!(interfaces_in(guest.as_fd()).expect("interfaces").len(), 2);
            times.push(start.elapsed());
        }
        times.sort();
        println!("interfaces_in: median {:?}, worst {:?}", times[10], times[19]);
        // One message does not wait for an RCU grace period, which takes 16 ms or more.
        assert!(times[0] < Duration::from_millis(10));
    });
}

#[test]
fn mac_text() {
    assert_eq!(parse_mac("00:16:3E:aa:bb:0c"), Some([0, 0x16, 0x3e, 0xaa, 0xbb, 0x0c]));
    assert_eq!(format_mac([0, 0x16, 0x3e, 0xaa, 0xbb, 0x0c]), "00:16:3e:aa:bb:0c");
    for bad in ["", "00:16:3e:aa:bb", "00:16:3e:aa:bb:cc:dd", "0:16:3e:aa:bb:cc", "00:16:3e:aa:bb:+c", "00:16:3e:aa:bb:cc\n"] {
        assert_eq!(parse_mac(bad), None, "{bad:?}");
    }
}

#[test]
fn traffic_is_shaped_both_ways() {
    in_new_netns(|| {
        let guest = other_netns();
        let mut netlink = Netlink::open().expect("open");
        netlink.create_veth(&veth("vethaa", &guest)).expect("veth");
        let index = netlink.link_by_name("vethaa").expect("host end").index;
        for bits in [1_000_000, 20_000_000_000, 50_000_000_000] {
            netlink.shape(index, bits).expect("shape, or shape anew");
        }
        netlink.create_ifb("ifbaa").expect("ifb");
        let through = netlink.link_by_name("ifbaa").expect("ifb").index;
        for _ in 0..2 {
            netlink.redirect(index, through).expect("redirect, or redirect anew");
        }
        for _ in 0..2 {
            netlink.stop_redirecting(index).expect("stop");
            netlink.unshape(index).expect("lift");
        }
        let error = netlink.shape(9999, 1000).expect_err("no such link").to_string();
        assert!(error.contains("interface 9999"), "{error}");
    });
}
