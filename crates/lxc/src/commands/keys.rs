//! `get`, `set`, `unset`, `show` and `edit` of the records that have a `config` map.

use anyhow::{Result, bail};
use client::Client;

use crate::editor;
use crate::pairs::{self, Pair};
use crate::record::{Configured, Record};
use crate::{outln, yaml};

/// Prints the value of a key.
pub async fn get<T: Configured>(client: &Client, path: String, key: &str) -> Result<()> {
    outln!("{}", Record::<T>::load(client, path).await?.get(key));
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

/// Edits the writable part of a record as YAML; `shown` is the text to begin with.
pub async fn edit<T: Configured>(client: &Client, path: String, shown: &str, help: &str) -> Result<()> {
    editor::edit(shown, help, async |text| {
        let mut record = Record::<T>::load(client, path.clone()).await?;
        record.value = parse(text)?;
        record.save().await
    })
    .await
}

/// Reads an edited document. One that is all comments would empty the record by accident.
pub fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let is_blank = text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'));
    if is_blank {
        bail!("The document is empty");
    }
    yaml::parse(text)
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
}
