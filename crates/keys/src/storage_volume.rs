//! Keys of custom storage volumes.

use crate::row::keys;
use crate::types::{Expiry, Size, SnapshotPattern, Text, VolumeSchedule};
use crate::{Config, KeyError, Refused, Table};

keys! { ROWS;
    /// Instances with different ids may share the volume: always so here, since each sees it through a mount of its own ids.
    SHIFTED: bool = "security.shifted", "true", Event;
    /// Size limit of the volume, with all subvolumes that instances make inside. Instances that start with a volume that has one can
    /// make none that would not count (snapshots by the request that can name quota groups answer EPERM).
    SIZE: Size = "size", "", Now;
    /// How long snapshots are kept, such as `1d 12H`.
    SNAPSHOTS_EXPIRY: Expiry = "snapshots.expiry", "", Event;
    /// Name of snapshots made without a name; `%d` is the next free number.
    SNAPSHOTS_PATTERN: SnapshotPattern = "snapshots.pattern", "snap%d", Event;
    /// When snapshots are taken by themselves (UTC).
    SNAPSHOTS_SCHEDULE: VolumeSchedule = "snapshots.schedule", "", Event;
    /// Free for your own use.
    USER: Text = "user.*", "", Event;
}

static REFUSED: &[Refused] = &[
    Refused { name: "block.*", reason: "volumes are directories, there is no file system to choose" },
    Refused { name: "security.unmapped", reason: "volumes always appear with the instance's ids" },
    Refused { name: "zfs.*", reason: "there is no driver zfs" },
];

/// The keys of a custom volume.
pub static TABLE: Table = Table { unknown: "Unknown storage volume configuration key", rows: ROWS, refused: REFUSED };

/// Checks the configuration of a volume.
pub fn validate(config: &Config) -> Result<(), KeyError> {
    TABLE.validate(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_do_nothing_is_refused_with_the_reason() {
        let check = |key: &str, value: &str| validate(&Config::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(check("size", "10MiB"), Ok(()));
        assert_eq!(check("user.note", "mine"), Ok(()));
        let error = check("security.unmapped", "true").expect_err("refused").to_string();
        assert!(error.contains("instance's ids"), "{error}");
        assert!(check("colour", "blue").is_err());
        assert_eq!(check("snapshots.schedule", "@daily, @hourly"), Ok(()));
        assert_eq!(check("snapshots.schedule", "0 6 * * 1-5"), Ok(()));
        let error = check("snapshots.schedule", "@hourly,@startup").expect_err("refused").to_string();
        assert!(error.contains("a volume does not start"), "{error}");
    }
}
