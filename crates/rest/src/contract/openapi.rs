//! The OpenAPI 3.1 document: one operation for each row and each name of its path.

use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::body;
use crate::caller::Access;
use crate::endpoint::{Endpoint, Verb};
use crate::resources::ENDPOINTS;
use crate::router::{MAX_JSON_BYTES, names_of};
use crate::shape::{Gives, Shape};

const SCHEMAS: &str = "#/components/schemas/";

/// The whole API.
pub fn openapi() -> Value {
    let mut document = Document::new();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS.iter().copied().flatten() {
        for path in names_of(endpoint.path) {
            let operation = document.operation(endpoint, &path);
            let verbs = paths.entry(plain(&path)).or_insert_with(|| json!({}));
            verbs[endpoint.verb.method().as_str().to_lowercase()] = operation;
        }
    }
    paths.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "System containers over LXD's REST API",
            "version": api::API_VERSION,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
            "description": format!(
                "JSON over HTTP/1.1. Bodies have at most {MAX_JSON_BYTES} bytes; unknown fields are refused, `null` counts as \
                 absent. Replies are wrapped in an envelope; `/1.0/instances` also answers at its old name `/1.0/containers`."
            ),
        },
        "servers": [{ "url": "/", "description": "The unix socket, by any host name" }],
        "paths": paths,
        "components": document.components(),
    })
}

/// A path as OpenAPI writes it.
fn plain(path: &str) -> String {
    path.replace("{*", "{")
}

/// Collects the schemas that operations refer to.
struct Document {
    generator: SchemaGenerator,
    bodies: Map<String, Value>,
}

/// The name of a body's schema: that of its type, made unmistakable where the type is also shown or patched.
pub(super) fn body_name(endpoint: &Endpoint, shape: Shape) -> String {
    let name = (shape.name)().into_owned();
    match endpoint.verb {
        Verb::Patch => format!("{}Patch", name.strip_suffix("Put").unwrap_or(&name)),
        Verb::Put if !name.ends_with("Put") => format!("{name}Put"),
        Verb::Post if !name.ends_with("Post") => format!("{name}Post"),
        _ => name,
    }
}

impl Document {
    fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = Contract::Serialize;
        let mut generator = settings.into_generator();
        generator.subschema_for::<api::operations::Operation>();
        generator.subschema_for::<api::events::Event>();
        generator.subschema_for::<api::events::Logging>();
        generator.subschema_for::<api::events::Lifecycle>();
        Self { generator, bodies: Map::new() }
    }

    fn operation(&mut self, endpoint: &Endpoint, path: &str) -> Value {
        let verb = endpoint.verb.method().as_str().to_lowercase();
        let words = plain(path).replace(['{', '}'], "");
        let id: Vec<&str> = std::iter::once(verb.as_str()).chain(words.split(['/', '-', '.']).filter(|word| !word.is_empty())).collect();
        let mut operation = json!({
            "operationId": id.join("_"),
            "summary": endpoint.doc,
            "tags": [path.split('/').nth(2).filter(|tag| !tag.is_empty()).unwrap_or("server")],
            "parameters": parameters(endpoint, path),
            "responses": self.responses(endpoint),
            "x-access": if endpoint.access == Access::Public { "public" } else { "trusted" },
        });
        if let Some(body) = self.request_body(endpoint) {
            operation["requestBody"] = body;
        }
        operation
    }

    fn request_body(&mut self, endpoint: &Endpoint) -> Option<Value> {
        let mut content = Map::new();
        if let (Some(schema), Some(shape)) = (body::schema(endpoint), endpoint.takes.object) {
            let name = body_name(endpoint, shape);
            content.insert("application/json".to_owned(), json!({ "schema": { "$ref": format!("{SCHEMAS}{name}") } }));
            self.bodies.insert(name, schema);
        }
        if !endpoint.takes.bytes.is_empty() {
            content.insert("application/octet-stream".to_owned(), json!({ "schema": { "description": endpoint.takes.bytes } }));
        }
        let is_required = endpoint.takes.bytes.is_empty();
        (!content.is_empty()).then(|| json!({ "required": is_required, "content": content }))
    }

    fn responses(&mut self, endpoint: &Endpoint) -> Value {
        let mut responses = Map::new();
        let (status, success) = self.success(endpoint);
        responses.insert(status.to_owned(), success);
        for status in statuses(endpoint) {
            responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Error" }));
        }
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Error" }));
        responses.into()
    }

    fn success(&mut self, endpoint: &Endpoint) -> (&'static str, Value) {
        let location = json!({ "Location": { "description": "Its URL.", "schema": { "type": "string" } } });
        match endpoint.gives {
            Gives::Unsaid => ("200", json!({ "description": "Success" })),
            Gives::Nothing => ("200", envelope("Done", json!({ "type": "object" }))),
            Gives::Value { shape, is_tagged } => {
                let mut reply = envelope("Success", self.schema(shape));
                if is_tagged {
                    let text = "Of the parts that can be changed; `If-Match` of PUT and PATCH compares with it.";
                    reply["headers"] = json!({ "ETag": { "description": text, "schema": { "type": "string" } } });
                }
                ("200", reply)
            }
            Gives::List(shape) => {
                let urls = json!({ "type": "array", "items": { "type": "string", "format": "uri-reference" } });
                let elements = json!({ "type": "array", "items": self.schema(shape) });
                ("200", envelope("URLs, or with `recursion` the elements", json!({ "anyOf": [urls, elements] })))
            }
            Gives::Created => {
                let mut reply = envelope("Made; its URL is in `Location`", json!({ "type": "null" }));
                reply["headers"] = location;
                ("201", reply)
            }
            Gives::Operation { result } => {
                let text = if result.is_empty() { "Begun" } else { result };
                let schema = json!({ "$ref": format!("{SCHEMAS}AsyncReply") });
                ("202", json!({ "description": text, "headers": location, "content": { "application/json": { "schema": schema } } }))
            }
            Gives::Websocket { what } => ("101", json!({ "description": what })),
            Gives::Bytes { what } => {
                let content = json!({ "application/octet-stream": {}, "application/json": {} });
                ("200", json!({ "description": what, "content": content }))
            }
        }
    }

    fn schema(&mut self, shape: Shape) -> Value {
        (shape.schema)(&mut self.generator).into()
    }

    fn components(mut self) -> Value {
        let mut schemas = self.generator.take_definitions(true);
        for schema in schemas.values_mut() {
            tidy(schema);
        }
        schemas.extend(self.bodies);
        schemas.extend(envelopes());
        schemas.sort_keys();
        json!({
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "It failed, and `error` says why and what to do about it",
                    "content": { "application/json": { "schema": { "$ref": format!("{SCHEMAS}ErrorReply") } } },
                },
            },
        })
    }
}

/// Statuses of failures that a row can be told to have by what it is.
pub(super) fn statuses(endpoint: &Endpoint) -> Vec<u16> {
    let takes_object = endpoint.takes.object.is_some();
    let has_parameters = !endpoint.query.is_empty() || !endpoint.headers.is_empty() || !endpoint.takes.bytes.is_empty();
    let changes = matches!(endpoint.verb, Verb::Put | Verb::Patch);
    let conditions = [
        (400, takes_object || has_parameters),
        (403, endpoint.access == Access::Trusted),
        (404, endpoint.path.contains('{')),
        (412, changes && is_tagged(endpoint.path)),
        (413, takes_object),
    ];
    conditions.iter().filter(|(_, applies)| *applies).map(|(status, _)| *status).collect()
}

/// Whether what is at a path has an ETag.
pub(super) fn is_tagged(path: &str) -> bool {
    let rows = ENDPOINTS.iter().copied().flatten();
    rows.filter(|row| row.path == path).any(|row| matches!(row.gives, Gives::Value { is_tagged: true, .. }))
}

fn parameters(endpoint: &Endpoint, path: &str) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let one =
        |name: &str, place: &str, doc: &str, schema: &Value| json!({ "name": name, "in": place, "description": doc, "schema": schema });
    let mut parameters = Vec::new();
    for (name, before) in path_parameters(path) {
        let mut parameter = one(&name, "path", &format!("Which of `{before}`."), &text);
        parameter["required"] = true.into();
        parameters.push(parameter);
    }
    if matches!(endpoint.gives, Gives::List(_)) {
        let doc = "0 or absent: URLs. 1: the elements themselves.";
        parameters.push(one("recursion", "query", doc, &json!({ "type": "integer", "minimum": 0 })));
    }
    parameters.extend(endpoint.query.iter().map(|(name, doc)| one(name, "query", doc, &text)));
    parameters.extend(endpoint.headers.iter().map(|(name, doc)| one(name, "header", doc, &text)));
    if statuses(endpoint).contains(&412) {
        parameters.push(one("If-Match", "header", "The ETag that what is changed must still have.", &text));
    }
    parameters
}

/// The parameters of a path, each with what stands before it.
fn path_parameters(path: &str) -> Vec<(String, String)> {
    let path = plain(path);
    let found = path.match_indices('{').filter_map(|(at, _)| {
        let name = path[at + 1..].split('}').next()?;
        Some((name.to_owned(), path[..at].trim_end_matches('/').to_owned()))
    });
    found.collect()
}

fn envelope(description: &str, metadata: Value) -> Value {
    let schema = json!({
        "allOf": [{ "$ref": format!("{SCHEMAS}SyncReply") }, { "type": "object", "properties": { "metadata": metadata } }],
    });
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// The three envelopes.
fn envelopes() -> Map<String, Value> {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let reply = |kind: &str, code: u16, metadata: Value| {
        json!({
            "type": "object",
            "required": ["type", "status", "status_code", "operation", "error_code", "error", "metadata"],
            "properties": {
                "type": { "const": kind },
                "status": text,
                "status_code": { "const": code },
                "operation": text,
                "error_code": { "const": 0 },
                "error": { "const": "" },
                "metadata": metadata,
            },
        })
    };
    let failure = json!({
        "type": "object",
        "required": ["error", "error_code", "type"],
        "properties": { "error": text, "error_code": number, "type": { "const": "error" } },
    });
    let mut map = Map::new();
    map.insert("SyncReply".to_owned(), reply("sync", 200, json!({})));
    map.insert("AsyncReply".to_owned(), reply("async", 100, json!({ "$ref": format!("{SCHEMAS}Operation") })));
    map.insert("ErrorReply".to_owned(), failure);
    map
}

/// Takes away what is only of interest to who deserializes.
fn tidy(schema: &mut Value) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(body::drop_empty_default);
    }
}
