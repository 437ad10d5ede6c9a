//! Backups of whole instances: one archive with the description of the instance and of its snapshots,
//! and the volume of each.
//!
//! ```text
//! backup/index.yaml                  what it is: names, snapshots, records; comes first
//! backup/container/backup.yaml       the records once more, where LXD looks for them
//! backup/container/metadata.yaml  templates/  rootfs/
//! backup/snapshots/NAME/metadata.yaml  templates/  rootfs/
//! ```
//! The layout is LXD's (its form that is not optimized for one storage driver), so that its backups can
//! be brought here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sys::Root;
use sys::archive_io::File;

use crate::archive::{MemberKind, TarReader, relative_path};
use crate::formats::Compression;
use crate::metadata::{nullable, parse_yaml};
use crate::pack::{PackSource, Packed, Packer, unix_now};
use crate::unpack::{self, budget::Budget, tarball};
use crate::{DevicePolicy, Error, Result, image, stream};

const INDEX: &str = "backup/index.yaml";
/// The index is the first member; something may stand before it, such as directories.
const MAX_BEFORE_INDEX: usize = 16;
/// The most snapshots of one backup.
const MAX_SNAPSHOTS: usize = 10_000;

/// `index.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupIndex {
    /// Name of the instance.
    pub name: String,
    /// The storage driver it was on.
    pub backend: String,
    /// The storage pool it was on.
    pub pool: String,
    /// Names of the snapshots, oldest first.
    #[serde(deserialize_with = "nullable")]
    pub snapshots: Vec<String>,
    /// The volumes are in a form that only one storage driver knows; such backups cannot be read here.
    pub optimized: bool,
    /// `container`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The records.
    #[serde(deserialize_with = "nullable")]
    pub config: BackupConfig,
}

/// The records of an instance and its snapshots, as the API shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupConfig {
    /// The instance.
    #[serde(alias = "instance")]
    pub container: Value,
    /// Its snapshots, in the order of the index.
    #[serde(deserialize_with = "nullable")]
    pub snapshots: Vec<Value>,
}

/// Where a volume is in a backup: of the instance, or of one of its snapshots.
pub fn backup_part(snapshot: Option<&str>) -> PathBuf {
    match snapshot {
        None => Path::new("backup").join("container"),
        Some(name) => Path::new("backup").join("snapshots").join(name),
    }
}

/// Writes a backup, one volume after the other.
pub struct BackupWriter<'a> {
    packer: Packer<'a>,
}

impl<'a> BackupWriter<'a> {
    /// Begins with the index.
    pub fn new(index: &BackupIndex, out: &File, compression: Compression) -> Result<Self> {
        let mut packer = Packer::new(out, compression)?;
        packer.file(INDEX, to_yaml(index)?.as_bytes(), unix_now())?;
        let records = backup_part(None).join("backup.yaml");
        packer.file(&records.to_string_lossy(), to_yaml(&index.config)?.as_bytes(), unix_now())?;
        Ok(Self { packer })
    }

    /// Adds the volume of the instance (no `snapshot`) or of a snapshot.
    pub fn volume(&mut self, snapshot: Option<&str>, source: &PackSource<'a>) -> Result<()> {
        self.packer.volume(source, &backup_part(snapshot).to_string_lossy())
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<Packed> {
        self.packer.finish()
    }
}

fn to_yaml(value: &impl Serialize) -> Result<String> {
    serde_saphyr::to_string(value).map_err(|error| Error::Metadata(error.to_string()))
}

/// Reads what a backup is of; no further than to its index.
pub fn read_backup_index(file: &Path) -> Result<BackupIndex> {
    // Where an upload was put tells nobody which file is wrong.
    let name = "the file".to_owned();
    let mut reader = TarReader::new(stream::open_tar(sys::fs::open(file)?, &name)?, &name);
    for _ in 0..MAX_BEFORE_INDEX {
        let Some(member) = reader.next()? else { break };
        if !relative_path(&member.path).is_ok_and(|path| path == Path::new(INDEX)) {
            continue;
        }
        if member.kind != MemberKind::File || member.sparse.is_some() {
            return Err(Error::refused(&member.path, "index.yaml must be a regular file"));
        }
        let index: BackupIndex = parse_yaml(&image::read_small(&mut reader, member.data_bytes)?)?;
        if index.snapshots.len() > MAX_SNAPSHOTS {
            return Err(Error::Limit { what: "snapshots of a backup", limit: MAX_SNAPSHOTS as u64 });
        }
        return Ok(index);
    }
    Err(Error::MissingIndex { file: name })
}

/// Unpacks one volume of a backup into the directory `target`, its root file system into `rootfs` there.
pub fn unpack_backup(file: &Path, snapshot: Option<&str>, target: &Path, rootfs: &str) -> Result<()> {
    let root = Root::open(target)?;
    let scope = tarball::Scope { parts: tarball::Parts::All, prefix: backup_part(snapshot), rootfs: rootfs.to_owned() };
    let unpacked = Budget::new(target, None)
        .and_then(|mut budget| tarball::unpack(file, &root, scope, (DevicePolicy::default(), &mut budget)))
        .map_err(|error| if error.is_disk_full() { Error::DiskFull { target: target.display().to_string() } } else { error });
    unpacked?;
    unpack::require(&root, rootfs, true).map_err(|()| Error::MissingRootfs { file: file.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> BackupIndex {
        BackupIndex {
            name: "c1".into(),
            backend: "dir".into(),
            pool: "default".into(),
            snapshots: vec!["s0".into()],
            kind: "container".into(),
            config: BackupConfig { container: serde_json::json!({"name": "c1", "config": {"user.a": "1"}}), snapshots: vec![Value::Null] },
            ..BackupIndex::default()
        }
    }

    fn volume(dir: &Path, content: &str) {
        std::fs::create_dir_all(dir.join("rootfs/etc")).expect("mkdir");
        std::fs::create_dir(dir.join("templates")).expect("mkdir");
        std::fs::write(dir.join("metadata.yaml"), "architecture: x86_64\ncreation_date: 1\n").expect("write");
        std::fs::write(dir.join("templates/a.tpl"), content).expect("write");
        std::fs::write(dir.join("rootfs/etc/f"), content).expect("write");
        std::fs::hard_link(dir.join("rootfs/etc/f"), dir.join("rootfs/g")).expect("link");
    }

    #[test]
    fn each_volume_comes_back_as_it_was() {
        let home = tempfile::tempdir().expect("temporary directory");
        let [main, snapshot] = ["main", "snapshot"].map(|name| home.path().join(name));
        volume(&main, "now");
        volume(&snapshot, "then");
        let file = home.path().join("backup");
        let out = std::fs::File::create(&file).expect("create");
        let roots = [&main, &snapshot].map(|dir| (Root::open(dir).expect("open"), Root::open(dir.join("rootfs")).expect("open")));
        let source = |index: usize| PackSource { volume: &roots[index].0, rootfs: &roots[index].1, ids: None, architecture: "x86_64" };
        let mut writer = BackupWriter::new(&index(), &out, Compression::Gzip).expect("begin");
        writer.volume(None, &source(0)).expect("main");
        writer.volume(Some("s0"), &source(1)).expect("snapshot");
        assert!(writer.finish().expect("finish").size_bytes > 0);

        assert_eq!(read_backup_index(&file).expect("index"), index());
        for (name, expected, rootfs) in [(None, "now", "rootfs"), (Some("s0"), "then", "upper")] {
            let target = home.path().join(expected);
            std::fs::create_dir(&target).expect("mkdir");
            unpack_backup(&file, name, &target, rootfs).expect("unpack");
            let read = |path: &str| std::fs::read_to_string(target.join(path)).expect("read");
            assert_eq!((read("templates/a.tpl"), read(&format!("{rootfs}/etc/f"))), (expected.to_owned(), expected.to_owned()));
            assert_eq!(read(&format!("{rootfs}/g")), expected, "a link leads to its own volume's file");
            assert!(!target.join("backup.yaml").exists());
        }
        let missing = home.path().join("missing");
        std::fs::create_dir(&missing).expect("mkdir");
        assert!(matches!(unpack_backup(&file, Some("s1"), &missing, "rootfs"), Err(Error::MissingRootfs { .. })));
    }

    #[test]
    fn what_is_no_backup_says_so() {
        let home = tempfile::tempdir().expect("temporary directory");
        let file = home.path().join("image");
        let out = std::fs::File::create(&file).expect("create");
        let dir = home.path().join("v");
        volume(&dir, "x");
        let (root, rootfs) = (Root::open(&dir).expect("open"), Root::open(dir.join("rootfs")).expect("open"));
        let source = PackSource { volume: &root, rootfs: &rootfs, ids: None, architecture: "x86_64" };
        crate::pack(&source, &std::collections::BTreeMap::new(), &out, Compression::None).expect("pack");
        assert!(matches!(read_backup_index(&file), Err(Error::MissingIndex { .. })));
    }
}
