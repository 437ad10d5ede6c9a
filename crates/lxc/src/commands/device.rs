//! Device commands, the same for instances and profiles.

use anyhow::{Result, bail};
use client::Client;

use crate::pairs;
use crate::record::{self, Equipped, Record};
use crate::{outln, output, yaml};

/// What has the devices: its server and the path of its record, and its name for messages.
#[derive(Debug)]
pub struct Owner {
    /// The server.
    pub client: Client,
    /// The record.
    pub path: String,
    /// As users know it.
    pub name: String,
}

impl Owner {
    async fn load<T: Equipped>(&self) -> Result<Record<T>> {
        Record::load(&self.client, self.path.clone()).await
    }

    /// `device add NAME DEV TYPE [K=V...]`.
    pub async fn add<T: Equipped>(&self, device: &str, kind: &str, words: &[String]) -> Result<()> {
        let mut keys: api::Config = pairs::parse(words)?.into_iter().collect();
        keys.insert("type".to_owned(), kind.to_owned());
        let mut record = self.load::<T>().await?;
        if record.value.devices().contains_key(device) {
            bail!("The device already exists ({} has a device {device}; change it with `device set`, or remove it first)", self.name);
        }
        record.value.devices().insert(device.to_owned(), keys);
        record.save().await?;
        outln!("Device {device} added to {}", self.name);
        Ok(())
    }

    /// `device remove NAME DEV...`.
    pub async fn remove<T: Equipped>(&self, devices: &[String]) -> Result<()> {
        let mut record = self.load::<T>().await?;
        for device in devices {
            if record.value.devices().remove(device).is_none() {
                return Err(record::no_device(device));
            }
        }
        record.save().await?;
        outln!("Device {} removed from {}", devices.join(", "), self.name);
        Ok(())
    }

    /// `device list NAME`.
    pub async fn list<T: Equipped>(&self) -> Result<()> {
        let mut record = self.load::<T>().await?;
        let names: Vec<&str> = record.value.devices().keys().map(String::as_str).collect();
        outln!("{}", names.join("\n"));
        Ok(())
    }

    /// `device show NAME`.
    pub async fn show<T: Equipped>(&self) -> Result<()> {
        let mut record = self.load::<T>().await?;
        output::text_block(&yaml::emit(&yaml::sorted(serde_json::to_value(record.value.devices())?)));
        Ok(())
    }

    /// `device get NAME DEV KEY`.
    pub async fn get<T: Equipped>(&self, device: &str, key: &str) -> Result<()> {
        let mut record = self.load::<T>().await?;
        output::value(record.device(device)?.get(key).map_or("", String::as_str));
        Ok(())
    }

    /// `device set NAME DEV KEY VALUE` or `K=V...`.
    pub async fn set<T: Equipped>(&self, device: &str, words: &[String]) -> Result<()> {
        let pairs = pairs::assignments(words)?;
        let mut record = self.load::<T>().await?;
        record.device(device)?.extend(pairs);
        record.save().await
    }

    /// `device unset NAME DEV KEY`.
    pub async fn unset<T: Equipped>(&self, device: &str, key: &str) -> Result<()> {
        let mut record = self.load::<T>().await?;
        record.device(device)?.remove(key);
        record.save().await
    }
}
