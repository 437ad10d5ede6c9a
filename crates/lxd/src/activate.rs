//! `lxd activateifneeded`: at boot, starts a socket-activated daemon if there is work for it.
//!
//! Reads the database itself, for asking the daemon would start it. Whatever cannot be read is a
//! reason to start it: the daemon can say what is wrong.

use std::sync::Arc;

use anyhow::Result;
use keys::instance::{BOOT_AUTOSTART, volatile};
use serde::{Deserialize, Serialize};
use store::{Record, SqliteStore, Store, Table};

use crate::paths::Paths;

/// As much of an instance's record as matters here.
#[derive(Serialize, Deserialize)]
struct Instance {
    config: keys::Config,
    profiles: Vec<String>,
}

impl Record for Instance {
    const PREFIX: &'static str = "instances/";
}

/// As much of a profile's or the server's record as matters here.
#[derive(Serialize, Deserialize)]
struct Profile {
    config: keys::Config,
}

impl Record for Profile {
    const PREFIX: &'static str = "profiles/";
}

#[derive(Serialize, Deserialize)]
struct Server {
    config: keys::Config,
}

impl Record for Server {
    const PREFIX: &'static str = "server/";
}

/// Connects to the daemon's socket, which starts it, if there is a reason.
pub fn run(is_debug: bool, paths: &Paths) -> Result<()> {
    let say = |text: &str| {
        if is_debug {
            eprintln!("{text}");
        }
    };
    if !sys::fs::exists(paths.database()) {
        say("No DB, so no need to start the daemon now.");
        return Ok(());
    }
    let reason = SqliteStore::open(paths.database()).and_then(|store| reason(Arc::new(store)));
    match reason {
        Ok(None) => {
            say("No need to start the daemon now.");
            return Ok(());
        }
        Ok(Some(reason)) => say(&format!("Daemon has {reason}, activating...")),
        Err(error) => say(&format!("The DB can't be read ({error}), activating...")),
    }
    // The connection alone makes the service manager start it. Failing is for the log only: this
    // runs at boot and must not stop it.
    if let Err(error) = std::os::unix::net::UnixStream::connect(paths.socket()) {
        eprintln!("connect to {}: {error}", paths.socket().display());
    }
    Ok(())
}

/// Why the daemon is needed, if it is.
fn reason(store: Arc<dyn Store>) -> Result<Option<&'static str>, store::StoreError> {
    if !store.range("intents/")?.is_empty() {
        return Ok(Some("interrupted work to settle"));
    }
    let server = Table::<Server>::new(Arc::clone(&store)).all()?;
    if server.iter().any(|server| keys::server::CORE_HTTPS_ADDRESS.text(&server.record.config).is_some()) {
        return Ok(Some("core.https_address set"));
    }
    let instances = Table::<Instance>::new(Arc::clone(&store)).all()?;
    let was_running = |instance: &Instance| volatile::LAST_STATE_POWER.text(&instance.config) == Some("RUNNING");
    let profiles = Table::<Profile>::new(store);
    let mut has_running = false;
    for instance in instances {
        match autostart(&instance.record, &profiles)? {
            Some(true) => return Ok(Some("auto-started containers")),
            Some(false) => {}
            None => has_running |= was_running(&instance.record),
        }
    }
    Ok(has_running.then_some("running containers"))
}

/// The expanded `boot.autostart` of an instance: its own, else that of its last profile.
fn autostart(instance: &Instance, profiles: &Table<Profile>) -> Result<Option<bool>, store::StoreError> {
    if BOOT_AUTOSTART.text(&instance.config).is_some() {
        return Ok(BOOT_AUTOSTART.get(&instance.config));
    }
    for name in instance.profiles.iter().rev() {
        let profile = profiles.get(name)?;
        if let Some(wanted) = profile.and_then(|profile| BOOT_AUTOSTART.get(&profile.record.config)) {
            return Ok(Some(wanted));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use store::MemoryStore;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> keys::Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn reason_with(instance: &[(&str, &str)], profile: &[(&str, &str)], server: &[(&str, &str)]) -> Option<&'static str> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let put = |write| store.commit(&[], &[write]).expect("commit");
        put(Table::<Profile>::put("default", &Profile { config: config(profile) }).expect("profile"));
        put(Table::<Server>::put("config", &Server { config: config(server) }).expect("server"));
        let instance = Instance { config: config(instance), profiles: vec!["default".into()] };
        put(Table::put("c1", &instance).expect("instance"));
        reason(store).expect("reason")
    }

    #[test]
    fn reasons() {
        assert_eq!(reason_with(&[], &[], &[]), None);
        assert_eq!(reason_with(&[], &[], &[("core.https_address", ":8443")]), Some("core.https_address set"));
        assert_eq!(reason_with(&[("boot.autostart", "1")], &[], &[]), Some("auto-started containers"));
        assert_eq!(reason_with(&[], &[("boot.autostart", "true")], &[]), Some("auto-started containers"));
        assert_eq!(reason_with(&[("volatile.last_state.power", "RUNNING")], &[], &[]), Some("running containers"));
        let never = [("volatile.last_state.power", "RUNNING"), ("boot.autostart", "false")];
        assert_eq!(reason_with(&never, &[], &[]), None);
    }

    #[test]
    fn no_database_no_daemon() {
        let paths = Paths { dir: "/nonexistent".into(), log_dir: "/nonexistent".into() };
        assert!(run(true, &paths).is_ok());
    }
}
