//! What can go wrong with the store.

use std::path::PathBuf;

use crate::Revision;

/// A failed access.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("{operation} in the database: {reason}")]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The database's reason.
        reason: String,
    },
    /// The file could not be made ready.
    #[error(transparent)]
    File(#[from] sys::Error),
    /// The file was written by a newer version.
    #[error("the database {} has format {found}, and this version knows formats up to {known}: install the newer version again, or restore the copy made before the upgrade", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The file is not a database of this program.
    #[error("{} is not a database of this program: {reason}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is odd.
        reason: String,
    },
    /// A record that does not decode.
    #[error("record {key}: {reason}")]
    Record {
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A watch asked for changes that are not kept any more.
    #[error("changes since revision {from} are not kept any more (oldest: {oldest})")]
    Compacted {
        /// Asked for.
        from: Revision,
        /// Kept.
        oldest: Revision,
    },
    /// A watcher did not keep up and lost changes.
    #[error("the watcher of {prefix} was too slow and lost changes")]
    Lagged {
        /// What it watched.
        prefix: String,
    },
}

impl StoreError {
    /// Names the operation that the database refused.
    pub(crate) fn database(operation: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |error| Self::Database { operation, reason: reason(&error) }
    }
}

/// A commit that did not take place.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold: somebody else was faster.
    #[error("{key} was changed meanwhile (expected {}, found {})", revision(.expected), revision(.found))]
    Conflict {
        /// The guarded key.
        key: String,
        /// Revision that the guard named.
        expected: Option<Revision>,
        /// Revision there is.
        found: Option<Revision>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn revision(revision: &Option<Revision>) -> String {
    revision.map_or_else(|| "nothing".into(), |revision| format!("revision {revision}"))
}

/// The database's reason in words for the cases that an administrator can do something about.
fn reason(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it locked".into(),
        Some(ErrorCode::ReadOnly) => "it is read-only".into(),
        _ => error.to_string(),
    }
}
