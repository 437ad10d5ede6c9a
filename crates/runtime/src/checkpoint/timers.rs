//! Periodic timers that had expired when they were saved, and nobody had read that yet.
//!
//! The kernel lets such a timer go on at the read. CRIU saves that it will not expire by itself, and
//! restores just that; the read then finds the expiration but no reason to go on, and the timer is dead.

use super::watches::pids_inside;

/// Starts all of them again, while nothing in the restored container runs yet.
pub(super) fn start_again(init: i32) {
    for pid in pids_inside(init).into_values() {
        let names = sys::fs::list_dir(format!("/proc/{pid}/fd")).unwrap_or_default();
        for fd in names.iter().filter_map(|name| name.parse::<i32>().ok()) {
            let is_timer = |link: std::path::PathBuf| link.to_string_lossy().contains("[timerfd]");
            if !sys::fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(is_timer) {
                continue;
            }
            let text = sys::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            let Some(timer) = sys::timerfd::parse(&text).filter(sys::timerfd::Timer::waits_for_reader) else { continue };
            let result = sys::process::borrow_fd(pid, fd, "[timerfd]").and_then(|descriptor| sys::timerfd::start_again(descriptor, &timer));
            if let Err(error) = result {
                tracing::debug!(pid, fd, "a timer stands still: {error}");
            }
        }
    }
}
