//! A store in memory, for tests of what lies above.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::watch::Hub;
use crate::{CommitError, Entry, Guard, Revision, Store, StoreError, Watch, Write};

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    hub: Hub,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, (Vec<u8>, Revision)>,
    revision: Revision,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let state = self.state();
        let found = state.entries.get(key);
        Ok(found.map(|(value, revision)| Entry { key: key.to_owned(), value: value.clone(), revision: *revision }))
    }

    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let state = self.state();
        let found = state.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, (value, revision))| Entry { key: key.clone(), value: value.clone(), revision: *revision }).collect())
    }

    fn commit(&self, guards: &[Guard], writes: &[Write]) -> Result<Revision, CommitError> {
        let mut state = self.state();
        for guard in guards {
            let found = state.entries.get(&guard.key).map(|(_, revision)| *revision);
            if found != guard.revision {
                return Err(CommitError::Conflict { key: guard.key.clone(), expected: guard.revision, found });
            }
        }
        state.revision += 1;
        let revision = state.revision;
        for write in writes {
            match write {
                Write::Put { key, value } => drop(state.entries.insert(key.clone(), (value.clone(), revision))),
                Write::Delete { key } => drop(state.entries.remove(key)),
            }
        }
        self.hub.announce(writes, revision);
        Ok(revision)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.state().revision)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.hub.watch(prefix, from)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        crate::conformance::run(&super::MemoryStore::new());
    }
}
