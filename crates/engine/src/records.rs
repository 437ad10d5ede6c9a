//! The records: what is stored, and the copy in memory that answers every read.
//!
//! A change is a [`Changes`]: it is committed to the store first (durable, all or nothing, guarded
//! by the revisions it was made on) and then becomes visible. Data of this host alone, such as
//! pids, is not here.

mod kinds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use store::{CommitError, Guard, Record, Revision, Store, Table, Write};

pub(crate) use kinds::{
    AliasRecord, BackupRecord, CertificateRecord, ImageRecord, InstanceRecord, IntentRecord, NetworkRecord, PoolRecord, ProfileRecord,
    ServerRecord, SnapshotRecord, SourceRecord, VolumeBackupRecord, VolumeIntentRecord, VolumeRecord, VolumeSnapshotRecord, WarningRecord,
    WarningStatus,
};

use crate::error::Context;
use crate::sync::{lock, read, write};
use crate::{Error, ErrorKind, Result};

/// How often a change made by the engine itself is tried again after losing a race.
const MAX_RETRIES: usize = 16;

/// A record as it is in memory.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub record: Arc<T>,
    pub revision: Revision,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), revision: self.revision }
    }
}

impl<T> std::ops::Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.record
    }
}

/// All records of one kind, in memory.
#[derive(Debug)]
pub(crate) struct Kind<T> {
    entries: RwLock<BTreeMap<String, Held<T>>>,
    /// What is wrong with each record that cannot be read.
    damaged: Vec<String>,
}

impl<T: Record> Kind<T> {
    fn load(store: &Arc<dyn Store>) -> Result<Self> {
        let (records, damaged) = Table::<T>::new(store.clone()).readable().context("read the records")?;
        let damaged: Vec<String> = damaged.into_iter().map(|error| error.to_string()).collect();
        for error in &damaged {
            tracing::error!("{error}");
        }
        let entries = records.into_iter().map(|stored| (stored.id, Held { record: Arc::new(stored.record), revision: stored.revision }));
        Ok(Self { entries: RwLock::new(entries.collect()), damaged })
    }

    /// What is wrong with each record that could not be read when the daemon started.
    pub(crate) fn damaged(&self) -> &[String] {
        &self.damaged
    }

    pub(crate) fn get(&self, id: &str) -> Option<Held<T>> {
        read(&self.entries).get(id).cloned()
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        read(&self.entries).contains_key(id)
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        read(&self.entries).keys().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        read(&self.entries).is_empty()
    }

    /// All records, sorted by id.
    pub(crate) fn all(&self) -> Vec<(String, Held<T>)> {
        read(&self.entries).iter().map(|(id, held)| (id.clone(), held.clone())).collect()
    }

    /// The records whose ids start with `prefix`, without it.
    pub(crate) fn below(&self, prefix: &str) -> Vec<(String, Held<T>)> {
        let entries = read(&self.entries);
        let range = entries.range(prefix.to_owned()..);
        range.map_while(|(id, held)| Some((id.strip_prefix(prefix)?.to_owned(), held.clone()))).collect()
    }

    fn apply(&self, id: String, revision: Revision, record: Option<Arc<T>>) {
        let mut entries = write(&self.entries);
        match record {
            Some(record) => entries.insert(id, Held { record, revision }),
            None => entries.remove(&id),
        };
    }
}

/// Finds the table of a kind of record.
pub(crate) trait Stored: Record + Send + Sync + 'static {
    fn kind(records: &Records) -> &Kind<Self>
    where
        Self: Sized;
}

/// The tables.
pub(crate) struct Records {
    store: Arc<dyn Store>,
    /// Held from a commit until it is visible, so that memory changes in the order of the store.
    committing: Mutex<()>,
    pub instances: Kind<InstanceRecord>,
    pub snapshots: Kind<SnapshotRecord>,
    pub intents: Kind<IntentRecord>,
    pub profiles: Kind<ProfileRecord>,
    pub images: Kind<ImageRecord>,
    pub aliases: Kind<AliasRecord>,
    pub networks: Kind<NetworkRecord>,
    pub pools: Kind<PoolRecord>,
    pub backups: Kind<BackupRecord>,
    pub volume_backups: Kind<VolumeBackupRecord>,
    pub volumes: Kind<VolumeRecord>,
    pub volume_snapshots: Kind<VolumeSnapshotRecord>,
    pub volume_intents: Kind<VolumeIntentRecord>,
    pub server: Kind<ServerRecord>,
    pub certificates: Kind<CertificateRecord>,
    pub warnings: Kind<WarningRecord>,
}

impl Records {
    pub(crate) fn load(store: Arc<dyn Store>) -> Result<Self> {
        Ok(Self {
            instances: Kind::load(&store)?,
            snapshots: Kind::load(&store)?,
            intents: Kind::load(&store)?,
            profiles: Kind::load(&store)?,
            images: Kind::load(&store)?,
            aliases: Kind::load(&store)?,
            networks: Kind::load(&store)?,
            pools: Kind::load(&store)?,
            backups: Kind::load(&store)?,
            volume_backups: Kind::load(&store)?,
            volumes: Kind::load(&store)?,
            volume_snapshots: Kind::load(&store)?,
            volume_intents: Kind::load(&store)?,
            server: Kind::load(&store)?,
            certificates: Kind::load(&store)?,
            warnings: Kind::load(&store)?,
            store,
            committing: Mutex::default(),
        })
    }

    /// Whether the store has a record of this id, also one that cannot be read.
    pub(crate) fn is_stored<T: Stored>(&self, id: &str) -> Result<bool> {
        self.store.get(&Table::<T>::key(id)).map(|entry| entry.is_some()).context("look into the store")
    }

    /// Begins a change.
    pub(crate) fn changes(&self) -> Changes<'_> {
        Changes { records: self, guards: Vec::new(), writes: Vec::new(), applies: Vec::new() }
    }

    /// Changes one record on behalf of the engine itself, again and again until no one else was
    /// faster. `None` if there is no such record. No commit if nothing changes.
    pub(crate) fn modify<T: Stored + Clone + PartialEq>(&self, id: &str, change: impl Fn(&mut T)) -> Result<Option<Arc<T>>> {
        self.modify_with(id, change, |_| Ok(()))
    }

    /// Like [`Self::modify`], with further changes in the same commit.
    pub(crate) fn modify_with<T: Stored + Clone + PartialEq>(
        &self,
        id: &str,
        change: impl Fn(&mut T),
        also: impl Fn(&mut Changes<'_>) -> Result<()>,
    ) -> Result<Option<Arc<T>>> {
        for _ in 0..MAX_RETRIES {
            let Some(held) = T::kind(self).get(id) else { return Ok(None) };
            let mut record = T::clone(&held.record);
            change(&mut record);
            let mut changes = self.changes();
            also(&mut changes)?;
            if record == *held.record && changes.writes.is_empty() {
                return Ok(Some(held.record));
            }
            changes.update(id, &held, record)?;
            match changes.commit() {
                Err(error) if error.kind() == ErrorKind::PreconditionFailed => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(T::kind(self).get(id).map(|held| held.record)),
            }
        }
        Err(Error::internal(format!("{id} is changed by others all the time")))
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

type Apply<'a> = Box<dyn FnOnce(Revision) + 'a>;

/// A change over any number of records: all of it or none of it.
pub(crate) struct Changes<'a> {
    records: &'a Records,
    guards: Vec<Guard>,
    writes: Vec<Write>,
    applies: Vec<Apply<'a>>,
}

impl<'a> Changes<'a> {
    /// A record that must not exist yet.
    pub(crate) fn insert<T: Stored>(&mut self, id: &str, record: T) -> Result<()> {
        self.guards.push(Table::<T>::absent(id));
        self.put(id, record)
    }

    /// A new state of a record that must not have changed since it was read.
    pub(crate) fn update<T: Stored>(&mut self, id: &str, held: &Held<T>, record: T) -> Result<()> {
        self.guards.push(Table::<T>::unchanged(id, held.revision));
        self.put(id, record)
    }

    /// A record that goes, whatever it is now.
    pub(crate) fn delete<T: Stored>(&mut self, id: &str) {
        self.writes.push(Table::<T>::delete(id));
        let (records, id) = (self.records, id.to_owned());
        self.applies.push(Box::new(move |revision| T::kind(records).apply(id, revision, None)));
    }

    /// A record, whatever is there now.
    pub(crate) fn put<T: Stored>(&mut self, id: &str, record: T) -> Result<()> {
        self.writes.push(Table::<T>::put(id, &record).context("write a record")?);
        let (records, id) = (self.records, id.to_owned());
        self.applies.push(Box::new(move |revision| T::kind(records).apply(id, revision, Some(Arc::new(record)))));
        Ok(())
    }

    /// Makes the change durable, then visible. Losing a race is 409 for a new record and 412 for
    /// an old one.
    pub(crate) fn commit(self) -> Result<()> {
        let _order = lock(&self.records.committing);
        let revision = self.records.store.commit(&self.guards, &self.writes).map_err(|error| match &error {
            CommitError::Conflict { expected: None, .. } => Error::conflict("already exists").caused_by(error),
            CommitError::Conflict { .. } => Error::new(ErrorKind::PreconditionFailed, "changed by somebody else meanwhile")
                .caused_by(error)
                .hint("look at it again and repeat the change"),
            CommitError::Store(_) => Error::internal("store the change").caused_by(error),
        })?;
        for apply in self.applies {
            apply(revision);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn empty() -> Records {
        Records::load(Arc::new(store::MemoryStore::new())).expect("load")
    }

    fn profile(description: &str) -> ProfileRecord {
        ProfileRecord { description: description.into(), ..ProfileRecord::default() }
    }

    #[test]
    fn losing_the_race_is_reported_and_changes_nothing() {
        let records = empty();
        let mut changes = records.changes();
        changes.insert("p", profile("one")).expect("insert");
        changes.commit().expect("commit");
        let stale = records.profiles.get("p").expect("there");
        records.modify::<ProfileRecord>("p", |record| record.description = "two".into()).expect("modify");
        let mut late = records.changes();
        late.update("p", &stale, profile("three")).expect("update");
        late.insert("q", profile("never")).expect("insert");
        assert_eq!(late.commit().expect_err("lost").kind(), ErrorKind::PreconditionFailed);
        assert_eq!(records.profiles.get("p").expect("there").description, "two");
        assert!(!records.profiles.contains("q"));
        let mut again = records.changes();
        again.insert("p", profile("four")).expect("insert");
        assert_eq!(again.commit().expect_err("taken").kind(), ErrorKind::Conflict);
    }

    /// Somebody deletes a record and makes it anew all the time, while others do the same: what is
    /// seen in the end is what is stored.
    #[test]
    fn memory_follows_the_store() {
        let store: Arc<dyn Store> = Arc::new(SlowAfterCommit(store::MemoryStore::new()));
        let records = Records::load(store.clone()).expect("load");
        for round in 0..50 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut changes = records.changes();
                    changes.insert("p", profile("new")).expect("insert");
                    drop(changes.commit());
                });
                scope.spawn(|| {
                    let mut changes = records.changes();
                    changes.delete::<ProfileRecord>("p");
                    changes.commit().expect("commit");
                });
            });
            assert_eq!(records.profiles.contains("p"), records.is_stored::<ProfileRecord>("p").expect("look"), "round {round}");
            let mut changes = records.changes();
            changes.delete::<ProfileRecord>("p");
            changes.commit().expect("commit");
        }
    }

    /// Dawdles between a commit and its return, so that those of two threads overlap.
    struct SlowAfterCommit(store::MemoryStore);

    impl Store for SlowAfterCommit {
        fn get(&self, key: &str) -> std::result::Result<Option<store::Entry>, store::StoreError> {
            self.0.get(key)
        }
        fn range(&self, prefix: &str) -> std::result::Result<Vec<store::Entry>, store::StoreError> {
            self.0.range(prefix)
        }
        fn commit(&self, guards: &[Guard], writes: &[Write]) -> std::result::Result<Revision, CommitError> {
            let result = self.0.commit(guards, writes);
            if let Ok(revision) = &result {
                std::thread::sleep(std::time::Duration::from_millis(if revision % 2 == 1 { 3 } else { 0 }));
            }
            result
        }
        fn revision(&self) -> std::result::Result<Revision, store::StoreError> {
            self.0.revision()
        }
        fn watch(&self, prefix: &str, from: Revision) -> std::result::Result<store::Watch, store::StoreError> {
            self.0.watch(prefix, from)
        }
    }

    #[test]
    fn below_strips_the_prefix_and_stops_at_its_end() {
        let records = empty();
        let mut changes = records.changes();
        for id in ["c/a", "c/b", "ca/x", "d/y"] {
            changes.insert(id, SnapshotRecord::default()).expect("insert");
        }
        changes.commit().expect("commit");
        let found: Vec<String> = records.snapshots.below("c/").into_iter().map(|(id, _)| id).collect();
        assert_eq!(found, ["a", "b"]);
    }
}
