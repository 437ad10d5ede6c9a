//! Which devices the members of a v2 control group may use: programs of the kind
//! `BPF_PROG_TYPE_CGROUP_DEVICE`, see bpf(2) and the kernel's `cgroup-v2.rst`, "Device controller".

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::error::{Errno, Error, Result};
use crate::mount::last_errno;

/// A device that may be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Block or character device.
    pub block: bool,
    /// Device number.
    pub major: u32,
    /// Device number; `None` for all.
    pub minor: Option<u32>,
}

/// By which a program of ours is known among others of the same group.
const NAME: &[u8; 11] = b"lxd_devices";
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const ATTACH_TYPE: u32 = 6;
/// Beside programs of the groups above and below: an access needs the consent of all.
const ALLOW_MULTI: u32 = 2;
/// More programs in one group than the kernel takes.
const MAX_ATTACHED: usize = 64;

/// Lets the members of a group make any device node, and use these devices and no others, from now on. What an
/// earlier call said is replaced; in between, what both allow is allowed.
pub fn restrict_devices(group: &Path, devices: &[Device]) -> Result<()> {
    let dir = File::open(group).map_err(|source| Error::io("open", group.display(), &source))?;
    let old = attached(&dir)?;
    let program = load(&assemble(devices))?;
    attach(&dir, &program).map_err(|errno| Error::new("attach a device program to", group.display(), errno))?;
    for program in old {
        let mut request = AttachRequest { group: fd(&dir), program: fd(&program), kind: ATTACH_TYPE, flags: 0, replaced: 0 };
        match call(PROG_DETACH, &mut request) {
            // Gone meanwhile.
            Err(Errno::NOENT) | Ok(_) => {}
            Err(errno) => return Err(Error::new("detach a device program from", group.display(), errno)),
        }
    }
    Ok(())
}

/// One instruction of the kernel's machine (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, value }
}

/// `*(u32 *)(from + offset)`.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT: u8 = 0x55;
const EXIT: u8 = 0x95;
/// Where what is asked for is kept: answer, context, and what is read from that.
mod register {
    pub const ANSWER: u8 = 0;
    pub const CONTEXT: u8 = 1;
    pub const KIND: u8 = 2;
    pub const ACCESS: u8 = 3;
    pub const MAJOR: u8 = 4;
    pub const MINOR: u8 = 5;
}
/// Kinds of device, and the one kind of access that is no use of it.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE_NODE: i32 = 1;

/// The program: `struct bpf_cgroup_dev_ctx` holds access << 16 | kind, major and minor number.
fn assemble(devices: &[Device]) -> Vec<Instruction> {
    use register::{ACCESS, ANSWER, CONTEXT, KIND, MAJOR, MINOR};
    let allow = [instruction(SET, ANSWER, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)];
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(JUMP_IF_NOT, ACCESS, 0, 2, MAKE_NODE),
    ];
    program.extend(allow);
    for device in devices {
        let minor = device.minor.map(|minor| (MINOR, minor as i32));
        let kind = (KIND, if device.block { BLOCK } else { CHARACTER });
        let tests: Vec<_> = [Some(kind), Some((MAJOR, device.major as i32)), minor].into_iter().flatten().collect();
        // A test that fails passes over those that follow, and over the answer.
        let after = |index: usize| (tests.len() - index - 1 + allow.len()) as i16;
        program.extend(
            tests.iter().enumerate().map(|(index, (register, value))| instruction(JUMP_IF_NOT, *register, 0, after(index), *value)),
        );
        program.extend(allow);
    }
    program.extend([instruction(SET, ANSWER, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// The beginnings of `union bpf_attr` for the calls that are made here.
#[repr(C)]
struct LoadRequest {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct AttachRequest {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
struct QueryRequest {
    group: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
struct FdRequest {
    id: u32,
    next_id: u32,
    flags: u32,
}

#[repr(C)]
struct InfoRequest {
    program: u32,
    bytes: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C, align(8))]
struct Info {
    others: [u8; 64],
    name: [u8; 16],
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME);
    let mut request = LoadRequest {
        kind: TYPE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        attach_type: ATTACH_TYPE,
    };
    let failed = |errno| Error::new("load a device program", format_args!("{} instructions", program.len()), errno);
    // SAFETY: the kernel has made a new descriptor that nobody else owns.
    call(PROG_LOAD, &mut request).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).map_err(failed)
}

fn attach(group: &File, program: &OwnedFd) -> std::result::Result<(), Errno> {
    call(PROG_ATTACH, &mut AttachRequest { group: fd(group), program: fd(program), kind: ATTACH_TYPE, flags: ALLOW_MULTI, replaced: 0 })
        .map(drop)
}

/// The programs of ours that a group has.
fn attached(group: &File) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MAX_ATTACHED];
    let mut request = QueryRequest {
        group: fd(group),
        kind: ATTACH_TYPE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        padding: 0,
    };
    call(PROG_QUERY, &mut request).map_err(|errno| Error::new("list the device programs of", "a control group", errno))?;
    let mut ours = Vec::new();
    // What the kernel did not fill in is 0, which is no program's id.
    for id in ids.into_iter().filter(|id| *id != 0) {
        // SAFETY: the kernel has made a new descriptor that nobody else owns.
        let program = call(PROG_GET_FD_BY_ID, &mut FdRequest { id, next_id: 0, flags: 0 }).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        ours.extend(program.ok().filter(is_ours));
    }
    Ok(ours)
}

fn is_ours(program: &OwnedFd) -> bool {
    let mut info = Info { others: [0; 64], name: [0; 16] };
    let mut request = InfoRequest { program: fd(program), bytes: size_of::<Info>() as u32, info: std::ptr::from_mut(&mut info) as u64 };
    call(OBJ_GET_INFO_BY_FD, &mut request).is_ok() && info.name.starts_with(NAME)
}

fn fd(of: &impl AsFd) -> u32 {
    of.as_fd().as_raw_fd() as u32
}

/// The system call; what it returns is not negative.
fn call<R>(command: libc::c_int, request: &mut R) -> std::result::Result<libc::c_int, Errno> {
    // SAFETY: the request is one of the structures above, whose pointers lead to memory of the caller's that
    // outlives the call; of those that the kernel writes to, the lengths beside them are right.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(request), size_of::<R>()) };
    if result < 0 { Err(last_errno()) } else { Ok(result as libc::c_int) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_test_leads_to_the_next_device() {
        let devices = [Device { block: false, major: 1, minor: Some(3) }, Device { block: false, major: 136, minor: None }];
        let program = assemble(&devices);
        assert_eq!(program.len(), 9 + 5 + 4 + 2);
        let targets: Vec<_> =
            program.iter().enumerate().filter(|(_, one)| one.code == JUMP_IF_NOT).map(|(at, one)| at + 1 + one.offset as usize).collect();
        assert_eq!(targets, [9, 14, 14, 14, 18, 18]);
        assert_eq!(program[18..], [instruction(SET, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    }
}
