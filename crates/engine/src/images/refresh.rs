//! Newer versions of images that were downloaded by a name.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Images;
use super::download::Keep;
use super::remote::RemoteImage;
use crate::operations::{New, Operation};
use crate::records::{AliasRecord, Held, ImageRecord};
use crate::{Error, ErrorKind, Result};

/// How often the exchange of two images is tried again after somebody else changed an alias.
const MAX_RETRIES: usize = 16;

/// How long looking for a newer version of one image, and fetching it, may take when nobody waits for it: other images
/// have their turn after it.
const UPDATE_LIMIT: Duration = Duration::from_secs(2 * 3600);

impl Images {
    /// Looks for a newer version of an image on the server that it came from, and takes that in its place.
    pub fn refresh(&self, fingerprint: &str) -> Result<Arc<Operation>> {
        let (fingerprint, record) = self.find(fingerprint)?;
        if record.source.is_none() {
            return Err(Error::bad_request("Image has no source to be refreshed from")
                .hint("only images that were downloaded by an alias can be refreshed"));
        }
        let this = self.clone();
        self.engine.operations.run(New::image("Refreshing image", &fingerprint.clone()), move |operation| {
            let is_refreshed = this.refresh_one(&fingerprint, operation, None)?.is_some();
            Ok(Some(json!({ "refreshed": is_refreshed })))
        })
    }

    /// Refreshes all images that follow their name. Failures are logged; the rest goes on, but for images of a server that
    /// took all the time for one.
    pub(super) fn update_all(&self) -> Result<Option<Arc<Operation>>> {
        let all = self.engine.records.images.all().into_iter();
        let all = all.filter(|(_, record)| record.auto_update);
        let followers: Vec<(String, String)> =
            all.filter_map(|(fingerprint, record)| Some((fingerprint, record.source.as_ref()?.server.clone()))).collect();
        if followers.is_empty() {
            return Ok(None);
        }
        let this = self.clone();
        let work = move |operation: &Arc<Operation>| {
            let mut updated = serde_json::Map::new();
            let mut slow_servers = HashSet::new();
            for (fingerprint, server) in followers {
                if this.engine.is_shutting_down() {
                    break;
                }
                if slow_servers.contains(&server) {
                    continue;
                }
                let deadline = Instant::now() + UPDATE_LIMIT;
                match this.refresh_one(&fingerprint, operation, Some(deadline)) {
                    Ok(Some(new)) => drop(updated.insert(fingerprint, Value::String(new))),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(image = fingerprint, "look for a newer version: {}", error.report());
                        if Instant::now() >= deadline {
                            slow_servers.insert(server);
                        }
                    }
                }
                // Cancelling one cancels all.
                if operation.status() != api::StatusCode::RUNNING {
                    break;
                }
            }
            Ok(Some(json!({ "updated": updated })))
        };
        self.engine.operations.run(New::plain("Updating images"), work).map(Some)
    }

    /// The fingerprint of the newer image that is now in the place of the old one, if there is a newer one.
    fn refresh_one(&self, old: &str, operation: &Arc<Operation>, deadline: Option<Instant>) -> Result<Option<String>> {
        let (old, held) = self.find(old)?;
        let Some(source) = &held.source else { return Ok(None) };
        let remote = RemoteImage::of_record(source)?;
        let keep = Keep {
            cached: held.cached,
            auto_update: held.auto_update,
            last_used_at: held.last_used_at,
            is_fresh: true,
            deadline,
            ..Keep::default()
        };
        let arrived = self.ensure_downloaded(&remote, &keep, operation)?;
        if arrived.fingerprint == old {
            return Ok(None);
        }
        self.replace(&old, &arrived.fingerprint)?;
        tracing::info!(old, new = arrived.fingerprint, source = remote.title(), "image refreshed");
        self.engine.lifecycle("image-refreshed", "images", &arrived.fingerprint);
        Ok(Some(arrived.fingerprint))
    }

    /// Gives the names of an image to another one and removes it.
    fn replace(&self, old: &str, new: &str) -> Result<()> {
        let _alone = self.engine.image_state.files.hold(old);
        let records = &self.engine.records;
        for _ in 0..MAX_RETRIES {
            let mut changes = records.changes();
            for (name, alias) in records.aliases.all().into_iter().filter(|(_, alias)| alias.target == old) {
                changes.update(&name, &alias, AliasRecord { target: new.to_owned(), description: alias.description.clone() })?;
            }
            changes.delete::<ImageRecord>(old);
            match changes.commit() {
                // Somebody changed one of the aliases meanwhile.
                Err(error) if error.kind() == ErrorKind::PreconditionFailed => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.forget_files(old);
                    self.engine.lifecycle("image-deleted", "images", old);
                    return Ok(());
                }
            }
        }
        Err(Error::unavailable("the image's aliases are changed by others all the time").hint("try again"))
    }

    /// Removes an image with its aliases. Whoever unpacks it is waited for; whoever takes it in anew comes before
    /// or after. False if `is_wanted` does not hold, which is asked when nobody can change it any more.
    pub(super) fn remove_if(&self, fingerprint: &str, is_wanted: impl Fn(&ImageRecord) -> bool) -> Result<bool> {
        let _alone = self.engine.image_state.files.hold(fingerprint);
        let (_, held): (String, Held<ImageRecord>) = self.find(fingerprint)?;
        if !is_wanted(&held) {
            return Ok(false);
        }
        let mut changes = self.engine.records.changes();
        changes.delete::<ImageRecord>(fingerprint);
        for (name, alias) in self.engine.records.aliases.all() {
            if alias.target == fingerprint {
                changes.delete::<AliasRecord>(&name);
            }
        }
        changes.commit()?;
        self.forget_files(fingerprint);
        self.engine.lifecycle("image-deleted", "images", fingerprint);
        Ok(true)
    }
}
