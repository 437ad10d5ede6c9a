//! Programs that use pylxd work with this daemon: its whole object API, exec and events included.

use std::time::Duration;

use testkit::{Options, Sandbox, has_clients, wait_until};

#[test]
fn pylxd_walks_through_its_api() {
    let test = "pylxd_walks_through_its_api";
    if !has_clients(test) {
        return;
    }
    let Some(sandbox) = Sandbox::start(test, Options::storage("btrfs")) else { return };
    sandbox.build_busybox();
    let program = include_str!("pylxd/walk.py");
    let said = sandbox.pylxd_ok(program);
    assert_eq!(said.matches("passed walk_").count(), program.matches("\ndef walk_").count(), "{said}");
    // It never connects the control streams of its commands; they are held as long as an operation can be read.
    wait_until("the operations are forgotten", Duration::from_secs(20), || {
        sandbox.http("GET", "/1.0/operations", None).metadata().as_object().is_some_and(serde_json::Map::is_empty)
    });
    sandbox.finish();
}
