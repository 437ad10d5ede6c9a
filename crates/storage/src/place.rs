//! Where a pool's directory comes from: a plain directory, a subvolume of a btrfs that is there,
//! or a loop file with a btrfs that is made and mounted here.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::cmd::Cmd;
use sys::mount::MountFlags;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::overlay::OverlayDriver;
use crate::pool::PoolSpec;

const SOURCE: &str = "source";
const SIZE: &str = "size";
const MOUNT_OPTIONS: &str = "btrfs.mount_options";
/// The file in a pool's directory that holds its id: without it, the directory is what is left
/// when the disk is not mounted. Written last and removed last.
const MARKER: &str = ".lxd-pool";
const GIB: u64 = 1 << 30;
/// What mkfs.btrfs needs at least, rounded up.
const MIN_SIZE_BYTES: u64 = 128 << 20;
/// Without `size`, a loop file takes a fifth of the free space within these bounds.
const DEFAULT_SIZE_BYTES: (u64, u64) = (5 * GIB, 30 * GIB);

/// What holds a pool.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Subvolume(PathBuf),
    Loop(PathBuf),
}

/// Checks keys and values without touching anything.
pub(crate) fn validate(driver: &str, config: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in config {
        let refuse = |reason: &str| Err(Error::Config { key: key.clone(), reason: reason.to_owned() });
        match key.as_str() {
            SOURCE if value.is_empty() || (Path::new(value).is_absolute() && !value.contains(['\n', '\0'])) => {}
            SOURCE => return refuse("must be an absolute path"),
            SIZE if driver == "btrfs" => {
                parse_size(value)?;
            }
            MOUNT_OPTIONS if driver == "btrfs" => mount_options(config).map(drop)?,
            other if other.starts_with("user.") || other.starts_with("volatile.") => {}
            _ => return refuse("is not a key of this driver"),
        }
    }
    Ok(())
}

/// Makes the place of a new pool with its marker and writes the effective keys.
pub(crate) fn create(spec: &mut PoolSpec) -> Result<()> {
    create_place(spec)?;
    if spec.id.is_empty() {
        return Ok(());
    }
    mount(spec).and_then(|root| mark(spec, &root)).inspect_err(|_| {
        let unmarked = PoolSpec { id: String::new(), ..spec.clone() };
        crate::layout::logged(&spec.dir, destroy(&unmarked));
    })
}

fn create_place(spec: &mut PoolSpec) -> Result<()> {
    if spec.driver != "btrfs" {
        let root = source(spec).unwrap_or_else(|| spec.dir.clone());
        make_directory(spec, &root)?;
        spec.config.insert(SOURCE.to_owned(), root.to_string_lossy().into_owned());
        return Ok(());
    }
    let on_btrfs = |path: &Path| sys::fs::fs_magic(path).is_ok_and(|magic| magic == sys::fs::BTRFS_MAGIC);
    let home = spec.dir.parent().unwrap_or(Path::new("/")).to_owned();
    let source = source(spec).or_else(|| (!spec.config.contains_key(SIZE) && on_btrfs(&home)).then_some(home));
    match source {
        None => create_loop(spec),
        Some(source) if on_btrfs(&source) && source.is_dir() => {
            make_subvolume(&source.join(&spec.name))?;
            spec.config.insert(SOURCE.to_owned(), source.to_string_lossy().into_owned());
            spec.config.remove(SIZE);
            Ok(())
        }
        Some(path) => {
            let reason = "`source` must be a directory on a btrfs that is mounted; leave it out to get a loop file".to_owned();
            Err(Error::Unsuitable { path, driver: "btrfs", reason })
        }
    }
}

/// The directory that holds the pool, mounted if it has to be. A directory without the pool's
/// marker is refused as [`Error::Absent`].
pub(crate) fn ensure_mounted(spec: &PoolSpec) -> Result<PathBuf> {
    let root = mount(spec)?;
    if is_marked(spec, &root)? { Ok(root) } else { Err(Error::Absent { pool: spec.name.clone(), path: root, marker: MARKER }) }
}

/// Writes the marker, on the disk when it returns: the pool's record will be, and asks for it.
fn mark(spec: &PoolSpec, root: &Path) -> Result<()> {
    let marker = root.join(MARKER);
    sys::fs::write_atomic(&marker, spec.id.as_bytes(), 0o600)?;
    for path in [&*marker, root] {
        sys::fs::open(path)?.sync_all().map_err(|error| sys::Error::io("sync", path.display(), &error))?;
    }
    Ok(())
}

/// Whether a directory has the pool's marker.
fn is_marked(spec: &PoolSpec, root: &Path) -> Result<bool> {
    match sys::fs::read_to_string(root.join(MARKER)) {
        _ if spec.id.is_empty() => Ok(true),
        Ok(id) => Ok(id == spec.id),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn mount(spec: &PoolSpec) -> Result<PathBuf> {
    match place(spec) {
        Place::Directory(root) | Place::Subvolume(root) => {
            sys::fs::metadata(&root)?;
            Ok(root)
        }
        Place::Loop(file) => {
            sys::fs::ensure_dir_all(&spec.dir, 0o711)?;
            if !is_mounted(&spec.dir)? {
                // The mount keeps the device; it goes when the mount does.
                let device = sys::loopdev::attach(&file)?;
                let options = mount_options(&spec.config)?;
                sys::mount::mount_fs(&device.path().to_string_lossy(), &spec.dir, "btrfs", MountFlags::empty(), &options)?;
            }
            Ok(spec.dir.clone())
        }
    }
}

/// Removes the pool's content and what [`create`] made. What is absent is fine, so that it can
/// be called again, and so is a directory that is not the pool's: it is left alone.
pub(crate) fn destroy(spec: &PoolSpec) -> Result<()> {
    match place(spec) {
        Place::Loop(file) => {
            if sys::fs::exists(&spec.dir) && is_mounted(&spec.dir)? {
                sys::mount::unmount(&spec.dir)?;
            }
            sys::fs::remove_file(&file)?;
        }
        Place::Directory(root) | Place::Subvolume(root) if !is_marked(spec, &root)? => {
            tracing::warn!(pool = spec.name, path = %root.display(), "not this pool's directory, nothing is removed there");
        }
        Place::Subvolume(root) => match sys::btrfs::open(&root) {
            Err(error) if error.is_not_found() => {}
            opened => sys::btrfs::destroy(opened?, sys::btrfs::open(root.parent().unwrap_or(&root))?)?,
        },
        Place::Directory(root) => {
            for name in Layout::top_level().into_iter().chain([OverlayDriver::top_level()]) {
                sys::tree::remove(root.join(name))?;
            }
            sys::fs::remove_file(root.join(MARKER))?;
            remove_if_empty(&root)?;
        }
    }
    remove_if_empty(&spec.dir)
}

fn remove_if_empty(dir: &Path) -> Result<()> {
    match sys::fs::remove_dir(dir) {
        // A directory that was given to us: with others' files in it, or a mount point.
        Err(error) if matches!(error.errno, sys::Errno::NOTEMPTY | sys::Errno::BUSY) => Ok(()),
        other => Ok(other?),
    }
}

fn place(spec: &PoolSpec) -> Place {
    let source = source(spec);
    match source {
        source if spec.driver != "btrfs" => Place::Directory(source.unwrap_or_else(|| spec.dir.clone())),
        Some(source) if source != loop_file(spec) => Place::Subvolume(source.join(&spec.name)),
        _ => Place::Loop(loop_file(spec)),
    }
}

fn source(spec: &PoolSpec) -> Option<PathBuf> {
    spec.config.get(SOURCE).filter(|source| !source.is_empty()).map(PathBuf::from)
}

fn loop_file(spec: &PoolSpec) -> PathBuf {
    spec.disks_dir.join(format!("{}.img", spec.name))
}

/// Another file system than that of the directory above.
fn is_mounted(dir: &Path) -> Result<bool> {
    let device = |path: &Path| sys::fs::metadata(path).map(|metadata| metadata.dev());
    Ok(dir.parent().map_or(Ok(0), device)? != device(dir)?)
}

fn make_directory(spec: &PoolSpec, root: &Path) -> Result<()> {
    sys::fs::ensure_dir_all(root, 0o711)?;
    if sys::fs::list_dir(root)?.is_empty() {
        return Ok(());
    }
    let known = crate::driver_names().iter().find(|name| **name == spec.driver);
    Err(Error::Unsuitable { path: root.to_owned(), driver: known.copied().unwrap_or_default(), reason: "it is not empty".to_owned() })
}

fn make_subvolume(root: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else {
        return Err(Error::Config { key: SOURCE.to_owned(), reason: "has no parent directory".to_owned() });
    };
    // The daemon may have made the pool's directory already.
    sys::fs::remove_dir(root)?;
    sys::btrfs::create(sys::btrfs::open(parent)?, name)?;
    Ok(())
}

fn create_loop(spec: &mut PoolSpec) -> Result<()> {
    sys::fs::ensure_dir_all(&spec.disks_dir, 0o700)?;
    let file = loop_file(spec);
    if sys::fs::exists(&file) {
        return Err(Error::Unsuitable { path: file, driver: "btrfs", reason: "the file is there already".to_owned() });
    }
    let bytes = match spec.config.get(SIZE).filter(|size| !size.is_empty()) {
        Some(size) => parse_size(size)?,
        None => {
            let (_, free_bytes) = sys::fs::fs_space(&spec.disks_dir)?;
            (free_bytes / 5).clamp(DEFAULT_SIZE_BYTES.0, DEFAULT_SIZE_BYTES.1) / GIB * GIB
        }
    };
    let result = make_file_system(spec, &file, bytes);
    if result.is_err() {
        crate::layout::logged(&file, sys::fs::remove_file(&file).map_err(Error::from));
    }
    result?;
    spec.config.insert(SOURCE.to_owned(), file.to_string_lossy().into_owned());
    spec.config.entry(SIZE.to_owned()).or_insert_with(|| format!("{}GB", bytes / GIB));
    Ok(())
}

fn make_file_system(spec: &PoolSpec, file: &Path, bytes: u64) -> Result<()> {
    sys::fs::create(file, 0o600)?.set_len(bytes).map_err(|error| sys::Error::io("truncate", file.display(), &error))?;
    let label = format!("lxd-{}", spec.name);
    Cmd::new("mkfs.btrfs", "btrfs-progs").args(["--quiet", "--label", &label]).arg(file).deadline(Duration::from_secs(300)).run()?;
    let root = mount(spec)?;
    // They count only what is written from now on. Without them there is no usage to show, and
    // the first limit turns full quotas on.
    sys::btrfs::enable_simple_quota(sys::btrfs::open(&root)?)?;
    Ok(())
}

/// The options of the mount, from a list of those that are safe to take from a user.
fn mount_options(config: &BTreeMap<String, String>) -> Result<String> {
    const FLAGS: [&str; 9] = ["noatime", "relatime", "nodiratime", "ssd", "nossd", "discard", "discard=async", "autodefrag", "nobarrier"];
    const COMPRESSION: [&str; 3] = ["zlib", "lzo", "zstd"];
    // A guest may remove subvolumes that it made itself.
    let mut options = "user_subvol_rm_allowed".to_owned();
    for option in config.get(MOUNT_OPTIONS).map_or("", String::as_str).split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let compression = option.strip_prefix("compress=").or_else(|| option.strip_prefix("compress-force="));
        let algorithm = compression.map(|value| value.split_once(':').unwrap_or((value, "1")));
        let known = algorithm.is_some_and(|(name, level)| COMPRESSION.contains(&name) && level.parse().is_ok_and(|level: u8| level < 16));
        match option {
            "user_subvol_rm_allowed" => {}
            option if known || FLAGS.contains(&option) => {
                options.push(',');
                options.push_str(option);
            }
            other => {
                let reason = format!("the option `{other}` is not among {}, compress=, compress-force=", FLAGS.join(", "));
                return Err(Error::Config { key: MOUNT_OPTIONS.to_owned(), reason });
            }
        }
    }
    Ok(options)
}

/// Bytes of a size such as `15GB`; units are powers of 1024.
fn parse_size(text: &str) -> Result<u64> {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let refuse = |reason: String| Error::Config { key: SIZE.to_owned(), reason };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim() {
        "" => Some(0),
        unit => UNITS.iter().position(|known| *known == unit || *known == unit.replace('i', "").replace('K', "k")),
    };
    let bytes = power.zip(number.parse::<u64>().ok()).and_then(|(power, number)| number.checked_mul(1u64.checked_shl(10 * power as u32)?));
    match bytes {
        None => Err(refuse(format!("`{text}` is not a size such as 15GB"))),
        Some(bytes) if bytes < MIN_SIZE_BYTES => Err(refuse(format!("a btrfs needs at least {} MB", MIN_SIZE_BYTES >> 20))),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("15GB").expect("size"), 15 * GIB);
        assert_eq!(parse_size("1GiB").expect("size"), GIB);
        assert_eq!(parse_size("268435456").expect("size"), 256 << 20);
        for bad in ["", "GB", "-1GB", "1.5GB", "12MB", "99999999EB", "1G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_known_keys_and_options_are_taken() {
        let take = |driver, pairs: &[_]| validate(driver, &config(pairs)).is_ok();
        assert!(take("btrfs", &[("size", "10GB"), ("btrfs.mount_options", "noatime,compress=zstd:3"), ("user.note", "mine")]));
        assert!(take("dir", &[("source", "/srv/lxd")]));
        for options in ["subvol=/", "device=/dev/sda", "noatime,rescue=all", "compress=zstd:99", "compress=zstd,suid\n"] {
            assert!(!take("btrfs", &[("btrfs.mount_options", options)]), "{options}");
        }
        assert!(!take("dir", &[("size", "10GB")]));
        assert!(!take("dir", &[("source", "relative")]));
        assert!(!take("overlay", &[("zfs.pool_name", "tank")]));
    }
}
