//! What an instance sees of its own record.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::Devices;
use keys::instance::{SECURITY_DEVLXD, SECURITY_DEVLXD_IMAGES};

use super::{GuestListener, GuestSubscription};
use crate::error::Context;
use crate::images::Export;
use crate::instances::expand::{Expanded, expand_record};
use crate::{Engine, Error, Result};

/// Keys of these families are the instance's to read.
const READABLE: &[&str] = &["cloud-init.", "user."];

/// An instance that asks about itself. Every question is answered from what holds at that moment.
#[derive(Clone, Debug)]
pub struct Guest {
    engine: Arc<Engine>,
    instance: String,
}

impl Guest {
    pub(crate) fn new(engine: Arc<Engine>, instance: String) -> Self {
        Self { engine, instance }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.instance
    }

    /// Names of the keys that it may read, sorted.
    pub fn keys(&self) -> Result<Vec<String>> {
        Ok(self.expanded()?.config.into_keys().filter(|key| is_readable(key)).collect())
    }

    /// The value of one of these.
    pub fn value(&self, key: &str) -> Result<String> {
        let mut config = self.expanded()?.config;
        if !is_readable(key) {
            return Err(Error::forbidden("not authorized"));
        }
        config.remove(key).ok_or_else(|| Error::not_found("not found"))
    }

    /// Meta-data for cloud-init: who it is, and what the user has added.
    pub fn meta_data(&self) -> Result<String> {
        let name = &self.instance;
        let config = self.expanded()?.config;
        let added = config.get("user.meta-data").map_or("", String::as_str);
        Ok(format!("#cloud-config\ninstance-id: {name}\nlocal-hostname: {name}\n{added}"))
    }

    /// Its devices.
    pub fn devices(&self) -> Result<Devices> {
        Ok(self.expanded()?.devices)
    }

    /// Opens an image that is public or cached, for an instance that may have images. The fingerprint is to be given whole.
    pub fn image(&self, fingerprint: &str) -> Result<Export> {
        if !SECURITY_DEVLXD_IMAGES.is_true(&self.expanded()?.config) {
            return Err(Error::forbidden("not authorized").hint("the host's administrator can set security.devlxd.images"));
        }
        let found = self.engine.records.images.get(fingerprint).filter(|image| image.public || image.cached);
        found.ok_or_else(|| Error::not_found("not found"))?;
        self.engine.images().export(fingerprint)
    }

    /// Whether it has said that it is ready.
    pub fn is_ready(&self) -> Result<bool> {
        self.expanded()?;
        Ok(self.engine.live.get(&self.instance).is_some_and(|run| run.is_ready.load(Ordering::Relaxed)))
    }

    /// Says that it is ready, or not any more; until it stops, that is its status.
    pub fn set_ready(&self, ready: bool) -> Result<()> {
        self.expanded()?;
        let run = self.engine.live.get(&self.instance).ok_or_else(|| Error::not_found("not found"))?;
        if run.is_ready.load(Ordering::Relaxed) == ready {
            return Ok(());
        }
        run.container.set_ready(ready).context(format!("note that `{}` is ready", self.instance))?;
        run.is_ready.store(ready, Ordering::Relaxed);
        if ready {
            self.engine.lifecycle("instance-ready", "instances", &self.instance);
        }
        Ok(())
    }

    /// Tells of changes: `config`, `device` or both with a comma between; all if empty. Dropping the guard ends it, and so
    /// does the end of the instance, by dropping the listener.
    pub fn subscribe(&self, types: &str, listener: GuestListener) -> Result<GuestSubscription> {
        self.expanded()?;
        Ok(self.engine.guest_state.events.subscribe(&self.instance, types, listener))
    }

    fn expanded(&self) -> Result<Expanded> {
        let record = self.engine.records.instances.get(&self.instance).ok_or_else(|| Error::not_found("not found"))?;
        let expanded = expand_record(&self.engine.records, &record);
        if SECURITY_DEVLXD.is_true(&expanded.config) { Ok(expanded) } else { Err(Error::forbidden("not authorized")) }
    }
}

/// Whether instances may read a key.
pub(super) fn is_readable(key: &str) -> bool {
    READABLE.iter().any(|family| key.starts_with(family))
}
