//! What every store must do, as a test that each implementation runs on a fresh instance.

use std::time::Duration;

use crate::{CommitError, Guard, Store, StoreError, Write};

/// Runs all checks on an empty store; panics where it does not conform.
pub fn run(store: &dyn Store) {
    reads_what_was_written(store);
    ranges_are_sorted_and_exact(store);
    guards_compare(store);
    commits_are_all_or_nothing(store);
    revisions_grow(store);
    watches_follow(store);
    racing_writers_lose_no_update(store);
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.into(), value: value.into() }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.into() }
}

fn value(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.get(key).expect("get");
    entry.map(|entry| String::from_utf8(entry.value).expect("text"))
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.range(prefix).expect("range").into_iter().map(|entry| entry.key).collect()
}

fn reads_what_was_written(store: &dyn Store) {
    assert_eq!(value(store, "a/1"), None);
    store.commit(&[], &[put("a/1", "one"), put("a/2", "")]).expect("commit");
    assert_eq!(value(store, "a/1").as_deref(), Some("one"));
    assert_eq!(value(store, "a/2").as_deref(), Some(""));
    store.commit(&[], &[delete("a/1"), delete("a/none")]).expect("deleting what is not there is fine");
    assert_eq!(value(store, "a/1"), None);
    let bytes = Write::Put { key: "a/bytes".into(), value: vec![0, 255, 10] };
    store.commit(&[], &[bytes]).expect("commit");
    assert_eq!(store.get("a/bytes").expect("get").map(|entry| entry.value), Some(vec![0, 255, 10]));
}

fn ranges_are_sorted_and_exact(store: &dyn Store) {
    store.commit(&[], &[put("r/b", ""), put("r/a", ""), put("r/ü", ""), put("r/a/x", ""), put("r0", ""), put("R/c", "")]).expect("commit");
    assert_eq!(keys(store, "r/"), ["r/a", "r/a/x", "r/b", "r/ü"]);
    assert_eq!(keys(store, "r/a"), ["r/a", "r/a/x"]);
    assert_eq!(keys(store, "r/%"), Vec::<String>::new(), "a prefix is no pattern");
    assert!(keys(store, "").len() >= 6);
}

fn guards_compare(store: &dyn Store) {
    let first = store.commit(&[Guard::absent("g")], &[put("g", "1")]).expect("absent");
    let again = store.commit(&[Guard::absent("g")], &[put("g", "2")]);
    assert!(matches!(again, Err(CommitError::Conflict { expected: None, found: Some(found), .. }) if found == first));
    let second = store.commit(&[Guard::unchanged("g", first)], &[put("g", "2")]).expect("unchanged");
    let stale = store.commit(&[Guard::unchanged("g", first)], &[put("g", "3")]);
    assert!(matches!(stale, Err(CommitError::Conflict { key, found: Some(found), .. }) if key == "g" && found == second));
    let gone = store.commit(&[Guard::unchanged("none", first)], &[]);
    assert!(matches!(gone, Err(CommitError::Conflict { found: None, .. })));
    assert_eq!(value(store, "g").as_deref(), Some("2"));
}

fn commits_are_all_or_nothing(store: &dyn Store) {
    let before = store.revision().expect("revision");
    let failed = store.commit(&[Guard::absent("n"), Guard::absent("g")], &[put("n", "1"), delete("g")]);
    assert!(matches!(failed, Err(CommitError::Conflict { .. })));
    assert_eq!(value(store, "n"), None);
    assert_eq!(value(store, "g").as_deref(), Some("2"));
    assert_eq!(store.revision().expect("revision"), before);
}

fn revisions_grow(store: &dyn Store) {
    let first = store.commit(&[], &[put("v/1", ""), put("v/2", "")]).expect("commit");
    let second = store.commit(&[], &[put("v/1", "")]).expect("commit");
    assert!(second > first);
    assert_eq!(store.revision().expect("revision"), second);
    let revisions: Vec<_> = store.range("v/").expect("range").iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, [second, first]);
    // A key that comes back is not taken for the one that went.
    store.commit(&[], &[delete("v/1")]).expect("commit");
    store.commit(&[], &[put("v/1", "")]).expect("commit");
    assert!(store.commit(&[Guard::unchanged("v/1", second)], &[]).is_err());
}

fn watches_follow(store: &dyn Store) {
    let start = store.revision().expect("revision");
    let early = store.watch("w/", start).expect("watch");
    store.commit(&[], &[put("w/1", ""), put("x/1", "")]).expect("commit");
    let last = store.commit(&[], &[delete("w/1")]).expect("commit");
    let late = store.watch("w/", start).expect("watch the past");
    for watch in [early, late] {
        let next = || watch.next(Duration::from_secs(1)).expect("change");
        let put = next().expect("put");
        assert_eq!((put.key.as_str(), put.deleted), ("w/1", false));
        let deleted = next().expect("delete");
        assert_eq!((deleted.deleted, deleted.revision), (true, last));
        assert!(matches!(watch.next(Duration::ZERO), Ok(None)));
    }
    assert!(!matches!(store.watch("w/", start), Err(StoreError::Lagged { .. })));
}

fn racing_writers_lose_no_update(store: &dyn Store) {
    const WRITERS: usize = 4;
    const UPDATES: usize = 10;
    store.commit(&[], &[put("race", "0")]).expect("commit");
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| (0..UPDATES).for_each(|_| increment(store, "race")));
        }
    });
    assert_eq!(value(store, "race"), Some((WRITERS * UPDATES).to_string()));
}

fn increment(store: &dyn Store, key: &str) {
    loop {
        let entry = store.get(key).expect("get").expect("entry");
        let number: usize = String::from_utf8(entry.value).expect("text").parse().expect("number");
        match store.commit(&[Guard::unchanged(key, entry.revision)], &[put(key, &(number + 1).to_string())]) {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Store(error)) => panic!("{error}"),
        }
    }
}
