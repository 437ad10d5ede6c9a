//! What images hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use images::{DevicePolicy, TemplateContext, UnpackOptions};

/// A directory that is gone again at the end.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A whole image: how it is compressed, its archive, what that makes on disk.
pub fn image(input: &[u8]) {
    let dir = scratch();
    let file = dir.path().join("image");
    std::fs::write(&file, input).expect("write the input");
    drop(images::read_image(&file, None));
    let target = dir.path().join("target");
    std::fs::create_dir(&target).expect("mkdir");
    let options = UnpackOptions { devices: DevicePolicy::Skip, limit_bytes: Some(1 << 20) };
    drop(images::unpack_with(&file, None, &target, &options));
    assert_eq!(names(dir.path()), ["image", "target"], "something was written outside");
}

/// Size of a block of a tar archive.
const BLOCK_BYTES: usize = 512;
/// Where a header has the size of its member, and its checksum.
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// An archive whose headers are made to have the right checksum, so that what is in them is looked at.
pub fn tarball(input: &[u8]) {
    let mut archive = input.to_vec();
    let mut at = 0;
    while at + BLOCK_BYTES <= archive.len() {
        let header = &mut archive[at..at + BLOCK_BYTES];
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[SIZE]).ok().and_then(|text| usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok());
        at += BLOCK_BYTES + size.unwrap_or(0).min(archive.len()).next_multiple_of(BLOCK_BYTES);
    }
    image(&archive);
    backup(&archive);
}

/// The engine that backups are brought to.
static ENGINE: LazyLock<Arc<engine::Engine>> = LazyLock::new(|| crate::sockets::engine().1);

/// A backup: its index, the records in that, and the volume.
pub fn backup(input: &[u8]) {
    let dir = scratch();
    let file = dir.path().join("backup");
    std::fs::write(&file, input).expect("write the input");
    if let Ok(index) = images::read_backup_index(&file) {
        engine::fuzzing::backup_records(&ENGINE, &index);
    }
    let target = dir.path().join("target");
    std::fs::create_dir(&target).expect("mkdir");
    let mut reader = images::BackupReader::new(&file);
    drop(reader.volume(None, &target, "rootfs"));
    drop(reader.content(None, &target, "content"));
    drop(reader.finish());
    assert_eq!(names(dir.path()), ["backup", "target"], "something was written outside");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("read the directory");
    let mut names: Vec<String> = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// `metadata.yaml`: what can be read can be written, and is then the same.
pub fn metadata(input: &[u8]) {
    let Ok(read) = images::Metadata::parse(input) else { return };
    let written = read.to_yaml().expect("what was read can be written");
    let again = images::Metadata::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_yaml().expect("twice"), written);
}

/// A template: parsed, run, its output written.
pub fn template(input: &[u8]) {
    let dir = scratch();
    for part in ["volume/templates", "rootfs/etc"] {
        std::fs::create_dir_all(dir.path().join(part)).expect("mkdir");
    }
    let volume = dir.path().join("volume");
    let metadata = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/x:\n    when: [start]\n    template: x.tpl\n";
    std::fs::write(volume.join("metadata.yaml"), metadata).expect("write the metadata");
    std::fs::write(volume.join("templates/x.tpl"), input).expect("write the template");
    let context = TemplateContext {
        name: "c1".to_owned(),
        architecture: "x86_64".to_owned(),
        privileged: false,
        ephemeral: false,
        config: BTreeMap::from([("user.a".to_owned(), "1".to_owned())]),
        devices: BTreeMap::new(),
        owner: (0, 0),
    };
    let (volume, rootfs) = (sys::Root::open(&volume).expect("open"), sys::Root::open(dir.path().join("rootfs")).expect("open"));
    drop(images::apply_templates("start", &context, &volume, &rootfs));
}
