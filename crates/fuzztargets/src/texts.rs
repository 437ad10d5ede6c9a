//! Values of keys, and files of other programs and of the kernel.

use keys::{cpu, idmap, names, subid, values};

fn text(input: &[u8]) -> &str {
    std::str::from_utf8(input).unwrap_or_default()
}

/// Every check of every key.
pub fn keys(input: &[u8]) {
    let text = text(input);
    for table in [&keys::instance::TABLE, &keys::server::TABLE, &keys::network::TABLE] {
        for row in table.rows {
            let _ = (row.check)(text);
        }
    }
    for (_, rows) in keys::devices::tables() {
        for row in rows {
            let _ = (row.check)(text);
        }
    }
    let _ = (values::parse_size(text), values::parse_bit_rate(text), values::parse_memory(text), values::parse_disk_rate(text));
    let _ = (values::parse_mode(text), values::parse_mac(text), values::parse_expiry(text), values::parse_int(text));
    if let Ok(processors) = cpu::parse_cpu_list(text) {
        assert!(processors.len() <= 1 << 20, "{text} is a list of {} processors", processors.len());
    }
    let _ = (cpu::parse_cpu_limit(text), cpu::parse_cpu_allowance(text));
    let _ = (names::check_instance(text), names::check_network(text), names::check_profile(text), names::check_alias(text));
}

/// `raw.idmap` and `/etc/subuid`.
pub fn idmaps(input: &[u8]) {
    let text = text(input);
    let _ = idmap::parse_raw_idmap(text);
    let _ = subid::parse_subid("/etc/subuid", text, "root");
}

/// dnsmasq's leases, in which guests have a say.
pub fn leases(input: &[u8]) {
    for lease in network::parse_leases(text(input), 0) {
        assert!(!lease.hostname.contains([' ', '\n']), "{lease:?}");
    }
}

/// `/proc/PID/mountinfo`.
pub fn mounts(input: &[u8]) {
    for hierarchy in runtime::Layout::parse(text(input)).hierarchies {
        drop(hierarchy.mount_point.join("x"));
    }
}

/// `/proc/PID/fdinfo/*`.
pub fn fdinfo(input: &[u8]) {
    drop(sys::inotify::parse(text(input)));
    let _ = sys::timerfd::parse(text(input));
}
