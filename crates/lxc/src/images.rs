//! Finding images by alias or fingerprint.

use anyhow::Result;
use api::images::{Image, ImageAliasEntry};
use api::instances::Source;
use client::{Client, path};

/// The name of an image; an empty one is `default`.
pub fn name_or_default(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

/// The fingerprint (or its beginning) behind an alias or fingerprint. An empty name is
/// `default`.
pub async fn fingerprint(client: &Client, name: &str) -> Result<String> {
    let name = name_or_default(name);
    match client.get::<ImageAliasEntry>(&path(&["images", "aliases", name])).await {
        Ok(alias) => Ok(alias.target),
        Err(error) if error.is_not_found() => Ok(name.to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// The image behind an alias or the beginning of a fingerprint.
pub async fn load(client: &Client, name: &str) -> Result<Image> {
    Ok(client.get(&path(&["images", &fingerprint(client, name).await?])).await?)
}

/// Points aliases at an image; existing ones are moved.
pub async fn set_aliases(client: &Client, names: &[String], fingerprint: &str) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let existing: Vec<ImageAliasEntry> = client.get(&format!("{}?recursion=1", path(&["images", "aliases"]))).await?;
    for name in names {
        let entry = ImageAliasEntry { name: name.clone(), target: fingerprint.to_owned(), ..ImageAliasEntry::default() };
        match existing.iter().find(|alias| alias.name == *name) {
            Some(old) if old.target == fingerprint => {}
            Some(old) => {
                let moved = ImageAliasEntry { description: old.description.clone(), ..entry };
                client.put(&path(&["images", "aliases", name]), &moved, None).await?;
            }
            None => {
                client.post(&path(&["images", "aliases"]), &entry).await?;
            }
        }
    }
    Ok(())
}

/// The source of a new instance. Which of the two a name is, the server knows: a name that is
/// hexadecimal may be either and is looked up, any other is an alias.
pub async fn source(client: &Client, name: &str) -> Result<Source> {
    let mut source = Source { kind: "image".to_owned(), ..Source::default() };
    let name = name_or_default(name);
    if name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        source.fingerprint = fingerprint(client, name).await?;
    } else {
        source.alias = name.to_owned();
    }
    Ok(source)
}
