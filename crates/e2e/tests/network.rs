//! The managed bridge: addresses, names, translation, and bridges of one's own.

use std::time::Duration;

use testkit::{Options, Sandbox, wait_until};

fn wait_address(sandbox: &Sandbox, container: &str) {
    wait_until(&format!("an IPv4 address for {container}"), Duration::from_secs(20), || {
        sandbox.lxc_ok(&["list", container, "-c", "4"]).contains("(eth0)")
    });
}

#[test]
fn leases_names_and_neighbours() {
    let Some(sandbox) = Sandbox::start("leases_names_and_neighbours", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.launch_busybox("c2");
    wait_address(&sandbox, "c1");
    wait_address(&sandbox, "c2");
    sandbox.exec_ok("c1", "ping -c 1 -W 5 c2.lxd");
    sandbox.exec_ok("c1", "nslookup c2.lxd");
    let leases = sandbox.http("GET", "/1.0/networks/lxdbr0/leases", None);
    let text = leases.body.to_string();
    assert!(text.contains("\"c1\"") && text.contains("\"c2\""), "{text}");
    // Router advertisements give a global IPv6 address without any client.
    wait_until("a global IPv6 address", Duration::from_secs(20), || sandbox.lxc_ok(&["list", "c1", "-c", "6"]).contains("(eth0)"));
    let gateway = sandbox.exec_ok("c1", "ip route | awk '/^default/ { print $3 }'");
    sandbox.exec_ok("c1", &format!("ping -c 1 -W 5 {gateway}"));
    // Clients replace what they have read, or send what they want and know nothing of generated addresses.
    let address = "cat /sys/class/net/eth0/address; ip -4 -o addr show dev eth0 | awk '{ print $4 }'";
    let before = sandbox.exec_ok("c1", address);
    for body in [r#"{"config":{"user.mark":"1"},"profiles":["default"]}"#, "{}"] {
        sandbox.lxc_ok(&["query", "-X", "PUT", "--wait", "-d", body, "/1.0/instances/c1"]);
        assert_eq!(sandbox.exec_ok("c1", address), before, "{body}");
    }
    sandbox.lxc_ok(&["config", "unset", "c1", "volatile.base_image"]);
    assert_eq!(sandbox.lxc_ok(&["config", "get", "c1", "volatile.base_image"]), "");
    assert_eq!(sandbox.exec_ok("c1", address), before);
    sandbox.lxc_ok(&["delete", "--force", "c2"]);
    wait_until("a deleted container's name to go", Duration::from_secs(5), || {
        !sandbox.lxc(&["exec", "c1", "--", "nslookup", "c2.lxd"]).ok()
    });
    sandbox.finish();
}

#[test]
fn traffic_to_the_outside_is_translated() {
    let Some(sandbox) = Sandbox::start("traffic_to_the_outside_is_translated", Options::default()) else { return };
    // An upstream host that knows no route back to the containers: only translated packets get an answer.
    sandbox.sh_ok(
        "ip link add up0 type veth peer name up1 || exit; unshare --net sleep 300 > /dev/null 2>&1 & pid=$!; \
         until grep -q '^sleep' /proc/$pid/cmdline; do sleep 0.01; done; \
         ip link set up1 netns $pid && ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up && \
         nsenter --target $pid --net sh -c 'ip addr add 192.0.2.9/24 dev up1; ip link set up1 up; ip link set lo up'; \
         ip route add default via 192.0.2.9",
    );
    sandbox.mark();
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    wait_address(&sandbox, "c1");
    // One packet may get lost.
    sandbox.exec_ok("c1", "for n in 1 2 3 4 5; do ping -c 1 -W 4 192.0.2.9 && exit 0; done; exit 1");
    sandbox.sh_ok("nft list ruleset | grep -q masquerade");
    sandbox.finish();
}

#[test]
fn bridges_of_ones_own() {
    let Some(sandbox) = Sandbox::start("bridges_of_ones_own", Options::default()) else { return };
    sandbox.build_busybox();
    let before = sandbox.facts();
    sandbox.lxc_ok(&["network", "create", "br1", "ipv4.address=10.98.76.1/24", "ipv6.address=none"]);
    sandbox.sh_ok("ip addr show br1 | grep -q 10.98.76.1/24");
    sandbox.lxc_ok(&["launch", "busybox", "c1", "-n", "br1"]);
    wait_address(&sandbox, "c1");
    assert!(sandbox.lxc_ok(&["list", "c1"]).contains("10.98.76."));
    sandbox.lxc_ok(&["network", "attach-profile", "br1", "default", "second", "eth7"]);
    sandbox.exec_ok("c1", "ip link show eth7");
    sandbox.lxc_ok(&["network", "detach-profile", "br1", "default"]);
    assert!(!sandbox.lxc(&["exec", "c1", "--", "ip", "link", "show", "eth7"]).ok());
    let said = sandbox.lxc_fails(&["network", "delete", "br1"]);
    assert!(said.contains("use"), "{said}");
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.lxc_ok(&["network", "set", "br1", "ipv4.address", "10.98.77.1/24"]);
    sandbox.sh_ok("ip addr show br1 | grep -q 10.98.77.1/24");
    sandbox.lxc_ok(&["network", "create", "br2", "ipv4.address=none", "ipv6.address=none"]);
    sandbox.sh_ok("test -z \"$(ip -4 addr show br2 | grep inet)\"");
    sandbox.lxc_ok(&["network", "delete", "br1"]);
    sandbox.lxc_ok(&["network", "delete", "br2"]);
    sandbox.assert_unchanged_since(&before);
    sandbox.finish();
}

#[test]
fn bad_networks_change_nothing() {
    let Some(sandbox) = Sandbox::start("bad_networks_change_nothing", Options::default()) else { return };
    let before = sandbox.facts();
    let bad: [&[&str]; 7] = [
        &["network", "create", "br1", "ipv4.address=10.0.0.1"],
        &["network", "create", "br1", "ipv4.address=300.1.1.1/24"],
        &["network", "create", "br1", "no.such.key=1"],
        &["network", "create", "br1", "bridge.mtu=many"],
        &["network", "create", "name/with/slashes"],
        &["network", "create", "a-name-longer-than-the-kernel-takes"],
        &["network", "create", "lxdbr0"],
    ];
    for args in bad {
        let said = sandbox.lxc_fails(args);
        assert!(said.trim().len() > 10, "{args:?}: {said}");
    }
    sandbox.lxc_fails(&["network", "set", "lxdbr0", "ipv4.address", "nonsense"]);
    sandbox.assert_unchanged_since(&before);
    sandbox.finish();
}

#[test]
fn other_nic_types() {
    let Some(sandbox) = Sandbox::start("other_nic_types", Options::default()) else { return };
    sandbox.build_busybox();
    sandbox.sh_ok("ip link add phys0 type veth peer name phys1; ip link set phys0 up; ip link set phys1 up; ip link add mac0 type veth peer name mac1; ip link set mac0 up; ip link set mac1 up");
    sandbox.mark();
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "p", "nic", "nictype=physical", "parent=phys0", "name=eth1"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "m", "nic", "nictype=macvlan", "parent=mac0", "name=eth2"]);
    sandbox.lxc_ok(&["config", "device", "add", "c1", "q", "nic", "nictype=p2p", "name=eth3", "hwaddr=00:16:3e:00:00:07"]);
    sandbox.lxc_ok(&["start", "c1"]);
    assert_eq!(sandbox.exec_ok("c1", "cd /sys/class/net; ls -d eth1 eth2 eth3 | wc -l; cat eth3/address"), "3\n00:16:3e:00:00:07");
    sandbox.sh_ok("test ! -e /sys/class/net/phys0");
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    wait_until("the physical device back on the host", Duration::from_secs(10), || sandbox.sh("test -e /sys/class/net/phys0").ok());
    sandbox.finish();
}

/// Cards that are isolated reach the host and not each other; what a guest sends has the priority that it was given.
#[test]
fn isolation_and_priority() {
    let Some(sandbox) = Sandbox::start("isolation_and_priority", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    for name in ["c1", "c2"] {
        sandbox.lxc_ok(&["init", "busybox", name]);
        sandbox.lxc_ok(&["config", "device", "override", name, "eth0", "security.port_isolation=true"]);
        sandbox.lxc_ok(&["start", name]);
    }
    wait_address(&sandbox, "c1");
    wait_address(&sandbox, "c2");
    let own = |name: &str| sandbox.exec_ok(name, "ip -4 addr show eth0 | awk '/inet / { sub(\"/.*\", \"\", $2); print $2 }'");
    let (address, gateway) = (own("c2"), sandbox.exec_ok("c1", "ip route | awk '/^default/ { print $3 }'"));
    let reaches = |target: &str| sandbox.lxc(&["exec", "c1", "--", "ping", "-c", "1", "-W", "2", target]).ok();
    assert!(reaches(&gateway) && !reaches(&address), "isolated from the wrong ones");
    // In place: the card keeps its address.
    sandbox.lxc_ok(&["config", "device", "set", "c2", "eth0", "security.port_isolation", "false"]);
    assert_eq!(own("c2"), address);
    // It may remember for a while that there was no answer.
    wait_until("a way to one that is not isolated", Duration::from_secs(20), || reaches(&address));
    sandbox.lxc_ok(&["config", "device", "set", "c2", "eth0", "security.port_isolation", "true"]);
    sandbox.kill_daemon();
    sandbox.start_daemon();
    assert!(!reaches(&address), "forgotten by a new daemon");

    // What arrives at the host, counted by its priority.
    sandbox.sh_ok(
        "nft 'table inet probe { chain received { type filter hook input priority 0; meta priority 0:7 icmp type echo-request counter; }; \
         chain sent { type filter hook postrouting priority 0; meta priority 0:7 tcp dport 9 counter; }; }'",
    );
    let counted = |chain: &str| sandbox.sh_ok(&format!("nft list chain inet probe {chain} | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'"));
    assert!(reaches(&gateway) && counted("received") == "0");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.network.priority", "7"]);
    assert!(reaches(&gateway));
    assert_ne!(counted("received"), "0", "its packets have no priority");
    // Routed on, too, where the kernel sets another one.
    sandbox.sh_ok(
        "ip link add up0 type veth peer name up1; ip link set up1 up; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0; \
         ip neigh add 192.0.2.9 lladdr 00:16:3e:00:00:09 dev up0",
    );
    sandbox.exec_ok("c1", "nc -w 1 192.0.2.9 9 < /dev/null || true");
    assert_ne!(counted("sent"), "0", "its routed packets have no priority");
    sandbox.sh_ok("ip link delete up0; nft delete table inet probe");
    sandbox.lxc_ok(&["restart", "--force", "c1"]);
    assert!(sandbox.sh_ok("nft list tables").contains("lxd_prio_"));
    sandbox.lxc_ok(&["config", "set", "c1", "limits.network.priority", "0"]);
    assert!(!sandbox.sh_ok("nft list tables").contains("lxd_prio_"), "rules of a priority that was unset");
    sandbox.lxc_ok(&["config", "set", "c1", "limits.network.priority", "3"]);
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert!(!sandbox.sh_ok("nft list tables").contains("lxd_prio_"), "rules of a stopped container");
    sandbox.finish();
}

/// A guest that takes another's address is not heard.
#[test]
fn filtered_cards_cannot_lie() {
    let Some(sandbox) = Sandbox::start("filtered_cards_cannot_lie", Options::storage("overlay")) else { return };
    sandbox.build_busybox();
    let subnet = sandbox.lxc_ok(&["network", "get", "lxdbr0", "ipv4.address"]);
    let gateway = subnet.split('/').next().expect("an address").to_owned();
    let prefix = &gateway[..gateway.rfind('.').expect("dots")];
    let fixed = format!("ipv4.address={prefix}.77");
    sandbox.lxc_ok(&["init", "busybox", "c1"]);
    sandbox.lxc_ok(&["config", "device", "override", "c1", "eth0", &fixed, "security.ipv4_filtering=true"]);
    sandbox.lxc_ok(&["start", "c1"]);
    let reaches = |options: &str| sandbox.lxc(&["exec", "c1", "--", "sh", "-c", &format!("ping -c 1 -W 1 {options} {gateway}")]).ok();
    wait_until("the way to the gateway", Duration::from_secs(20), || reaches(""));
    sandbox.exec_ok("c1", &format!("ip addr add {prefix}.78/24 dev eth0"));
    let other = format!("-I {prefix}.78");
    assert!(!reaches(&other), "it was heard with another IPv4 address");
    // The hardware address counts also without the others, and all of it changes while it runs.
    sandbox.lxc_ok(&["config", "device", "set", "c1", "eth0", "security.ipv4_filtering", "false"]);
    assert!(reaches(&other), "still filtered");
    sandbox.lxc_ok(&["config", "device", "set", "c1", "eth0", "security.mac_filtering", "true"]);
    assert!(reaches(""));
    let own = sandbox.exec_ok("c1", "cat /sys/class/net/eth0/address");
    sandbox.exec_ok("c1", "ip link set eth0 address 00:16:3e:99:99:99");
    assert!(!reaches(""), "it was heard with another hardware address");
    sandbox.kill_daemon();
    sandbox.start_daemon();
    assert!(!reaches(""), "forgotten by a new daemon");
    sandbox.exec_ok("c1", &format!("ip link set eth0 address {own}"));
    wait_until("its own address to count again", Duration::from_secs(10), || reaches(""));
    sandbox.lxc_ok(&["stop", "--force", "c1"]);
    assert_eq!(sandbox.sh_ok("nft list tables bridge"), "", "filters of a stopped container");
    sandbox.finish();
}
