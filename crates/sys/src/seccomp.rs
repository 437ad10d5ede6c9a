//! Installing compiled seccomp filters. Compiling a policy is the runtime's work.

use crate::error::{Error, Result};
use crate::mount::last_errno;

/// One instruction of a classic BPF program as the kernel takes it (`struct sock_filter`), 8 bytes.
const INSTRUCTION_BYTES: usize = 8;

/// Installs a filter for this process and all that it starts. Needs CAP_SYS_ADMIN in the own
/// user namespace, as `no_new_privs` would break set-user-id programs in a guest.
pub fn install(program: &[u8]) -> Result<()> {
    let count = program.len() / INSTRUCTION_BYTES;
    let invalid = || Error::new("seccomp", format_args!("{} bytes", program.len()), rustix::io::Errno::INVAL);
    if !program.len().is_multiple_of(INSTRUCTION_BYTES) || count == 0 {
        return Err(invalid());
    }
    let mut filter: Vec<libc::sock_filter> = program
        .chunks_exact(INSTRUCTION_BYTES)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = libc::sock_fprog { len: u16::try_from(count).map_err(|_| invalid())?, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `count` instructions that outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&program)) };
    if result == 0 { Ok(()) } else { Err(Error::new("seccomp", format_args!("{count} instructions"), last_errno())) }
}
