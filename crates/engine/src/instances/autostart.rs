//! Starting with the daemon: what is configured to, and what ran before.

use std::time::Duration;

use api::Config;
use keys::instance::{BOOT_AUTOSTART, BOOT_AUTOSTART_DELAY, BOOT_AUTOSTART_PRIORITY, volatile};

use super::Instances;
use super::expand::expand_record;
use crate::warnings::Cause;

impl Instances {
    /// Starts the instances that should run, higher priority first, then by name.
    pub(crate) fn autostart(&self) {
        let engine = &self.engine;
        let all = engine.records.instances.all().into_iter().map(|(name, record)| (name, expand_record(&engine.records, &record).config));
        let mut due: Vec<(String, Config)> = all
            .filter(|(name, config)| is_due(config) && engine.live.get(name).is_none() && engine.live.unsettled(name).is_none())
            .collect();
        due.sort_by_key(|(name, config)| (std::cmp::Reverse(BOOT_AUTOSTART_PRIORITY.get(config).unwrap_or(0)), name.clone()));
        for (name, config) in due {
            if engine.is_shutting_down() {
                return;
            }
            if let Err(error) = self.start(&name) {
                engine.warn(Cause::Autostart, &name, &error.report());
                tracing::error!(instance = name, "autostart: {}", error.report());
            }
            let delay = BOOT_AUTOSTART_DELAY.get(&config).unwrap_or(0);
            if delay > 0 {
                std::thread::sleep(Duration::from_secs(delay));
            }
        }
    }
}

/// `boot.autostart` decides; unset, what it was when the host went down.
fn is_due(config: &Config) -> bool {
    match BOOT_AUTOSTART.text(config) {
        Some(_) => BOOT_AUTOSTART.is_true(config),
        None => volatile::LAST_STATE_POWER.text(config) == Some("RUNNING"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_decides_then_the_last_state() {
        let config = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Config>();
        assert!(!is_due(&config(&[])));
        assert!(is_due(&config(&[("boot.autostart", "true")])));
        assert!(is_due(&config(&[("volatile.last_state.power", "RUNNING")])));
        assert!(!is_due(&config(&[("boot.autostart", "false"), ("volatile.last_state.power", "RUNNING")])));
    }
}
