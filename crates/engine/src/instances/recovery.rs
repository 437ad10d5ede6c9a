//! After the daemon was away: which instances run, and which ended meanwhile.

use runtime::{Exit, Recovered};

use super::Instances;

impl Instances {
    /// Finds the running instances again and publishes them. Gives back those that ended while no
    /// daemon looked, for [`Instances::settle_ended`].
    pub(crate) fn recover(&self) -> Vec<(String, Exit)> {
        let engine = &self.engine;
        let mut ended = Vec::new();
        for name in engine.records.instances.ids() {
            match engine.runtime.recover(&name) {
                Recovered::Running(container) => {
                    tracing::info!(instance = name, pid = container.pid(), "found running");
                    engine.live.insert(&name, container.clone());
                    // It may have ended before it was published; then nobody else tells.
                    if let Some(exit) = (!container.is_running()).then(|| container.wait_exit(Some(super::stop::KILL_PATIENCE))).flatten() {
                        ended.push((name, exit));
                    }
                }
                Recovered::Exited(exit) => ended.push((name, exit)),
                Recovered::Nothing => {}
            }
        }
        ended
    }
}
