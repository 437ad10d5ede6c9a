//! PATCH: changes only what is named; `config` and `devices` are merged by key, null removes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// Lays `patch` over `current`.
pub(crate) fn apply<T: Serialize + DeserializeOwned>(current: &T, patch: Value) -> Result<T> {
    let bad = |error: serde_json::Error| Error::bad_request("the request does not fit").caused_by(error);
    let Value::Object(patch) = patch else {
        return Err(Error::bad_request("a JSON object is needed"));
    };
    let mut value = serde_json::to_value(current).map_err(bad)?;
    let Value::Object(target) = &mut value else {
        return Err(Error::internal("not an object"));
    };
    for (key, new) in patch {
        match (target.get_mut(&key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                for (name, value) in new {
                    if value.is_null() {
                        old.remove(&name);
                    } else {
                        old.insert(name, value);
                    }
                }
            }
            (_, Value::Null) => {}
            (_, new) => {
                target.insert(key, new);
            }
        }
    }
    serde_json::from_value(value).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::profiles::ProfilePut;

    #[test]
    fn merges_by_key() {
        let current = ProfilePut {
            config: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            description: "old".into(),
            ..ProfilePut::default()
        };
        let patched = apply(&current, serde_json::json!({"config": {"b": null, "c": "3"}})).expect("patch");
        assert_eq!(patched.description, "old");
        assert_eq!(patched.config, [("a".to_owned(), "1".to_owned()), ("c".to_owned(), "3".to_owned())].into());
        assert!(apply(&current, serde_json::json!({"config": {"b": 3}})).is_err());
        assert!(apply(&current, serde_json::json!([])).is_err());
    }
}
