//! Character and block devices of the host as nodes inside.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use api::Config;
use keys::devices::unix as key;
use runtime::DeviceNode;

use super::{Device, Owner, Part};
use crate::{Error, Result};

pub(super) struct UnixDevice;

impl Device for UnixDevice {
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
        let target = key::guest_path(config).ok_or_else(|| Error::bad_request(format!("device '{name}' has no path")))?;
        let block = config.get("type").is_some_and(|kind| kind == "unix-block");
        let number = match (key::MAJOR.get(config), key::MINOR.get(config)) {
            (Some(major), Some(minor)) => Some((major, minor)),
            _ => host_number(key::host_path(config).unwrap_or(target), block)?,
        };
        let Some(number) = number else {
            if !key::REQUIRED.is_true(config) {
                return Ok(None);
            }
            return Err(Error::bad_request("The device path doesn't exist on the host and major/minor wasn't specified.")
                .hint(format!("device '{name}' of {}; plug it in, or set required=false", owner.name)));
        };
        Ok(Some(Part::Nodes(vec![DeviceNode {
            mode: key::MODE.get(config).unwrap_or(0o660),
            uid: key::UID.get(config).unwrap_or(0),
            gid: key::GID.get(config).unwrap_or(0),
            ..super::node_of(owner, name, target, (block, number))
        }])))
    }
}

/// Device number of a node on the host, `None` if it is not there.
fn host_number(path: &str, block: bool) -> Result<Option<(u32, u32)>> {
    let Ok(facts) = sys::fs::metadata(path) else { return Ok(None) };
    let (is_block, is_char) = (facts.file_type().is_block_device(), facts.file_type().is_char_device());
    match (block, is_block, is_char) {
        (true, true, _) | (false, _, true) => Ok(Some(sys::block::split(facts.rdev()))),
        (true, _, true) => Err(Error::bad_request("Path specified for unix-block device is a character device.")),
        (false, true, _) => Err(Error::bad_request("Path specified for unix-char device is a block device.")),
        _ => Err(Error::bad_request(format!("{path} is not a device node"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn part(pairs: &[(&str, &str)]) -> Result<Option<Part>> {
        let config = Config::new();
        let owner = Owner {
            name: "c1",
            config: &config,
            devices_dir: std::path::Path::new("/d/c1"),
            sysfs: std::path::Path::new("/sys"),
            bridge: &|_| None,
            volume: &super::super::tests::no_volumes,
        };
        UnixDevice.part("dev", &map(pairs), &owner)
    }

    #[test]
    fn number_comes_from_the_host_or_the_keys() {
        let Some(Part::Nodes(nodes)) = part(&[("type", "unix-char"), ("path", "/dev/zero")]).expect("part") else { panic!("no node") };
        let node = &nodes[0];
        assert_eq!((node.major, node.minor, node.mode), (1, 5, 0o660));
        assert_eq!(node.source, PathBuf::from("/d/c1/unix.dev-zero"));
        let given = part(&[("type", "unix-block"), ("path", "/dev/x"), ("major", "8"), ("minor", "300"), ("mode", "0600")]).expect("part");
        let Some(Part::Nodes(nodes)) = given else { panic!("no node") };
        assert!(matches!(nodes[..], [DeviceNode { block: true, major: 8, minor: 300, mode: 0o600, .. }]));
    }

    #[test]
    fn missing_and_wrong_nodes() {
        assert!(part(&[("type", "unix-char"), ("path", "/dev/not-there")]).is_err());
        assert!(part(&[("type", "unix-char"), ("path", "/dev/not-there"), ("required", "false")]).expect("optional").is_none());
        let error = part(&[("type", "unix-block"), ("path", "/dev/zero")]).expect_err("wrong kind").to_string();
        assert!(error.contains("is a character device"), "{error}");
    }
}
