//! The API against the description that the server gives of itself: whatever is described is tried, with real
//! objects behind it.

use serde_json::{Map, Value, json};
use testkit::{Options, Sandbox, has_clients};

/// A sandbox with one of everything, and what to put for a parameter that stands behind a path.
fn furnished(test: &str) -> Option<(Sandbox, Vec<(&'static str, String)>)> {
    let sandbox = Sandbox::start(test, Options::default())?;
    sandbox.build_busybox();
    sandbox.launch_busybox("c1");
    sandbox.lxc_ok(&["snapshot", "c1", "s1"]);
    sandbox.lxc_ok(&["profile", "create", "p1"]);
    sandbox.lxc_ok(&["network", "create", "br1", "ipv4.address=none", "ipv6.address=none"]);
    let fingerprint = sandbox.http("GET", "/1.0/images/aliases/busybox", None).metadata()["target"].as_str().expect("text").to_owned();
    let mut names = vec![
        ("/1.0/instances/{}/snapshots", "s1".to_owned()),
        ("/1.0/instances", "c1".to_owned()),
        ("/1.0/containers/{}/snapshots", "s1".to_owned()),
        ("/1.0/containers", "c1".to_owned()),
        ("/1.0/images/aliases", "busybox".to_owned()),
        ("/1.0/images", fingerprint),
        ("/1.0/profiles", "p1".to_owned()),
        ("/1.0/networks", "br1".to_owned()),
        ("/1.0/storage-pools", "default".to_owned()),
    ];
    // Most hosts lack something; those of a host come once the daemon is ready.
    let warning =
        sandbox.http("GET", "/1.0/warnings", None).metadata()[0].as_str().and_then(|url| url.rsplit('/').next()).map(str::to_owned);
    names.extend(warning.map(|uuid| ("/1.0/warnings", uuid)));
    Some((sandbox, names))
}

fn clear(sandbox: &Sandbox) {
    sandbox.lxc_ok(&["delete", "--force", "c1"]);
    sandbox.lxc_ok(&["network", "delete", "br1"]);
}

/// A path with names for its parameters; `None` if there is no such thing here.
fn filled(path: &str, names: &[(&str, String)]) -> Option<String> {
    let (mut url, mut pattern) = (String::new(), String::new());
    for part in path.split('/').skip(1) {
        if part.starts_with('{') {
            let (_, name) = names.iter().find(|(before, _)| *before == pattern)?;
            (url, pattern) = (format!("{url}/{name}"), format!("{pattern}/{{}}"));
        } else {
            (url, pattern) = (format!("{url}/{part}"), format!("{pattern}/{part}"));
        }
    }
    Some(url)
}

/// Paths that the description has, and what it says of their verbs.
fn described(document: &Value) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    document["paths"].as_object().expect("paths").iter().map(|(path, verbs)| (path, verbs.as_object().expect("verbs")))
}

#[test]
fn nothing_is_changed_that_has_changed_meanwhile() {
    let Some((sandbox, names)) = furnished("nothing_is_changed_that_has_changed_meanwhile") else { return };
    let document = sandbox.http("GET", "/1.0/openapi.json", None).body;
    let mut tried = 0;
    for (path, verbs) in described(&document) {
        for verb in ["put", "patch"].into_iter().filter(|verb| !verbs.get(*verb).is_none_or(|row| row["responses"]["412"].is_null())) {
            let Some(url) = filled(path, &names) else { continue };
            let line = format!("{} {url}", verb.to_uppercase());
            let before = sandbox.http("GET", &url, None);
            let tag = before.header("etag").to_owned();
            assert_eq!((before.status, tag.len()), (200, 64), "GET {url}: {}", before.body);
            let shown = before.metadata();
            let stale = sandbox.http_with(&line, &[("If-Match", &"0".repeat(64))], Some(shown));
            assert_eq!(stale.status, 412, "{line}: {}", stale.body);
            assert_eq!(sandbox.http("GET", &url, None).metadata(), shown, "{line}");
            // What was shown is taken back whole, and changes nothing.
            for tag in [tag.clone(), format!("\"{tag}\""), String::new()] {
                let taken = sandbox.http_with(&line, &[("If-Match", &tag)], Some(shown));
                assert!(taken.status == 200 || taken.status == 202, "{line}: {} {}", taken.status, taken.body);
                if let Some(operation) = taken.body["operation"].as_str().filter(|url| !url.is_empty()) {
                    assert_eq!(taken.header("location"), operation, "{line}");
                    let ended = sandbox.http("GET", &format!("{operation}/wait"), None);
                    assert_eq!(ended.metadata()["status"], "Success", "{line}: {}", ended.body);
                }
            }
            let after = sandbox.http("GET", &url, None);
            assert_eq!((after.header("etag"), after.metadata()), (tag.as_str(), shown), "{line}");
            tried += 1;
        }
    }
    assert!(tried >= 16, "{tried} endpoints that change something");
    clear(&sandbox);
    sandbox.finish();
}

#[test]
fn whatever_can_be_read_is_as_described() {
    let test = "whatever_can_be_read_is_as_described";
    if !has_clients(test) {
        return;
    }
    let Some((sandbox, names)) = furnished(test) else { return };
    let document = sandbox.http("GET", "/1.0/openapi.json", None).body;
    let mut replies = Vec::new();
    for (path, verbs) in described(&document) {
        let (Some(row), Some(url)) = (verbs.get("get"), filled(path, &names)) else { continue };
        let Some(schema) = row["responses"]["200"]["content"]["application/json"]["schema"]["allOf"][1].as_object() else { continue };
        for recursion in ["0", "1"] {
            let answer = sandbox.http("GET", &format!("{url}?recursion={recursion}"), None);
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "GET {url}: {}", answer.body);
            let fields: Vec<&str> = answer.body.as_object().expect("an envelope").keys().map(String::as_str).collect();
            assert_eq!(fields, ["type", "status", "status_code", "operation", "error_code", "error", "metadata"], "GET {url}");
            let known = check_known(&document, &schema["properties"]["metadata"], answer.metadata());
            assert_eq!(known, Ok(()), "GET {url}?recursion={recursion}: {}", answer.body);
            let place = path.replace('~', "~0").replace('/', "~1");
            let schema = format!("/paths/{place}/get/responses/200/content/application~1json/schema");
            replies.push(json!({ "what": format!("GET {url}?recursion={recursion}"), "schema": schema, "body": answer.body }));
        }
    }
    // The same by others' understanding of what a description is.
    let count = replies.len();
    let said = sandbox.openapi_ok(include_str!("contract/judge.py"), &json!({ "document": document, "replies": replies }).to_string());
    assert!(count > 60 && said.ends_with(&format!("{count} replies: as described")), "{count}: {said}");
    clear(&sandbox);
    sandbox.finish();
}

/// Every field of a reply is described, and every one that is described as always there is there.
fn check_known(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return check_known(document, document.pointer(reference.trim_start_matches('#')).expect("a schema"), value);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let faults: Vec<String> = choices.iter().filter_map(|choice| check_known(document, choice, value).err()).collect();
        return if faults.len() < choices.len() { Ok(()) } else { Err(faults.join("; or ")) };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = schema["type"].is_null()
        || schema["type"] == kind
        || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
    if !is_kind {
        return Err(format!("{kind} instead of {}", schema["type"]));
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let inner = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                let is_open = schema["properties"].is_null() && schema["additionalProperties"] != false;
                if inner.is_null() && !is_open {
                    return Err(format!("`{name}` is not described"));
                }
                check_known(document, inner, field).map_err(|fault| format!("{name}: {fault}"))?;
            }
            let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            required.find(|name| !fields.contains_key(*name)).map_or(Ok(()), |name| Err(format!("`{name}` is missing")))
        }
        Value::Array(elements) => elements.iter().try_for_each(|element| check_known(document, &schema["items"], element)),
        _ => Ok(()),
    }
}

#[test]
fn a_large_body_is_refused_with_the_limit() {
    let Some(sandbox) = Sandbox::start("a_large_body_is_refused_with_the_limit", Options::default()) else { return };
    let body = json!({ "name": "p", "description": "x".repeat(5 << 20) });
    for line in ["POST /1.0/profiles", "PUT /1.0", "POST /1.0/images", "PUT /1.0/instances/none/state"] {
        let answer = sandbox.http_with(line, &[], Some(&body));
        assert_eq!(answer.status, 413, "{line}: {}", answer.body);
        assert!(answer.body["error"].as_str().is_some_and(|text| text.contains("4194304")), "{line}: {}", answer.body);
    }
    sandbox.finish();
}
