//! Aliases: names for images.

use api::images::ImageAliasEntry;
use serde_json::Value;

use super::Images;
use crate::records::{AliasRecord, Held};
use crate::{Error, Result, Tagged, etag, patch};

impl Images {
    /// Names of all aliases, sorted.
    pub fn alias_names(&self) -> Vec<String> {
        self.engine.records.aliases.ids()
    }

    /// All aliases.
    pub fn aliases(&self) -> Vec<ImageAliasEntry> {
        self.engine.records.aliases.all().into_iter().map(|(name, record)| entry(name, &record)).collect()
    }

    /// One alias.
    pub fn alias(&self, name: &str) -> Result<Tagged<ImageAliasEntry>> {
        let record = self.alias_record(name)?;
        Ok(Tagged { value: entry(name.to_owned(), &record), etag: etag::of(&*record.record) })
    }

    /// Makes an alias.
    pub fn create_alias(&self, request: ImageAliasEntry) -> Result<()> {
        if request.name.is_empty() || request.target.is_empty() {
            return Err(Error::bad_request("name and target are required"));
        }
        keys::names::check_alias(&request.name)?;
        if self.engine.records.aliases.contains(&request.name) {
            return Err(
                Error::conflict(format!("Alias '{}' already exists", request.name)).hint("delete it first, or give it another target")
            );
        }
        let (target, _) = self.find(&request.target)?;
        let mut changes = self.engine.records.changes();
        changes.insert(&request.name, AliasRecord { target, description: request.description })?;
        changes.commit()?;
        self.engine.lifecycle("image-alias-created", "images/aliases", &request.name);
        Ok(())
    }

    /// Replaces target and description.
    pub fn update_alias(&self, name: &str, request: ImageAliasEntry, if_match: Option<&str>) -> Result<()> {
        let held = self.alias_record(name)?;
        etag::check(if_match, &*held.record)?;
        if request.target.is_empty() {
            return Err(Error::bad_request("The target field is required"));
        }
        let (target, _) = self.find(&request.target)?;
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, AliasRecord { target, description: request.description })?;
        changes.commit()?;
        self.engine.lifecycle("image-alias-updated", "images/aliases", name);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch_alias(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.alias_record(name)?;
        self.update_alias(name, patch::apply(&entry(name.to_owned(), &record), patch)?, if_match)
    }

    /// Renames an alias.
    pub fn rename_alias(&self, name: &str, new: &str) -> Result<()> {
        let held = self.alias_record(name)?;
        keys::names::check_alias(new)?;
        if self.engine.records.aliases.contains(new) {
            return Err(Error::conflict(format!("Alias '{new}' already exists")));
        }
        let mut changes = self.engine.records.changes();
        changes.delete::<AliasRecord>(name);
        changes.insert(new, AliasRecord::clone(&held.record))?;
        changes.commit()?;
        self.engine.lifecycle("image-alias-renamed", "images/aliases", new);
        Ok(())
    }

    /// Deletes an alias.
    pub fn delete_alias(&self, name: &str) -> Result<()> {
        self.alias_record(name)?;
        let mut changes = self.engine.records.changes();
        changes.delete::<AliasRecord>(name);
        changes.commit()?;
        self.engine.lifecycle("image-alias-deleted", "images/aliases", name);
        Ok(())
    }

    fn alias_record(&self, name: &str) -> Result<Held<AliasRecord>> {
        self.engine.records.aliases.get(name).ok_or_else(|| Error::not_found(format!("Image alias '{name}' not found")))
    }
}

fn entry(name: String, record: &AliasRecord) -> ImageAliasEntry {
    ImageAliasEntry { description: record.description.clone(), name, target: record.target.clone(), kind: "container".into() }
}
