//! Named points in longer actions, where a test lets the daemon die or pause: what happens there
//! by chance once in a thousand times is then tried every time.
//!
//! `LXD_TEST_POINT=NAME:die` or `NAME:pause`. Only debug builds look.

use std::time::Duration;

const VARIABLE: &str = "LXD_TEST_POINT";
/// Long enough for a client to get a request in.
const PAUSE: Duration = Duration::from_secs(2);

/// An action has come to a point.
pub(crate) fn reach(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    match wanted.split_once(':') {
        // No destructor runs, as when the daemon is killed.
        Some((point, "die")) if point == name => std::process::abort(),
        Some((point, "pause")) if point == name => std::thread::sleep(PAUSE),
        _ => {}
    }
}
