//! Every endpoint against its own description.

use std::collections::HashSet;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use serde_json::{Map, Value, json};

use super::body::{self, IGNORED, UNSERVED};
use super::{openapi, reference};
use crate::endpoint::{Endpoint, Verb};
use crate::resources::ENDPOINTS;
use crate::router::{MAX_JSON_BYTES, names_of};
use crate::shape::Gives;
use crate::testing::{self, Reply, send};

/// What every refusal of a body begins with.
const REFUSAL: &str = "The request body is not valid: ";

fn rows() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().copied().flatten()
}

#[test]
fn every_row_says_what_it_takes_and_gives() {
    for row in rows() {
        let (verb, path) = (row.verb.method(), row.path);
        assert!(
            row.takes.is_said,
            "{verb} {path}: its row does not say what it takes: append `.takes::<Type>()`, `.takes_bytes(\"what\")` or \
             `.takes_nothing()`; a type needs #[derive(JsonSchema)]. See the methods of `Endpoint`"
        );
        assert!(
            !matches!(row.gives, Gives::Unsaid),
            "{verb} {path}: its row does not say what it gives: append `.gives::<Type>()`, `.gives_tagged`, `.lists`, \
             `.confirms()`, `.creates()`, `.begins(\"result\")`, `.opens(\"what\")` or `.gives_bytes(\"what\")`"
        );
        let is_named = |path: &str| {
            path.split('.').try_fold(body::schema(row).unwrap_or_default(), |schema, name| schema["properties"].get(name).cloned())
        };
        let named = [row.takes.required, row.takes.ignored_fields, row.takes.unserved].concat();
        for field in named {
            assert!(is_named(field).is_some(), "{verb} {path}: there is no object for {field:?} to be a field of");
        }
        assert!(row.verb == Verb::Patch || row.takes.object.is_none() || row.verb != Verb::Get, "{verb} {path}: GET takes nothing");
    }
}

#[test]
fn pages_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (name, expected) in [("api.md", reference()), ("openapi.json", format!("{:#}\n", openapi()))] {
        let found = std::fs::read_to_string(docs.join(name)).unwrap_or_default();
        assert!(found == expected, "docs/reference/{name} is not what the tables say: run `cargo xtask docs`");
    }
}

#[test]
fn the_document_is_whole() {
    let document = openapi();
    let paths = document["paths"].as_object().expect("paths");
    let mut ids = HashSet::new();
    for row in rows() {
        for path in names_of(row.path) {
            let operation = &paths[&path.replace("{*", "{")][row.verb.method().as_str().to_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().expect("id").to_owned()), "{path}: {operation}");
        }
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}

/// Two rows may share the name of a body only if they take the same.
#[test]
fn names_of_bodies_are_unmistakable() {
    let mut seen = Map::new();
    for row in rows() {
        let (Some(schema), Some(shape)) = (body::schema(row), row.takes.object) else { continue };
        let name = super::openapi::body_name(row, shape);
        let before = seen.insert(name.clone(), schema.clone());
        let is_same = before.is_none_or(|before| before == schema);
        assert!(is_same, "{:?} {}: another row takes something else under the name {name}: make it a type of its own", row.verb, row.path);
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let (_dir, engine) = testing::engine();
    let served = send(&crate::router(engine), "GET /1.0/openapi.json", &[], Body::empty()).await;
    assert_eq!((served.status, &served.body), (200, &openapi()));
}

// ---- paths, verbs and headers, for every row -------------------------------------------------------

/// Where there is nothing by the names in it.
fn example(path: &str) -> String {
    path.replace("{*", "{").split('/').map(|part| if part.starts_with('{') { "absent" } else { part }).collect::<Vec<_>>().join("/")
}

/// A failure as every one leaves the server.
fn assert_failure(line: &str, reply: &Reply, status: u16) {
    let fields: Vec<&str> = reply.body.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    assert_eq!((reply.status, fields), (status, vec!["error", "error_code", "type"]), "{line}: {}", reply.body);
    assert_eq!((&reply.body["error_code"], &reply.body["type"]), (&json!(status), &json!("error")), "{line}");
    assert_eq!(reply.headers["content-type"], "application/json", "{line}");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{line}");
}

#[tokio::test]
async fn paths_and_verbs_that_are_not_there() {
    let (_dir, engine) = testing::engine();
    let router = crate::router(engine);
    let paths: HashSet<String> = rows().flat_map(|row| names_of(row.path)).collect();
    for path in &paths {
        let url = example(path);
        for verb in [Verb::Get, Verb::Put, Verb::Post, Verb::Patch, Verb::Delete] {
            let is_there = rows().any(|row| row.verb == verb && names_of(row.path).any(|name| name == *path));
            let line = format!("{} {url}", verb.method());
            if !is_there {
                let reply = send(&router, &line, &[], "{}").await;
                assert_failure(&line, &reply, 501);
                assert_eq!(reply.body["error"], "not implemented", "{line}");
            }
        }
        for verb in ["HEAD", "TRACE", "PROPFIND"] {
            let reply = send(&router, &format!("{verb} {url}"), &[], "").await;
            assert_eq!(reply.status, 404, "{verb} {url}");
        }
        let options = send(&router, &format!("OPTIONS {url}"), &[], "").await;
        assert_eq!((options.status, &options.body), (200, &Value::Null), "{url}");
        // An alias may hold slashes, also at its end.
        if path != "/" && !path.contains("{*") {
            let line = format!("GET {url}/");
            let reply = send(&router, &line, &[], "").await;
            let is_alias = rows().any(|row| row.path == format!("{path}/{{*name}}"));
            assert_failure(&line, &reply, 404);
            assert!(reply.body["error"] == "not found" || is_alias, "{line}: {}", reply.body);
        }
    }
}

/// Everything that can be changed can be changed without losing what somebody else changed.
#[test]
fn whatever_can_be_changed_has_an_etag() {
    // These act; there is nothing to lose.
    let actions = ["/1.0/instances/{name}/state", "/internal/shutdown"];
    for row in rows().filter(|row| matches!(row.verb, Verb::Put | Verb::Patch) && !actions.contains(&row.path)) {
        assert!(
            super::openapi::is_tagged(row.path),
            "{:?} {}: GET of it must give an ETag (`.gives_tagged`), and this must pass `request.if_match()` on",
            row.verb,
            row.path
        );
    }
}

#[tokio::test]
async fn what_is_absent_is_404_and_what_is_listed_is_listed() {
    let (_dir, engine) = testing::engine();
    let router = crate::router(engine);
    for row in rows().filter(|row| row.verb == Verb::Get) {
        for path in names_of(row.path) {
            let line = format!("GET {}?path=x", example(&path));
            let is_volume_list = matches!(row.gives, Gives::List(_)) && path.contains('{');
            if path.contains('{') && !is_volume_list {
                let reply = send(&router, &line, &[], "").await;
                // A log's name is looked at before the instance's.
                assert_failure(&line, &reply, if path.contains("{file}") { 400 } else { 404 });
            }
        }
        if matches!(row.gives, Gives::List(_)) && !row.path.contains('{') {
            for recursion in ["", "0", "1", "2", "3", "-1", "much"] {
                let line = format!("GET {}?recursion={recursion}", row.path);
                let reply = send(&router, &line, &[], "").await;
                assert_eq!((reply.status, reply.body["metadata"].is_array()), (200, true), "{line}: {}", reply.body);
            }
        }
    }
}

// ---- every body that must be refused, for every row ------------------------------------------------

/// One changed body and what is to happen.
struct Mutation {
    body: Vec<u8>,
    /// The field that a refusal must name; `None`: the body itself is no fault.
    named: Option<String>,
}

impl Mutation {
    fn new(body: &Value, named: Option<&str>) -> Self {
        Self { body: serde_json::to_vec(body).expect("JSON"), named: named.map(str::to_owned) }
    }
}

/// A value of each kind, none of them empty.
fn samples() -> [(&'static str, Value); 5] {
    [
        ("boolean", json!(true)),
        ("integer", json!(7)),
        ("string", json!("no/such:thing")),
        ("array", json!([{ "a": [1] }])),
        ("object", json!({ "no/such": { "a": [1] } })),
    ]
}

fn allows(schema: &Value, kind: &str) -> bool {
    let is_kind = |value: &Value| value == kind || (value == "number" && kind == "integer");
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(is_kind),
        Value::Null => true,
        one => is_kind(one),
    }
}

/// Whether a sample of a kind fits: those with content hold what no type of ours has.
fn fits(schema: &Value, kind: &str) -> bool {
    let is_loose = match kind {
        "array" => !schema["items"].is_object(),
        "object" => !schema["properties"].is_object() && !schema["additionalProperties"].is_object(),
        "string" => schema["format"] != "date-time",
        _ => true,
    };
    is_loose && allows(schema, kind)
}

/// A body with what is required, none of it good for anything.
fn least(schema: &Value) -> Value {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let fill = |name: &Value| {
        let name = name.as_str()?.to_owned();
        let field = &schema["properties"][&name];
        let value = match () {
            () if allows(field, "object") && field["properties"].is_object() => least(field),
            () if allows(field, "array") => json!(["no/such:thing"]),
            () => json!("no/such:thing"),
        };
        Some((name, value))
    };
    Value::Object(required.iter().filter_map(fill).collect())
}

/// `body` with another value at `path`; `None` takes the field out.
fn with(body: &Value, path: &[&str], value: Option<Value>) -> Value {
    let mut body = body.clone();
    let Some((last, before)) = path.split_last() else { return value.unwrap_or_default() };
    let mut place = &mut body;
    for name in before {
        place = &mut place[*name];
        if place.is_null() {
            *place = json!({});
        }
    }
    if let Some(object) = place.as_object_mut() {
        match value {
            Some(value) => drop(object.insert((*last).to_owned(), value)),
            None => drop(object.remove(*last)),
        }
    }
    body
}

/// What is done to each object of a body, and to each of its fields.
fn mutate(schema: &Value, base: &Value, path: &[&str], found: &mut Vec<Mutation>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let unknown = [path, &["no_such_field"]].concat();
    for value in [json!(null), json!(""), json!(1)] {
        found.push(Mutation::new(&with(base, &unknown, Some(value)), Some(&unknown.join("."))));
    }
    for (name, field) in properties {
        let path = [path, &[name.as_str()]].concat();
        let dotted = path.join(".");
        let is_required = required.iter().any(|known| known == name);
        let mut push = |value: Option<Value>, is_fault: bool| {
            found.push(Mutation::new(&with(base, &path, value), is_fault.then_some(dotted.as_str())));
        };
        push(None, is_required);
        push(Some(json!(null)), is_required);
        for (kind, value) in samples() {
            push(Some(value), field[IGNORED] != true && (field[UNSERVED] == true || !fits(field, kind)));
        }
        for empty in [json!(""), json!([]), json!({}), json!(false), json!(0)].into_iter().filter(|_| field[UNSERVED] == true) {
            push(Some(empty), false);
        }
        if is_required && (allows(field, "string") || allows(field, "array")) {
            push(Some(if allows(field, "string") { json!("") } else { json!([]) }), true);
        }
        if let Some(most) = field["maximum"].as_u64() {
            push(Some(json!(most + 1)), true);
        }
        if field["minimum"] == 0 {
            push(Some(json!(-1)), true);
        }
        mutate(field, base, &path, found);
        let entries = &field["additionalProperties"];
        for (_, value) in samples().into_iter().filter(|(kind, _)| entries.is_object() && !fits(entries, kind)) {
            let entry = [&path[..], &["user.x"]].concat();
            found.push(Mutation::new(&with(base, &entry, Some(value)), Some(&entry.join("."))));
        }
    }
}

/// Bodies that are no object, whatever the row.
fn not_objects() -> Vec<Vec<u8>> {
    let texts = ["", "null", "[]", "0", "\"\"", "true", "nonsense", "{", "{\"a\":", "{}}", "[{}]", "{\"a\":1e999}", "\u{feff}{}"];
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push(b"\xff\xfe{}".to_vec());
    bodies.push([br#"{"a":"#.repeat(5000), b"1".to_vec(), b"}".repeat(5000)].concat());
    bodies
}

/// Everything that the API shows, but times.
async fn store(router: &Router) -> Vec<Value> {
    let mut shown = Vec::new();
    for path in ["profiles", "images", "images/aliases", "instances", "storage-pools", "certificates"] {
        shown.push(send(router, &format!("GET /1.0/{path}?recursion=1"), &[], Body::empty()).await.body["metadata"].clone());
    }
    shown.push(send(router, "GET /1.0", &[], Body::empty()).await.body["metadata"]["config"].clone());
    shown.push(send(router, "GET /1.0/operations", &[], Body::empty()).await.body["metadata"].clone());
    shown
}

fn check(line: &str, mutation: &Mutation, reply: &Reply) {
    let text = reply.body["error"].as_str().unwrap_or_default();
    let sent = String::from_utf8_lossy(&mutation.body[..mutation.body.len().min(300)]).into_owned();
    let told = format!("{line} {sent}: {} {}", reply.status, reply.body);
    assert!(reply.status < 500 || reply.status == 501, "{told}");
    match &mutation.named {
        Some(field) => {
            assert_eq!((reply.status, text.starts_with(REFUSAL)), (400, true), "{told}");
            // Where the object around it is the fault, that is the field.
            assert!(text.contains(field.as_str()), "{told}: does not name {field}");
        }
        None => assert!(!text.starts_with(REFUSAL), "{told}"),
    }
}

#[tokio::test]
async fn every_body_is_what_its_row_says_or_refused() {
    let (_dir, engine) = testing::engine();
    let router = crate::router(engine);
    assert_eq!(send(&router, "POST /1.0/profiles", &[], r#"{"name":"x","config":{"user.a":"1"}}"#).await.status, 201);
    assert_eq!(send(&router, "PUT /1.0", &[], r#"{"config":{"images.remote_cache_expiry":"5"}}"#).await.status, 200);
    let before = store(&router).await;
    let mut count = 0;
    for row in rows().filter(|row| row.takes.object.is_some()) {
        let schema = body::schema(row).expect("a schema");
        // Nothing is there by this name, so that what is accepted has no effect.
        let line = format!("{} {}", row.verb.method(), example(row.path));
        let mut mutations: Vec<Mutation> = not_objects().into_iter().map(|body| Mutation { body, named: Some(String::new()) }).collect();
        if !row.takes.bytes.is_empty() {
            // Anything but an object is the other kind of body.
            mutations.clear();
        }
        mutate(&schema, &least(&schema), &[], &mut mutations);
        for mutation in &mutations {
            if row.path == "/1.0" && mutation.named.is_none() {
                continue;
            }
            let kind: &[(&str, &str)] = &[("Content-Type", "application/json")];
            check(&line, mutation, &send(&router, &line, kind, mutation.body.clone()).await);
            count += 1;
        }
        let large = format!(r#"{{"config":"{}"}}"#, "x".repeat(MAX_JSON_BYTES));
        let reply = send(&router, &line, &[], large).await;
        let text = reply.body["error"].as_str().unwrap_or_default();
        assert_eq!((reply.status, text.contains(&MAX_JSON_BYTES.to_string())), (413, true), "{line}: {}", reply.body);
    }
    assert!(count > 2000, "{count}");
    assert_eq!(store(&router).await, before);
}
