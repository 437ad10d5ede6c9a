//! Reading an instance with all that belongs to it, in one pass.
//!
//! What serde derives for a flattened field first collects every value of the object in memory, since it cannot know
//! whose it is. Here three keys are picked out as they come and everything else is the instance's at once, which
//! halves the time that a long list takes to read.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Instance, InstanceFull};

impl<'de> Deserialize<'de> for InstanceFull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object { is_outline: false })
    }
}

/// An instance read without its configuration and devices, own or expanded: most of its text, and nothing that a list of
/// names and states shows.
#[derive(Clone, Debug, Default)]
pub struct Outline(pub InstanceFull);

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object { is_outline: true }).map(Self)
    }
}

struct Object {
    is_outline: bool,
}

impl<'de> Visitor<'de> for Object {
    type Value = InstanceFull;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instance")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<InstanceFull, A::Error> {
        let mut beside = InstanceFull::default();
        let picking = Picking { entries, beside: &mut beside, is_outline: self.is_outline };
        let instance = Instance::deserialize(MapAccessDeserializer::new(picking))?;
        Ok(InstanceFull { instance, ..beside })
    }
}

/// The entries of the object as those of the instance alone; the others go where they belong.
struct Picking<'a, A> {
    entries: A,
    beside: &'a mut InstanceFull,
    is_outline: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Picking<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.entries.next_key_seed(Key { of_instance: seed, is_outline: self.is_outline })? {
                None => return Ok(None),
                Some(Whose::Instance(key)) => return Ok(Some(key)),
                Some(Whose::Beside(part, unused)) => {
                    match part {
                        Part::Backups => self.beside.backups = self.entries.next_value()?,
                        Part::Snapshots => self.beside.snapshots = self.entries.next_value()?,
                        Part::State => self.beside.state = self.entries.next_value()?,
                        Part::Unwanted => drop(self.entries.next_value::<IgnoredAny>()?),
                    }
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }
}

/// What an instance has beside its own fields.
enum Part {
    Backups,
    Snapshots,
    State,
    /// What an outline leaves out.
    Unwanted,
}

/// Whose a key is.
enum Whose<K, V> {
    /// A field of the instance, as its reader understands the key.
    Instance(V),
    /// Something else; the reader of keys waits for the next.
    Beside(Part, K),
}

/// A key, by the reader of the instance's keys if it is not one of ours.
struct Key<K> {
    of_instance: K,
    is_outline: bool,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<K> {
    type Value = Whose<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = Whose<K, K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match name {
            "backups" => Whose::Beside(Part::Backups, self.of_instance),
            "snapshots" => Whose::Beside(Part::Snapshots, self.of_instance),
            "state" => Whose::Beside(Part::State, self.of_instance),
            "config" | "devices" | "expanded_config" | "expanded_devices" if self.is_outline => {
                Whose::Beside(Part::Unwanted, self.of_instance)
            }
            _ => Whose::Instance(self.of_instance.deserialize(name.into_deserializer())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance_backups::InstanceBackup;
    use crate::snapshots::Snapshot;
    use crate::state::InstanceState;

    fn sample() -> InstanceFull {
        InstanceFull {
            instance: Instance {
                name: "c1".into(),
                config: [("user.a".to_owned(), "\u{e9}\n".to_owned())].into(),
                profiles: vec!["default".into()],
                kind: "container".into(),
                ..Instance::default()
            },
            backups: Some(vec![InstanceBackup { name: "b0".into(), ..InstanceBackup::default() }]),
            state: Some(InstanceState { pid: 7, ..InstanceState::default() }),
            snapshots: Some(vec![Snapshot { name: "s0".into(), ..Snapshot::default() }]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = serde_json::to_string(&sample()).expect("write");
        let read: InstanceFull = serde_json::from_str(&text).expect("read");
        assert_eq!(serde_json::to_value(&read).expect("write"), serde_json::to_value(sample()).expect("write"));
        assert_eq!((read.instance.name.as_str(), read.state.map(|state| state.pid)), ("c1", Some(7)));
        // The same in any order, from a value, and with keys that are written with escapes.
        let value: serde_json::Value = serde_json::from_str(&text).expect("read");
        let turned: serde_json::Map<_, _> = value.as_object().expect("an object").clone().into_iter().rev().collect();
        for again in [InstanceFull::deserialize(&value), serde_json::from_value(turned.into())] {
            assert_eq!(serde_json::to_value(again.expect("read")).expect("write"), value);
        }
        let escaped: InstanceFull = serde_json::from_str(r#"{"st\u0061te": {"pid": 3}, "n\u0061me": "e"}"#).expect("read");
        assert_eq!((escaped.instance.name.as_str(), escaped.state.map(|state| state.pid)), ("e", Some(3)));
    }

    #[test]
    fn an_outline_has_all_but_configuration() {
        let text = serde_json::to_string(&sample()).expect("write");
        let Outline(read) = serde_json::from_str(&text).expect("read");
        let without = InstanceFull { instance: Instance { config: Default::default(), ..sample().instance }, ..sample() };
        assert_eq!(serde_json::to_value(&read).expect("write"), serde_json::to_value(without).expect("write"));
    }

    #[test]
    fn what_is_absent_null_or_unknown_does_no_harm() {
        let bare: InstanceFull =
            serde_json::from_str(r#"{"name": "c1", "state": null, "config": null, "later": {"a": [1]}}"#).expect("read");
        assert_eq!((bare.instance.name.as_str(), bare.state.is_none(), bare.snapshots.is_none()), ("c1", true, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| serde_json::from_str::<InstanceFull>(text).map(drop).expect_err(text).to_string();
        assert!(error(r#"{"name": 1}"#).contains("expected a string"));
        assert!(error(r#"{"state": 1}"#).contains("invalid type: integer `1`"));
        assert!(error("[]").contains("expected an instance"));
    }
}
