//! What instances are told of: changes of their readable keys and of their devices.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use api::Timestamp;
use serde_json::{Value, json};

use super::view::is_readable;
use crate::instances::expand::Expanded;
use crate::sync::{read, write};

/// One event, as JSON text.
pub type GuestFrame = Arc<str>;
/// Takes events; false means "drop me". Must not block.
pub type GuestListener = Box<dyn Fn(&GuestFrame) -> bool + Send + Sync>;

const CONFIG: &str = "config";
const DEVICE: &str = "device";

struct Entry {
    id: u64,
    instance: String,
    types: Vec<&'static str>,
    listener: GuestListener,
}

/// The listeners of all instances. How many an instance may have is bounded by its connections.
#[derive(Default)]
pub(crate) struct GuestEvents {
    listeners: RwLock<Vec<Entry>>,
    next_id: AtomicU64,
}

impl GuestEvents {
    pub(super) fn subscribe(self: &Arc<Self>, instance: &str, types: &str, listener: GuestListener) -> GuestSubscription {
        let wanted = |kind: &&str| types.is_empty() || types.split(',').any(|name| name.trim() == *kind);
        let types = [CONFIG, DEVICE].into_iter().filter(wanted).collect();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        write(&self.listeners).push(Entry { id, instance: instance.to_owned(), types, listener });
        GuestSubscription { hub: self.clone(), id }
    }

    /// Tells an instance what is different now.
    pub(super) fn changed(&self, instance: &str, before: &Expanded, after: &Expanded) {
        if !read(&self.listeners).iter().any(|entry| entry.instance == instance) {
            return;
        }
        for (kind, metadata) in differences(before, after) {
            self.send(instance, kind, &metadata);
        }
    }

    /// Tells an instance of a device that came or went by itself.
    pub(super) fn plugged(&self, instance: &str, action: &str, (name, config): (&str, &api::Config)) {
        self.send(instance, DEVICE, &json!({ "name": name, "action": action, "config": config }));
    }

    pub(super) fn drop_listeners_of(&self, instance: &str) {
        write(&self.listeners).retain(|entry| entry.instance != instance);
    }

    fn send(&self, instance: &str, kind: &str, metadata: &Value) {
        let event = json!({ "timestamp": Timestamp::now(), "type": kind, "metadata": metadata });
        let frame: &GuestFrame = &event.to_string().into();
        let gone: Vec<u64> = {
            let listeners = read(&self.listeners);
            let wanting = listeners.iter().filter(|entry| entry.instance == instance && entry.types.contains(&kind));
            wanting.filter(|entry| !(entry.listener)(frame)).map(|entry| entry.id).collect()
        };
        if !gone.is_empty() {
            write(&self.listeners).retain(|entry| !gone.contains(&entry.id));
        }
    }
}

/// Type and metadata of the events that a change amounts to.
fn differences(before: &Expanded, after: &Expanded) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    let keys: BTreeSet<&String> = before.config.keys().chain(after.config.keys()).filter(|key| is_readable(key)).collect();
    for key in keys {
        let (old, new) = (before.config.get(key), after.config.get(key));
        if old != new {
            let text = |value: Option<&String>| value.cloned().unwrap_or_default();
            events.push((CONFIG, json!({ "key": key, "old_value": text(old), "value": text(new) })));
        }
    }
    let names: BTreeSet<&String> = before.devices.keys().chain(after.devices.keys()).collect();
    for name in names {
        let (action, config) = match (before.devices.get(name), after.devices.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(_), Some(new)) => ("updated", new),
            (None, Some(new)) => ("added", new),
            (Some(old), None) => ("removed", old),
            (None, None) => continue,
        };
        events.push((DEVICE, json!({ "name": name, "action": action, "config": config })));
    }
    events
}

/// Keeps a listener subscribed while it lives.
pub struct GuestSubscription {
    hub: Arc<GuestEvents>,
    id: u64,
}

impl Drop for GuestSubscription {
    fn drop(&mut self) {
        write(&self.hub.listeners).retain(|entry| entry.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sync::lock;

    fn map(pairs: &[(&str, &str)]) -> api::Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn differences_are_told_one_by_one() {
        let before = Expanded {
            config: map(&[("user.a", "1"), ("user.gone", "x"), ("limits.memory", "1GB")]),
            devices: [("eth0".to_owned(), map(&[("type", "nic")])), ("old".to_owned(), map(&[("type", "disk")]))].into(),
        };
        let after = Expanded {
            config: map(&[("user.a", "2"), ("cloud-init.user-data", "new"), ("limits.memory", "2GB")]),
            devices: [("eth0".to_owned(), map(&[("type", "none")])), ("new".to_owned(), map(&[("type", "unix-char")]))].into(),
        };
        assert_eq!(
            differences(&before, &after),
            [
                ("config", json!({ "key": "cloud-init.user-data", "old_value": "", "value": "new" })),
                ("config", json!({ "key": "user.a", "old_value": "1", "value": "2" })),
                ("config", json!({ "key": "user.gone", "old_value": "x", "value": "" })),
                ("device", json!({ "name": "eth0", "action": "updated", "config": { "type": "none" } })),
                ("device", json!({ "name": "new", "action": "added", "config": { "type": "unix-char" } })),
                ("device", json!({ "name": "old", "action": "removed", "config": { "type": "disk" } })),
            ]
        );
        assert!(differences(&after, &after).is_empty());
    }

    #[test]
    fn instances_hear_of_themselves_only() {
        let hub = Arc::new(GuestEvents::default());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let listen = |instance: &str, types: &str| {
            let (seen, mark) = (seen.clone(), format!("{instance}:{types}"));
            hub.subscribe(
                instance,
                types,
                Box::new(move |_| {
                    lock(&seen).push(mark.clone());
                    true
                }),
            )
        };
        let guards = [listen("c1", ""), listen("c1", "device"), listen("c2", "config"), listen("c1", "config,nonsense")];
        let after = Expanded { config: map(&[("user.a", "1")]), ..Expanded::default() };
        hub.changed("c1", &Expanded::default(), &after);
        assert_eq!(*lock(&seen), ["c1:", "c1:config,nonsense"]);
        hub.drop_listeners_of("c1");
        hub.changed("c1", &Expanded::default(), &after);
        assert_eq!(lock(&seen).len(), 2);
        drop(guards);
        assert!(read(&hub.listeners).is_empty());
    }
}
