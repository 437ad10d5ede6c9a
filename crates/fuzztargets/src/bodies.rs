//! What clients send.

use api::instances::{ConsolePost, ExecControl, ExecPost, InstancePost, InstancePut, InstancesPost, StatePut};
use api::profiles::{Profile, ProfilePut};
use api::snapshots::SnapshotsPost;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Whether a type can be read from a value.
type Reads = fn(Value) -> bool;

fn reads<T: DeserializeOwned>(value: Value) -> bool {
    serde_json::from_value::<T>(value).is_ok()
}

/// Rows whose types are checked against their schemas, too.
const TYPED: &[(&str, Reads)] = &[
    ("POST /1.0/instances", reads::<InstancesPost>),
    ("PUT /1.0/instances/{name}", reads::<InstancePut>),
    ("POST /1.0/instances/{name}", reads::<InstancePost>),
    ("PUT /1.0/instances/{name}/state", reads::<StatePut>),
    ("POST /1.0/instances/{name}/exec", reads::<ExecPost>),
    ("POST /1.0/instances/{name}/console", reads::<ConsolePost>),
    ("POST /1.0/instances/{name}/snapshots", reads::<SnapshotsPost>),
    ("POST /1.0/profiles", reads::<Profile>),
    ("PUT /1.0/profiles/{name}", reads::<ProfilePut>),
];

/// The first byte chooses the endpoint. What the contract accepts, the type must be able to read.
pub fn against_the_contract(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let fits = rest::fuzzing::fits(usize::from(*choice), body);
    let Some(line) = fits else { return };
    let Some((_, reads)) = TYPED.iter().find(|(known, _)| *known == line) else { return };
    // Through a value, since two fields of one name are no fault of a schema.
    let value = serde_json::from_slice(body).expect("it was accepted");
    assert!(reads(value), "{line}: the schema takes what the type does not");
}

/// A message on the control websocket of a command.
pub fn control_message(input: &[u8]) {
    drop(serde_json::from_slice::<ExecControl>(input));
}

/// `?filter=`.
pub fn filter(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        rest::fuzzing::filter(text);
    }
}
