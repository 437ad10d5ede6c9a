//! From an instance's record to the complete description that the runtime starts: pure.
//!
//! What every container gets (kernel file systems, standard devices, lxcfs) is the runtime's
//! business; here is what this instance gets.

use api::Config;
use keys::instance as key;
use keys::raw_lxc::RawLxc;
use runtime::{ContainerSpec, DeviceRule, GroupFile, Limits, Rlimit, Rootfs, Tuning};
use sys::idmap::IdMap;

use crate::devices::{Part, Parts};

/// Everything that a specification is made of.
pub(crate) struct Input<'a> {
    pub name: &'a str,
    /// Expanded configuration.
    pub config: &'a Config,
    pub idmap: IdMap,
    pub rootfs: Rootfs,
    /// Ids on disk are guest ids.
    pub idmapped: bool,
    pub parts: &'a Parts,
    /// Directory of the guest API's socket.
    pub guest_api: std::path::PathBuf,
    pub limits: Limits,
    /// What the volumes with a limit allow.
    pub subvolumes: storage::Subvolumes,
    pub personality_32: bool,
}

/// The specification.
pub(crate) fn build(input: Input<'_>) -> ContainerSpec {
    let (mut mounts, mut nodes, mut nics) = (Vec::new(), Vec::new(), Vec::new());
    for part in input.parts.values() {
        match part {
            Part::Nic(nic) => nics.push(nic.clone()),
            Part::Disk(bind) => mounts.push(bind.clone()),
            Part::Nodes(own) => nodes.extend(own.iter().cloned()),
        }
    }
    // Parents come before what is mounted inside them.
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    let raw = key::RAW_LXC.get(input.config).unwrap_or_default();
    ContainerSpec {
        name: input.name.to_owned(),
        hostname: raw.hostname.clone().unwrap_or_else(|| input.name.to_owned()),
        idmap: input.idmap,
        rootfs: input.rootfs,
        idmapped: input.idmapped,
        init: if raw.init.is_empty() { vec!["/sbin/init".into()] } else { raw.init.clone() },
        env: key::environment(input.config),
        mounts,
        guest_api: Some(input.guest_api),
        nodes,
        nics,
        limits: input.limits,
        rlimits: key::resource_limits(input.config)
            .into_iter()
            .map(|(name, limit)| Rlimit { name, soft: limit.soft, hard: limit.hard })
            .collect(),
        nesting: key::SECURITY_NESTING.is_true(input.config),
        // Without a word of the user's, what nests is left alone.
        checkpointable: match key::MIGRATION_STATEFUL.text(input.config) {
            Some(_) => key::MIGRATION_STATEFUL.is_true(input.config),
            None => !key::SECURITY_NESTING.is_true(input.config),
        },
        subvolumes: match input.subvolumes {
            storage::Subvolumes::Any => runtime::Subvolumes::Any,
            storage::Subvolumes::Counted => runtime::Subvolumes::WithoutGroups,
            storage::Subvolumes::None => runtime::Subvolumes::None,
        },
        personality_32: input.personality_32,
        apparmor: key::RAW_APPARMOR.text(input.config).unwrap_or_default().to_owned(),
        tuning: tuning(raw),
    }
}

/// The same in the words of the runtime.
fn tuning(raw: RawLxc) -> Tuning {
    let file = |file: keys::raw_lxc::CgroupFile| GroupFile { unified: file.unified, name: file.name, value: file.value };
    let rule = |rule: keys::raw_lxc::DeviceRule| DeviceRule { block: rule.block, major: rule.major, minor: rule.minor };
    Tuning {
        unconfined: raw.unconfined,
        keeps_capabilities: raw.keeps_capabilities,
        dropped_capabilities: raw.dropped_capabilities,
        writable_proc: raw.writable_proc,
        writable_sys: raw.writable_sys,
        sysctls: raw.sysctls,
        cgroup: raw.cgroup.into_iter().map(file).collect(),
        devices: raw.devices.into_iter().map(rule).collect(),
        all_devices: raw.all_devices,
        halt_signal: raw.halt_signal,
        oom_score_adj: raw.oom_score_adj,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Bind, Nic, NicKind};

    fn disk(source: &str, target: &str) -> Part {
        Part::Disk(Bind { source: source.into(), target: target.into(), ..Bind::default() })
    }

    #[test]
    fn golden() {
        let config: Config = [("environment.LANG".to_owned(), "de".to_owned()), ("security.nesting".to_owned(), "yes".to_owned())].into();
        let nic = Nic {
            device: "eth0".into(),
            kind: NicKind::Bridged { parent: "lxdbr0".into() },
            name: "eth0".into(),
            host_name: Some("veth1".into()),
            hwaddr: Some("00:16:3e:00:00:01".into()),
            mtu: None,
            rates: runtime::NicRates::default(),
            isolated: false,
        };
        let parts: Parts = [
            ("a".to_owned(), disk("/srv/b", "/mnt/deep/er")),
            ("b".to_owned(), disk("/srv/a", "/mnt/deep")),
            ("eth0".to_owned(), Part::Nic(nic.clone())),
        ]
        .into();
        let rootfs = Rootfs::Dir { path: "/pool/containers/c1/rootfs".into() };
        let spec = build(Input {
            name: "c1",
            config: &config,
            idmap: IdMap::contiguous(1_000_000, 1_000_000, 65_536),
            rootfs: rootfs.clone(),
            idmapped: true,
            parts: &parts,
            guest_api: "/lxd/devlxd/c1".into(),
            limits: Limits { processes: Some(100), ..Limits::default() },
            subvolumes: storage::Subvolumes::Counted,
            personality_32: false,
        });
        let bind = |source: &str, target: &str| Bind { source: source.into(), target: target.into(), ..Bind::default() };
        let expected = ContainerSpec {
            name: "c1".into(),
            hostname: "c1".into(),
            idmap: IdMap::contiguous(1_000_000, 1_000_000, 65_536),
            rootfs,
            idmapped: true,
            init: vec!["/sbin/init".into()],
            env: [("LANG".to_owned(), "de".to_owned())].into(),
            mounts: vec![bind("/srv/a", "/mnt/deep"), bind("/srv/b", "/mnt/deep/er")],
            guest_api: Some("/lxd/devlxd/c1".into()),
            nics: vec![nic],
            limits: Limits { processes: Some(100), ..Limits::default() },
            nesting: true,
            subvolumes: runtime::Subvolumes::WithoutGroups,
            ..ContainerSpec::default()
        };
        assert_eq!(spec, expected);
    }
}
