//! Typed tables: the records of one kind under one prefix, as JSON with a format number.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CommitError, Entry, Guard, Revision, Store, StoreError, Write};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// Prefix of its keys, with a slash at the end: `instances/`.
    const PREFIX: &'static str;
    /// Format that is written now; begins at 1.
    const FORMAT: u32 = 1;

    /// Brings a record of an older format to the next one. It is called until [`Self::FORMAT`] is
    /// reached; the result is only written when the record next changes.
    fn upgrade(from: u32, record: serde_json::Value) -> Result<serde_json::Value, String> {
        let _ = record;
        Err(format!("format {from} is not known"))
    }
}

/// A record with its id and revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// Its key without the prefix.
    pub id: String,
    /// The record.
    pub record: T,
    /// Revision of its last change.
    pub revision: Revision,
}

/// The records of one kind.
pub struct Table<T> {
    store: Arc<dyn Store>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), kind: PhantomData }
    }
}

impl<T: Record> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({})", T::PREFIX)
    }
}

impl<T: Record> Table<T> {
    /// The table of `T` in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, kind: PhantomData }
    }

    /// The key of a record.
    pub fn key(id: &str) -> String {
        format!("{}{id}", T::PREFIX)
    }

    /// One record.
    pub fn get(&self, id: &str) -> Result<Option<Stored<T>>, StoreError> {
        self.store.get(&Self::key(id))?.map(decode).transpose()
    }

    /// All records, sorted by id; one that does not decode is an error.
    pub fn all(&self) -> Result<Vec<Stored<T>>, StoreError> {
        self.below("")
    }

    /// The records whose ids start with `prefix`, sorted.
    pub fn below(&self, prefix: &str) -> Result<Vec<Stored<T>>, StoreError> {
        self.store.range(&Self::key(prefix))?.into_iter().map(decode).collect()
    }

    /// All records that decode, and the errors of those that do not: for the daemon's start, which
    /// one damaged record must not prevent.
    pub fn readable(&self) -> Result<(Vec<Stored<T>>, Vec<StoreError>), StoreError> {
        let mut errors = Vec::new();
        let decoded = self.store.range(T::PREFIX)?.into_iter().map(decode);
        let records = decoded.filter_map(|record| record.map_err(|error| errors.push(error)).ok()).collect();
        Ok((records, errors))
    }

    /// Adds a record; one of that id is a conflict.
    pub fn insert(&self, id: &str, record: &T) -> Result<Revision, CommitError> {
        self.store.commit(&[Self::absent(id)], &[Self::put(id, record)?])
    }

    /// Replaces a record that is still at `revision`.
    pub fn update(&self, id: &str, record: &T, revision: Revision) -> Result<Revision, CommitError> {
        self.store.commit(&[Self::unchanged(id, revision)], &[Self::put(id, record)?])
    }

    /// Writes a record whatever was there.
    pub fn replace(&self, id: &str, record: &T) -> Result<Revision, CommitError> {
        self.store.commit(&[], &[Self::put(id, record)?])
    }

    /// Removes a record; an absent one is fine.
    pub fn remove(&self, id: &str) -> Result<Revision, CommitError> {
        self.store.commit(&[], &[Self::delete(id)])
    }

    /// The write of a record, for commits over several tables.
    pub fn put(id: &str, record: &T) -> Result<Write, StoreError> {
        let key = Self::key(id);
        let mut value = format!("{}\n", T::FORMAT).into_bytes();
        serde_json::to_writer(&mut value, record).map_err(|error| StoreError::Record { key: key.clone(), reason: error.to_string() })?;
        Ok(Write::Put { key, value })
    }

    /// The removal of a record, for commits over several tables.
    pub fn delete(id: &str) -> Write {
        Write::Delete { key: Self::key(id) }
    }

    /// The guard that no record of this id exists.
    pub fn absent(id: &str) -> Guard {
        Guard::absent(Self::key(id))
    }

    /// The guard that a record has not changed.
    pub fn unchanged(id: &str, revision: Revision) -> Guard {
        Guard::unchanged(Self::key(id), revision)
    }
}

fn decode<T: Record>(entry: Entry) -> Result<Stored<T>, StoreError> {
    let record = decode_value(&entry.value).map_err(|reason| StoreError::Record { key: entry.key.clone(), reason })?;
    let id = entry.key.strip_prefix(T::PREFIX).unwrap_or(&entry.key).to_owned();
    Ok(Stored { id, record, revision: entry.revision })
}

fn decode_value<T: Record>(value: &[u8]) -> Result<T, String> {
    let line = value.iter().position(|byte| *byte == b'\n').ok_or("no format number")?;
    let format: Option<u32> = std::str::from_utf8(&value[..line]).ok().and_then(|digits| digits.parse().ok());
    let format = format.ok_or("no format number")?;
    let json = &value[line + 1..];
    if format == T::FORMAT {
        return serde_json::from_slice(json).map_err(|error| error.to_string());
    }
    if format > T::FORMAT {
        return Err(format!("it has format {format}, and this version knows formats up to {}", T::FORMAT));
    }
    let mut record = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    for from in format..T::FORMAT {
        record = T::upgrade(from, record)?;
    }
    serde_json::from_value(record).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::MemoryStore;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
    }

    impl Record for Old {
        const PREFIX: &'static str = "things/";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        title: String,
    }

    impl Record for New {
        const PREFIX: &'static str = "things/";
        const FORMAT: u32 = 2;
        fn upgrade(_from: u32, mut record: serde_json::Value) -> Result<serde_json::Value, String> {
            let name = record.as_object_mut().and_then(|map| map.remove("name")).ok_or("no name")?;
            Ok(serde_json::json!({ "title": name }))
        }
    }

    fn old(name: &str) -> Old {
        Old { name: name.into() }
    }

    #[test]
    fn insert_update_remove() {
        let table = Table::<Old>::new(Arc::new(MemoryStore::new()));
        let revision = table.insert("a", &old("x")).expect("insert");
        assert!(matches!(table.insert("a", &old("y")), Err(CommitError::Conflict { .. })));
        let newer = table.update("a", &old("y"), revision).expect("update");
        assert!(matches!(table.update("a", &old("z"), revision), Err(CommitError::Conflict { .. })));
        assert_eq!(table.get("a").expect("get"), Some(Stored { id: "a".into(), record: old("y"), revision: newer }));
        table.remove("a").expect("remove");
        assert_eq!(table.all().expect("all"), vec![]);
    }

    #[test]
    fn upgrades_on_read_without_writing() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let revision = Table::<Old>::new(Arc::clone(&store)).insert("a", &old("x")).expect("insert");
        let table = Table::<New>::new(Arc::clone(&store));
        let stored = table.get("a").expect("get").expect("record");
        assert_eq!((stored.record, stored.revision), (New { title: "x".into() }, revision));
        assert_eq!(store.revision().expect("revision"), revision);
        table.replace("a", &New { title: "y".into() }).expect("replace");
        let error = Table::<Old>::new(store).get("a").expect_err("newer format").to_string();
        assert!(error.contains("things/a") && error.contains("format 2"), "{error}");
    }

    #[test]
    fn a_damaged_record_hides_only_itself() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let table = Table::<Old>::new(Arc::clone(&store));
        table.insert("good", &old("x")).expect("insert");
        store.commit(&[], &[Write::Put { key: "things/bad".into(), value: b"1\n{".to_vec() }]).expect("commit");
        let (records, errors) = table.readable().expect("readable");
        assert_eq!(records.len(), 1);
        assert!(errors[0].to_string().starts_with("record things/bad: "), "{}", errors[0]);
        assert!(table.all().is_err());
    }
}
