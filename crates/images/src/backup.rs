//! Backups of whole instances and of custom volumes: one archive with the description of what it is and of its snapshots,
//! and the volume of each.
//!
//! ```text
//! backup/index.yaml                  what it is: names, snapshots, records; comes first
//! backup/container/backup.yaml       the records once more, where LXD looks for them
//! backup/container/metadata.yaml  templates/  rootfs/
//! backup/snapshots/NAME/metadata.yaml  templates/  rootfs/
//! backup/volume/...                  of a custom volume: its content
//! backup/volume-snapshots/NAME/...   and that of its snapshots
//! ```
//! The layout is LXD's (its form that is not optimized for one storage driver), so that its backups can
//! be brought here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sys::Root;
use sys::archive_io::File;

use crate::archive::{MemberKind, TarReader, relative_path};
use crate::metadata::{nullable, parse_yaml};
use crate::pack::{PackSource, Packed, Packer, Packing, unix_now};
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

/// The records of an instance or a custom volume and its snapshots, as the API shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupConfig {
    /// The instance.
    #[serde(alias = "instance", skip_serializing_if = "Value::is_null")]
    pub container: Value,
    /// Its snapshots, in the order of the index.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Value>,
    /// The storage pool that it is on. Not read here; LXD asks for it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub pool: Value,
    /// Its profiles, for whoever reads the backup.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Value>,
    /// The custom volume, or the volume of the instance, which is not read here.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub volume: Value,
    /// Its snapshots, in the order of the index.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub volume_snapshots: Vec<Value>,
}

/// What a backup of a custom volume says it is.
pub const CUSTOM_VOLUME: &str = "custom";

/// Where a volume is in a backup: of the instance, or of one of its snapshots.
pub fn backup_part(snapshot: Option<&str>) -> PathBuf {
    match snapshot {
        None => Path::new("backup").join("container"),
        Some(name) => Path::new("backup").join("snapshots").join(name),
    }
}

/// Where the content of a custom volume is in a backup, or that of one of its snapshots.
fn custom_part(snapshot: Option<&str>) -> PathBuf {
    match snapshot {
        None => Path::new("backup").join("volume"),
        Some(name) => Path::new("backup").join("volume-snapshots").join(name),
    }
}

/// Writes a backup, one volume after the other.
pub struct BackupWriter<'a> {
    packer: Packer<'a>,
}

impl<'a> BackupWriter<'a> {
    /// Begins with the index.
    pub fn new(index: &BackupIndex, out: &File, packing: impl Into<Packing>) -> Result<Self> {
        let mut packer = Packer::new(out, packing.into())?;
        packer.file(INDEX, to_yaml(index)?.as_bytes(), unix_now())?;
        if index.kind != CUSTOM_VOLUME {
            let records = backup_part(None).join("backup.yaml");
            packer.file(&records.to_string_lossy(), to_yaml(&index.config)?.as_bytes(), unix_now())?;
        }
        Ok(Self { packer })
    }

    /// Adds the content of the custom volume (no `snapshot`) or of a snapshot of it.
    pub fn content(&mut self, snapshot: Option<&str>, content: &Root) -> Result<()> {
        self.packer.bare_tree(content, &custom_part(snapshot).to_string_lossy())
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

/// A backup whose volumes are unpacked one after the other. In the order in which [`BackupWriter`] writes them the file is read
/// once; another order costs a second time.
pub struct BackupReader {
    file: PathBuf,
    archive: Option<tarball::Archive>,
    /// Volumes that were unpacked since the file was opened. Nothing of them may come later.
    done: Vec<PathBuf>,
}

impl BackupReader {
    /// Opens nothing yet.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), archive: None, done: Vec::new() }
    }

    /// Unpacks the volume of the instance (no `snapshot`) or of a snapshot into the directory `target`, its root file system into
    /// `rootfs` there.
    pub fn volume(&mut self, snapshot: Option<&str>, target: &Path, rootfs: &str) -> Result<()> {
        let prefix = backup_part(snapshot);
        self.part(&tarball::Scope { parts: tarball::Parts::All, prefix, rootfs: rootfs.to_owned() }, target)
    }

    /// Unpacks the content of the custom volume, or of a snapshot of it, into `rootfs` in the directory `target`.
    pub fn content(&mut self, snapshot: Option<&str>, target: &Path, rootfs: &str) -> Result<()> {
        let prefix = custom_part(snapshot);
        self.part(&tarball::Scope { parts: tarball::Parts::Rootfs, prefix, rootfs: rootfs.to_owned() }, target)
    }

    /// Reads on to the end: all that was to be unpacked has been.
    pub fn finish(mut self) -> Result<()> {
        let done = std::mem::take(&mut self.done);
        self.archive.map_or(Ok(()), |mut archive| archive.pass_rest(&mut |path| check_passed(&done, path)))
    }

    fn part(&mut self, scope: &tarball::Scope, target: &Path) -> Result<()> {
        let found = self.unpack_next(scope, target)?;
        if !found {
            // It was passed on the way to another.
            self.archive = None;
            self.done.clear();
            self.unpack_next(scope, target)?;
        }
        self.done.push(scope.prefix.clone());
        let root = Root::open(target)?;
        unpack::require(&root, &scope.rootfs, true).map_err(|()| Error::MissingRootfs { file: self.file.display().to_string() })
    }

    fn unpack_next(&mut self, scope: &tarball::Scope, target: &Path) -> Result<bool> {
        let archive = match &mut self.archive {
            Some(archive) => archive,
            None => self.archive.insert(tarball::Archive::open(&self.file)?),
        };
        let (root, done) = (Root::open(target)?, &self.done);
        Budget::new(target, None)
            .and_then(|mut budget| {
                let limits = (DevicePolicy::default(), &mut budget);
                archive.unpack(&root, scope.clone(), limits, &mut |path| check_passed(done, path))
            })
            .map_err(|error| if error.is_disk_full() { Error::DiskFull { target: target.display().to_string() } } else { error })
    }
}

/// What belongs to a volume that is complete would be lost.
fn check_passed(done: &[PathBuf], path: &Path) -> Result<()> {
    if done.iter().any(|prefix| path.starts_with(prefix)) {
        return Err(Error::refused(path.as_os_str().as_encoded_bytes(), "it is not with the rest of its volume"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compression;

    fn index() -> BackupIndex {
        BackupIndex {
            name: "c1".into(),
            backend: "dir".into(),
            pool: "default".into(),
            snapshots: vec!["s0".into()],
            kind: "container".into(),
            config: BackupConfig {
                container: serde_json::json!({"name": "c1", "config": {"user.a": "1"}}),
                snapshots: vec![Value::Null],
                ..BackupConfig::default()
            },
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
        let mut reader = BackupReader::new(&file);
        for (name, expected, rootfs) in [(None, "now", "rootfs"), (Some("s0"), "then", "upper")] {
            let target = home.path().join(expected);
            std::fs::create_dir(&target).expect("mkdir");
            reader.volume(name, &target, rootfs).expect("unpack");
            // In this order the file is needed no more once it is open.
            drop(std::fs::remove_file(&file));
            let read = |path: &str| std::fs::read_to_string(target.join(path)).expect("read");
            assert_eq!((read("templates/a.tpl"), read(&format!("{rootfs}/etc/f"))), (expected.to_owned(), expected.to_owned()));
            assert_eq!(read(&format!("{rootfs}/g")), expected, "a link leads to its own volume's file");
            assert!(!target.join("backup.yaml").exists());
        }
        reader.finish().expect("the end");
    }

    #[test]
    fn what_is_missing_or_scattered_is_found_out() {
        let home = tempfile::tempdir().expect("temporary directory");
        let dir = home.path().join("v");
        volume(&dir, "x");
        let (root, rootfs) = (Root::open(&dir).expect("open"), Root::open(dir.join("rootfs")).expect("open"));
        let source = PackSource { volume: &root, rootfs: &rootfs, ids: None, architecture: "x86_64" };
        let file = home.path().join("backup");
        let out = std::fs::File::create(&file).expect("create");
        let mut writer = BackupWriter::new(&index(), &out, Compression::None).expect("begin");
        for snapshot in [None, Some("s0"), None] {
            writer.volume(snapshot, &source).expect("volume");
        }
        writer.finish().expect("finish");
        let target = |name: &str| {
            let target = home.path().join(name);
            std::fs::create_dir(&target).expect("mkdir");
            target
        };
        let mut reader = BackupReader::new(&file);
        reader.volume(None, &target("main"), "rootfs").expect("unpack");
        reader.volume(Some("s0"), &target("s0"), "rootfs").expect("unpack");
        let said = reader.finish().expect_err("scattered").to_string();
        assert!(said.contains("not with the rest of its volume"), "{said}");
        let missing = BackupReader::new(&file).volume(Some("s1"), &target("missing"), "rootfs");
        assert!(matches!(missing, Err(Error::MissingRootfs { .. })), "{missing:?}");
    }

    #[test]
    fn the_content_of_custom_volumes_comes_back() {
        let home = tempfile::tempdir().expect("temporary directory");
        let (now, then) = (home.path().join("now"), home.path().join("then"));
        for (dir, content) in [(&now, "now"), (&then, "then")] {
            std::fs::create_dir_all(dir.join("rootfs/deep")).expect("mkdir");
            std::fs::write(dir.join("rootfs/deep/f"), content).expect("write");
            // A name that means something in the volumes of instances only.
            std::fs::write(dir.join("metadata.yaml"), content).expect("write");
        }
        let config = BackupConfig { volume: serde_json::json!({"name": "v"}), ..BackupConfig::default() };
        let index =
            BackupIndex { name: "v".into(), snapshots: vec!["s0".into()], kind: CUSTOM_VOLUME.into(), config, ..BackupIndex::default() };
        let file = home.path().join("backup");
        let out = std::fs::File::create(&file).expect("create");
        let mut writer = BackupWriter::new(&index, &out, Compression::Gzip).expect("begin");
        writer.content(None, &Root::open(&now).expect("open")).expect("volume");
        writer.content(Some("s0"), &Root::open(&then).expect("open")).expect("snapshot");
        writer.finish().expect("finish");
        assert_eq!(read_backup_index(&file).expect("index"), index);
        // Also in the other order.
        let mut reader = BackupReader::new(&file);
        for (snapshot, expected) in [(Some("s0"), "then"), (None, "now")] {
            let target = home.path().join(format!("to-{expected}"));
            std::fs::create_dir(&target).expect("mkdir");
            reader.content(snapshot, &target, "rootfs").expect("unpack");
            let read = |path: &str| std::fs::read_to_string(target.join("rootfs").join(path)).expect("read");
            assert_eq!((read("rootfs/deep/f"), read("metadata.yaml")), (expected.to_owned(), expected.to_owned()));
        }
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
