//! Profiles: named sets of configuration and devices that instances stack.

use std::sync::Arc;

use api::profiles::{Profile, ProfilePut};
use serde_json::Value;

use crate::instances::expand::{Expanded, expand_record, expand_with};
use crate::records::{Held, InstanceRecord, ProfileRecord};
use crate::{Engine, Error, Result, Tagged, etag, patch};

/// The profiles of an engine.
#[derive(Clone, Debug)]
pub struct Profiles {
    pub(crate) engine: Arc<Engine>,
}

impl Profiles {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.engine.records.profiles.ids()
    }

    /// All profiles.
    pub fn list(&self) -> Vec<Profile> {
        self.engine.records.profiles.all().into_iter().map(|(name, record)| self.render(&name, &record)).collect()
    }

    /// One profile.
    pub fn get(&self, name: &str) -> Result<Tagged<Profile>> {
        let record = self.record(name)?;
        Ok(Tagged { value: self.render(name, &record), etag: etag::of(&tagged_parts(&record)) })
    }

    /// Makes a profile (`used_by` of the request is ignored).
    pub fn create(&self, request: Profile) -> Result<()> {
        keys::names::check_profile(&request.name)?;
        if self.engine.records.profiles.contains(&request.name) {
            return Err(Error::bad_request("The profile already exists"));
        }
        let record = checked(ProfilePut { config: request.config, description: request.description, devices: request.devices })?;
        let _volumes = self.engine.use_volumes(&record.devices)?;
        let mut changes = self.engine.records.changes();
        changes.insert(&request.name, record)?;
        changes.commit()?;
        self.engine.lifecycle("profile-created", "profiles", &request.name);
        Ok(())
    }

    /// Replaces description, config and devices, and applies them to running instances.
    pub fn update(&self, name: &str, request: ProfilePut, if_match: Option<&str>) -> Result<()> {
        let held = self.record(name)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let record = checked(request)?;
        let _volumes = self.engine.use_volumes(&record.devices)?;
        let users = self.users(name);
        self.check_users(name, &users, &record)?;
        let before: Vec<Expanded> = users.iter().map(|(_, user)| expand_record(&self.engine.records, user)).collect();
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, record)?;
        changes.commit()?;
        self.engine.lifecycle("profile-updated", "profiles", name);
        let mut failures = String::new();
        for ((user, _), before) in users.iter().zip(before) {
            if let Err(error) = self.engine.instances().reapply(user, &before) {
                failures.push_str(&format!(" - {user}: {}\n", error.report()));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::internal(format!("The following containers failed to update (profile change still saved):\n{failures}")))
    }

    /// Refuses a change that an instance cannot follow.
    fn check_users(&self, name: &str, users: &[(String, Held<InstanceRecord>)], new: &ProfileRecord) -> Result<()> {
        let new = Arc::new(new.clone());
        for (user, record) in users {
            let after = expand_with(&self.engine.records, record, (name, &new));
            self.engine.instances().check_expanded(record, &after).map_err(|error| {
                Error::new(error.kind(), format!("Profile '{name}' cannot be changed so: instance '{user}' uses it")).caused_by(error)
            })?;
        }
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.record(name)?;
        let current =
            ProfilePut { config: record.config.clone(), description: record.description.clone(), devices: record.devices.clone() };
        self.update(name, patch::apply(&current, patch)?, if_match)
    }

    /// Renames; instances that use it follow.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        keys::names::check_profile(new)?;
        let held = self.record(name)?;
        if self.engine.records.profiles.contains(new) {
            return Err(Error::conflict(format!("Profile '{new}' already exists")));
        }
        let follow =
            |profiles: &[String]| profiles.iter().map(|profile| if profile == name { new } else { profile }.to_owned()).collect::<Vec<_>>();
        let records = &self.engine.records;
        let mut changes = records.changes();
        changes.delete::<ProfileRecord>(name);
        changes.insert(new, ProfileRecord::clone(&held.record))?;
        for (user, user_held) in self.users(name) {
            let record = InstanceRecord { profiles: follow(&user_held.profiles), ..InstanceRecord::clone(&user_held.record) };
            changes.update(&user, &user_held, record)?;
        }
        for (id, snapshot) in records.snapshots.all() {
            if snapshot.instance.profiles.iter().any(|profile| profile == name) {
                let mut record = crate::records::SnapshotRecord::clone(&snapshot.record);
                record.instance.profiles = follow(&record.instance.profiles);
                changes.update(&id, &snapshot, record)?;
            }
        }
        changes.commit()?;
        self.engine.lifecycle("profile-renamed", "profiles", new);
        Ok(())
    }

    /// Deletes a profile that no instance uses.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.record(name)?;
        if !self.users(name).is_empty() {
            return Err(Error::bad_request(format!("Profile '{name}' is currently in use"))
                .hint("remove it from the instances that `lxc profile show` lists under used_by"));
        }
        let mut changes = self.engine.records.changes();
        changes.delete::<ProfileRecord>(name);
        changes.commit()?;
        self.engine.lifecycle("profile-deleted", "profiles", name);
        Ok(())
    }

    fn record(&self, name: &str) -> Result<Held<ProfileRecord>> {
        self.engine.records.profiles.get(name).ok_or_else(|| Error::not_found(format!("Profile '{name}' not found")))
    }

    fn users(&self, name: &str) -> Vec<(String, Held<InstanceRecord>)> {
        let instances = self.engine.records.instances.all().into_iter();
        instances.filter(|(_, record)| record.profiles.iter().any(|profile| profile == name)).collect()
    }

    fn render(&self, name: &str, record: &ProfileRecord) -> Profile {
        Profile {
            config: record.config.clone(),
            description: record.description.clone(),
            devices: record.devices.clone(),
            name: name.to_owned(),
            used_by: self.users(name).into_iter().map(|(user, _)| format!("/1.0/instances/{user}")).collect(),
        }
    }
}

fn checked(mut request: ProfilePut) -> Result<ProfileRecord> {
    // Empty means unset.
    request.config.retain(|_, value| !value.is_empty());
    request.devices.values_mut().for_each(|device| device.retain(|_, value| !value.is_empty()));
    keys::profile::validate(&request.config)?;
    keys::profile::validate_devices(&request.devices)?;
    Ok(ProfileRecord { description: request.description, config: request.config, devices: request.devices })
}

fn tagged_parts(record: &ProfileRecord) -> (&api::Config, &str, &api::Devices) {
    (&record.config, &record.description, &record.devices)
}
