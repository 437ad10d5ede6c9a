//! The text of a container's profile, see apparmor.d(5): pure.
//!
//! What holds an unprivileged guest is its user namespace; its profile is a second line. A privileged one is root
//! of the host but for what is denied here: to be trusted, and kept from accidents and from the known ways out.

/// What a profile depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// No user namespace.
    pub privileged: bool,
    /// May run containers of its own.
    pub nesting: bool,
    /// The user's own rules, which come last. A denial there wins over all that is allowed here.
    pub raw: &'a str,
}

/// A guest does as it likes with what is its own. It may be looked at and signalled from outside, not the
/// other way round.
const BASE: &str = "  capability,
  dbus,
  file,
  mount,
  network,
  pivot_root,
  umount,
  unix,
  signal (receive),
  signal peer=@{profile_name},
  ptrace (readby, tracedby),
  ptrace peer=@{profile_name},
";

/// The host's memory, its panic button, its firmware, and the policies that hold the guest.
const ALWAYS: &str = "  deny /proc/{kcore,kmem,kpage*,mem} rwklx,
  deny /proc/acpi/** wklx,
  deny /proc/sysrq-trigger rwklx,
  deny /sys/firmware/efi/efivars/** wklx,
  deny /sys/kernel/security/** wklx,
";

/// What an inner manager does to its own containers.
const NESTING: &str = "  ptrace,
  signal,
";

/// The host's kernel is not root's to configure: only network, host name, and limits of IPC are the container's own.
const PRIVILEGED: &str = "  deny /proc/{bus,fs,irq,scsi}/** wklx,
  deny /proc/sys/{abi,debug,dev,sunrpc,vm}/** wklx,
  deny /proc/sys/fs/[^m]** wklx,
  deny /proc/sys/kernel/{acct,cad_pid,core_*,hotplug,ftrace*,hung_task_*,kexec*,keys/**,kptr_*,modprobe,modules_*} wklx,
  deny /proc/sys/kernel/{ngroups_max,numa_*,panic*,perf_*,poweroff_cmd,printk*,randomize_va_space,sched_*,softlockup_*} wklx,
  deny /proc/sys/kernel/{soft_watchdog,sysrq,tainted,threads-max,traceoff_*,unprivileged_*,usermodehelper/**,watchdog*,yama/**} wklx,
  deny /sys/{block,bus,class,dev,firmware,hypervisor,kernel,module,power}/** wklx,
  deny /sys/devices/[^v]** wklx,
  deny /sys/devices/virtual/[^n]** wklx,
  deny /sys/fs/[^c]** wklx,
";

/// Files are denied by their paths, so what has them must not appear elsewhere, nor be covered by what a tool
/// would take for them.
const PRIVILEGED_MOUNTS: &str = "  deny mount fstype=(debugfs,devtmpfs,efivarfs,securityfs,tracefs),
  deny mount fstype=proc -> /{[^p],p[^r],pr[^o],pro[^c],proc[^/]}**,
  deny mount fstype=sysfs -> /{[^s],s[^y],sy[^s],sys[^/]}**,
  deny mount fstype=(fuse,overlay,ramfs,tmpfs) -> /proc/**,
  deny mount options in (rw,bind,rbind,move,ro,nosuid,nodev,noexec) /{proc,sys}/** -> /{[^ps],p[^r],s[^y]}**,
  deny mount options in (rw,bind,rbind,move,ro,nosuid,nodev,noexec) /{proc,sys}/ -> /{[^ps],p[^r],s[^y]}**,
";

/// The text. Paths that lead out of the guest's own mounts are looked at like others, and so are deleted files.
pub fn profile(name: &str, rules: Rules<'_>) -> String {
    let mut text = format!("profile \"{name}\" flags=(attach_disconnected,mediate_deleted) {{\n{BASE}{ALWAYS}");
    if rules.nesting {
        text.push_str(NESTING);
    }
    if rules.privileged {
        text.push_str(PRIVILEGED);
    }
    if rules.privileged && !rules.nesting {
        text.push_str(PRIVILEGED_MOUNTS);
    }
    for line in rules.raw.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let text = |privileged, nesting| profile("lxd-c1_<d>", Rules { privileged, nesting, raw: "deny /a r,\n\n  deny /b r," });
        let plain = text(false, false);
        assert!(plain.starts_with("profile \"lxd-c1_<d>\" flags=(attach_disconnected,mediate_deleted) {\n  capability,\n"), "{plain}");
        assert!(plain.ends_with("  deny /a r,\n  deny /b r,\n}\n"), "{plain}");
        assert!(!plain.contains("/proc/sys/vm") && !plain.contains("deny mount"));
        assert!(text(true, false).contains("deny mount fstype=proc"));
        assert!(!text(true, true).contains("deny mount") && text(true, true).contains("\n  signal,\n"));
    }
}
