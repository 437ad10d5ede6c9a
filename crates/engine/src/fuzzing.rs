//! Ways into the readers of foreign bytes for the fuzzing targets, and for nobody else.

use std::sync::Arc;

use crate::guest::Guest;
use crate::records::InstanceRecord;
use crate::{Engine, Result};

/// A server's reply about an alias or an image.
pub fn image_server_reply(status: u16, bytes: &[u8]) {
    crate::images::read_foreign_reply(status, bytes);
}

/// The records of a backup's index. What is accepted fits the keys.
pub fn backup_records(engine: &Arc<Engine>, index: &images::BackupIndex) {
    drop(engine.instances().records_of(index));
}

/// What another server offers in a migration, and the answer to it.
pub fn migration_offer(engine: &Arc<Engine>, header: &migration::MigrationHeader) {
    crate::instances::try_offer(&engine.instances(), header);
}

/// An instance that asks about itself: its record is made, and it has this configuration.
pub fn guest(engine: &Arc<Engine>, name: &str, config: api::Config) -> Result<Guest> {
    let mut changes = engine.records.changes();
    changes.insert(name, InstanceRecord { config, ..InstanceRecord::default() })?;
    changes.commit()?;
    Ok(Guest::new(engine.clone(), name.to_owned()))
}
