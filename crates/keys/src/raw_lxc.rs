//! `raw.lxc`: settings in the words of lxc.container.conf(5).
//!
//! Containers are not run by liblxc. What people write here and what can be done all the same is read into a
//! [`RawLxc`]; everything else is refused by name, with what to use instead. Nothing is accepted and ignored.

use std::sync::LazyLock;

use crate::devices::disk;
use crate::values::ResourceLimit;
use crate::{Device, names, values};

/// What the lines ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawLxc {
    /// Variables of init and of commands run by exec.
    pub environment: Vec<(String, String)>,
    /// Resource limits by name, as `limits.kernel.*` has them.
    pub rlimits: Vec<(String, ResourceLimit)>,
    /// Names below /proc/sys with slashes, and what is written there.
    pub sysctls: Vec<(String, String)>,
    /// Binds, as devices of the type disk.
    pub mounts: Vec<Device>,
    /// Files of the instance's control groups.
    pub cgroup: Vec<CgroupFile>,
    /// Devices that it may use without having a node of them.
    pub devices: Vec<DeviceRule>,
    /// It may use all devices.
    pub all_devices: bool,
    /// Program and arguments of init.
    pub init: Vec<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Signal that asks init to shut down.
    pub halt_signal: Option<i32>,
    /// How readily the kernel kills init when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// No AppArmor profile.
    pub unconfined: bool,
    /// The usual capabilities are not given up.
    pub keeps_capabilities: bool,
    /// Capabilities that are given up, by number.
    pub dropped_capabilities: Vec<u32>,
    /// Nothing of `/proc` is hidden or read-only.
    pub writable_proc: bool,
    /// Nothing of `/sys` is hidden or read-only.
    pub writable_sys: bool,
}

/// A file of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFile {
    /// Of version 2, else of version 1. It counts on hosts that have the controller in that version.
    pub unified: bool,
    /// `memory.high`.
    pub name: String,
    /// What is written.
    pub value: String,
}

/// A device, or all of one major number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Block or character device.
    pub block: bool,
    /// Device number.
    pub major: u32,
    /// Device number; all if unset.
    pub minor: Option<u32>,
}

type Parse = fn(&mut RawLxc, &str, &str) -> Result<(), String>;

/// What is done, by name or (with a dot or star at the end) by what the name begins with.
const DONE: &[(&str, Parse)] = &[
    ("lxc.apparmor.allow_incomplete", |_, _, value| match value {
        "1" => Ok(()),
        _ => Err("containers always start where AppArmor is incomplete; only 1 is accepted".into()),
    }),
    ("lxc.apparmor.profile", |raw, _, value| match value {
        "unconfined" => {
            raw.unconfined = true;
            Ok(())
        }
        "generated" => {
            raw.unconfined = false;
            Ok(())
        }
        _ => Err("only unconfined and generated are accepted; add rules with raw.apparmor".into()),
    }),
    ("lxc.cap.drop", capabilities),
    ("lxc.cgroup.", |raw, name, value| cgroup(raw, (false, name), value)),
    ("lxc.cgroup2.", |raw, name, value| cgroup(raw, (true, name), value)),
    ("lxc.environment", environment),
    ("lxc.init.cmd", |raw, _, value| {
        if !value.starts_with('/') || value.contains(['"', '\'', '\\']) {
            return Err("it takes an absolute path and arguments without quotes".into());
        }
        raw.init = value.split_whitespace().map(str::to_owned).collect();
        Ok(())
    }),
    ("lxc.mount.auto", mount_auto),
    ("lxc.mount.entry", |raw, _, value| {
        raw.mounts.push(mount_entry(value)?);
        Ok(())
    }),
    ("lxc.prlimit.", |raw, name, value| {
        if !crate::instance::RESOURCES.contains(&name) {
            return Err(format!("there is no such resource; what may follow is {}", crate::instance::RESOURCES.join(", ")));
        }
        raw.rlimits.push((name.to_owned(), values::parse_resource_limit(value)?));
        Ok(())
    }),
    ("lxc.proc.oom_score_adj", |raw, _, value| {
        let number = value.parse().ok().filter(|number| (-1000..=1000).contains(number));
        raw.oom_score_adj = Some(number.ok_or("it takes a number from -1000 to 1000")?);
        Ok(())
    }),
    ("lxc.signal.halt", |raw, _, value| {
        raw.halt_signal = Some(signal(value).ok_or("it takes a signal such as SIGPWR, SIGRTMIN+3 or 30")?);
        Ok(())
    }),
    ("lxc.sysctl.", sysctl),
    ("lxc.uts.name", |raw, _, value| {
        names::check_domain(value)?;
        if value.len() > 64 {
            return Err("it takes at most 64 characters".into());
        }
        raw.hostname = Some(value.to_owned());
        Ok(())
    }),
];

/// What is not, and what to use instead.
const REFUSED: &[(&str, &str)] = &[
    ("lxc.aa_", "it is an old name; write lxc.apparmor.profile"),
    ("lxc.apparmor.raw", "use raw.apparmor"),
    ("lxc.apparmor.allow_nesting", "use security.nesting"),
    ("lxc.arch", "it follows from the image"),
    ("lxc.autodev", "/dev is always made"),
    ("lxc.cap.keep", "name what is to be given up, with lxc.cap.drop"),
    ("lxc.console", "the console is the server's: `lxc console`"),
    ("lxc.environment.", "write lxc.environment = NAME=VALUE"),
    ("lxc.ephemeral", "use `lxc launch --ephemeral`"),
    ("lxc.execute.", "use `lxc exec`"),
    ("lxc.group", "use profiles"),
    ("lxc.haltsignal", "it is an old name; write lxc.signal.halt"),
    ("lxc.hook.", "programs of the host are not run for an instance; watch `lxc monitor` instead"),
    ("lxc.id_map", "use raw.idmap and security.idmap.*"),
    ("lxc.idmap", "use raw.idmap and security.idmap.*"),
    ("lxc.include", "files of the host are not read; use profiles"),
    ("lxc.init.", "init is root of the instance, in its root directory"),
    ("lxc.init_", "it is an old name; write lxc.init.cmd"),
    ("lxc.kmsg", "guests have no /dev/kmsg; add it with a unix-char device"),
    ("lxc.limit.", "it is an old name; write lxc.prlimit"),
    ("lxc.log", "logs are the server's: `lxc info --show-log`"),
    ("lxc.monitor.", "containers are not run by liblxc"),
    ("lxc.mount", "files of the host are not read; write lxc.mount.entry, or use disk devices"),
    ("lxc.namespace.", "each instance has namespaces of its own"),
    ("lxc.net.", "use nic devices; ipv4.address and ipv6.address fix addresses on a managed network"),
    ("lxc.network.", "use nic devices; ipv4.address and ipv6.address fix addresses on a managed network"),
    ("lxc.no_new_privs", "set-user-id programs belong to a system container"),
    ("lxc.pty.", "/dev/pts is always made"),
    ("lxc.pts", "/dev/pts is always made"),
    ("lxc.rebootsignal", "a restart stops and starts the instance"),
    ("lxc.rootfs", "use the root disk device"),
    ("lxc.sched.", "use limits.cpu.priority"),
    ("lxc.se_context", "SELinux is not supported"),
    ("lxc.seccomp", "the system call filter is fixed; security.nesting permits what nested containers need"),
    ("lxc.selinux.", "SELinux is not supported"),
    ("lxc.signal.", "a restart stops and starts the instance, and a forced stop kills it"),
    ("lxc.start.", "use boot.autostart and its neighbours"),
    ("lxc.stopsignal", "a forced stop kills the instance"),
    ("lxc.syslog", "logs are the server's: `lxc info --show-log`"),
    ("lxc.time.", "all clocks are the host's"),
    ("lxc.tty.", "guests have a console and no terminals of the host; use `lxc console` or `lxc exec`"),
    ("lxc.uts.", "write lxc.uts.name"),
    ("lxc.utsname", "it is an old name; write lxc.uts.name"),
];

/// For the reference: the names that are done.
pub(crate) static KIND: LazyLock<String> = LazyLock::new(|| {
    let names = DONE.iter().map(|(name, _)| if name.ends_with('.') { format!("{name}*") } else { (*name).to_owned() });
    names.collect::<Vec<_>>().join(", ")
});

/// Reads all lines. Comments and empty lines are passed over.
pub fn parse(text: &str) -> Result<RawLxc, String> {
    let mut raw = RawLxc::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.chars().any(char::is_control) {
            return Err(format!("Invalid raw.lxc line: {}", line.escape_debug()));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("Invalid raw.lxc line: {line}"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        apply(&mut raw, &key, value).map_err(|reason| format!("{key}: {reason}"))?;
    }
    Ok(raw)
}

fn apply(raw: &mut RawLxc, key: &str, value: &str) -> Result<(), String> {
    for (name, parse) in DONE {
        let rest = if name.ends_with('.') { key.strip_prefix(name) } else { (key == *name).then_some("") };
        if let Some(rest) = rest {
            return parse(raw, rest, value);
        }
    }
    // The longest says the most.
    let refused = REFUSED.iter().filter(|(name, _)| key.starts_with(name)).max_by_key(|(name, _)| name.len());
    Err(refused.map_or_else(|| format!("is not known; known are {}", *KIND), |(_, reason)| format!("isn't supported: {reason}")))
}

fn environment(raw: &mut RawLxc, _: &str, value: &str) -> Result<(), String> {
    let (name, value) = value.split_once('=').ok_or("it takes NAME=VALUE")?;
    if name.is_empty() {
        return Err("it takes NAME=VALUE".into());
    }
    raw.environment.push((name.to_owned(), value.to_owned()));
    Ok(())
}

/// By number: capabilities(7), linux/capability.h.
const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// An empty value lifts what is usually given up, and what stands before.
fn capabilities(raw: &mut RawLxc, _: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        raw.keeps_capabilities = true;
        raw.dropped_capabilities.clear();
    }
    for name in value.split_whitespace() {
        let plain = name.to_ascii_lowercase();
        let number = CAPABILITIES.iter().position(|known| *known == plain.trim_start_matches("cap_"));
        raw.dropped_capabilities.push(number.ok_or_else(|| format!("there is no capability {name}"))? as u32);
    }
    Ok(())
}

/// Controllers whose files say what a group may have.
const CONTROLLERS: &[&str] = &["blkio", "cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];

fn cgroup(raw: &mut RawLxc, (unified, name): (bool, &str), value: &str) -> Result<(), String> {
    match name {
        "devices.allow" => return allow_device(raw, value),
        "devices.deny" if value == "a" => {
            raw.all_devices = false;
            raw.devices.clear();
            return Ok(());
        }
        "devices.deny" => return Err("only `a` is accepted: what is not allowed is denied".into()),
        _ => {}
    }
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte));
    let controller = name.split('.').next().filter(|controller| CONTROLLERS.contains(controller) && name.contains('.'));
    if !is_plain || controller.is_none() {
        return Err(format!(
            "only limits are accepted: files of the controllers {}, devices.allow and devices.deny",
            CONTROLLERS.join(", ")
        ));
    }
    raw.cgroup.push(CgroupFile { unified, name: name.to_owned(), value: value.to_owned() });
    Ok(())
}

/// `a`, or `c 10:200 rwm`. Reading and writing cannot be told apart.
fn allow_device(raw: &mut RawLxc, value: &str) -> Result<(), String> {
    let bad = "it takes `a`, or a device such as `c 10:200 rwm`, where * stands for all minor numbers";
    let words: Vec<&str> = value.split_whitespace().collect();
    let (kind, number) = match words.as_slice() {
        ["a"] | ["a", "*:*", _] => {
            raw.all_devices = true;
            return Ok(());
        }
        [kind, number, access] if ["rwm", "rw", "wr", "mrw", "rmw"].contains(access) => (*kind, *number),
        // Nodes may be made of all devices.
        ["c" | "b", "*:*", "m"] => return Ok(()),
        _ => return Err(bad.into()),
    };
    let (major, minor) = number.split_once(':').ok_or(bad)?;
    let block = match kind {
        "c" => false,
        "b" => true,
        _ => return Err(bad.into()),
    };
    let minor = if minor == "*" { None } else { Some(minor.parse().map_err(|_| bad)?) };
    raw.devices.push(DeviceRule { block, major: major.parse().map_err(|_| bad)?, minor });
    Ok(())
}

fn mount_auto(raw: &mut RawLxc, _: &str, value: &str) -> Result<(), String> {
    for word in value.split_whitespace() {
        match word {
            "proc" | "proc:mixed" | "sys" | "sys:mixed" => {}
            "proc:rw" => raw.writable_proc = true,
            "sys:rw" => raw.writable_sys = true,
            // The groups are those of a namespace, to be written as far as they belong to the guest.
            "cgroup" | "cgroup:mixed" | "cgroup:rw" | "cgroup:mixed:force" | "cgroup:rw:force" => {}
            _ => return Err(format!("{word} isn't supported; what is are proc, proc:rw, sys, sys:rw and cgroup:rw")),
        }
    }
    Ok(())
}

/// A line of fstab(5) for a bind, as the disk device that does the same.
fn mount_entry(value: &str) -> Result<Device, String> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [source, target, _, options, ..] = fields.as_slice() else {
        return Err("it takes SOURCE TARGET none OPTIONS, as fstab has it".into());
    };
    let mut device = Device::from([("type".to_owned(), "disk".to_owned())]);
    let mut set = |key: &str, value: &str| drop(device.insert(key.to_owned(), value.to_owned()));
    set("source", source);
    set("path", &format!("/{}", target.trim_start_matches('/')));
    let (mut is_bind, mut flags) = (false, Vec::new());
    for option in options.split(',') {
        match option {
            "bind" => is_bind = true,
            "rbind" => {
                is_bind = true;
                set("recursive", "true");
            }
            "ro" => set("readonly", "true"),
            "optional" => set("optional", "true"),
            // Places are made as what is shown there needs them.
            "rw" | "defaults" | "create=dir" | "create=file" => {}
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => set("propagation", option),
            _ => flags.push(option),
        }
    }
    if !is_bind {
        return Err("only what is on the host can be shown (bind or rbind); the guest mounts the rest by its own /etc/fstab".into());
    }
    if !flags.is_empty() {
        set("raw.mount.options", &flags.join(","));
    }
    disk::validate(&device).map_err(|error| error.to_string())?;
    Ok(device)
}

/// By number or name, see signal(7).
fn signal(text: &str) -> Option<i32> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("CONT", 18),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    let in_range = |number: &i32| (1..=64).contains(number);
    if let Ok(number) = text.parse::<i32>() {
        return Some(number).filter(in_range);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let above: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&above).then_some(34 + above);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// What an instance has for itself: of its network and of its System V and POSIX objects.
const OWN_SYSCTLS: &[&str] = &["fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "net."];

fn sysctl(raw: &mut RawLxc, name: &str, value: &str) -> Result<(), String> {
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !OWN_SYSCTLS.iter().any(|own| name.starts_with(own)) || !name.split('.').all(is_plain) {
        return Err("isn't supported: it concerns the whole host; what an instance has for itself are net.*, kernel.msg*, kernel.sem*, \
                    kernel.shm* and fs.mqueue.*"
            .into());
    }
    raw.sysctls.push((name.replace('.', "/"), value.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_for_nested_clusters() {
        let raw = parse(
            "# nested\nlxc.apparmor.profile=unconfined\nlxc.mount.auto = proc:rw sys:rw cgroup:rw\nlxc.cgroup.devices.allow=a\n\
             lxc.cap.drop=\n\nlxc.mount.entry = /dev/kmsg dev/kmsg none defaults,bind,create=file\n",
        )
        .expect("raw");
        assert!(raw.unconfined && raw.writable_proc && raw.writable_sys && raw.all_devices && raw.keeps_capabilities);
        assert_eq!((raw.mounts[0]["source"].as_str(), raw.mounts[0]["path"].as_str()), ("/dev/kmsg", "/dev/kmsg"));
        assert!(!raw.mounts[0].contains_key("raw.mount.options"));
    }

    #[test]
    fn each_key_is_read() {
        let raw = parse(
            "lxc.environment = A=b=c\nlxc.prlimit.nofile = 10:20\nlxc.sysctl.net.ipv4.ip_forward = 1\nlxc.cgroup2.memory.high = 10M\n\
             lxc.cgroup.devices.allow = c 10:200 rwm\nlxc.cgroup2.devices.allow = b 7:* rwm\nlxc.init.cmd = /bin/init --x\n\
             lxc.uts.name = other\nLXC.SIGNAL.HALT = SIGRTMIN+3\nlxc.proc.oom_score_adj = -5\nlxc.cap.drop = sys_admin CAP_BPF\n\
             lxc.mount.entry = /srv mnt/x none rbind,ro,nosuid,optional 0 0\n",
        )
        .expect("raw");
        let expected = RawLxc {
            environment: vec![("A".into(), "b=c".into())],
            rlimits: vec![("nofile".into(), ResourceLimit { soft: Some(10), hard: Some(20) })],
            sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
            mounts: raw.mounts.clone(),
            cgroup: vec![CgroupFile { unified: true, name: "memory.high".into(), value: "10M".into() }],
            devices: vec![DeviceRule { block: false, major: 10, minor: Some(200) }, DeviceRule { block: true, major: 7, minor: None }],
            init: vec!["/bin/init".into(), "--x".into()],
            hostname: Some("other".into()),
            halt_signal: Some(37),
            oom_score_adj: Some(-5),
            dropped_capabilities: vec![21, 39],
            ..RawLxc::default()
        };
        assert_eq!(raw, expected);
        let shown: Vec<_> = raw.mounts[0].iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            shown,
            ["optional=true", "path=/mnt/x", "raw.mount.options=nosuid", "readonly=true", "recursive=true", "source=/srv", "type=disk"]
        );
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (line, words) in [
            ("lxc.hook.pre-start = /bin/evil", "lxc.hook.pre-start: isn't supported: programs of the host are not run"),
            ("lxc.net.0.type = veth", "use nic devices"),
            ("lxc.idmap = u 0 0 4294967295", "use raw.idmap"),
            ("lxc.include = /etc/shadow", "files of the host are not read"),
            ("lxc.mount = /etc/fstab", "files of the host are not read"),
            ("lxc.mount.entry = tmpfs tmp tmpfs defaults", "only what is on the host can be shown"),
            ("lxc.mount.entry = /a ../../b none bind", "contains .."),
            ("lxc.mount.entry = relative mnt none bind", "absolute path"),
            ("lxc.mount.entry = /a / none bind", "Root disk"),
            ("lxc.mount.entry = /a mnt none bind,lowerdir=/etc", "Invalid mount option: lowerdir=/etc"),
            ("lxc.sysctl.kernel.core_pattern = |/bin/evil", "it concerns the whole host"),
            ("lxc.sysctl.net..x = 1", "it concerns the whole host"),
            ("lxc.sysctl.net/../kernel = 1", "it concerns the whole host"),
            ("lxc.cgroup.release_agent = /x", "only limits are accepted"),
            ("lxc.cgroup.memory.x/../../y = 1", "only limits are accepted"),
            ("lxc.cgroup2.cgroup.procs = 1", "only limits are accepted"),
            ("lxc.cgroup.devices.allow = c 1:3 r", "it takes `a`"),
            ("lxc.apparmor.profile = lxc-default", "only unconfined and generated"),
            ("lxc.seccomp.profile = /x", "the system call filter is fixed"),
            ("lxc.cap.drop = everything", "there is no capability everything"),
            ("lxc.prlimit.files = 1", "there is no such resource"),
            ("lxc.utsname = x", "it is an old name; write lxc.uts.name"),
            ("lxc.what = 1", "lxc.what: is not known; known are lxc.apparmor.allow_incomplete"),
            ("nothing", "Invalid raw.lxc line: nothing"),
            ("lxc.environment = A=\u{7}", "Invalid raw.lxc line"),
        ] {
            let said = parse(line).expect_err(line);
            assert!(said.contains(words), "{line}: {said}");
        }
    }
}
