//! `get`, `set`, `unset`, `show` and `edit` of the records that have a `config` map.

use anyhow::{Context, Result, bail};
use client::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::editor;
use crate::pairs::{self, Pair};
use crate::record::{Configured, Record};
use crate::{output, yaml};

const NOT_UNDERSTOOD: &str = "The document is not understood";

/// Prints the value of a key.
pub async fn get<T: Configured>(client: &Client, path: String, key: &str) -> Result<()> {
    output::value(&Record::<T>::load(client, path).await?.get(key));
    Ok(())
}

/// Sets keys; a value `-` is read from standard input.
pub async fn set<T: Configured>(client: &Client, path: String, pairs: Vec<Pair>) -> Result<()> {
    let pairs = pairs.into_iter().map(|(key, value)| Ok((key, pairs::read_value(value)?))).collect::<Result<_>>()?;
    let mut record = Record::<T>::load(client, path).await?;
    record.set(pairs);
    record.save().await
}

/// Unsets a key.
pub async fn unset<T: Configured>(client: &Client, path: String, key: &str) -> Result<()> {
    let mut record = Record::<T>::load(client, path).await?;
    record.unset(key)?;
    record.save().await
}

/// Edits the writable part of a record as YAML; `shown` is the text to begin with. What somebody else changed while the
/// editor was open is not overwritten unnoticed.
pub async fn edit<T: Serialize + DeserializeOwned>(client: &Client, path: String, shown: &str, help: &str) -> Result<()> {
    let record = Mutex::new(Record::<T>::load(client, path.clone()).await?);
    editor::edit(shown, help, async |text| {
        check_keys(text, shown)?;
        let mut record = record.lock().await;
        record.value = parse(text)?;
        match record.save().await {
            Err(error) if is_outdated(&error) => {
                *record = Record::load(client, path.clone()).await?;
                Err(error.context("Somebody else changed it meanwhile (saving once more overwrites that)"))
            }
            result => result,
        }
    })
    .await
}

fn is_outdated(error: &anyhow::Error) -> bool {
    error.downcast_ref::<client::Error>().is_some_and(|error| error.kind() == client::Kind::PreconditionFailed)
}

/// Reads an edited document. One that is all comments would empty the record by accident.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let is_blank = text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'));
    if is_blank {
        bail!("The document is empty");
    }
    yaml::parse(text).context(NOT_UNDERSTOOD)
}

/// Refuses a document that has keys, but none of a record's as `shown`: taken as it is, a mistyped
/// or foreign document would empty the record.
fn check_keys(text: &str, shown: &str) -> Result<()> {
    let keys = |text: &str| yaml::parse::<Value>(text).ok().and_then(|value| Some(value.as_object()?.keys().cloned().collect::<Vec<_>>()));
    let (Some(given), Some(known)) = (keys(text), keys(shown)) else { return Ok(()) };
    if !given.is_empty() && !given.iter().any(|key| known.contains(key)) {
        bail!("The document has none of the keys {}, but {}", known.join(", "), given.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::profiles::ProfilePut;

    #[test]
    fn empty_documents_are_refused() {
        assert!(parse::<ProfilePut>("### help\n\n").is_err());
        let put: ProfilePut = parse("### help\nconfig: {}\ndescription: x\nname: ignored\n").expect("document");
        assert_eq!(put.description, "x");
    }

    #[test]
    fn documents_of_something_else_are_refused() {
        let shown = "config: {}\ndescription: \"\"\ndevices: {}\n";
        let error = check_keys("### help\nconfg: {}\n", shown).expect_err("mistyped").to_string();
        assert_eq!(error, "The document has none of the keys config, description, devices, but confg");
        for good in ["{}", "config: {a: b}", "devices: {}\nfuture: 1", "### only help"] {
            check_keys(good, shown).expect(good);
        }
    }
}
