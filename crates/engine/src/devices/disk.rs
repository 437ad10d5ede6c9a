//! Disks other than the root disk: directories and files of the host and custom volumes shown inside, and block devices
//! mounted there.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use api::Config;
use keys::devices::disk as key;
use keys::types::{DiskOption, Propagation as Mode};
use runtime::{Bind, Propagation};

use super::{Device, Owner, Part};
use crate::error::Context;
use crate::{Error, Result};

pub(super) struct DiskDevice;

/// Options of every mount, and their bits of `MOUNT_ATTR_*` (linux/mount.h).
const ATTRIBUTES: &[(&str, u32)] = &[
    ("noatime", 0x10),
    ("nodev", 0x4),
    ("nodiratime", 0x80),
    ("noexec", 0x8),
    ("nosuid", 0x2),
    ("nosymfollow", 0x20_0000),
    ("strictatime", 0x20),
];

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
        let mut character_device = None;
        let file_system = match sys::fs::metadata(&source) {
            Ok(facts) if facts.file_type().is_block_device() => Some(file_system_on(name, &source)?),
            // Those of `raw.lxc` are in the words of mount(8), which takes `rbind` for files, too.
            Ok(facts) if key::RECURSIVE.is_true(config) && !facts.is_dir() && !name.starts_with(super::RAW) => {
                return Err(Error::bad_request("The recursive option is only supported for additional bind-mounted paths.")
                    .hint(format!("the source of disk '{name}', {}, is no directory: leave it out", source.display())));
            }
            Ok(facts) if facts.file_type().is_char_device() => {
                character_device = Some(sys::block::split(facts.rdev()));
                None
            }
            Ok(_) => None,
            Err(_) if optional => return Ok(None),
            Err(error) => {
                return Err(Error::bad_request(format!("Missing source '{}' for disk '{name}'", source.display()))
                    .caused_by(error)
                    .hint("make it, or set optional=true on the device"));
            }
        };
        let (attributes, options) = mount_options(name, config, file_system.is_some())?;
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
            character_device,
            options,
            attributes,
            propagation: match key::PROPAGATION.get(config) {
                Some(Mode::Slave | Mode::RecursiveSlave) => Propagation::Slave,
                Some(Mode::Shared | Mode::RecursivelyShared) => Propagation::Shared,
                Some(Mode::Private | Mode::RecursivelyPrivate) | None => Propagation::Private,
            },
        })))
    }
}

/// Flags of the mount, and options of the file system on a block device, one without a value being a flag.
type MountOptions = (u32, Vec<(String, Option<String>)>);

/// What `raw.mount.options` says.
fn mount_options(name: &str, config: &Config, is_block_device: bool) -> Result<MountOptions> {
    let (mut attributes, mut options) = (0, Vec::new());
    for option in key::RAW_MOUNT_OPTIONS.get(config).unwrap_or_default() {
        match option {
            DiskOption::Flag(flag) => attributes |= ATTRIBUTES.iter().find(|(known, _)| *known == flag).map_or(0, |(_, bit)| *bit),
            DiskOption::FileSystem(option, value) if is_block_device => options.push((option, value)),
            DiskOption::FileSystem(option, _) => {
                return Err(Error::bad_request(format!(
                    "disk '{name}': the mount option {option} is one of file systems on block devices"
                ))
                .hint("what is already mounted on the host keeps its own"));
            }
        }
    }
    Ok((attributes, options))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(source: &Path, more: &[(&str, &str)]) -> Result<Option<Part>> {
        let pairs = [("type", "disk"), ("path", "/x"), ("source", source.to_str().expect("text"))];
        let device = pairs.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let owner = Owner {
            name: "c1",
            config: &Config::new(),
            devices_dir: Path::new("/d"),
            sysfs: Path::new("/sys"),
            bridge: &|_| None,
            volume: &super::super::tests::no_volumes,
        };
        DiskDevice.part("dev", &device, &owner)
    }

    #[test]
    fn only_directories_have_mounts_below() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("write");
        assert!(part(dir.path(), &[("recursive", "true")]).is_ok());
        assert!(part(&file, &[]).is_ok());
        let error = part(&file, &[("recursive", "true")]).expect_err("a file").report();
        assert!(error.starts_with("The recursive option is only supported") && error.contains("'dev'"), "{error}");
    }

    #[test]
    fn the_number_of_a_device_comes_along() {
        let number = |source: &str| match part(Path::new(source), &[]) {
            Ok(Some(Part::Disk(bind))) => bind.character_device,
            other => panic!("{other:?}"),
        };
        assert_eq!((number("/dev/null"), number("/proc/version")), (Some((1, 3)), None));
    }
}
