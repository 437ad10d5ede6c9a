//! What end-to-end tests stand on: a sandbox with a daemon in it, driven through the real binaries.
//!
//! A [`Sandbox`] is a machine of its own (mounts, network, processes, cgroups; see
//! `scripts/sandbox.sh`), so tests run side by side and change nothing on the host. [`Facts`]
//! says what exists in it, which is how a test shows that nothing leaked. Nothing here knows how
//! the product works inside: only its programs, its socket, and what the kernel shows.

mod clients;
mod facts;
mod guest;
mod http;
mod image_server;
mod images;
mod outcome;
mod sandbox;
mod second;

pub use clients::has_clients;
pub use facts::Facts;
pub use guest::Figures;
pub use http::{Response, request};
pub use image_server::ImageServer;
pub use outcome::Outcome;
pub use sandbox::{Options, Sandbox};

use std::io::Write;
use std::time::{Duration, Instant};

/// Reports loudly that a test did not run, past the test harness's capture of output.
///
/// `make test` collects these lines and fails on any that `.ci/permitted-skips` does not list.
pub fn skip(test: &str, why: &str) {
    // If even this cannot be written, there is nobody to tell.
    drop(writeln!(std::io::stdout(), "\nSKIP: {test}: {why}"));
}

/// Polls until `done` holds; panics with `what` after `limit`.
///
/// # Panics
/// When the time is over.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "after {} s still waiting for: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a program is in PATH (or in the directories of administration programs).
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file())
}
