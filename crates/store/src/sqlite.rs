//! The embedded store: one SQLite file in WAL mode.
//!
//! Two connections: one writes, the other reads and so never waits for a commit's fsync. Caches
//! are kept small, for what is read often lives in memory above. That no second daemon opens the
//! same file is seen to elsewhere.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::watch::Hub;
use crate::{CommitError, Entry, Guard, Revision, Store, StoreError, Watch, Write};

/// Marks the file as ours (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x6c78_6452;

/// One step from a format of the file to the next; the format is the number of steps done.
type Step = fn(&Transaction) -> rusqlite::Result<()>;

const STEPS: &[Step] = &[create_format_1];

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    hub: Hub,
}

impl SqliteStore {
    /// Opens the file, making it (mode 0600) or upgrading its format if need be; before an upgrade
    /// a copy is put beside it, named after the old format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), STEPS)
    }

    fn open_with(path: &Path, steps: &[Step]) -> Result<Self, StoreError> {
        drop(sys::fs::append(path, 0o600)?);
        sys::fs::set_mode(path, 0o600)?;
        let mut writer = connect(path)?;
        upgrade(&mut writer, path, steps)?;
        let revision = read_revision(&writer)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(connect(path)?), hub: Hub::new(revision) })
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let fail = StoreError::database("read");
        let reader = self.reader();
        let mut statement = reader.prepare_cached("SELECT key, value, revision FROM records WHERE key = ?1").map_err(&fail)?;
        statement.query_row([key], entry).optional().map_err(&fail)
    }

    fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let fail = StoreError::database("list");
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached("SELECT key, value, revision FROM records WHERE key >= ?1 ORDER BY key").map_err(&fail)?;
        let rows = statement.query_map([prefix], entry).map_err(&fail)?;
        let below = rows.take_while(|row| row.as_ref().map_or(true, |entry| entry.key.starts_with(prefix)));
        below.collect::<Result<_, _>>().map_err(&fail)
    }

    fn commit(&self, guards: &[Guard], writes: &[Write]) -> Result<Revision, CommitError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = StoreError::database("commit");
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        for guard in guards {
            check(&transaction, guard)?;
        }
        let revision = write_all(&transaction, writes).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
        self.hub.announce(writes, revision);
        Ok(revision)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        read_revision(&self.reader())
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.hub.watch(prefix, from)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let fail = StoreError::database("open");
    let connection = Connection::open(path).map_err(&fail)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(&fail)?;
    connection.set_prepared_statement_cache_capacity(8);
    // cache_size is negative for KiB; a checkpoint every 256 pages keeps the WAL at about 1 MiB.
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -256; \
                    PRAGMA wal_autocheckpoint = 256; PRAGMA trusted_schema = OFF;";
    connection.execute_batch(settings).map_err(|error| foreign_or(path, error))?;
    Ok(connection)
}

fn foreign_or(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => StoreError::Foreign { path: path.to_owned(), reason: error.to_string() },
        _ => StoreError::database("open")(error),
    }
}

/// Brings the file to the format that `steps` lead to.
fn upgrade(connection: &mut Connection, path: &Path, steps: &[Step]) -> Result<(), StoreError> {
    let fail = StoreError::database("upgrade the format");
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&fail)?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(&fail)?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&fail)?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Foreign { path: path.to_owned(), reason: "it holds another program's tables".into() });
    }
    let known = steps.len() as u32;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        copy_before_upgrade(connection, path, found)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
    for step in &steps[found as usize..] {
        step(&transaction).map_err(&fail)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(&fail)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&fail)?;
    transaction.commit().map_err(&fail)
}

/// Puts a copy of the file beside it: `lxd.db.format-1`.
fn copy_before_upgrade(connection: &Connection, path: &Path, format: u32) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".format-{format}"));
    let copy = Path::new(&name);
    sys::fs::remove_file(copy)?;
    drop(sys::fs::create(copy, 0o600)?);
    let fail = StoreError::database("copy before an upgrade");
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(fail)?;
    Ok(())
}

fn create_format_1(transaction: &Transaction) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE counter (revision INTEGER NOT NULL) STRICT;
         INSERT INTO counter VALUES (0);",
    )
}

fn entry(row: &rusqlite::Row) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: row.get(2)? })
}

fn read_revision(connection: &Connection) -> Result<Revision, StoreError> {
    let revision = connection.query_row("SELECT revision FROM counter", [], |row| row.get(0));
    revision.map_err(StoreError::database("read the revision"))
}

fn check(transaction: &Transaction, guard: &Guard) -> Result<(), CommitError> {
    let fail = StoreError::database("compare");
    let mut statement = transaction.prepare_cached("SELECT revision FROM records WHERE key = ?1").map_err(&fail)?;
    let found: Option<Revision> = statement.query_row([&guard.key], |row| row.get(0)).optional().map_err(&fail)?;
    if found == guard.revision {
        return Ok(());
    }
    Err(CommitError::Conflict { key: guard.key.clone(), expected: guard.revision, found })
}

fn write_all(transaction: &Transaction, writes: &[Write]) -> rusqlite::Result<Revision> {
    let mut count = transaction.prepare_cached("UPDATE counter SET revision = revision + 1 RETURNING revision")?;
    let revision: Revision = count.query_row([], |row| row.get(0))?;
    for write in writes {
        match write {
            Write::Put { key, value } => {
                let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)")?;
                put.execute((key, value, revision))?;
            }
            Write::Delete { key } => {
                transaction.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([key])?;
            }
        }
    }
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(key: &str, value: &str) -> Write {
        Write::Put { key: key.into(), value: value.into() }
    }

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().expect("directory");
        crate::conformance::run(&SqliteStore::open(dir.path().join("db")).expect("open"));
    }

    #[test]
    fn survives_reopening_and_is_private() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("db");
        let store = SqliteStore::open(&path).expect("open");
        let revision = store.commit(&[], &[put("a", "1")]).expect("commit");
        for name in ["db", "db-wal", "db-shm"] {
            let mode = sys::fs::metadata(dir.path().join(name)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        // As after SIGKILL: the first store is never closed.
        let second = SqliteStore::open(&path).expect("open again");
        assert_eq!(second.get("a").expect("get").map(|entry| entry.revision), Some(revision));
        assert_eq!(second.revision().expect("revision"), revision);
    }

    #[test]
    fn upgrade_keeps_a_copy_and_refuses_to_go_back() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("db");
        SqliteStore::open_with(&path, STEPS).expect("open").commit(&[], &[put("a", "1")]).expect("commit");
        let step: Step = |transaction| transaction.execute_batch("UPDATE records SET value = x'00'");
        let upgraded = SqliteStore::open_with(&path, &[create_format_1, step]).expect("upgrade");
        // Old text stays readable in the copy.
        let copy = SqliteStore::open(dir.path().join("db.format-1")).expect("open the copy");
        assert_eq!(copy.get("a").expect("get").expect("entry").value, b"1");
        drop(upgraded);
        let error = SqliteStore::open(&path).expect_err("newer").to_string();
        assert!(error.contains("format 2") && error.contains("up to 1"), "{error}");
    }

    #[test]
    fn a_failed_upgrade_changes_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("db");
        SqliteStore::open(&path).expect("open").commit(&[], &[put("a", "1")]).expect("commit");
        let step: Step = |transaction| transaction.execute_batch("DELETE FROM records; nonsense");
        assert!(SqliteStore::open_with(&path, &[create_format_1, step]).is_err());
        assert!(SqliteStore::open(&path).expect("open").get("a").expect("get").is_some());
    }

    #[test]
    fn foreign_files_are_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let text = dir.path().join("text");
        sys::fs::write(&text, "certainly no database, but some text that is long enough").expect("write");
        assert!(matches!(SqliteStore::open(&text), Err(StoreError::Foreign { .. })));
        let other = dir.path().join("other");
        Connection::open(&other).expect("open").execute_batch("CREATE TABLE t (x)").expect("create");
        assert!(matches!(SqliteStore::open(&other), Err(StoreError::Foreign { .. })));
    }

    #[test]
    fn readers_do_not_wait_for_a_writer() {
        let dir = tempfile::tempdir().expect("directory");
        let store = SqliteStore::open(dir.path().join("db")).expect("open");
        store.commit(&[], &[put("a", "1")]).expect("commit");
        let mut writer = store.writer.lock().expect("writer");
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).expect("begin");
        write_all(&transaction, &[put("a", "2")]).expect("write");
        assert_eq!(store.get("a").expect("get").expect("entry").value, b"1");
    }
}
