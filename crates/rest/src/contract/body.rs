//! The schema of a body: what its type says of itself, closed, with what its row adds.
//!
//! Three marks are ours: `x-ignored` (any value will do), `x-unserved` (only an empty value will do), and
//! `null` as one of the types of a field, which counts as leaving it out.

use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::endpoint::{Endpoint, Verb};
use crate::shape::Shape;

pub(super) const IGNORED: &str = "x-ignored";
pub(super) const UNSERVED: &str = "x-unserved";

/// The schema of an endpoint's JSON body, if it takes one.
pub(super) fn schema(endpoint: &Endpoint) -> Option<Value> {
    let takes = &endpoint.takes;
    let mut schema = describe(takes.object?, Contract::Deserialize);
    if endpoint.verb != Verb::Patch {
        takes.required.iter().for_each(|path| require(&mut schema, path));
    }
    close(&mut schema, endpoint.verb == Verb::Patch);
    let shown = takes.ignored.map(|shape| describe(shape, Contract::Serialize));
    for name in shown.iter().filter_map(|shown| shown["properties"].as_object()).flat_map(Map::keys) {
        let description = "Shown by GET; ignored here.";
        tolerate(&mut schema, name, json!({ "description": description, "readOnly": true, (IGNORED): true }));
    }
    for path in takes.ignored_fields {
        tolerate(&mut schema, path, json!({ "description": "Accepted and ignored.", (IGNORED): true }));
    }
    for path in takes.unserved {
        tolerate(&mut schema, path, json!({ "description": "Not served: accepted only empty.", (UNSERVED): true }));
    }
    Some(schema)
}

/// A type's schema, everything it refers to in place.
fn describe(shape: Shape, contract: Contract) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.contract = contract;
    Value::from((shape.schema)(&mut settings.into_generator()))
}

/// The properties of the object in which `path` ends, and its last component.
fn parent<'a, 'b>(schema: &'a mut Value, path: &'b str) -> Option<(&'a mut Map<String, Value>, &'b str)> {
    match path.split_once('.') {
        Some((first, rest)) => parent(schema.get_mut("properties")?.get_mut(first)?, rest),
        None => Some((schema.as_object_mut()?, path)),
    }
}

/// Adds a field that is known and not used, unless it is used.
fn tolerate(schema: &mut Value, path: &str, field: Value) {
    if let Some((object, name)) = parent(schema, path)
        && let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut)
        && !properties.contains_key(name)
    {
        properties.insert(name.to_owned(), field);
    }
}

/// Makes the field at `path`, and the objects around it, required and not empty.
fn require(schema: &mut Value, path: &str) {
    for end in path.match_indices('.').map(|(at, _)| at).chain([path.len()]) {
        let Some((object, name)) = parent(schema, &path[..end]) else { continue };
        if let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut()
            && !required.iter().any(|known| known == name)
        {
            required.push(name.into());
        }
        let field = object.get_mut("properties").and_then(|properties| properties.get_mut(name));
        if let Some(Value::Object(field)) = field {
            let bound = if field.get("type").is_some_and(|kind| kind == "array") { "minItems" } else { "minLength" };
            if field.get("type").is_some_and(|kind| kind == "array" || kind == "string") {
                field.insert(bound.to_owned(), 1.into());
            }
        }
    }
}

/// Allows no other fields than the known ones; `null` for every field that is not required, and in a
/// `PATCH` for the entries of its maps, where it removes them.
fn close(schema: &mut Value, is_patch: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    let required = object.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|known| known == name));
    object.remove("title");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, field) in properties.iter_mut() {
            close(field, false);
            if is_patch && let Some(entry) = field.get_mut("additionalProperties") {
                allow_null(entry);
            }
            if !is_required(name) {
                allow_null(field);
            }
            drop_empty_default(field);
        }
        object.insert("additionalProperties".to_owned(), false.into());
    }
    for inner in ["additionalProperties", "items"] {
        if let Some(inner) = object.get_mut(inner) {
            close(inner, false);
        }
    }
}

fn allow_null(schema: &mut Value) {
    if let Some(Value::String(kind)) = schema.get("type") {
        schema["type"] = json!([kind, "null"]);
    }
}

/// A default that is empty says nothing.
pub(super) fn drop_empty_default(field: &mut Value) {
    if let Some(object) = field.as_object_mut()
        && object.get("default").is_some_and(super::rules::is_empty)
    {
        object.remove("default");
    }
}
