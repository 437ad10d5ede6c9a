//! The server itself: facts and configuration of `/1.0`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::server::Environment;
use keys::server::{
    CORE_HTTPS_ADDRESS, CORE_HTTPS_ALLOWED_CREDENTIALS, CORE_HTTPS_ALLOWED_HEADERS, CORE_HTTPS_ALLOWED_METHODS, CORE_HTTPS_ALLOWED_ORIGIN,
    CORE_TRUST_PASSWORD,
};
use serde_json::{Map, Value};

use crate::https::Wanted;
use crate::records::{Held, ServerRecord};
use crate::sync::lock;
use crate::{Engine, Error, Result, Tagged, certificates, etag};

/// Additions to the API of 2.0 that work here, in the order in which LXD got them; our own last.
pub const API_EXTENSIONS: &[&str] = &[
    "container_host_shutdown_timeout",
    "container_stop_priority",
    "container_last_used_at",
    "etag",
    "patch",
    "https_allowed_credentials",
    "image_compression_algorithm",
    "directory_manipulation",
    "container_cpu_time",
    "network",
    "profile_usedby",
    "container_push",
    "container_exec_recording",
    "certificate_update",
    "container_exec_signal_handling",
    "container_image_properties",
    "migration_progress",
    "id_map",
    "storage",
    "file_delete",
    "file_append",
    "network_dhcp_expiry",
    "image_create_aliases",
    "container_stateless_copy",
    "container_only_migration",
    "entity_description",
    "image_force_refresh",
    "id_map_base",
    "file_symlinks",
    "container_push_target",
    "container_edit_metadata",
    "resource_limits",
    "resources",
    "kernel_limits",
    "storage_api_volume_rename",
    "console",
    "restrict_devlxd",
    "devlxd_events",
    "network_dhcp_gateway",
    "file_get_symlink",
    "network_leases",
    "unix_device_hotplug",
    "operation_description",
    "storage_api_local_volume_handling",
    "storage_api_remote_volume_handling",
    "event_lifecycle",
    "container_mount_propagation",
    "devlxd_images",
    "container_local_cross_pool_handling",
    "container_exec_user_group_cwd",
    "container_nic_ipfilter",
    "container_protection_delete",
    "storage_api_volume_snapshots",
    "storage_api_remote_volume_snapshots",
    "container_backup_override_pool",
    "container_incremental_copy",
    "snapshot_expiry",
    "snapshot_expiry_creation",
    "network_state",
    "backup_compression",
    "resources_v2",
    "container_backup",
    "container_full",
    "instances",
    "instance_create_start",
    "images_expiry",
    "images_push_relay",
    "backup_compression_algorithm",
    "container_raw_mount",
    "volume_snapshot_scheduling",
    "api_filtering",
    "storage_volume_state",
    "custom_volume_snapshot_expiry",
    "custom_volume_backup",
    "backup_override_name",
    "warnings",
    "certificate_token",
    "instance_ready_state",
    "metadata_configuration",
    "image_build",
    "container_checkpoint_check",
    "server_criu",
    "container_log_modified",
    "openapi",
];

/// Shown instead of a secret's value.
const HIDDEN: bool = true;

/// Values of the headers by which browsers decide what scripts of other sites may do (CORS).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the headers and say it")]
pub struct CrossOrigin {
    pub origin: String,
    pub methods: Option<String>,
    pub headers: Option<String>,
    pub with_credentials: bool,
}

/// The server's own facts and configuration.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) engine: Arc<Engine>,
}

impl Server {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// `GET /1.0`; callers that are not trusted see neither configuration nor host facts. Blocks for trusted
    /// ones: CRIU may have to be asked for its version.
    pub fn get(&self, trusted: bool) -> Tagged<api::server::Server> {
        let record = self.record();
        let value = api::server::Server {
            api_extensions: API_EXTENSIONS.iter().map(|name| (*name).to_owned()).collect(),
            api_status: "stable".into(),
            api_version: api::API_VERSION.into(),
            auth: if trusted { "trusted" } else { "untrusted" }.into(),
            public: false,
            auth_methods: vec!["tls".into()],
            config: trusted.then(|| shown(&record.config)),
            environment: trusted.then(|| self.environment()),
        };
        Tagged { value, etag: etag::of(&record.config) }
    }

    /// Replaces the configuration. Values must be strings or null; a hidden key given as `true`
    /// stays as it is.
    pub fn update(&self, config: Map<String, Value>, if_match: Option<&str>) -> Result<()> {
        self.change(config, if_match, false)
    }

    /// Changes only the keys given; null unsets.
    pub fn patch(&self, config: Map<String, Value>, if_match: Option<&str>) -> Result<()> {
        self.change(config, if_match, true)
    }

    /// What scripts of other web sites may do; `None` for nothing.
    pub fn cross_origin(&self) -> Option<CrossOrigin> {
        let config = self.stored_config();
        let text = |key: keys::Key<keys::types::Line>| key.text(&config).map(str::to_owned);
        Some(CrossOrigin {
            origin: text(CORE_HTTPS_ALLOWED_ORIGIN)?,
            methods: text(CORE_HTTPS_ALLOWED_METHODS),
            headers: text(CORE_HTTPS_ALLOWED_HEADERS),
            with_credentials: CORE_HTTPS_ALLOWED_CREDENTIALS.is_true(&config),
        })
    }

    /// The configuration as it is stored.
    pub(crate) fn stored_config(&self) -> api::Config {
        self.record().config.clone()
    }

    /// Keys that `wanted` does not name are kept or unset.
    fn change(&self, wanted: Map<String, Value>, if_match: Option<&str>, are_kept: bool) -> Result<()> {
        // Only what is named can be a new address.
        let address = wanted.get(CORE_HTTPS_ADDRESS.name).and_then(Value::as_str).unwrap_or_default();
        let address = Wanted::look_up(if keys::server::check(CORE_HTTPS_ADDRESS.name, address).is_ok() { address } else { "" });
        let _changing = lock(&self.engine.https.changing);
        let held = self.record();
        etag::check(if_match, &held.config)?;
        let mut config = if are_kept { held.config.clone() } else { api::Config::new() };
        for (key, value) in wanted {
            let is_secret = keys::server::TABLE.row(&key).is_some_and(keys::Row::is_secret);
            let value = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                Value::Bool(HIDDEN) if is_secret => held.config.get(&key).cloned().unwrap_or_default(),
                // Numbers and booleans have one spelling: no reason to be strict.
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(Error::bad_request(format!("Invalid value type for '{key}'"))),
            };
            keys::server::check(&key, &value)?;
            let value = keys::server::TABLE.row(&key).map_or_else(|| value.clone(), |row| row.plain(&value));
            let is_new = held.config.get(&key) != Some(&value);
            let value =
                if key == CORE_TRUST_PASSWORD.name && !value.is_empty() && is_new { certificates::hash_password(&value) } else { value };
            if value.is_empty() {
                config.remove(&key);
            } else {
                config.insert(key, value);
            }
        }
        self.commit(&held, config, address)?;
        self.engine.images().reconfigured(&held.config, &self.record().config);
        self.engine.lifecycle("config-updated", "", "");
        Ok(())
    }

    /// Listens where `config` says, which is `wanted` where it is new, and stores it; where one of them fails,
    /// neither is done.
    fn commit(&self, held: &Held<ServerRecord>, config: api::Config, wanted: Wanted) -> Result<()> {
        let address = |config: &api::Config| CORE_HTTPS_ADDRESS.text(config).unwrap_or_default().to_owned();
        let (before, after) = (address(&held.config), address(&config));
        if before != after {
            let wanted = if wanted.is(&after) { wanted } else { Wanted::look_up(&after) };
            self.engine.https.listen(wanted)?;
        }
        let mut changes = self.engine.records.changes();
        changes.update("config", held, ServerRecord { config })?;
        changes.commit().inspect_err(|_| {
            if before != after
                && let Err(error) = self.engine.https.listen(Wanted::look_up(&before))
            {
                tracing::error!("{}", error.report());
            }
        })
    }

    fn record(&self) -> Held<ServerRecord> {
        // Made when the state directory was; only a damaged record can be missing.
        let missing = || Held { record: Arc::default(), revision: 0 };
        self.engine.records.server.get("config").unwrap_or_else(missing)
    }

    fn environment(&self) -> Environment {
        let (host, config) = (&self.engine.host, &self.engine.config);
        let drivers = self.engine.pools.drivers();
        let join = |texts: Vec<&str>| texts.join(" | ");
        let (criu, criu_problem) =
            self.engine.criu.version().map_or_else(|problem| (String::new(), problem), |version| (version, String::new()));
        let identity = self.engine.https.identity().ok().map(pki::Identity::certificate);
        Environment {
            addresses: self.engine.https.addresses(),
            certificate: identity.map(pki::Certificate::pem).unwrap_or_default(),
            certificate_fingerprint: identity.map(|certificate| certificate.fingerprint().to_owned()).unwrap_or_default(),
            architectures: host.architectures.iter().map(|name| (*name).to_owned()).collect(),
            criu,
            criu_problem,
            driver: "lxc".into(),
            driver_version: config.version.clone(),
            kernel: "Linux".into(),
            kernel_architecture: host.architecture.into(),
            kernel_features: BTreeMap::from([
                ("apparmor".to_owned(), self.engine.runtime.facts().apparmor.is_ok().to_string()),
                ("idmapped_mounts".to_owned(), "true".to_owned()),
            ]),
            kernel_version: host.kernel_version.clone(),
            os_name: host.os_name.clone(),
            os_version: host.os_version.clone(),
            project: "default".into(),
            server: "lxd".into(),
            server_name: host.hostname.clone(),
            server_pid: std::process::id(),
            server_version: config.version.clone(),
            storage: join(drivers.iter().map(|(name, _)| name.as_str()).collect()),
            storage_version: join(drivers.iter().map(|(_, version)| version.as_str()).collect()),
            ..Environment::default()
        }
    }
}

/// What differs from the defaults.
fn shown(config: &api::Config) -> Map<String, Value> {
    let show = |(key, value): (&String, &String)| {
        let row = keys::server::TABLE.row(key);
        let value = match row {
            Some(row) if row.is_secret() => Value::Bool(HIDDEN),
            Some(row) if row.default == value => return None,
            // Also what a version before has stored.
            Some(row) => Value::String(row.plain(value)),
            None => Value::String(value.clone()),
        };
        Some((key.clone(), value))
    };
    config.iter().filter_map(show).collect()
}
