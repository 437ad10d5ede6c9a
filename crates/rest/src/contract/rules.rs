//! Whether a JSON value is what a schema says: of JSON Schema the part that our types need.
//!
//! A text names the field by its path (`devices.eth0.mtu`), in the words serde has for the same fault.

use serde::de::Unexpected;
use serde_json::{Map, Value};

use super::body::{IGNORED, UNSERVED};

/// Deepest nesting of a body. What the API knows is five deep.
const MAX_DEPTH: usize = 32;

/// Parses a body that must be one object.
pub(super) fn parse(body: &[u8]) -> Result<Value, String> {
    // Serde would also take an array for a struct.
    if !crate::request::looks_like_object(body) {
        return Err("expected a JSON object".to_owned());
    }
    if depth(body) > MAX_DEPTH {
        return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// The deepest nesting, before anything is built from it.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether `value` fits `schema`; if not, the first fault.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    check_at(schema, value, "")
}

fn check_at(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if is_marked(schema, IGNORED) || schema.is_boolean() {
        return Ok(());
    }
    if is_marked(schema, UNSERVED) {
        return match is_empty(value) || is_the_only_project(path, value) {
            true => Ok(()),
            false => Err(format!("{path}: this server does not offer it: leave it out")),
        };
    }
    let kinds = kinds(schema);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, value)) {
        return Err(format!("{path}: invalid type: {}, expected {}", unexpected(value), expected(&kinds)));
    }
    check_range(schema, value, path)?;
    match value {
        Value::Object(fields) => check_fields(schema, fields, path),
        Value::Array(elements) => {
            let each = |(index, element)| check_at(&schema["items"], element, &format!("{path}[{index}]"));
            if schema["items"].is_null() { Ok(()) } else { elements.iter().enumerate().try_for_each(each) }
        }
        _ => Ok(()),
    }
}

/// The fields of an object: those of a struct, or the entries of a map.
fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &str) -> Result<(), String> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let Some(known) = schema["properties"].as_object() else {
        let entries = &schema["additionalProperties"];
        return match entries.is_object() {
            true => fields.iter().try_for_each(|(name, value)| check_at(entries, value, &at(name))),
            false => Ok(()),
        };
    };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(name).is_none_or(|value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)) {
            return Err(format!("{}: it is required and must not be empty", at(name)));
        }
    }
    for (name, value) in fields {
        let field = known.get(name).ok_or_else(|| format!("unknown field \"{}\": leave it out; {}", at(name), known_names(known)))?;
        check_at(field, value, &at(name))?;
    }
    Ok(())
}

fn known_names(known: &Map<String, Value>) -> String {
    let used = known.iter().filter(|(_, field)| !is_marked(field, IGNORED) && !is_marked(field, UNSERVED));
    format!("known are {}", used.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "))
}

fn check_range(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let fault = |what: String| Err(format!("{path}: {what}"));
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            let is_within = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
            let bound = |bound: Option<f64>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
            if is_within { Ok(()) } else { fault(format!("{value} is out of range: {} to {}", bound(least), bound(most))) }
        }
        Value::String(text) if schema["format"] == "date-time" && !is_time(text) => {
            fault(format!("{text:?} is no time: RFC 3339 is expected, 2026-01-31T12:00:00Z"))
        }
        _ => Ok(()),
    }
}

fn is_time(text: &str) -> bool {
    serde_json::from_value::<api::Timestamp>(text.into()).is_ok()
}

/// There are no projects but the default one, and saying so is fine.
fn is_the_only_project(path: &str, value: &Value) -> bool {
    value == "default" && path.rsplit('.').next() == Some("project")
}

/// What an absent field would be.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn is_marked(schema: &Value, mark: &str) -> bool {
    schema[mark] == true
}

/// The JSON types that a schema allows; none means any.
fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn expected(kinds: &[&str]) -> String {
    let name = |kind: &&str| match *kind {
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        _ => "an object",
    };
    kinds.iter().filter(|kind| **kind != "null").map(name).collect::<Vec<_>>().join(" or ")
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Other("null"),
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => Unexpected::Unsigned(number),
            (_, Some(number), _) => Unexpected::Signed(number),
            (.., number) => Unexpected::Float(number.unwrap_or_default()),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(schema: Value, value: Value) -> String {
        check(&schema, &value).expect_err("a fault")
    }

    #[test]
    fn faults_name_the_field() {
        let schema = json!({ "type": "object", "required": ["name"], "properties": {
            "name": { "type": "string" },
            "size": { "type": ["integer", "null"], "minimum": 0, "maximum": 9 },
            "at": { "type": "string", "format": "date-time" },
            "tags": { "type": "array", "items": { "type": "string" } },
            "devices": { "type": "object", "additionalProperties": { "type": "object", "additionalProperties": { "type": "string" } } },
            "old": { (IGNORED): true },
            "project": { (UNSERVED): true },
        }});
        let with = |field: &str, value: Value| fault(schema.clone(), json!({ "name": "x", (field): value }));
        assert_eq!(with("nam", json!(1)), "unknown field \"nam\": leave it out; known are name, size, at, tags, devices");
        assert_eq!(with("size", json!("1")), "size: invalid type: string \"1\", expected an integer");
        assert_eq!(with("size", json!(10)), "size: 10 is out of range: 0 to 9");
        assert_eq!(with("tags", json!(["a", 1])), "tags[1]: invalid type: integer `1`, expected a string");
        assert_eq!(with("at", json!("noon")), "at: \"noon\" is no time: RFC 3339 is expected, 2026-01-31T12:00:00Z");
        assert_eq!(
            with("devices", json!({ "eth0": { "mtu": 1500 } })),
            "devices.eth0.mtu: invalid type: integer `1500`, expected a string"
        );
        assert_eq!(with("project", json!("other")), "project: this server does not offer it: leave it out");
        for absent in [json!({}), json!({ "name": null }), json!({ "name": "" })] {
            assert_eq!(fault(schema.clone(), absent), "name: it is required and must not be empty");
        }
        for fine in [json!({}), json!({ "size": null }), json!({ "old": { "any": [1] } }), json!({ "project": "default" })] {
            let mut value = json!({ "name": "x" });
            value.as_object_mut().expect("object").extend(fine.as_object().expect("object").clone());
            assert_eq!(check(&schema, &value), Ok(()), "{value}");
        }
    }

    #[test]
    fn depth_is_bounded_before_anything_is_built() {
        let nested = |depth: usize| [br#"{"a":"#.repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat();
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err("it is nested deeper than 32 levels".to_owned()));
        assert!(parse(&nested(1_000_000)).is_err());
        assert!(parse(br#"{"a":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).is_ok());
    }
}
