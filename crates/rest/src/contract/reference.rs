//! The reference page of the API, from the OpenAPI document and the rows it was made from.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::body::{IGNORED, UNSERVED};
use super::openapi::{body_name, is_tagged, openapi, statuses};
use crate::caller::Access;
use crate::endpoint::{Endpoint, Verb};
use crate::resources::ENDPOINTS;
use crate::shape::{Gives, Parameter};

const INTRODUCTION: &str = "# REST API

Made by `cargo xtask docs` from the endpoint tables in `crates/rest` and the types in `crates/api`; do not edit. The same as an
OpenAPI document: [openapi.json](openapi.json), which the daemon serves at `/1.0/openapi.json`.

* Whatever is under `/1.0/instances` is also under its old name `/1.0/containers`.
* **Who**: *anybody* may ask for what is public; *trusted* are callers over the unix socket and known clients.
* **Reply**: *sync* is 200 with the value in `metadata`; *created* is 201 with the URL in `Location`; *operation* is 202 with an
  [Operation](#operation) in `metadata` and its URL in `Location`; *websocket* is 101. Lists hold URLs, with `?recursion=1` the elements.
* **Failures** are `{\"error\", \"error_code\", \"type\": \"error\"}` with the HTTP status in `error_code`. Besides those named: 404 for a path and
  501 for a verb that does not exist, 500 where the server failed.
* **Bodies** are JSON objects. `null` counts as absent. A field that is not known, of the wrong type, or missing where it is required is
  refused with 400 and its name. Fields that GET shows and that cannot be changed may be sent back; they are ignored.
* **ETag**: where GET gives one, PUT and PATCH with `If-Match` fail with 412 if it is no longer that. PATCH changes the fields it
  names; of maps the entries it names, and `null` removes one.
";

/// The page.
pub fn reference() -> String {
    let document = openapi();
    let mut text = INTRODUCTION.to_owned();
    for rows in ENDPOINTS.iter().filter(|rows| !rows.is_empty()) {
        resource(&mut text, rows);
    }
    text.push_str("\n## Types\n");
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten().filter(|(name, _)| !name.ends_with("Reply")) {
        kind(&mut text, name, schema);
    }
    text
}

/// The rows of one file, and the parameters they have.
fn resource(text: &mut String, rows: &[Endpoint]) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {}\n\n| path | verb | who | takes | reply | failures | |\n|---|---|---|---|---|---|---|\n", rows[0].path);
    for row in rows {
        let who = if row.access == Access::Public { "anybody" } else { "trusted" };
        let failures: Vec<String> = statuses(row).iter().map(u16::to_string).collect();
        let (path, verb) = (row.path.replace("{*", "{"), row.verb.method());
        let _ = writeln!(
            text,
            "| `{path}` | {verb} | {who} | {} | {} | {} | {} |",
            takes(row),
            gives(row),
            failures.join(", "),
            escape(row.doc)
        );
    }
    let mut described: Vec<Parameter> = Vec::new();
    for row in rows {
        for parameter in row.query.iter().chain(row.headers) {
            if !described.contains(parameter) {
                described.push(*parameter);
                let mark = if row.query.contains(parameter) { "?" } else { "" };
                let _ = write!(text, "\n* `{mark}{}` ({}): {}", parameter.0, row.verb.method(), parameter.1);
            }
        }
    }
    text.push_str(if described.is_empty() { "" } else { "\n" });
}

fn takes(row: &Endpoint) -> String {
    let object = row.takes.object.map(|shape| link(&body_name(row, shape)));
    let bytes = (!row.takes.bytes.is_empty()).then(|| escape(row.takes.bytes));
    let both: Vec<String> = object.into_iter().chain(bytes).collect();
    if both.is_empty() { "–".to_owned() } else { both.join(", or ") }
}

fn gives(row: &Endpoint) -> String {
    match row.gives {
        Gives::Unsaid => String::new(),
        Gives::Nothing => "sync: `{}`".to_owned(),
        Gives::Value { shape, .. } => {
            let mut generator = schemars::SchemaGenerator::default();
            let tag = if row.verb == Verb::Get && is_tagged(row.path) { ", ETag" } else { "" };
            format!("sync: {}{tag}", type_text((shape.schema)(&mut generator).as_value()))
        }
        Gives::List(shape) => format!("sync: list of {}", link(&(shape.name)())),
        Gives::Created => "created".to_owned(),
        Gives::Operation { result: "" } => "operation".to_owned(),
        Gives::Operation { result } => format!("operation: {}", escape(result)),
        Gives::Websocket { what } => format!("websocket: {}", escape(what)),
        Gives::Bytes { what } => escape(what),
    }
}

fn kind(text: &mut String, name: &str, schema: &Value) {
    let _ = write!(text, "\n### {name}\n\n");
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(text, "{}\n", one_line(description));
    }
    let Some(properties) = schema["properties"].as_object() else {
        let _ = writeln!(text, "{}", type_text(schema));
        return;
    };
    // Bodies alone are closed; of replies it says nothing that each of their fields is always there.
    let required = if schema["additionalProperties"] == false { schema["required"].as_array() } else { None };
    let is_required = |field: &str| required.is_some_and(|names| names.iter().any(|name| name == field));
    let is_used = |field: &Value| field[IGNORED] != true && field[UNSERVED] != true;
    if properties.values().any(is_used) {
        text.push_str("| field | type | meaning |\n|---|---|---|\n");
    }
    for (field, schema) in properties.iter().filter(|(_, field)| is_used(field)) {
        let mark = if is_required(field) { "**Required.** " } else { "" };
        let _ = writeln!(text, "| `{field}` | {} | {mark}{} |", type_text(schema), meaning(schema));
    }
    others(text, "Accepted and ignored", properties, IGNORED);
    others(text, "Accepted only empty, since this server does not offer it", properties, UNSERVED);
}

/// The fields that carry a mark.
fn others(text: &mut String, title: &str, properties: &Map<String, Value>, mark: &str) {
    let names: Vec<String> = properties.iter().filter(|(_, field)| field[mark] == true).map(|(name, _)| format!("`{name}`")).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "\n{title}: {}.", names.join(", "));
    }
}

/// Meaning and default of a field.
fn meaning(schema: &Value) -> String {
    let mut meaning = escape(schema["description"].as_str().unwrap_or_default());
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let _ = write!(meaning, " Default: `{default}`.");
    }
    meaning
}

/// A schema in a few words.
fn type_text(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return link(name);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().filter(|choice| choice["type"] != "null").map(type_text).collect::<Vec<_>>().join(" or ");
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        Value::String(kind) => vec![kind.as_str()],
        _ => Vec::new(),
    };
    let one = |kind: &&str| match *kind {
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of {}", type_text(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => format!("map of {}", type_text(&schema["additionalProperties"])),
        "object" if schema["properties"].is_object() => fields_text(&schema["properties"]),
        other => other.to_owned(),
    };
    if kinds.is_empty() { "any".to_owned() } else { kinds.iter().map(one).collect::<Vec<_>>().join(" or ") }
}

/// An object inside a body, which has no name of its own.
fn fields_text(properties: &Value) -> String {
    let fields = properties.as_object().into_iter().flatten();
    let fields = fields.filter(|(_, field)| field[IGNORED] != true && field[UNSERVED] != true);
    let fields = fields.map(|(name, field)| format!("`{name}`: {}", type_text(field)));
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}

fn escape(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
