//! Disks other than the root disk: directories and files of the host and custom volumes shown inside, and block devices
//! mounted there.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use api::Config;
use keys::devices::disk as key;
use runtime::Bind;

use super::{Device, Owner, Part};
use crate::error::Context;
use crate::{Error, Result};

pub(super) struct DiskDevice;

impl Device for DiskDevice {
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
        let volume = key::volume(config);
        let optional = key::is_optional(config);
        let source = match volume {
            Some((pool, volume)) => match (owner.volume)(pool, volume) {
                Err(_) if optional => return Ok(None),
                other => other?,
            },
            None => key::SOURCE
                .text(config)
                .map(PathBuf::from)
                .ok_or_else(|| Error::bad_request(format!("Disk entry '{name}' is missing the required \"source\" property.")))?,
        };
        let file_system = match sys::fs::metadata(&source) {
            Ok(facts) if facts.file_type().is_block_device() => Some(file_system_on(name, &source)?),
            Ok(_) => None,
            Err(_) if optional => return Ok(None),
            Err(error) => {
                return Err(Error::bad_request(format!("Missing source '{}' for disk '{name}'", source.display()))
                    .caused_by(error)
                    .hint("make it, or set optional=true on the device"));
            }
        };
        Ok(Some(Part::Disk(Bind {
            device: name.to_owned(),
            source,
            target: key::normal_path(config).into(),
            read_only: key::READONLY.is_true(config),
            recursive: key::RECURSIVE.is_true(config),
            optional,
            // On a volume, ids are those of the guests.
            idmapped: volume.is_some() || key::SHIFT.is_true(config),
            file_system,
        })))
    }
}

/// What a block device is to be mounted as.
fn file_system_on(name: &str, device: &Path) -> Result<String> {
    let known = sys::block::file_system(device).context(format!("look at disk '{name}'"))?;
    let none = || {
        Error::bad_request(format!("disk '{name}': no file system that is known is on the block device {}", device.display()))
            .hint("make one with mkfs, or pass the device itself with a unix-block device")
    };
    known.map(str::to_owned).ok_or_else(none)
}
