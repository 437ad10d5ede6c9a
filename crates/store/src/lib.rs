//! All persistent records, behind one small trait.
//!
//! An ordered space of keys, each with a value and the revision of its last change. Changes are
//! made by [`Store::commit`]: all or nothing, only if every guard still holds, durable when it
//! returns. Nothing above may assume that the store is one file or one process, so data that
//! belongs to this host alone (pids, locks, counters) stays out of it.
//!
//! [`Table`] gives the records of one kind their type. Reads never write.

mod error;
mod memory;
mod sqlite;
mod table;
mod watch;

pub mod conformance;

pub use error::{CommitError, StoreError};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use table::{Record, Stored, Table};
pub use watch::{Change, Watch};

/// Counts the commits of a store; greater is later. Signed, as SQLite and etcd count.
pub type Revision = i64;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Revision of the commit that wrote it.
    pub revision: Revision,
}

/// What must still hold for a commit to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The key.
    pub key: String,
    /// Revision it must have; `None` if it must not exist.
    pub revision: Option<Revision>,
}

impl Guard {
    /// The key must not exist.
    pub fn absent(key: impl Into<String>) -> Self {
        Self { key: key.into(), revision: None }
    }

    /// The key must not have changed since `revision`.
    pub fn unchanged(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), revision: Some(revision) }
    }
}

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key; an absent one is fine.
    Delete {
        /// The key.
        key: String,
    },
}

impl Write {
    /// The key that changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// The space of keys.
pub trait Store: Send + Sync {
    /// One key.
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All keys that start with `prefix`, sorted, as of one moment.
    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Makes all `writes` if all `guards` hold, else none. When it returns the change is durable.
    /// The result is the revision that the written keys now have.
    fn commit(&self, guards: &[Guard], writes: &[Write]) -> Result<Revision, CommitError>;

    /// The revision of the last commit.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Follows changes below `prefix` made after revision `from`. Only the recent past is kept:
    /// an older `from` is [`StoreError::Compacted`], and the caller reads the range anew.
    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;
}
