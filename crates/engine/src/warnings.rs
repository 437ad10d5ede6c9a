//! What goes wrong where nobody waits for an answer: instances that do not start with the daemon, pools and networks
//! that are not there, what the host lacks. It is kept until it is right again, or somebody has seen and deleted it.
//!
//! A warning is one cause at one thing. That it comes again is counted; that it is over resolves it, and a day later
//! it is forgotten.

use std::sync::Arc;

use api::Timestamp;
use api::warnings::{Warning, WarningPut};
use serde_json::Value;

use crate::records::{Held, WarningRecord, WarningStatus as Status};
use crate::sync::lock;
use crate::{Engine, Error, Result, Tagged, etag, patch};

/// How long a resolved warning can be read, seconds.
const KEPT_S: i64 = 24 * 3600;
/// Most warnings; beyond, the one that was seen longest ago makes room.
const MAX_WARNINGS: usize = 1000;

/// Controllers that limits need, each by its names on control groups v1 and v2.
const CONTROLLERS: &[(&str, &[&str])] =
    &[("blkio", &["blkio", "io"]), ("cpu", &["cpu"]), ("cpuset", &["cpuset"]), ("memory", &["memory"]), ("pids", &["pids"])];

/// What there is to warn of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    AppArmor,
    Autostart,
    Controller(&'static str),
    HostIds,
    Network,
    Pool,
}

impl Cause {
    /// The text by which clients know it.
    fn kind(self) -> String {
        match self {
            Self::AppArmor => "AppArmor support has been disabled".into(),
            Self::Autostart => "Failed to autostart instance".into(),
            Self::Controller(name) => format!("Couldn't find the CGroup {name} controller"),
            Self::HostIds => "No ids for unprivileged instances".into(),
            Self::Network => "Network unavailable".into(),
            Self::Pool => "Storage pool unavailable".into(),
        }
    }

    fn severity(self) -> &'static str {
        match self {
            Self::Controller(_) | Self::Autostart => "low",
            Self::AppArmor => "moderate",
            Self::HostIds | Self::Network | Self::Pool => "high",
        }
    }

    /// The URL of a thing of that name.
    fn entity(self, name: &str) -> String {
        match self {
            Self::AppArmor | Self::Controller(_) | Self::HostIds => String::new(),
            Self::Autostart => format!("/1.0/instances/{name}"),
            Self::Network => format!("/1.0/networks/{name}"),
            Self::Pool => format!("/1.0/storage-pools/{name}"),
        }
    }
}

/// The warnings of an engine.
#[derive(Clone, Debug)]
pub struct Warnings {
    engine: Arc<Engine>,
}

impl Warnings {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Names, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.engine.records.warnings.ids()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Warning> {
        self.engine.records.warnings.all().iter().map(|(uuid, held)| render(uuid, held)).collect()
    }

    /// One.
    pub fn get(&self, uuid: &str) -> Result<Tagged<Warning>> {
        let held = self.find(uuid)?;
        Ok(Tagged { value: render(uuid, &held), etag: etag::of(&writable(&held)) })
    }

    /// Acknowledges it, or makes it new again.
    pub fn update(&self, uuid: &str, request: WarningPut, if_match: Option<&str>) -> Result<()> {
        let held = self.find(uuid)?;
        etag::check(if_match, &writable(&held))?;
        let (status, action) = match request.status.as_str() {
            "new" => (Status::New, "warning-reset"),
            "acknowledged" => (Status::Acknowledged, "warning-acknowledged"),
            other => {
                return Err(Error::bad_request(format!("A warning's status can be set to new or acknowledged, not to `{other}`"))
                    .hint("it is resolved by the server once it is over"));
            }
        };
        let mut changes = self.engine.records.changes();
        changes.update(uuid, &held, WarningRecord { status, ..WarningRecord::clone(&held.record) })?;
        changes.commit()?;
        self.engine.lifecycle(action, "warnings", uuid);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, uuid: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let held = self.find(uuid)?;
        self.update(uuid, patch::apply(&writable(&held), patch)?, if_match)
    }

    /// Forgets it. What is still wrong is warned of again when it is noticed again.
    pub fn delete(&self, uuid: &str) -> Result<()> {
        self.find(uuid)?;
        let mut changes = self.engine.records.changes();
        changes.delete::<WarningRecord>(uuid);
        changes.commit()?;
        self.engine.lifecycle("warning-deleted", "warnings", uuid);
        Ok(())
    }

    fn find(&self, uuid: &str) -> Result<Held<WarningRecord>> {
        let found = self.engine.records.warnings.get(uuid);
        found.ok_or_else(|| Error::not_found("Warning not found").hint("`lxc warning list --all` shows those there are"))
    }
}

impl Engine {
    /// A fault as a warning, none as the end of one.
    fn note(&self, cause: Cause, name: &str, fault: Option<&str>) {
        match fault {
            None => self.resolve_warning(cause, name),
            Some(fault) => self.warn(cause, name, fault),
        }
    }

    /// What instances have to do without on this host.
    pub(crate) fn warn_of_host(&self) {
        let facts = self.runtime.facts();
        self.note(Cause::AppArmor, "", facts.apparmor.as_ref().err().map(String::as_str));
        self.note(Cause::HostIds, "", self.host_ids.as_ref().err().map(String::as_str));
        for &(name, names) in CONTROLLERS {
            let is_there = names.iter().any(|name| facts.layout.with_controller(name).is_some());
            let fault = format!("limits that need the controller `{name}` are refused: the kernel lacks it, or it is not mounted");
            self.note(Cause::Controller(name), "", (!is_there).then_some(&*fault));
        }
    }

    /// Warns of something, or counts that it has happened again.
    pub(crate) fn warn(&self, cause: Cause, name: &str, message: &str) {
        let _alone = lock(&self.warning);
        let now = Timestamp::now();
        let known = self.warning_of(cause, name);
        let uuid = known.as_ref().map_or_else(|| uuid::Uuid::new_v4().to_string(), |(uuid, _)| uuid.clone());
        let before = known.map(|(_, held)| WarningRecord::clone(&held.record)).unwrap_or_else(|| WarningRecord {
            kind: cause.kind(),
            severity: cause.severity().to_owned(),
            entity: cause.entity(name),
            first_seen_at: now,
            ..WarningRecord::default()
        });
        let status = if before.status == Status::Resolved { Status::New } else { before.status };
        self.store_warning(
            &uuid,
            WarningRecord { status, count: before.count + 1, last_seen_at: now, message: message.to_owned(), ..before },
        );
    }

    /// What was warned of is over.
    pub(crate) fn resolve_warning(&self, cause: Cause, name: &str) {
        if self.records.warnings.is_empty() {
            return;
        }
        let _alone = lock(&self.warning);
        let known = self.warning_of(cause, name).filter(|(_, held)| held.status != Status::Resolved);
        if let Some((uuid, held)) = known {
            let resolved_at = Timestamp::now();
            self.store_warning(&uuid, WarningRecord { status: Status::Resolved, resolved_at, ..WarningRecord::clone(&held.record) });
        }
    }

    /// Forgets all warnings of something that is no more.
    pub(crate) fn forget_warnings(&self, cause: Cause, name: &str) {
        if self.records.warnings.is_empty() {
            return;
        }
        let _alone = lock(&self.warning);
        if let Some((uuid, _)) = self.warning_of(cause, name) {
            let mut changes = self.records.changes();
            changes.delete::<WarningRecord>(&uuid);
            changes.commit().unwrap_or_else(|error| tracing::warn!("forget a warning: {}", error.report()));
        }
    }

    fn warning_of(&self, cause: Cause, name: &str) -> Option<(String, Held<WarningRecord>)> {
        let (kind, entity) = (cause.kind(), cause.entity(name));
        self.records.warnings.all().into_iter().find(|(_, held)| held.kind == kind && held.entity == entity)
    }

    /// Stores one, and forgets what is over for long or too much. That this fails is no reason to fail for.
    fn store_warning(&self, uuid: &str, record: WarningRecord) {
        let mut changes = self.records.changes();
        for old in superfluous(&self.records.warnings.all(), Timestamp::now().unix()) {
            if old != uuid {
                changes.delete::<WarningRecord>(&old);
            }
        }
        let stored = changes.put(uuid, record).and_then(|()| changes.commit());
        stored.unwrap_or_else(|error| tracing::warn!("store a warning: {}", error.report()));
    }
}

/// What need not be kept any more.
fn superfluous(all: &[(String, Held<WarningRecord>)], now: i64) -> Vec<String> {
    let is_over = |record: &WarningRecord| record.status == Status::Resolved && record.resolved_at.unix() + KEPT_S < now;
    let (mut gone, mut kept): (Vec<_>, Vec<_>) = all.iter().partition(|(_, held)| is_over(held));
    if kept.len() >= MAX_WARNINGS {
        kept.sort_by_key(|(_, held)| held.last_seen_at.unix());
        gone.extend(kept.drain(..=kept.len() - MAX_WARNINGS));
    }
    gone.into_iter().map(|(uuid, _)| uuid.clone()).collect()
}

fn writable(record: &WarningRecord) -> WarningPut {
    WarningPut { status: record.status.text().to_owned() }
}

fn render(uuid: &str, record: &WarningRecord) -> Warning {
    let of_project = record.entity.starts_with("/1.0/instances/");
    Warning {
        status: record.status.text().to_owned(),
        uuid: uuid.to_owned(),
        location: String::new(),
        project: if of_project { "default" } else { "" }.to_owned(),
        kind: record.kind.clone(),
        count: record.count,
        first_seen_at: record.first_seen_at,
        last_seen_at: record.last_seen_at,
        last_message: record.message.clone(),
        severity: record.severity.clone(),
        entity_url: record.entity.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: usize, status: Status, seconds: i64) -> (String, Held<WarningRecord>) {
        let time = Timestamp::from_unix(seconds);
        let record = WarningRecord { status, last_seen_at: time, resolved_at: time, ..WarningRecord::default() };
        (format!("{number:04}"), Held { record: Arc::new(record), revision: 1 })
    }

    #[test]
    fn what_is_over_is_kept_for_a_day() {
        let now = 1_000_000;
        let all = [held(1, Status::Resolved, now - KEPT_S - 1), held(2, Status::Resolved, now - 10), held(3, Status::New, 0)];
        assert_eq!(superfluous(&all, now), ["0001"]);
    }

    #[test]
    fn the_oldest_make_room() {
        let all: Vec<_> = (0..MAX_WARNINGS + 1).map(|number| held(number, Status::New, number as i64)).collect();
        assert_eq!(superfluous(&all, 5), ["0000", "0001"], "one more is about to come");
        assert!(superfluous(&all[..MAX_WARNINGS - 1], 5).is_empty());
    }
}
