//! Making an instance: from an image, from nothing, or as a copy of another.

use std::sync::Arc;

use api::instances::{InstancesPost, Source};
use api::{Config, Devices, Timestamp};
use keys::devices::{Scope, disk};
use keys::instance::{RAW_APPARMOR, RAW_LXC, SECURITY_NESTING, SECURITY_PRIVILEGED, volatile};
use keys::server::IMAGES_AUTO_UPDATE_CACHED;
use runtime::Rules;
use storage::{Pool, VolumeRef};

use super::admission::Action;
use super::expand::{Expanded, add_root, check_profiles, expand_record};
use super::import::BackupSource;
use super::migration::Arrival;
use super::{Instances, names};
use crate::error::Context;
use crate::images::{Keep, RemoteImage};
use crate::operations::{New, Operation};
use crate::records::{Held, ImageRecord, InstanceRecord, IntentRecord};
use crate::{Error, ErrorKind, Result, host, points};

/// What the new volume is made of.
pub(super) enum Origin {
    Image(String),
    Nothing,
    /// With the snapshots of these names.
    Copy {
        from: VolumeRef,
        pool: String,
        snapshots: Vec<String>,
    },
    Backup(BackupSource),
    /// From another server.
    Migration(Box<Arrival>),
}

impl Instances {
    /// Makes an instance from an image, from nothing, or as a copy.
    pub fn create(&self, mut request: InstancesPost) -> Result<Arc<Operation>> {
        if !matches!(request.kind.as_str(), "" | "container") {
            return Err(Error::bad_request(format!("instance type '{}' is not supported", request.kind)).hint("only containers are"));
        }
        if request.name.is_empty() {
            request.name = names::generate(|name| self.engine.records.instances.contains(name));
        }
        keys::names::check_instance(&request.name)?;
        if self.engine.records.instances.contains(&request.name) {
            match request.source.kind.as_str() {
                "copy" if request.source.refresh => return self.refresh(&request.name, &request.source),
                "migration" if request.source.refresh => return self.create_migrated(request),
                _ => {}
            }
            return Err(Error::conflict(format!("Container '{}' already exists", request.name)).hint("choose another name"));
        }
        if !request.instance_type.is_empty() {
            super::instance_type::apply(&request.instance_type, &mut request.config)?;
        }
        if request.source.kind == "migration" {
            return self.create_migrated(request);
        }
        let description = "Creating instance";
        let mut new = New::instance(description, &request.name);
        if request.source.kind == "image" && !request.source.server.is_empty() {
            return self.create_from_remote(request, new);
        }
        let (origin, record) = self.first_record(&request)?;
        if let Origin::Copy { from, .. } = &origin {
            new.resources[0].1.push(from.instance.clone());
        }
        let this = self.clone();
        self.engine.operations.run(new, move |operation| {
            let _permit = this.engine.gates.permit(&request.name, Action::Create)?;
            let _source = match &origin {
                Origin::Copy { from, .. } => Some(this.engine.gates.permit(&from.instance, Action::Copy)?),
                _ => None,
            };
            this.make(&request.name, record, origin, operation)?;
            if request.start {
                this.start_held(&request.name)?;
            }
            Ok(None)
        })
    }

    /// Makes an instance from an image of another server, which is downloaded into the cache first.
    fn create_from_remote(&self, mut request: InstancesPost, new: New) -> Result<Arc<Operation>> {
        let remote = RemoteImage::of_instance(&request.source)?;
        let this = self.clone();
        self.engine.operations.run(new, move |operation| {
            let _permit = this.engine.gates.permit(&request.name, Action::Create)?;
            if this.engine.records.instances.contains(&request.name) {
                return Err(Error::conflict(format!("Container '{}' already exists", request.name)));
            }
            let config = this.engine.records.server.get("config").map(|record| record.config.clone()).unwrap_or_default();
            let keep = Keep {
                cached: true,
                auto_update: IMAGES_AUTO_UPDATE_CACHED.get(&config).unwrap_or_default(),
                last_used_at: Timestamp::now(),
                ..Keep::default()
            };
            let fingerprint = this.engine.images().ensure_downloaded(&remote, &keep, operation)?.fingerprint;
            request.source = Source { kind: "image".to_owned(), fingerprint, ..Source::default() };
            let (origin, record) = this.first_record(&request)?;
            this.make(&request.name, record, origin, operation)?;
            if request.start {
                this.start_held(&request.name)?;
            }
            Ok(None)
        })
    }

    /// The record as the request and its source have it.
    fn first_record(&self, request: &InstancesPost) -> Result<(Origin, InstanceRecord)> {
        match request.source.kind.as_str() {
            "image" => {
                let (fingerprint, image) = self.source_image(&request.source)?;
                let mut record = self.plain_record(request, &image.architecture)?;
                let properties = image.properties.iter().map(|(key, value)| (format!("image.{key}"), value.clone()));
                for (key, value) in properties.filter(|(key, value)| keys::instance::TABLE.check(key, value).is_ok()) {
                    record.config.entry(key).or_insert(value);
                }
                volatile::BASE_IMAGE.set(&mut record.config, &fingerprint);
                volatile::APPLY_TEMPLATE.set(&mut record.config, "create");
                Ok((Origin::Image(fingerprint), record))
            }
            "none" => Ok((Origin::Nothing, self.plain_record(request, self.engine.host.architecture)?)),
            "copy" => self.copied_record(request),
            other => Err(Error::bad_request(format!("unknown source type {other}"))),
        }
    }

    pub(super) fn plain_record(&self, request: &InstancesPost, default_architecture: &str) -> Result<InstanceRecord> {
        let wanted = if request.architecture.is_empty() { default_architecture } else { &request.architecture };
        let architecture =
            host::architecture(wanted).ok_or_else(|| Error::bad_request(format!("Architecture isn't supported: {wanted}")))?;
        if !self.engine.host.architectures.contains(&architecture) {
            return Err(Error::bad_request(format!("architecture {architecture} does not run on this host"))
                .hint(format!("it runs {}", self.engine.host.architectures.join(", "))));
        }
        Ok(InstanceRecord {
            architecture: architecture.to_owned(),
            description: request.description.clone(),
            ephemeral: request.ephemeral,
            profiles: request.profiles.clone().unwrap_or_else(|| vec!["default".to_owned()]),
            config: request.config.clone(),
            devices: request.devices.clone(),
            ..InstanceRecord::default()
        })
    }

    /// The local image that a source names.
    fn source_image(&self, source: &Source) -> Result<(String, Held<ImageRecord>)> {
        let images = self.engine.images();
        if !source.fingerprint.is_empty() {
            return images.find(&source.fingerprint);
        }
        if !source.alias.is_empty() {
            let alias = self.engine.records.aliases.get(&source.alias);
            let target = alias.ok_or_else(|| {
                Error::not_found(format!("Image alias '{}' not found", source.alias))
                    .hint("`lxc image list` shows the images there are, `lxc image build` makes one")
            })?;
            return images.find(&target.target);
        }
        if source.properties.is_empty() {
            return Err(Error::bad_request("Must specify one of alias, fingerprint or properties for init from image"));
        }
        let all = self.engine.records.images.all().into_iter();
        let fits = |image: &ImageRecord| source.properties.iter().all(|(key, value)| image.properties.get(key) == Some(value));
        let newest = all.filter(|(_, image)| fits(image)).max_by_key(|(_, image)| image.created_at);
        newest.ok_or_else(|| Error::bad_request("No matching image could be found"))
    }

    /// Makes volume and record; nothing of it stays if a step fails. The caller holds the permit.
    pub(super) fn make(&self, name: &str, mut record: InstanceRecord, origin: Origin, operation: &Operation) -> Result<()> {
        let engine = &self.engine;
        if engine.records.instances.contains(name) {
            return Err(Error::conflict(format!("Container '{name}' already exists")));
        }
        clean(&mut record.config, &mut record.devices);
        self.choose_root(&mut record)?;
        let expanded = self.checked(&record)?;
        let _volumes = engine.use_volumes(&expanded.devices)?;
        record.pool = self.pool_of(&expanded)?;
        record.created_at = Timestamp::now();
        volatile::UUID.set(&mut record.config, uuid::Uuid::new_v4().to_string());
        // Until the record says that the pool is in use, this does.
        let _in_use = engine.use_pool(&record.pool);
        let pool = engine.pool(&record.pool)?;
        self.settle_leftover(name)?;
        self.check_no_volume(&*pool, &VolumeRef::instance(name))?;
        let intent = self.intend(name, IntentRecord::Creating { pool: record.pool.clone() })?;
        self.fill_volume(&*pool, (name, &record.pool), (&origin, &expanded.devices), operation)?;
        points::reach("create.filled");
        set_quota(&*pool, name, &expanded.devices, false)?;
        self.insert(name, record, &origin)?;
        intent.done();
        engine.lifecycle("instance-created", "instances", name);
        Ok(())
    }

    /// Refuses a place on the pool where something lies that no record and no intent accounts for:
    /// it may be the only copy of somebody's data.
    pub(super) fn check_no_volume(&self, pool: &dyn Pool, volume: &VolumeRef) -> Result<()> {
        let dir = pool.dir(volume);
        if !sys::fs::exists(&dir) {
            return Ok(());
        }
        let hint = if volume.snapshot.is_none() && self.engine.records.is_stored::<InstanceRecord>(&volume.instance)? {
            "its record cannot be read, see the daemon's log".to_owned()
        } else {
            format!("{} belongs to nothing that is recorded: move it away, or choose another name", dir.display())
        };
        let name = volume.snapshot.as_ref().map_or_else(|| volume.instance.clone(), |snapshot| format!("{}/{snapshot}", volume.instance));
        Err(Error::conflict(format!("Storage volume '{name}' already exists")).hint(hint))
    }

    fn fill_volume(
        &self,
        pool: &dyn Pool,
        (name, pool_name): (&str, &str),
        (origin, devices): (&Origin, &Devices),
        operation: &Operation,
    ) -> Result<()> {
        let what = format!("make the volume of `{name}`");
        match origin {
            Origin::Image(fingerprint) => {
                self.engine.images().ensure_unpacked(pool_name, fingerprint, operation)?;
                pool.create_from_image(name, fingerprint).context(what)
            }
            Origin::Nothing => pool.create_empty(name).context(what),
            Origin::Backup(source) => source.unpack(pool, name).context(what),
            Origin::Migration(arrival) => {
                pool.create_empty(name).context(what)?;
                // How much comes is for the other server to say.
                set_quota(pool, name, devices, false)?;
                self.receive_volumes(pool, name, arrival, operation)
            }
            Origin::Copy { from, pool: from_pool, snapshots } if from_pool == pool_name => {
                pool.copy(from, name).context(what.as_str())?;
                let copy = |snapshot: &String| pool.copy_snapshot(&VolumeRef::snapshot(&from.instance, snapshot.as_str()), name, snapshot);
                snapshots.iter().try_for_each(copy).context(what)
            }
            Origin::Copy { from, pool: from_pool, snapshots } => self.copy_across(pool, name, (from, from_pool, snapshots)),
        }
    }

    /// Chooses the id range, where it is the instance's own, and stores the record.
    fn insert(&self, name: &str, mut record: InstanceRecord, origin: &Origin) -> Result<()> {
        let engine = &self.engine;
        // Held until the choice is stored, so that no two get the same range.
        let _allocation = crate::sync::lock(&engine.id_allocation);
        volatile::IDMAP_BASE.set(&mut record.config, "");
        self.allocate_ids(name, &mut record)?;
        engine.forget_logs(name);
        let pool = record.pool.clone();
        let mut changes = engine.records.changes();
        changes.insert(name, record.clone())?;
        changes.delete::<IntentRecord>(name);
        for (snapshot, record) in self.first_snapshots(origin, &pool)? {
            changes.insert(&format!("{name}/{snapshot}"), record)?;
        }
        if let Origin::Image(fingerprint) = origin
            && let Some(image) = engine.records.images.get(fingerprint)
        {
            let used = ImageRecord { last_used_at: Timestamp::now(), ..ImageRecord::clone(&image.record) };
            changes.update(fingerprint, &image, used)?;
        }
        match changes.commit() {
            // Somebody else used or edited the image at the same moment: its time of use is then known already.
            Err(error) if error.kind() == ErrorKind::PreconditionFailed => {
                let mut changes = engine.records.changes();
                changes.insert(name, record)?;
                changes.delete::<IntentRecord>(name);
                changes.commit()
            }
            other => other,
        }
    }

    /// Adds a root disk where neither the request nor a profile has one.
    fn choose_root(&self, record: &mut InstanceRecord) -> Result<()> {
        check_profiles(&self.engine.records, &record.profiles)?;
        let expanded = expand_record(&self.engine.records, record);
        if keys::devices::root_disk(&expanded.devices)?.is_some() {
            return Ok(());
        }
        let pools = self.engine.records.pools.ids();
        let pool = match pools.as_slice() {
            [] => {
                return Err(Error::bad_request("No storage pool found. Please create a new storage pool.")
                    .hint("`lxd init` or `lxc storage create default dir`"));
            }
            [only] => only.clone(),
            several if several.iter().any(|name| name == "default") => "default".to_owned(),
            _ => {
                return Err(Error::bad_request("No root device could be found.")
                    .hint("choose a storage pool with -s, or add a root disk to the default profile"));
            }
        };
        add_root(record, &expanded, &pool);
        Ok(())
    }

    /// Checks a record alone and with its profiles.
    pub(super) fn checked(&self, record: &InstanceRecord) -> Result<Expanded> {
        check_profiles(&self.engine.records, &record.profiles)?;
        keys::instance::validate(&record.config)?;
        keys::devices::validate_devices(&record.devices, Scope::Instance)?;
        let expanded = expand_record(&self.engine.records, record);
        check_expanded(&expanded)?;
        self.check_apparmor(&expanded)?;
        Ok(expanded)
    }

    /// Lets the parser look at rules for the AppArmor profile, where there is one to load them.
    pub(super) fn check_apparmor(&self, expanded: &Expanded) -> Result<()> {
        let config = &expanded.config;
        let (Some(raw), Ok(apparmor)) = (RAW_APPARMOR.text(config), &self.engine.runtime.facts().apparmor) else { return Ok(()) };
        let rules = Rules { privileged: SECURITY_PRIVILEGED.is_true(config), nesting: SECURITY_NESTING.is_true(config), raw };
        apparmor.check("check", rules).context_as(ErrorKind::BadRequest, "check the AppArmor profile")
    }

    fn pool_of(&self, expanded: &Expanded) -> Result<String> {
        let root = keys::devices::root_disk(&expanded.devices)?;
        let pool = root.and_then(|(_, device)| disk::POOL.text(device));
        let pool = pool.ok_or_else(|| Error::bad_request("The root disk names no storage pool").hint("set its pool property"))?;
        if !self.engine.records.pools.contains(pool) {
            return Err(Error::bad_request(format!("Storage pool '{pool}' not found")).hint("`lxc storage list` shows those there are"));
        }
        Ok(pool.to_owned())
    }
}

/// Checks what an instance is to run with.
pub(super) fn check_expanded(expanded: &Expanded) -> Result<()> {
    keys::devices::validate_devices(&expanded.devices, Scope::Expanded)?;
    let mut places: Vec<String> =
        expanded.devices.values().filter(|device| disk::PATH.text(device).is_some()).map(disk::normal_path).collect();
    for mount in RAW_LXC.get(&expanded.config).unwrap_or_default().mounts {
        let place = disk::normal_path(&mount);
        if places.contains(&place) {
            return Err(Error::bad_request(format!("raw.lxc: lxc.mount.entry: another disk is at {place} already")));
        }
        places.push(place);
    }
    Ok(())
}

/// Sets or lifts the size limit of the root disk. `lift` also where there was never one.
pub(super) fn set_quota(pool: &dyn Pool, name: &str, devices: &Devices, lift: bool) -> Result<()> {
    let root = keys::devices::root_disk(devices)?;
    let bytes = root.and_then(|(_, device)| disk::SIZE.text(device).and(disk::SIZE.get(device)));
    if bytes.is_none() && !lift {
        return Ok(());
    }
    pool.set_quota(name, bytes).context_as(ErrorKind::BadRequest, format!("limit the size of the root disk of `{name}`"))
}

/// Empty means unset.
pub(super) fn clean(config: &mut Config, devices: &mut Devices) {
    config.retain(|_, value| !value.is_empty());
    devices.values_mut().for_each(|device| device.retain(|_, value| !value.is_empty()));
}
