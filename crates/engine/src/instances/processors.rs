//! Which processors the running instances with `limits.cpu` get.

use std::collections::BTreeMap;

use api::Config;
use keys::instance::LIMITS_CPU;

use super::expand::expand_record;
use super::{Instances, limits};

impl Instances {
    /// Limits with the processors that fall to it among the running instances.
    pub(crate) fn limits_for(&self, name: &str, config: &Config) -> runtime::Limits {
        let cpus = LIMITS_CPU.get(config).and_then(|_| self.share_processors(Some((name, config))).remove(name));
        runtime::Limits { cpus, ..limits::limits(config, &self.engine.host.resources) }
    }

    /// Spreads the running instances with `limits.cpu` anew over the processors. Nothing else of
    /// their limits is touched.
    pub(crate) fn rebalance_cpus(&self) {
        let chosen = self.share_processors(None);
        for run in self.engine.live.all() {
            let Some(cpus) = chosen.get(run.container.name()) else { continue };
            let change = |now: &runtime::Limits| runtime::Limits { cpus: Some(cpus.clone()), ..now.clone() };
            if let Err(error) = run.container.change_limits(change) {
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
