//! Kernel settings under `/proc/sys/net`.
//!
//! A value that is right already is not written, so that a read-only `/proc/sys` (a host that is
//! itself a container) is no obstacle where its owner prepared it.

use crate::Result;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Its file.
    pub path: String,
    /// The value wanted.
    pub value: &'static str,
}

/// Switches of the whole host.
const FORWARD_IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD_IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const IPV6_INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// Sets the bridge's own settings. Each only makes it better; one that cannot be set is a warning.
pub(crate) fn apply(sysctls: &[Sysctl]) {
    for Sysctl { path, value } in sysctls {
        // Without IPv6 in the kernel there is nothing to set.
        if sys::fs::exists(path)
            && let Err(error) = set(path, value)
        {
            tracing::warn!(%error, wanted = value, "kernel setting of a bridge left as it is");
        }
    }
}

/// Makes the host a router for IPv4.
pub(crate) fn forward_ipv4() -> Result<()> {
    set(FORWARD_IPV4, "1")
}

/// Makes the host a router for IPv6. A router does not listen to other routers' announcements
/// unless told so: interfaces that did before go on doing it, else the host loses its own route.
pub(crate) fn forward_ipv6() -> Result<()> {
    if read(FORWARD_IPV6)? == "1" {
        return Ok(());
    }
    for name in sys::fs::list_dir(IPV6_INTERFACES)? {
        let path = format!("{IPV6_INTERFACES}/{name}/accept_ra");
        if read(&path).is_ok_and(|value| value == "1")
            && let Err(error) = sys::fs::write_kernel(&path, "2")
        {
            tracing::warn!(%error, "the interface may lose its routes now that the host forwards IPv6");
        }
    }
    set(FORWARD_IPV6, "1")
}

fn set(path: &str, value: &str) -> Result<()> {
    if read(path).is_ok_and(|current| current == value) {
        return Ok(());
    }
    Ok(sys::fs::write_kernel(path, value)?)
}

fn read(path: &str) -> Result<String> {
    Ok(sys::fs::read_to_string(path)?.trim().to_owned())
}
