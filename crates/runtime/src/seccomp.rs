//! The system call policy, and its compilation to the kernel's filter language.
//!
//! Everything is allowed but for what reaches into the host's kernel, as rows. A refused call
//! answers EPERM. Compiling takes about a millisecond, so each policy is compiled once.

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use crate::error::{Error, Result};
use crate::spec::Subvolumes;

/// Which policy a container gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy {
    /// Refuse the nested namespaces that a checkpoint cannot save.
    pub checkpointable: bool,
    /// Which subvolumes of a btrfs can be made.
    pub subvolumes: Subvolumes,
}

const EPERM: i32 = 1;
/// `umount2` flag.
const MNT_FORCE: u64 = 1;
const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;

/// Refused to every container: loading kernels and modules, and opening files by handle, which
/// passes by the directory permissions of a whole file system.
const REFUSED: &[&str] = &["delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load", "open_by_handle_at"];

/// Refused where a flag is set, whatever others are: (call, argument, flag).
const REFUSED_FLAGS: &[(&str, u32, u64)] = &[("umount2", 1, MNT_FORCE)];

/// Refused for one exact argument value: (call, argument, value). systemd gives services namespaces of
/// their own by exactly these two calls. Refused, it logs
/// "ignoring" and runs the service without; container managers use other combinations.
const NOT_CHECKPOINTABLE: &[(&str, u32, u64)] = &[("unshare", 0, CLONE_NEWUTS), ("unshare", 0, CLONE_NEWNS)];

/// Requests of ioctl(2) that make a subvolume or snapshot and name quota groups for it: `BTRFS_IOC_SNAP_CREATE_V2`,
/// `BTRFS_IOC_SUBVOL_CREATE_V2`. The groups are where a filter cannot look.
const WITH_GROUPS: &[u64] = &[0x5000_9417, 0x5000_9418];

/// Those that name none: `BTRFS_IOC_SNAP_CREATE`, `BTRFS_IOC_SUBVOL_CREATE`.
const WITHOUT_GROUPS: &[u64] = &[0x5000_9401, 0x5000_940e];

/// The kernel takes no more of a request than this.
const REQUEST_BITS: u64 = 0xffff_ffff;

/// Refused besides to programs that work on a foreign tree with some of root's capabilities: all that leads out of the
/// place they are in, or far into the kernel. A call that the library does not know has no rule.
const REFUSED_CONFINED: &[&str] = &[
    "bpf",
    "chroot",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "io_uring_setup",
    "kcmp",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "setns",
    "socket",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// The policy of such programs.
pub fn compile_confined() -> Result<Vec<u8>> {
    const ENOSYS: i32 = 38;
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    let mut filter = base()?;
    for name in REFUSED_CONFINED {
        if let Ok(call) = ScmpSyscall::from_name(name) {
            filter.add_rule(ScmpAction::Errno(EPERM), call).map_err(failed)?;
        }
    }
    let call = |name| ScmpSyscall::from_name(name).map_err(failed);
    // Subvolumes that no limit counts.
    for request in [WITH_GROUPS, WITHOUT_GROUPS].into_iter().flatten() {
        let compare = ScmpArgCompare::new(1, ScmpCompareOp::MaskedEqual(REQUEST_BITS), *request);
        filter.add_rule_conditional(ScmpAction::Errno(EPERM), call("ioctl")?, &[compare]).map_err(failed)?;
    }
    let new_users = ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(CLONE_NEWUSER), CLONE_NEWUSER);
    filter.add_rule_conditional(ScmpAction::Errno(EPERM), call("clone")?, &[new_users]).map_err(failed)?;
    // Its flags are out of a filter's sight; the C library then makes do with the older call.
    filter.add_rule(ScmpAction::Errno(ENOSYS), call("clone3")?).map_err(failed)?;
    export(&filter).map_err(|error| Error::step("export the system call policy", error))
}

fn failed(error: libseccomp::error::SeccompError) -> Error {
    Error::step("compile the system call policy", error)
}

/// What every policy has.
fn base() -> Result<ScmpFilterContext> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).map_err(failed)?;
    for arch in [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32] {
        if cfg!(target_arch = "x86_64") {
            filter.add_arch(arch).map_err(failed)?;
        }
    }
    // An architecture that the policy does not list must not be a way around it.
    filter.set_act_badarch(ScmpAction::Errno(EPERM)).map_err(failed)?;
    // The guest's set-user-id programs must go on working.
    filter.set_ctl_nnp(false).map_err(failed)?;
    for name in REFUSED {
        let call = ScmpSyscall::from_name(name).map_err(failed)?;
        filter.add_rule(ScmpAction::Errno(EPERM), call).map_err(failed)?;
    }
    Ok(filter)
}

/// Compiles a policy to `struct sock_filter`s.
pub fn compile(policy: Policy) -> Result<Vec<u8>> {
    let mut filter = base()?;
    let refuse = ScmpAction::Errno(EPERM);
    let exact = if policy.checkpointable { NOT_CHECKPOINTABLE } else { &[] };
    let flags = REFUSED_FLAGS.iter().map(|row| (row, ScmpCompareOp::MaskedEqual(row.2)));
    for ((name, argument, value), comparison) in flags.chain(exact.iter().map(|row| (row, ScmpCompareOp::Equal))) {
        let call = ScmpSyscall::from_name(name).map_err(failed)?;
        let compare = ScmpArgCompare::new(*argument, comparison, *value);
        filter.add_rule_conditional(refuse, call, &[compare]).map_err(failed)?;
    }
    let requests: &[&[u64]] = match policy.subvolumes {
        Subvolumes::Any => &[],
        Subvolumes::WithoutGroups => &[WITH_GROUPS],
        Subvolumes::None => &[WITH_GROUPS, WITHOUT_GROUPS],
    };
    let ioctl = ScmpSyscall::from_name("ioctl").map_err(failed)?;
    for request in requests.iter().copied().flatten() {
        let compare = ScmpArgCompare::new(1, ScmpCompareOp::MaskedEqual(REQUEST_BITS), *request);
        filter.add_rule_conditional(refuse, ioctl, &[compare]).map_err(failed)?;
    }
    export(&filter).map_err(|error| Error::step("export the system call policy", error))
}

/// By way of a file in memory, as only newer versions of the library write to a buffer.
fn export(filter: &ScmpFilterContext) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let memfd = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memfd);
    filter.export_bpf(&file).map_err(std::io::Error::other)?;
    let mut program = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut program)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_compile_and_differ() {
        let compile = |checkpointable, subvolumes| compile(Policy { checkpointable, subvolumes }).expect("compiles");
        let plain = compile(false, Subvolumes::Any);
        assert!(compile(true, Subvolumes::Any).len() > plain.len());
        let counted = compile(false, Subvolumes::WithoutGroups);
        assert!(counted.len() > plain.len() && compile(false, Subvolumes::None).len() > counted.len());
        assert!(plain.len().is_multiple_of(8) && !plain.is_empty());
        assert!(compile_confined().expect("compiles").len() > plain.len());
    }
}
