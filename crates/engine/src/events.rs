//! Events: operations, log lines and life cycle, sent to whoever listens.
//!
//! A listener is a callback that must not block; it returns false when it cannot take more (its
//! bounded queue is full, or its connection is gone) and is then dropped. An event is turned into
//! JSON once, and not at all when nobody listens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use api::Timestamp;
use api::events::{Event, Lifecycle, Logging};
use serde_json::{Map, Value};

use crate::sync::{read, write};

/// Most listeners at a time.
const MAX_LISTENERS: usize = 4096;

/// The three kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum EventKind {
    Operation,
    Logging,
    Lifecycle,
}

impl EventKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Logging => "logging",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// An event ready to be sent.
#[derive(Debug)]
pub struct Frame {
    /// Its kind.
    pub kind: EventKind,
    /// The JSON text.
    pub json: String,
}

/// Takes frames; false means "drop me". Must not block.
pub type Listener = Box<dyn Fn(&Arc<Frame>) -> bool + Send + Sync>;

struct Entry {
    id: u64,
    kinds: Vec<EventKind>,
    listener: Listener,
}

/// The hub.
#[derive(Default)]
pub struct Events {
    listeners: RwLock<Vec<Entry>>,
    next_id: AtomicU64,
}

impl Events {
    /// Adds a listener for the kinds named in `types` (`operation,logging`; empty: all, as LXD does
    /// since there are life cycle events; unknown names never match). Dropping the guard removes it.
    pub fn subscribe(self: &Arc<Self>, types: &str, listener: Listener) -> crate::Result<Subscription> {
        let all = [EventKind::Operation, EventKind::Logging, EventKind::Lifecycle];
        let kinds = all.into_iter().filter(|kind| types.is_empty() || types.split(',').any(|name| name.trim() == kind.name())).collect();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut listeners = write(&self.listeners);
        if listeners.len() >= MAX_LISTENERS {
            return Err(crate::Error::unavailable("too many event listeners").hint("close some `lxc monitor` sessions"));
        }
        listeners.push(Entry { id, kinds, listener });
        Ok(Subscription { hub: self.clone(), id })
    }

    /// Whether anybody would see an event of this kind.
    pub fn has_listener(&self, kind: EventKind) -> bool {
        read(&self.listeners).iter().any(|entry| entry.kinds.contains(&kind))
    }

    /// Sends an operation's current state; rendered only if somebody listens.
    pub fn operation(&self, render: impl FnOnce() -> api::operations::Operation) {
        self.send(EventKind::Operation, || serde_json::to_value(render()).unwrap_or_default());
    }

    /// Sends a log line. Levels: `dbug`, `info`, `warn`, `eror`, `crit`.
    pub fn logging(&self, level: &str, message: &str, context: BTreeMap<String, String>) {
        self.send(EventKind::Logging, || {
            let logging = Logging { message: message.to_owned(), level: level.to_owned(), context };
            serde_json::to_value(logging).unwrap_or_default()
        });
    }

    /// Sends a life-cycle event: `instance-started` of `/1.0/instances/c1`.
    pub fn lifecycle(&self, action: &str, source: String, context: Map<String, Value>) {
        self.send(EventKind::Lifecycle, || {
            serde_json::to_value(Lifecycle { action: action.to_owned(), source, context }).unwrap_or_default()
        });
    }

    fn send(&self, kind: EventKind, metadata: impl FnOnce() -> Value) {
        let mut gone = Vec::new();
        {
            let listeners = read(&self.listeners);
            let mut wanting = listeners.iter().filter(|entry| entry.kinds.contains(&kind)).peekable();
            if wanting.peek().is_none() {
                return;
            }
            let event =
                Event { kind: kind.name().to_owned(), timestamp: Timestamp::now(), metadata: metadata(), project: "default".to_owned() };
            let frame = Arc::new(Frame { kind, json: serde_json::to_string(&event).unwrap_or_default() });
            gone.extend(wanting.filter(|entry| !(entry.listener)(&frame)).map(|entry| entry.id));
        }
        if !gone.is_empty() {
            write(&self.listeners).retain(|entry| !gone.contains(&entry.id));
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("listeners", &read(&self.listeners).len()).finish()
    }
}

/// Keeps a listener subscribed while it lives.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Events>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        write(&self.hub.listeners).retain(|entry| entry.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn filters_and_drops_the_slow() {
        let hub = Arc::new(Events::default());
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        let _kept = hub.subscribe("lifecycle", Box::new(move |_| counter.fetch_add(1, Ordering::SeqCst) < 1)).expect("subscribe");
        hub.logging("info", "not for us", BTreeMap::new());
        for _ in 0..5 {
            hub.lifecycle("instance-started", "/1.0/instances/c1".into(), Map::new());
        }
        // The second call said "no more": it was the last.
        assert_eq!(seen.load(Ordering::SeqCst), 2);
        assert!(!hub.has_listener(EventKind::Lifecycle));
    }

    #[test]
    fn dropping_the_guard_unsubscribes() {
        let hub = Arc::new(Events::default());
        drop(hub.subscribe("", Box::new(|_| true)).expect("subscribe"));
        assert!(!hub.has_listener(EventKind::Operation));
    }
}
