//! The description of a server's set-up, as YAML: what `lxd init --preseed` of LXD 4 and 5 takes.

use anyhow::{Context, Result, bail};
use api::networks::NetworksPost;
use api::profiles::ProfilePut;
use api::storage_pools::StoragePoolsPost;
use api::{Config, Devices};
use serde::{Deserialize, Serialize};

/// A set-up. Absent sections change nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preseed {
    /// Server configuration.
    pub config: Config,
    /// Managed networks.
    pub networks: Vec<Network>,
    /// Storage pools.
    pub storage_pools: Vec<Pool>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// Accepted when it names nothing but the default one.
    #[serde(skip_serializing)]
    projects: Vec<Project>,
    /// Accepted when it says `enabled: false` or nothing.
    #[serde(skip_serializing)]
    cluster: Option<Cluster>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Its name, that of the bridge too.
    pub name: String,
    /// `bridge` or empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// Free text.
    pub description: String,
    /// Its keys.
    pub config: Config,
    #[serde(skip_serializing)]
    project: String,
    #[serde(skip_serializing)]
    managed: bool,
}

/// A storage pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `dir`, `btrfs`, `overlay`.
    pub driver: String,
    /// Free text.
    pub description: String,
    /// Its keys.
    pub config: Config,
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Its keys.
    pub config: Config,
    /// Its devices.
    pub devices: Devices,
    #[serde(skip_serializing)]
    project: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Project {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Cluster {
    enabled: bool,
}

impl Preseed {
    /// Reads and checks a text. Whatever the server would refuse for its form alone is refused
    /// here, before anything has changed.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let preseed: Self = serde_saphyr::from_str(text).context("Failed to parse the preseed")?;
        preseed.check()?;
        Ok(preseed)
    }

    /// As YAML.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).context("write YAML")
    }

    fn check(&self) -> Result<()> {
        if self.cluster.as_ref().is_some_and(|cluster| cluster.enabled) {
            bail!("The preseed asks for a cluster, which isn't supported");
        }
        let foreign = |name: &str| !name.is_empty() && name != "default";
        let projects = self.projects.iter().map(|project| &project.name);
        let projects = projects.chain(self.networks.iter().map(|network| &network.project));
        if let Some(name) = projects.chain(self.profiles.iter().map(|profile| &profile.project)).find(|name| foreign(name)) {
            bail!("The preseed names the project {name:?}, and projects aren't supported");
        }
        keys::server::validate(&self.config)?;
        for network in &self.networks {
            keys::names::check_network(&network.name)?;
            anyhow::ensure!(
                matches!(network.kind.as_str(), "" | "bridge"),
                "Network {}: type {:?} isn't supported, only bridge",
                network.name,
                network.kind
            );
            keys::network::validate(&network.config).with_context(|| format!("Network {}", network.name))?;
        }
        for pool in &self.storage_pools {
            keys::names::check_pool(&pool.name)?;
            keys::storage_pool::validate(&pool.driver, &pool.config).with_context(|| format!("Storage pool {}", pool.name))?;
        }
        for profile in &self.profiles {
            keys::names::check_profile(&profile.name)?;
            keys::profile::validate(&profile.config).with_context(|| format!("Profile {}", profile.name))?;
            keys::profile::validate_devices(&profile.devices).with_context(|| format!("Profile {}", profile.name))?;
        }
        Ok(())
    }
}

impl Network {
    /// A managed bridge.
    pub fn bridge(name: &str, config: Config) -> Self {
        Self { name: name.to_owned(), kind: "bridge".into(), config, ..Self::default() }
    }

    /// From what the server says; `None` for interfaces that it does not manage.
    pub fn from_api(network: api::networks::Network) -> Option<Self> {
        let kept = |key: &String| !key.starts_with("volatile.");
        let config = network.config.into_iter().filter(|(key, _)| kept(key)).collect();
        network.managed.then(|| Self {
            name: network.name,
            kind: network.kind,
            description: network.description,
            config,
            ..Self::default()
        })
    }

    /// The request that makes it.
    pub fn to_post(&self) -> NetworksPost {
        let kind = if self.kind.is_empty() { "bridge".to_owned() } else { self.kind.clone() };
        NetworksPost { name: self.name.clone(), kind, description: self.description.clone(), config: self.config.clone() }
    }
}

impl Pool {
    /// The request that makes it.
    pub fn to_post(&self) -> StoragePoolsPost {
        StoragePoolsPost {
            name: self.name.clone(),
            driver: self.driver.clone(),
            description: self.description.clone(),
            config: self.config.clone(),
        }
    }
}

impl Profile {
    /// A profile with devices.
    pub fn with_devices(name: &str, devices: Devices) -> Self {
        Self { name: name.to_owned(), devices, ..Self::default() }
    }

    /// From what the server says.
    pub fn from_api(profile: api::profiles::Profile) -> Self {
        Self { name: profile.name, description: profile.description, config: profile.config, devices: profile.devices, ..Self::default() }
    }

    /// What a profile is to become: keys are added to those there are, devices are replaced by name.
    pub fn merged_into(&self, mut current: ProfilePut) -> ProfilePut {
        if !self.description.is_empty() {
            current.description.clone_from(&self.description);
        }
        current.config.extend(self.config.clone());
        current.devices.extend(self.devices.clone());
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = r#"
config:
  core.https_address: '[::]:8443'
  images.auto_update_interval: 15
  images.auto_update_cached: false
networks:
- config:
    ipv4.address: auto
    ipv6.address: none
    ipv4.nat: true
  description: ""
  name: lxdbr0
  type: ""
  project: default
storage_pools:
- config:
    size: 15GiB
  description: ""
  name: default
  driver: btrfs
profiles:
- config:
    limits.processes: 0100
  description: "Default"
  devices:
    eth0: {name: eth0, network: lxdbr0, type: nic}
    root: {path: /, pool: default, type: disk}
  name: default
projects: []
cluster: null
"#;

    #[test]
    fn reads_what_the_original_writes() {
        let preseed = Preseed::parse(USUAL).expect("preseed");
        assert_eq!(preseed.config["images.auto_update_interval"], "15");
        assert_eq!(preseed.config["images.auto_update_cached"], "false");
        assert_eq!(preseed.networks[0].config["ipv4.nat"], "true");
        assert_eq!(preseed.storage_pools[0].driver, "btrfs");
        assert_eq!(preseed.profiles[0].devices["root"]["path"], "/");
        // Scalars stay the text they are.
        assert_eq!(preseed.profiles[0].config["limits.processes"], "0100");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut preseed = Preseed::parse(USUAL).expect("preseed");
        preseed.networks[0].project.clear();
        preseed.config.insert("user.odd".into(), "yes: [#\"'\n\ttwo lines\n".into());
        preseed.config.insert("user.number".into(), "1e3".into());
        let again = Preseed::parse(&preseed.to_yaml().expect("yaml")).expect("again");
        assert_eq!(again, Preseed { projects: vec![], cluster: None, ..preseed });
    }

    #[test]
    fn mistakes_are_named_before_anything_changes() {
        for (text, part) in [
            ("confg: {}", "confg"),
            ("networks: [{name: a b}]", "Invalid network name"),
            ("networks: [{name: ab, type: ovn}]", "ovn"),
            (
                "networks: [{name: ab, config: {ipv4.adress: auto}}]",
                "Unknown network configuration key: ipv4.adress (did you mean ipv4.address?)",
            ),
            ("storage_pools: [{name: a, driver: zfs}]", "Unknown storage driver: zfs"),
            ("profiles: [{name: a, devices: {x: {type: nic}}}]", "Missing nic type"),
            ("profiles: [{name: a, project: other}]", "projects aren't supported"),
            ("cluster: {enabled: true, server_name: a}", "cluster"),
            ("config: {nope: 1}", "Bad server config key: 'nope'"),
            ("config: [", "Failed to parse the preseed"),
        ] {
            let error = format!("{:#}", Preseed::parse(text).expect_err(text));
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn devices_are_replaced_as_a_whole() {
        let nic = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let current = ProfilePut {
            description: "old".into(),
            config: [("user.a".to_owned(), "1".to_owned())].into(),
            devices: [("eth0".to_owned(), nic(&[("type", "nic"), ("nictype", "bridged"), ("parent", "lxdbr0")]))].into(),
        };
        let wanted = Profile::with_devices("default", [("eth0".to_owned(), nic(&[("type", "nic"), ("network", "lxdbr0")]))].into());
        let merged = wanted.merged_into(current);
        assert_eq!(merged.devices["eth0"].len(), 2);
        assert_eq!((merged.description.as_str(), merged.config.len()), ("old", 1));
    }
}
