//! What an instance reaches of the host beyond what every one does: told to whoever brings it in from elsewhere.

use api::{Config, Devices};
use keys::devices::disk;
use keys::instance as key;

/// What lets an instance out of its confinement, or gives it something of the host's, a text each. What such a one says of
/// itself is none of the host's business until somebody has looked at it.
pub(super) fn of_host(config: &Config, devices: &Devices) -> Vec<String> {
    let mut found = Vec::new();
    if key::SECURITY_PRIVILEGED.is_true(config) {
        found.push("security.privileged=true: its root is the host's root".to_owned());
    }
    for key in [key::RAW_LXC.name, key::RAW_APPARMOR.name, key::RAW_IDMAP.name, key::LINUX_KERNEL_MODULES.name] {
        if let Some(value) = config.get(key).filter(|value| !value.is_empty()) {
            found.push(format!("{key}={}", value.escape_debug()));
        }
    }
    for (name, device) in devices {
        let kind = device.get("type").map(String::as_str).unwrap_or_default();
        let source = device.get("source").map(String::as_str).unwrap_or_default();
        let nictype = device.get("nictype").map(String::as_str).unwrap_or_default();
        match kind {
            "disk" if source.starts_with('/') && disk::volume(device).is_none() => {
                found.push(format!("disk device {name} shows {} of the host", source.escape_debug()));
            }
            "unix-char" | "unix-block" | "usb" | "gpu" => found.push(format!("{kind} device {name} gives it hardware of the host")),
            "nic" if matches!(nictype, "physical" | "macvlan") => {
                found.push(format!("nic device {name} ({nictype}) takes part in a network of the host"));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_every_instance_may_is_not_told() {
        let config = pairs(&[("limits.memory", "1GiB"), ("security.nesting", "true"), ("security.privileged", "false"), ("raw.lxc", "")]);
        let devices = [
            ("root".to_owned(), pairs(&[("type", "disk"), ("path", "/"), ("pool", "default")])),
            ("data".to_owned(), pairs(&[("type", "disk"), ("path", "/data"), ("pool", "default"), ("source", "data")])),
            ("eth0".to_owned(), pairs(&[("type", "nic"), ("network", "lxdbr0")])),
        ];
        assert_eq!(of_host(&config, &devices.into()), Vec::<String>::new());
    }

    #[test]
    fn what_reaches_the_host_is_told() {
        let config = pairs(&[("security.privileged", "true"), ("raw.apparmor", "mount,\n"), ("linux.kernel_modules", "zfs")]);
        let devices = [
            ("etc".to_owned(), pairs(&[("type", "disk"), ("path", "/mnt"), ("source", "/etc")])),
            ("kvm".to_owned(), pairs(&[("type", "unix-char"), ("path", "/dev/kvm")])),
            ("lan".to_owned(), pairs(&[("type", "nic"), ("nictype", "macvlan"), ("parent", "eth0")])),
        ];
        let expected = [
            "security.privileged=true: its root is the host's root",
            "raw.apparmor=mount,\\n",
            "linux.kernel_modules=zfs",
            "disk device etc shows /etc of the host",
            "unix-char device kvm gives it hardware of the host",
            "nic device lan (macvlan) takes part in a network of the host",
        ];
        assert_eq!(of_host(&config, &devices.into()), expected);
    }
}
