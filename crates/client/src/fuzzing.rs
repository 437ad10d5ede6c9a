//! A way into the readers of addresses for the fuzzing targets, and for nobody else.

use crate::proxy::Proxy;

/// A host, the address of a proxy, and those that are reached without it.
pub fn proxy(host: &str, proxy: &str, exceptions: &str) {
    drop(Proxy::choose(host, proxy, exceptions));
}
