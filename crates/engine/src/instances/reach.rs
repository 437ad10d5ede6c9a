//! What an instance reaches of the host beyond what every one does: told to whoever brings it in from elsewhere.

use api::{Config, Devices};
use keys::devices::disk;
use keys::instance as key;

use crate::operations::Operation;
use crate::records::{InstanceRecord, SnapshotRecord};

/// What an instance that comes from elsewhere, or its snapshots, reach of the host. It comes along, since it belongs to the
/// instance, and is told; but where there is such a thing nothing starts by itself, before anybody has looked at it.
pub(super) fn distrust(instance: Option<&mut InstanceRecord>, snapshots: &mut [(String, SnapshotRecord)]) -> Vec<String> {
    let mut warnings = instance.as_deref().map(|record| of_host(&record.config, &record.devices)).unwrap_or_default();
    for (name, snapshot) in &*snapshots {
        let reached = of_host(&snapshot.instance.config, &snapshot.instance.devices);
        warnings.extend(reached.into_iter().map(|reached| format!("snapshot {name}: {reached}")));
    }
    if warnings.is_empty() {
        return warnings;
    }
    let records = instance.into_iter().chain(snapshots.iter_mut().map(|(_, snapshot)| &mut snapshot.instance));
    let mut starts_itself = false;
    for record in records {
        starts_itself |= key::BOOT_AUTOSTART.is_true(&record.config);
        record.config.remove(key::BOOT_AUTOSTART.name);
    }
    if starts_itself {
        warnings.push(format!("{} was left out: set it again once the instance is trusted", key::BOOT_AUTOSTART.name));
    }
    warnings
}

/// Tells the warnings to whoever follows the operation, and to the log.
pub(super) fn tell(operation: &Operation, name: &str, warnings: Vec<String>) {
    if !warnings.is_empty() {
        tracing::warn!(instance = name, "what came from elsewhere reaches the host: {}", warnings.join("; "));
        operation.progress("warnings", warnings);
    }
}

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
