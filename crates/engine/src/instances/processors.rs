//! Limits of running instances: which processors those with `limits.cpu` get, and which disks are meant.

use std::collections::BTreeMap;

use api::Config;
use keys::devices::disk;
use keys::instance::LIMITS_CPU;
use storage::VolumeRef;

use super::expand::{Expanded, expand_record};
use super::{Instances, limits};
use crate::{Error, Result};

impl Instances {
    /// Limits with the processors that fall to it among the running instances, and the disks that its devices are on.
    pub(crate) fn limits_for(&self, name: &str, expanded: &Expanded) -> Result<runtime::Limits> {
        let config = &expanded.config;
        let cpus = LIMITS_CPU.get(config).and_then(|_| self.share_processors(Some((name, config))).remove(name));
        let disks = limits::disk_rates(&expanded.devices, |device, keys| self.disk_of(name, (device, keys)))?;
        Ok(runtime::Limits { cpus, disks, ..limits::limits(config, &self.engine.host.resources) })
    }

    /// The disk, `MAJOR:MINOR`, that a device's files are on; `None` where an optional one is not there.
    fn disk_of(&self, name: &str, (device, keys): (&str, &Config)) -> Result<Option<String>> {
        let path = if disk::is_root(keys) {
            let record = self.record(name)?;
            self.engine.pool(&record.pool)?.dir(&VolumeRef::instance(name))
        } else {
            disk::SOURCE.text(keys).unwrap_or_default().into()
        };
        if disk::is_optional(keys) && !sys::fs::exists(&path) {
            return Ok(None);
        }
        let (major, minor) = sys::block::disk_of(&path).map_err(|error| {
            let failed = Error::bad_request(format!("disk '{device}' cannot be limited: {} is on no block device", path.display()));
            failed.caused_by(error).hint("unset its limits.read, limits.write and limits.max")
        })?;
        Ok(Some(format!("{major}:{minor}")))
    }

    /// Spreads the running instances with `limits.cpu` anew over the processors. Nothing else of
    /// their limits is touched. One whose running state is being saved has its turn after that.
    pub(crate) fn rebalance_cpus(&self) {
        let chosen = self.share_processors(None);
        for run in self.engine.live.all() {
            let Some(cpus) = chosen.get(run.container.name()) else { continue };
            let change = |now: &runtime::Limits| runtime::Limits { cpus: Some(cpus.clone()), ..now.clone() };
            if let Err(error) = run.container.change_limits_unless_saving(change) {
                tracing::warn!(instance = run.container.name(), "balance processors: {error}");
            }
        }
    }

    /// The processors of each running instance with `limits.cpu`, `own` being one that is to have
    /// this configuration.
    fn share_processors(&self, own: Option<(&str, &Config)>) -> BTreeMap<String, String> {
        let engine = &self.engine;
        let own_name = own.map(|(name, _)| name);
        let mut wishes: Vec<_> = own.and_then(|(name, config)| Some((name.to_owned(), LIMITS_CPU.get(config)?))).into_iter().collect();
        for run in engine.live.all().into_iter().filter(|run| Some(run.container.name()) != own_name) {
            let record = engine.records.instances.get(run.container.name());
            let wish = record.and_then(|record| LIMITS_CPU.get(&expand_record(&engine.records, &record).config));
            wishes.extend(wish.map(|wish| (run.container.name().to_owned(), wish)));
        }
        limits::balance(wishes.iter().map(|(name, wish)| (name.as_str(), wish.clone())), &engine.host.resources.cpus)
    }
}
