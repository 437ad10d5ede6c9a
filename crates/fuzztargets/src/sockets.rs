//! What comes over sockets: HTTP of guests and of strangers, replies of the kernel.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use engine::guest::Guest;
use engine::{Config, Engine};

/// An engine on a state directory that is gone once this is dropped: what is asked of it here is answered from memory.
pub(crate) fn engine() -> (tempfile::TempDir, Arc<Engine>) {
    let held = tempfile::tempdir().expect("a temporary directory");
    let dir = held.path();
    let config = Config {
        dir: dir.join("lxd"),
        log_dir: dir.join("log"),
        group: None,
        helper: PathBuf::from("/bin/true"),
        version: "fuzz".to_owned(),
        apparmor: false,
        cgroup_parent: Default::default(),
        autostart: false,
    };
    for path in [&config.dir, &config.log_dir] {
        std::fs::create_dir(path).expect("mkdir");
    }
    (held, Engine::open(config).expect("open the engine"))
}

/// An instance, and the API as it sees it.
static GUEST: LazyLock<(Guest, rest::fuzzing::Api)> = LazyLock::new(|| {
    let config = [("user.a", "1"), ("security.devlxd.images", "true")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let guest = engine::fuzzing::guest(&engine().1, "c1", config.into()).expect("a record");
    (guest, rest::fuzzing::guest_api())
});

/// The API as strangers see it.
static API: LazyLock<rest::fuzzing::Api> = LazyLock::new(|| rest::fuzzing::api(engine().1));

/// A connection to `/dev/lxd/sock`.
pub fn guest(input: &[u8]) {
    let (guest, api) = &*GUEST;
    rest::fuzzing::guest(api, guest, input);
}

/// A connection over the network by somebody who has shown no certificate.
pub fn stranger(input: &[u8]) {
    rest::fuzzing::stranger(&API, input);
}

/// The engine that offers are made to.
static TARGET: LazyLock<Arc<Engine>> = LazyLock::new(|| engine().1);

/// Messages of another server on the control connection of a migration: what is understood can be said again, and has records
/// or a reason why not.
pub fn migration(input: &[u8]) {
    if let Ok(header) = migration::parse_header(input) {
        engine::fuzzing::migration_offer(&TARGET, &header);
    }
    if let Ok(control) = migration::parse_control(input) {
        drop(control.into_result());
    }
    assert!(input.len() < migration::frame::HEADER_BYTES || frame_is_bounded(input), "a frame is larger than it may be");
}

fn frame_is_bounded(input: &[u8]) -> bool {
    let Some(header) = input.first_chunk() else { return true };
    !matches!(migration::frame::parse(*header), Some(migration::frame::Kind::Binary(length)) if length > migration::frame::MAX_BYTES)
}

/// A reply of the kernel about links, addresses and routes.
pub fn netlink(input: &[u8]) {
    netlink::fuzzing::datagram(input);
}
