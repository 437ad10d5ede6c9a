//! Who gets which host ids: chosen and stored under one lock, so that no two get the same range.

use keys::instance::{SECURITY_IDMAP_ISOLATED, volatile};
use keys::subid::SubidRange;
use sys::idmap::IdMap;

use super::expand::expand_record;
use super::{Instances, idmap};
use crate::Result;
use crate::records::InstanceRecord;
use crate::sync::lock;

impl Instances {
    /// The ids for the next start, an isolated range being stored before anything uses it. The
    /// caller holds the permit.
    pub(super) fn claim_ids(&self, name: &str) -> Result<IdMap> {
        let _allocation = lock(&self.engine.id_allocation);
        let mut record = InstanceRecord::clone(&self.record(name)?.record);
        let map = self.allocate_ids(name, &mut record)?;
        let base = volatile::IDMAP_BASE.text(&record.config).unwrap_or_default();
        self.engine.records.modify::<InstanceRecord>(name, |record| volatile::IDMAP_BASE.set(&mut record.config, base))?;
        Ok(map)
    }

    /// Gives an isolated instance its range, and takes it from one that no longer is. What a
    /// running container uses stays taken all the same. The caller holds the allocation lock until
    /// the record is stored.
    pub(super) fn allocate_ids(&self, name: &str, record: &mut InstanceRecord) -> Result<IdMap> {
        let engine = &self.engine;
        let config = expand_record(&engine.records, record).config;
        // Looking at all others takes a while, and only an isolated instance must keep clear of them.
        let taken = if SECURITY_IDMAP_ISOLATED.is_true(&config) { self.taken_by_others(name) } else { Vec::new() };
        let choice = idmap::choose(&config, &engine.host_ids, &taken)?;
        volatile::IDMAP_BASE.set(&mut record.config, choice.base.map(|base| base.to_string()).unwrap_or_default());
        Ok(choice.map)
    }

    /// The isolated ranges of all other instances, stored or in use.
    fn taken_by_others(&self, name: &str) -> Vec<SubidRange> {
        let engine = &self.engine;
        let records = engine.records.instances.all().into_iter().filter(|(other, _)| other != name);
        let mut taken: Vec<_> = records.flat_map(|(_, other)| idmap::reserved(&expand_record(&engine.records, &other).config)).collect();
        if let Ok(host) = &engine.host_ids {
            let runs = engine.live.all().into_iter().filter(|run| run.container.name() != name);
            taken.extend(runs.flat_map(|run| idmap::in_use(&run.container.spec().idmap, host)));
        }
        taken
    }
}
