//! Reading a record, changing it, writing it back: what all `set`, `unset`, `edit` and device
//! commands do. The tag of what was read travels with the change, so that two users never
//! overwrite each other unnoticed.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use api::networks::NetworkPut;
use api::profiles::ProfilePut;
use api::storage_pools::StoragePoolPut;
use api::storage_volumes::StorageVolumePut;
use api::{Config, Devices};
use client::{Client, path};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pairs::Pair;

/// A record with a `config` map.
pub trait Configured: Serialize + DeserializeOwned {
    /// The map.
    fn config(&mut self) -> &mut Config;
}

/// A record with a `devices` map.
pub trait Equipped: Configured {
    /// The map.
    fn devices(&mut self) -> &mut Devices;
}

macro_rules! configured {
    ($($kind:ty),*) => { $(impl Configured for $kind { fn config(&mut self) -> &mut Config { &mut self.config } })* };
}
configured!(InstancePut, ProfilePut, NetworkPut, StoragePoolPut, StorageVolumePut);

impl Equipped for InstancePut {
    fn devices(&mut self) -> &mut Devices {
        &mut self.devices
    }
}

impl Equipped for ProfilePut {
    fn devices(&mut self) -> &mut Devices {
        &mut self.devices
    }
}

/// A record as it was read.
#[derive(Debug)]
pub struct Record<T> {
    client: Client,
    path: String,
    etag: Option<String>,
    /// Its writable part.
    pub value: T,
}

impl<T: Serialize + DeserializeOwned> Record<T> {
    /// Reads the record at `path`.
    pub async fn load(client: &Client, path: String) -> Result<Self> {
        let tagged = client.get_tagged(&path).await?;
        Ok(Self { client: client.clone(), path, etag: tagged.etag, value: tagged.value })
    }

    /// Writes it back and waits until it is applied.
    pub async fn save(&self) -> Result<()> {
        let reply = self.client.put(&self.path, &self.value, self.etag.as_deref()).await?;
        self.client.wait(&reply).await?;
        Ok(())
    }
}

impl<T: Configured> Record<T> {
    /// Sets keys; an empty value unsets.
    pub fn set(&mut self, pairs: Vec<Pair>) {
        for (key, value) in pairs {
            if value.is_empty() {
                self.value.config().remove(&key);
            } else {
                self.value.config().insert(key, value);
            }
        }
    }

    /// Unsets a key that is set.
    pub fn unset(&mut self, key: &str) -> Result<()> {
        if self.value.config().remove(key).is_none() {
            bail!("Can't unset key '{key}', it's not currently set");
        }
        Ok(())
    }

    /// The value of a key, empty if it is not set.
    pub fn get(&mut self, key: &str) -> String {
        self.value.config().get(key).cloned().unwrap_or_default()
    }
}

impl<T: Equipped> Record<T> {
    /// The keys of a device.
    pub fn device(&mut self, name: &str) -> Result<&mut Config> {
        match self.value.devices().get_mut(name) {
            Some(device) => Ok(device),
            None => Err(no_device(name)),
        }
    }
}

/// The error for a device that is not there.
pub fn no_device(name: &str) -> anyhow::Error {
    anyhow::anyhow!("The device doesn't exist ({name} is none of its own; `device list` shows those, a profile's are the profile's)")
}

/// Path of an instance, or of a snapshot for `INSTANCE/SNAPSHOT`.
pub fn instance_path(name: &str) -> String {
    match crate::names::split_snapshot(name) {
        (instance, Some(snapshot)) => path(&["instances", instance, "snapshots", snapshot]),
        (instance, None) => path(&["instances", instance]),
    }
}
