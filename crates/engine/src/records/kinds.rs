//! The kinds of record, each with its key prefix and format number.

use api::{Config, Devices, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;
use sys::idmap::IdMap;

use super::{Kind, Records, Stored};

/// An instance; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InstanceRecord {
    pub architecture: String,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub description: String,
    pub ephemeral: bool,
    pub profiles: Vec<String>,
    /// Own configuration, `volatile.*` included.
    pub config: Config,
    /// Own devices.
    pub devices: Devices,
    /// Storage pool that holds its volume; fixed at creation.
    pub pool: String,
    /// The owners of its files are being changed from `volatile.last_state.idmap` to this: some
    /// may have those, some these. Goes with the files: into copies and snapshots.
    pub shifting_to: Option<IdMap>,
    /// Its running state is saved, and the next start goes on from there.
    pub stateful: bool,
}

/// A snapshot; the key is `INSTANCE/SNAPSHOT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SnapshotRecord {
    pub taken_at: Timestamp,
    pub expires_at: Timestamp,
    /// The instance as it was.
    pub instance: InstanceRecord,
    /// It holds the running state, too.
    pub stateful: bool,
}

/// What is under way with an instance; the key is the instance's name. It is stored before the first
/// step and removed with the last, so that a daemon that died in between is found out by the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntentRecord {
    /// Its volume is being made; there is no record of it yet.
    Creating {
        pool: String,
    },
    /// Its volume is getting another name.
    Renaming {
        to: String,
    },
    /// A snapshot of its content is being taken, and of its running state, too, if it says so.
    Snapshotting {
        snapshot: String,
        #[serde(default)]
        stateful: bool,
    },
    RenamingSnapshot {
        from: String,
        to: String,
    },
    /// Content and configuration of a snapshot take the place of its own; then it is to run or not.
    Restoring {
        snapshot: String,
        start: bool,
    },
    /// Its running state is being saved, after which it is to be stopped.
    Saving,
    /// Its running state, or that of a snapshot of it, is being restored. Once it has run, that is the past.
    Resuming {
        snapshot: Option<String>,
    },
    /// It is on its way down, and is to be started after that.
    Restarting,
    /// Nothing of it runs, and it is to be started.
    Starting,
}

impl IntentRecord {
    /// Whether nothing but starting the instance is left to be done.
    pub(crate) fn is_start(&self) -> bool {
        matches!(self, Self::Restarting | Self::Starting | Self::Resuming { .. })
    }
}

/// A profile; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProfileRecord {
    pub description: String,
    pub config: Config,
    pub devices: Devices,
}

/// An image; the key is its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImageRecord {
    pub architecture: String,
    pub auto_update: bool,
    pub cached: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Timestamp,
    pub uploaded_at: Timestamp,
    pub filename: String,
    pub properties: Config,
    pub public: bool,
    pub size_bytes: u64,
    /// There is a separate file for the root file system.
    pub is_split: bool,
    /// Extension of the first file, with its dot: `.tar.gz`.
    pub extension: String,
    /// Extension of the root file system's file.
    pub rootfs_extension: String,
    /// Where newer versions come from.
    pub source: Option<SourceRecord>,
}

/// Where an image was downloaded from by a name that may mean another one later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceRecord {
    pub server: String,
    /// `lxd`, `simplestreams` or `direct`.
    pub protocol: String,
    /// PEM text; empty where the system's authorities vouch for the server.
    pub certificate: String,
    pub alias: String,
}

/// An alias of an image; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AliasRecord {
    /// Full fingerprint.
    pub target: String,
    pub description: String,
}

/// A managed network; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    pub description: String,
    pub config: Config,
}

/// A storage pool; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolRecord {
    pub driver: String,
    pub description: String,
    pub config: Config,
    /// What the pool's marker says, so that a disk that is not mounted is found out.
    pub id: String,
}

/// A backup of an instance; the key is `INSTANCE/BACKUP`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BackupRecord {
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Without snapshots.
    pub instance_only: bool,
    /// Name of its file.
    pub file: String,
}

/// A custom storage volume; the key is `POOL/VOLUME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VolumeRecord {
    pub description: String,
    pub config: Config,
    pub created_at: Timestamp,
}

/// A snapshot of a custom volume; the key is `POOL/VOLUME/SNAPSHOT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VolumeSnapshotRecord {
    pub taken_at: Timestamp,
    pub expires_at: Timestamp,
    pub description: String,
    /// The volume's configuration as it was.
    pub config: Config,
}

/// A backup of a custom volume; the key is `POOL/VOLUME/BACKUP`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VolumeBackupRecord {
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Without snapshots.
    pub volume_only: bool,
    /// Name of its file.
    pub file: String,
}

/// What is under way with a custom volume, as [`IntentRecord`] is of an instance; the key is `POOL/VOLUME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VolumeIntentRecord {
    Creating,
    Renaming { to: String },
    Snapshotting { snapshot: String },
    RenamingSnapshot { from: String, to: String },
}

/// The server's configuration; the one key is `config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRecord {
    pub config: Config,
}

/// A trusted client certificate; the key is its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CertificateRecord {
    pub name: String,
    /// PEM, as this program writes it.
    pub certificate: String,
}

/// Whether somebody has seen to a warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WarningStatus {
    #[default]
    New,
    Acknowledged,
    Resolved,
}

impl WarningStatus {
    /// As clients know it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Something that the server warns of; the key is a UUID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WarningRecord {
    pub kind: String,
    pub severity: String,
    /// URL of what it is about, if it is not the server as a whole.
    pub entity: String,
    pub status: WarningStatus,
    pub count: u64,
    pub first_seen_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub resolved_at: Timestamp,
    pub message: String,
}

macro_rules! kinds {
    ($($record:ident = $prefix:literal, $field:ident;)*) => {
        $(impl Record for $record {
            const PREFIX: &'static str = $prefix;
        }
        impl Stored for $record {
            fn kind(records: &Records) -> &Kind<Self> {
                &records.$field
            }
        })*
    };
}

kinds! {
    InstanceRecord = "instances/", instances;
    SnapshotRecord = "snapshots/", snapshots;
    IntentRecord = "intents/", intents;
    ProfileRecord = "profiles/", profiles;
    ImageRecord = "images/", images;
    AliasRecord = "aliases/", aliases;
    NetworkRecord = "networks/", networks;
    PoolRecord = "pools/", pools;
    BackupRecord = "backups/", backups;
    VolumeRecord = "volumes/", volumes;
    VolumeSnapshotRecord = "volume-snapshots/", volume_snapshots;
    VolumeBackupRecord = "volume-backups/", volume_backups;
    VolumeIntentRecord = "volume-intents/", volume_intents;
    ServerRecord = "server/", server;
    CertificateRecord = "certificates/", certificates;
    WarningRecord = "warnings/", warnings;
}
