//! The drivers on real file systems: ext4 or whatever holds the temporary directory, btrfs on a
//! loop file, overlays really mounted. Each test has a mount namespace of its own, so that
//! nothing stays mounted or attached when it ends, however it ends.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a failing or measuring test tells where it is")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{Error, Pool, PoolSpec, Rootfs, ShiftState, Subvolumes, VolumeRef};
use sys::idmap::IdMap;
use sys::mount::MountFlags;
use sys::tree::FileType;
use sys::{Root, xattr};

const CLONE_NEWNS: u64 = 0x0002_0000;
const FINGERPRINT: &str = "0123456789abcdef";

/// Runs `test` on a thread with a mount namespace of its own.
fn isolated(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        sys::process::unshare(CLONE_NEWNS).expect("unshare");
        sys::mount::make_all_private().expect("make mounts private");
        let home = tempfile::tempdir().expect("temporary directory");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(home.path())));
        for pool in fs::read_dir(home.path().join("storage-pools")).into_iter().flatten().flatten() {
            // Not a mount point unless the pool has a loop file.
            let _ = sys::mount::unmount(pool.path());
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn spec(home: &Path, driver: &str) -> PoolSpec {
    let config = if driver == "btrfs" { [("size".to_owned(), "256MB".to_owned())].into() } else { BTreeMap::new() };
    PoolSpec {
        name: "default".into(),
        driver: driver.into(),
        config,
        dir: home.join("storage-pools/default"),
        disks_dir: home.join("disks"),
        id: "one".into(),
    }
}

fn create(home: &Path, driver: &str) -> (PoolSpec, Arc<dyn Pool>) {
    let mut spec = spec(home, driver);
    let pool = storage::create(&mut spec).expect("create pool");
    (spec, pool)
}

fn each_driver(test: impl Fn(&PoolSpec, &dyn Pool) + Send + Copy + 'static) {
    for driver in storage::driver_names() {
        isolated(move |home| {
            eprintln!("driver {driver}");
            let (spec, pool) = create(home, driver);
            test(&spec, &*pool);
            drop(pool);
            storage::destroy(&spec).expect("destroy pool");
            assert!(!spec.dir.exists() && !spec.disks_dir.join("default.img").exists());
        });
    }
}

fn fill_image(dir: &Path) -> storage::Result<()> {
    fs::write(dir.join("metadata.yaml"), "architecture: x86_64\n").expect("write");
    fs::create_dir(dir.join("templates")).expect("mkdir");
    fs::write(dir.join("templates/hostname.tpl"), "{{ container.name }}").expect("write");
    let rootfs = dir.join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).expect("mkdir");
    fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::write(rootfs.join("bin/su"), "program").expect("write");
    fs::set_permissions(rootfs.join("bin/su"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    fs::hard_link(rootfs.join("bin/su"), rootfs.join("bin/su2")).expect("link");
    fs::write(rootfs.join("version"), "image").expect("write");
    Ok(())
}

fn with_image(pool: &dyn Pool) {
    pool.create_image(FINGERPRINT, &mut fill_image).expect("create image");
}

/// Mounts a container's root file system and gives its path to `look`.
fn in_rootfs<T>(pool: &dyn Pool, volume: &VolumeRef, look: impl FnOnce(&Path) -> T) -> T {
    match pool.rootfs(volume).expect("rootfs") {
        Rootfs::Dir { path } => look(&path),
        Rootfs::Overlay { lower, upper, work } => {
            let target = tempfile::tempdir().expect("temporary directory");
            let options = format!("lowerdir={},upperdir={},workdir={},userxattr", lower.display(), upper.display(), work.display());
            sys::mount::mount_fs("overlay", target.path(), "overlay", MountFlags::empty(), &options).expect("mount overlay");
            let result = look(target.path());
            sys::mount::unmount(target.path()).expect("unmount");
            result
        }
    }
}

fn read(pool: &dyn Pool, volume: &VolumeRef, path: &str) -> String {
    in_rootfs(pool, volume, |rootfs| fs::read_to_string(rootfs.join(path)).unwrap_or_else(|error| error.kind().to_string()))
}

fn instance(name: &str) -> VolumeRef {
    VolumeRef::instance(name)
}

/// Names directly in a directory of the pool, temporary ones too.
fn names(spec: &PoolSpec, dir: &str) -> Vec<String> {
    sys::fs::list_dir(spec.dir.join(dir)).expect("list")
}

/// The same without the notes of images that are being written to the disk.
fn images(spec: &PoolSpec) -> Vec<String> {
    names(spec, "images").into_iter().filter(|name| !name.starts_with(".unsynced-")).collect()
}

#[test]
fn a_running_state_goes_with_its_snapshot_alone() {
    each_driver(|_, pool| {
        with_image(pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        let state = pool.make_state("c1").expect("state");
        assert_eq!(fs::metadata(&state).expect("stat").mode() & 0o7777, 0o750);
        fs::write(state.join("pages"), "memory").expect("write");
        in_rootfs(pool, &instance("c1"), |rootfs| fs::write(rootfs.join("version"), "before").expect("write"));
        // What changes until everything stands still is in the snapshot, what changes later is not.
        let mut rest = |complete: &mut (dyn FnMut() -> storage::Result<()> + Send)| {
            in_rootfs(pool, &instance("c1"), |rootfs| fs::write(rootfs.join("version"), "at rest").expect("write"));
            complete()?;
            in_rootfs(pool, &instance("c1"), |rootfs| fs::write(rootfs.join("version"), "after").expect("write"));
            Ok(())
        };
        pool.snapshot_at_rest("c1", "s", &mut rest).expect("snapshot");
        let snapshot = VolumeRef::snapshot("c1", "s");
        assert_eq!(read(pool, &snapshot, "version"), "at rest");
        assert_eq!(fs::read_to_string(pool.state_dir(&snapshot).join("pages")).expect("read"), "memory");
        assert!(!state.exists(), "a container that goes on has none");

        // A refusal leaves nothing, and is passed on.
        let state = pool.make_state("c1").expect("state");
        let refusal = pool.snapshot_at_rest("c1", "t", &mut |_| Err("not today".into())).expect_err("refused");
        assert_eq!(refusal.to_string(), "not today");
        assert!(!pool.dir(&VolumeRef::snapshot("c1", "t")).exists() && state.exists());

        // Neither copies nor plain snapshots nor restored containers have it.
        pool.snapshot("c1", "plain").expect("snapshot");
        pool.copy(&instance("c1"), "c2").expect("copy");
        pool.copy(&snapshot, "c3").expect("copy of a snapshot");
        pool.restore("c1", "s").expect("restore");
        for volume in [VolumeRef::snapshot("c1", "plain"), instance("c2"), instance("c3"), instance("c1")] {
            assert!(!pool.state_dir(&volume).exists(), "{volume:?}");
        }
        pool.remove_state(&instance("c1")).expect("absent is fine");
        pool.make_state("c1").and_then(|_| pool.remove_state(&instance("c1"))).expect("remove");
        pool.delete_snapshot("c1", "s").expect("delete with its state");
        ["c1", "c2", "c3"].iter().for_each(|name| pool.delete(name).expect("delete"));
        pool.delete_image(FINGERPRINT).expect("delete image");
    });
}

#[test]
fn a_container_lives_its_whole_life() {
    each_driver(|spec, pool| {
        with_image(pool);
        assert!(pool.has_image(FINGERPRINT));
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        assert_eq!(fs::metadata(pool.dir(&instance("c1"))).expect("stat").mode() & 0o7777, 0o100);
        assert_eq!(fs::read_to_string(pool.dir(&instance("c1")).join("templates/hostname.tpl")).expect("template"), "{{ container.name }}");
        in_rootfs(pool, &instance("c1"), |rootfs| {
            let su = fs::metadata(rootfs.join("bin/su")).expect("stat");
            assert_eq!((su.mode() & 0o7777, su.nlink()), (0o4755, 2));
            fs::write(rootfs.join("version"), "one").expect("write");
            fs::remove_file(rootfs.join("bin/su2")).expect("remove");
        });
        pool.snapshot("c1", "first").expect("snapshot");
        in_rootfs(pool, &instance("c1"), |rootfs| {
            fs::write(rootfs.join("version"), "two").expect("write");
            fs::write(rootfs.join("new"), "").expect("write");
        });
        pool.snapshot("c1", "second").expect("snapshot");
        assert!(matches!(pool.snapshot("c1", "second"), Err(Error::Exists { .. })));

        pool.copy(&instance("c1"), "c2").expect("copy");
        pool.copy(&VolumeRef::snapshot("c1", "first"), "c3").expect("copy of a snapshot");
        assert_eq!(read(pool, &instance("c2"), "version"), "two");
        assert_eq!(read(pool, &instance("c3"), "version"), "one");
        assert_eq!(read(pool, &instance("c3"), "bin/su2"), "entity not found");

        pool.restore("c1", "first").expect("restore");
        assert_eq!(read(pool, &instance("c1"), "version"), "one");
        assert_eq!(read(pool, &instance("c1"), "new"), "entity not found");
        in_rootfs(pool, &instance("c1"), |rootfs| fs::write(rootfs.join("version"), "three").expect("a restored container is writable"));

        pool.rename("c1", "renamed").expect("rename");
        pool.rename_snapshot("renamed", "second", "later").expect("rename snapshot");
        let contents = pool.list().expect("list");
        assert_eq!(contents.instances, ["c2", "c3", "renamed"]);
        assert_eq!(contents.snapshots, [VolumeRef::snapshot("renamed", "first"), VolumeRef::snapshot("renamed", "later")]);
        assert_eq!(contents.images, [FINGERPRINT]);
        assert!(matches!(pool.rename("c2", "c3"), Err(Error::Exists { .. })));

        pool.delete_snapshot("renamed", "first").expect("delete snapshot");
        pool.delete("renamed").expect("delete");
        pool.delete("renamed").expect("delete what is gone");
        pool.delete("c2").expect("delete");
        pool.delete_image(FINGERPRINT).expect("delete image");
        assert_eq!(read(pool, &instance("c3"), "version"), "one", "outlives its image");
        pool.delete("c3").expect("delete");
        for dir in ["containers", "containers-snapshots", "images", "deleted-images"] {
            assert!(names(spec, dir).is_empty(), "{dir}: {:?}", names(spec, dir));
        }
        let space = pool.space().expect("space");
        assert!(space.used_bytes > 0 && space.used_bytes < space.total_bytes);
    });
}

#[test]
fn an_empty_container_has_an_empty_root() {
    each_driver(|_, pool| {
        pool.create_empty("bare").expect("create");
        in_rootfs(pool, &instance("bare"), |rootfs| {
            assert_eq!(fs::read_dir(rootfs).expect("list").count(), 0);
            fs::write(rootfs.join("file"), "content").expect("write");
        });
        pool.copy(&instance("bare"), "again").expect("copy");
        assert_eq!(read(pool, &instance("again"), "file"), "content");
        assert!(matches!(pool.create_empty("bare"), Err(Error::Exists { .. })));
    });
}

#[test]
fn what_a_crash_leaves_is_swept_and_what_is_in_use_is_not() {
    each_driver(|spec, pool| {
        with_image(pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        pool.snapshot("c1", "snap0").expect("snapshot");
        // Volumes of an earlier process, made by the pool itself and then given such a name.
        let old = |dir: &str, from: &str, to: &str| {
            let dir = spec.dir.join(dir);
            fs::rename(dir.join(from), dir.join(to)).expect("rename");
        };
        pool.copy(&instance("c1"), "c2").expect("copy");
        old("containers", "c2", ".tmp-dead-0");
        pool.snapshot("c1", "snap1").expect("snapshot");
        old("containers-snapshots/c1", "snap1", ".tmp-dead-1");
        pool.copy(&instance("c1"), "c3").expect("copy");
        pool.snapshot("c3", "snap0").expect("snapshot");
        old("containers-snapshots", "c3", ".tmp-dead-2");
        pool.create_image("feed", &mut fill_image).expect("create image");
        old("images", "feed", ".tmp-dead-3");

        let found = std::cell::RefCell::new(None);
        pool.create_image("beef", &mut |dir| {
            // A second opening, as after a lost mount, while this image is being filled.
            let again = storage::open(spec).expect("open");
            assert_eq!(again.list().expect("list").instances, ["c1", "c3"]);
            *found.borrow_mut() = Some((
                names(spec, "containers"),
                names(spec, "containers-snapshots"),
                names(spec, "containers-snapshots/c1"),
                images(spec).len(),
            ));
            fill_image(dir)
        })
        .expect("create image");
        let (instances, snapshots, of_c1, images) = found.into_inner().expect("opened");
        assert_eq!((instances, snapshots, of_c1), (vec!["c1".into(), "c3".into()], vec!["c1".to_owned()], vec!["snap0".to_owned()]));
        assert_eq!(images, 2, "the image and the one being made");
        assert_eq!(read(pool, &instance("c1"), "version"), "image");
    });
}

#[test]
fn an_image_that_a_power_failure_caught_is_made_again() {
    each_driver(|spec, pool| {
        let settled = || {
            let waiting = |name: &String| name.starts_with(".unsynced-");
            (0..1000).any(|_| {
                !names(spec, "images").iter().any(waiting) || {
                    std::thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        };
        with_image(pool);
        assert!(settled(), "{:?}", names(spec, "images"));
        // The note of an earlier boot.
        symlink("00000000-0000-0000-0000-000000000000", spec.dir.join("images/.unsynced-0123456789abcdef")).expect("symlink");
        let again = storage::open(spec).expect("open");
        assert!(!again.has_image(FINGERPRINT) && names(spec, "images").is_empty());
        with_image(&*again);
        again.create_from_image("c1", FINGERPRINT).expect("create");
        assert!(settled());
    });
}

#[test]
fn a_failing_image_leaves_nothing() {
    each_driver(|spec, pool| {
        let error = pool.create_image(FINGERPRINT, &mut |dir| {
            fs::create_dir(dir.join("rootfs")).expect("mkdir");
            Err(Error::fill("broken archive"))
        });
        assert!(matches!(error, Err(Error::Fill(_))), "{error:?}");
        assert!(!pool.has_image(FINGERPRINT) && names(spec, "images").is_empty());
        assert!(matches!(pool.create_from_image("c1", FINGERPRINT), Err(Error::Missing { kind: "image", .. })));
    });
}

#[test]
fn links_in_place_of_parts_of_a_volume_are_refused() {
    each_driver(|spec, pool| {
        let secret = spec.dir.with_extension("secret");
        fs::create_dir(&secret).expect("mkdir");
        fs::write(secret.join("shadow"), "secret").expect("write");
        for part in ["rootfs", "metadata.yaml", "templates"] {
            let error = pool.create_image(FINGERPRINT, &mut |dir| {
                fill_image(dir)?;
                fs::rename(dir.join(part), dir.join("aside")).expect("rename");
                symlink(&secret, dir.join(part)).expect("symlink");
                Ok(())
            });
            assert!(matches!(error, Err(Error::Malformed { .. })), "{part}: {error:?}");
        }
        with_image(pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        let part = pool.dir(&instance("c1")).join(if spec.driver == "overlay" { "upper" } else { "rootfs" });
        fs::rename(&part, part.with_extension("aside")).expect("rename");
        symlink(&secret, &part).expect("symlink");
        assert!(matches!(pool.rootfs(&instance("c1")), Err(Error::Malformed { .. })));
        // A copy takes the link as a link.
        pool.copy(&instance("c1"), "c2").expect("copy");
        assert!(matches!(pool.rootfs(&instance("c2")), Err(Error::Malformed { .. })));
        pool.delete("c1").expect("delete");
        pool.delete("c2").expect("delete");
        assert_eq!(fs::read_to_string(secret.join("shadow")).expect("read"), "secret");
        for name in ["../outside", "a/b", "..", ".tmp-x"] {
            assert!(matches!(pool.create_empty(name), Err(Error::Name { .. })), "{name}");
            assert!(matches!(pool.delete(name), Err(Error::Name { .. })), "{name}");
            assert!(matches!(pool.snapshot("c1", name), Err(Error::Name { .. })), "{name}");
        }
    });
}

#[test]
fn copies_keep_attributes_links_and_whiteouts() {
    each_driver(|_, pool| {
        with_image(pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        in_rootfs(pool, &instance("c1"), |rootfs| {
            let root = Root::open(rootfs).expect("open");
            fs::remove_file(rootfs.join("version")).expect("remove");
            fs::write(rootfs.join("one"), "shared").expect("write");
            fs::hard_link(rootfs.join("one"), rootfs.join("two")).expect("link");
            root.lchown("one", 33, 44).expect("chown");
            let file = fs::File::open(rootfs.join("one")).expect("open");
            xattr::set(&file, c"user.note", b"kept").expect("setxattr");
            root.mknod("pipe", FileType::Fifo, 0o640, 0).expect("mkfifo");
        });
        pool.snapshot("c1", "snap0").expect("snapshot");
        pool.copy(&VolumeRef::snapshot("c1", "snap0"), "c2").expect("copy");
        in_rootfs(pool, &instance("c2"), |rootfs| {
            assert!(!rootfs.join("version").exists(), "removed from the image's content");
            let (one, two) = (fs::metadata(rootfs.join("one")).expect("stat"), fs::metadata(rootfs.join("two")).expect("stat"));
            assert_eq!((one.uid(), one.gid(), one.nlink(), one.ino()), (33, 44, 2, two.ino()));
            let file = fs::File::open(rootfs.join("two")).expect("open");
            assert_eq!(xattr::get(&file, c"user.note", &mut xattr::Buffer::default()).expect("getxattr"), Some(&b"kept"[..]));
            assert!(fs::metadata(rootfs.join("pipe")).expect("stat").file_type().is_fifo());
        });
    });
}

#[test]
fn a_full_pool_says_so_and_keeps_nothing_half_made() {
    for driver in storage::driver_names() {
        isolated(move |home| {
            let mut spec = spec(home, driver);
            if *driver != "btrfs" {
                fs::create_dir_all(&spec.dir).expect("mkdir");
                sys::mount::mount_fs("tmpfs", &spec.dir, "tmpfs", MountFlags::empty(), "size=16m").expect("mount tmpfs");
            }
            let pool = storage::create(&mut spec).expect("create pool");
            with_image(&*pool);
            pool.create_from_image("c1", FINGERPRINT).expect("create");
            let block = vec![0xa5; 1 << 20];
            let fill = |dir: &Path, megabytes: usize| {
                use std::io::Write;
                let mut file = fs::File::create(dir.join("big")).expect("create");
                (0..megabytes).try_for_each(|_| file.write_all(&block)).and_then(|()| file.sync_all())
            };
            let error = pool.create_image("beef", &mut |dir| {
                fill_image(dir)?;
                fill(&dir.join("rootfs"), 1000).map_err(Error::fill)
            });
            assert!(matches!(&error, Err(Error::Full { pool, .. }) if pool == "default"), "{error:?}");
            assert!(!pool.has_image("beef") && images(&spec) == [FINGERPRINT]);
            if *driver != "btrfs" {
                let target = match pool.rootfs(&instance("c1")).expect("rootfs") {
                    Rootfs::Dir { path } => path,
                    Rootfs::Overlay { upper, .. } => upper,
                };
                fill(&target, 9).expect("more than half of the space");
                for error in [pool.copy(&instance("c1"), "c2"), pool.snapshot("c1", "snap0")] {
                    assert!(error.as_ref().is_err_and(|error| error.to_string().contains("`default` is full")), "{error:?}");
                }
                assert_eq!(names(&spec, "containers"), ["c1"]);
                assert!(names(&spec, "containers-snapshots/c1").is_empty());
            }
            assert_eq!(read(&*pool, &instance("c1"), "version"), "image");
            pool.delete("c1").expect("a full pool can be emptied");
            pool.create_from_image("c3", FINGERPRINT).expect("and used again");
        });
    }
}

#[test]
fn an_image_on_overlay_goes_with_its_last_container() {
    isolated(|home| {
        let (spec, pool) = create(home, "overlay");
        with_image(&*pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        pool.snapshot("c1", "snap0").expect("snapshot");
        pool.copy(&instance("c1"), "c2").expect("copy");
        pool.delete_image(FINGERPRINT).expect("delete image");
        assert!(!pool.has_image(FINGERPRINT));
        assert_eq!(names(&spec, "deleted-images"), [FINGERPRINT]);
        assert_eq!(read(&*pool, &instance("c2"), "version"), "image");
        // The image comes back without being unpacked again.
        pool.create_image(FINGERPRINT, &mut |_| panic!("must not be filled")).expect("revive");
        assert!(pool.has_image(FINGERPRINT) && names(&spec, "deleted-images").is_empty());
        pool.delete_image(FINGERPRINT).expect("delete image");
        pool.delete("c2").expect("delete");
        assert_eq!(names(&spec, "deleted-images"), [FINGERPRINT], "c1 and its snapshot still need it");
        pool.restore("c1", "snap0").expect("restore");
        assert_eq!(read(&*pool, &instance("c1"), "version"), "image");
        pool.delete("c1").expect("delete");
        assert!(names(&spec, "deleted-images").is_empty());
    });
}

#[test]
fn overlay_copies_only_what_differs_and_keeps_opaque_directories() {
    isolated(|home| {
        let (_, pool) = create(home, "overlay");
        with_image(&*pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        in_rootfs(&*pool, &instance("c1"), |rootfs| {
            fs::remove_dir_all(rootfs.join("bin")).expect("remove");
            fs::create_dir(rootfs.join("bin")).expect("mkdir");
            fs::remove_file(rootfs.join("version")).expect("remove");
        });
        let plain = pool.plain_dir("c1").expect("plain directory");
        fs::write(plain.join("layer"), "docker").expect("write");
        pool.copy(&instance("c1"), "c2").expect("copy");
        let upper = pool.dir(&instance("c2")).join("upper");
        assert_eq!(sys::fs::list_dir(&upper).expect("list"), ["bin", "version"]);
        let whiteout = fs::metadata(upper.join("version")).expect("stat");
        assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
        in_rootfs(&*pool, &instance("c2"), |rootfs| {
            assert_eq!(fs::read_dir(rootfs.join("bin")).expect("list").count(), 0, "the image's programs do not shine through");
        });
        assert_eq!(fs::read_to_string(pool.plain_dir("c2").expect("plain").join("layer")).expect("read"), "docker");
    });
}

#[test]
fn quotas_hold_on_btrfs_and_survive_a_restore() {
    isolated(|home| {
        let (_, pool) = create(home, "btrfs");
        with_image(&*pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        pool.set_quota("c1", Some(10 << 20)).expect("set quota");
        pool.snapshot("c1", "snap0").expect("snapshot");
        let write = |megabytes: usize| {
            in_rootfs(&*pool, &instance("c1"), |rootfs| {
                let path = rootfs.join("big");
                let result = fs::write(&path, vec![0xa5; megabytes << 20]).and_then(|()| fs::File::open(&path)?.sync_all());
                (result, path)
            })
        };
        let (result, path) = write(20);
        assert_eq!(result.expect_err("beyond the quota").raw_os_error(), Some(122 /* EDQUOT */));
        fs::remove_file(path).expect("remove");
        pool.restore("c1", "snap0").expect("restore");
        assert!(write(20).0.is_err(), "the quota is still there");
        pool.restore("c1", "snap0").expect("restore");
        pool.set_quota("c1", None).expect("lift quota");
        let (result, path) = write(20);
        result.expect("no quota any more");
        sys::copy::sync_fs(path.parent().expect("parent")).expect("sync");
        let usage = pool.usage_bytes(&instance("c1")).expect("usage");
        assert!((20 << 20..30 << 20).contains(&usage), "{usage}");
    });
    for driver in ["dir", "overlay"] {
        isolated(move |home| {
            let (_, pool) = create(home, driver);
            pool.create_empty("c1").expect("create");
            let error = pool.set_quota("c1", Some(1 << 30)).expect_err("has no quotas").to_string();
            assert!(error.contains(driver) && error.contains("btrfs"), "{error}");
            pool.set_quota("c1", None).expect("nothing to lift");
        });
    }
}

#[test]
fn subvolumes_of_the_guest_are_taken_along() {
    isolated(|home| {
        let (spec, pool) = create(home, "btrfs");
        pool.create_empty("c1").expect("create");
        let rootfs = pool.dir(&instance("c1")).join("rootfs");
        let nest = |dir: &Path, name: &str| {
            sys::btrfs::create(sys::btrfs::open(dir).expect("open"), name.as_ref()).expect("create subvolume");
            fs::write(dir.join(name).join("file"), name).expect("write");
        };
        fs::create_dir_all(rootfs.join("var/lib/docker/btrfs")).expect("mkdir");
        nest(&rootfs.join("var/lib/docker/btrfs"), "layer one");
        nest(&rootfs.join("var/lib/docker/btrfs/layer one"), "inner");
        nest(&rootfs, "top");
        pool.snapshot("c1", "snap0").expect("snapshot");
        let snapshot = pool.dir(&VolumeRef::snapshot("c1", "snap0"));
        assert!(fs::write(snapshot.join("rootfs/top/file"), "").is_err(), "read-only to the bottom");
        fs::remove_file(rootfs.join("top/file")).expect("remove");
        pool.restore("c1", "snap0").expect("restore");
        pool.copy(&VolumeRef::snapshot("c1", "snap0"), "c2").expect("copy");
        for name in ["c1", "c2"] {
            assert_eq!(read(&*pool, &instance(name), "top/file"), "top");
            assert_eq!(read(&*pool, &instance(name), "var/lib/docker/btrfs/layer one/inner/file"), "inner");
            in_rootfs(&*pool, &instance(name), |rootfs| fs::write(rootfs.join("top/file"), "x").expect("writable"));
        }
        pool.delete("c1").expect("delete");
        pool.delete("c2").expect("delete");
        assert!(names(&spec, "containers").is_empty());
        assert!(subvolumes_on(&spec).is_empty(), "no subvolume is left");
    });
}

fn subvolumes_on(spec: &PoolSpec) -> Vec<sys::btrfs::Nested> {
    sys::btrfs::descendants(sys::btrfs::open(&spec.dir).expect("open")).expect("descendants")
}

/// Makes subvolumes in one another, with names so long that no path leads to most of them.
fn chain(top: &Path, depth: usize) -> fs::File {
    let mut dir = sys::btrfs::open(top).expect("open");
    for level in 0..depth {
        let name = format!("{level:0>200}");
        sys::btrfs::create(&dir, name.as_ref()).expect("create subvolume");
        let below = fs::File::from(sys::tree::open_dir(&dir, Path::new(&name)).expect("open"));
        if level % 7 == 3 {
            // Directories that are too deep for a path within one subvolume.
            let mut writer = sys::archive_io::TreeWriter::new(Root::from_fd(below.try_clone().expect("duplicate").into(), "below"));
            let mut path = PathBuf::new();
            for _ in 0..25 {
                path.push("d".repeat(200));
                writer.create_dir(&path, &sys::archive_io::Attrs { mode: 0o755, ..Default::default() }).expect("mkdir");
            }
            dir = sys::archive_io::open_tree_dir(&Root::from_fd(below.into(), "below"), &path).expect("open").into();
        } else {
            dir = below;
        }
    }
    dir
}

#[test]
fn no_depth_of_subvolumes_keeps_a_volume_from_anything() {
    const DEPTH: usize = 50;
    isolated(|home| {
        let (spec, pool) = create(home, "btrfs");
        pool.create_empty("c1").expect("create");
        let rootfs = pool.dir(&instance("c1")).join("rootfs");
        let bottom = chain(&rootfs, DEPTH);
        Root::from_fd(bottom.try_clone().expect("duplicate").into(), "bottom").replace_file("file", b"deep", 0o644).expect("write");
        pool.snapshot("c1", "snap0").expect("snapshot");
        pool.copy(&VolumeRef::snapshot("c1", "snap0"), "c2").expect("copy");
        pool.restore("c1", "snap0").expect("restore");
        // Both volumes and the snapshot, with all that is in them.
        assert_eq!(subvolumes_on(&spec).len(), 3 * (DEPTH + 1));
        let copy = sys::btrfs::open(pool.dir(&instance("c2"))).expect("open");
        let inside = sys::btrfs::descendants(&copy).expect("descendants");
        assert_eq!(inside.len(), DEPTH);
        let last = inside.last().expect("the deepest");
        let last = sys::btrfs::open_dir(&copy, last.id, sys::btrfs::ROOT_INODE).expect("open").expect("is there");
        let file = Root::from_fd(last.into(), "last").open_file("file").expect("open");
        assert_eq!(std::io::read_to_string(file).expect("read"), "deep");
        // A guest may make its own read-only.
        for nested in inside.iter().step_by(3) {
            let dir = sys::btrfs::open_dir(&copy, nested.id, sys::btrfs::ROOT_INODE).expect("open").expect("is there");
            sys::btrfs::set_read_only(dir, true).expect("read-only");
        }
        // A privileged one may mark its own immutable.
        sys::cmd::Cmd::new("chattr", "e2fsprogs").arg("+i").arg(&rootfs).run().expect("chattr");
        drop((bottom, copy));
        pool.delete("c1").expect("delete");
        pool.delete("c2").expect("delete");
        assert!(names(&spec, "containers").is_empty());
        assert_eq!(subvolumes_on(&spec), [], "no subvolume is left");
    });
}

/// The driver `dir` on somebody's btrfs, where guests can make subvolumes as well.
#[test]
fn read_only_subvolumes_in_a_plain_directory_go() {
    isolated(|home| {
        let (outer, _pool) = create(home, "btrfs");
        let mut inner = spec(home, "dir");
        inner.name = "inner".into();
        inner.dir = outer.dir.join("inner");
        let pool = storage::create(&mut inner).expect("create pool");
        pool.create_empty("c1").expect("create");
        let rootfs = pool.dir(&instance("c1")).join("rootfs");
        for (dir, name) in [(rootfs.clone(), "one"), (rootfs.join("one"), "two")] {
            sys::btrfs::create(sys::btrfs::open(&dir).expect("open"), name.as_ref()).expect("create subvolume");
            fs::write(dir.join(name).join("file"), "").expect("write");
        }
        for dir in ["one/two", "one"] {
            sys::btrfs::set_read_only(sys::btrfs::open(rootfs.join(dir)).expect("open"), true).expect("read-only");
        }
        pool.delete("c1").expect("delete");
        assert!(names(&inner, "containers").is_empty());
        assert_eq!(subvolumes_on(&outer), [], "no subvolume is left");
        drop(pool);
        storage::destroy(&inner).expect("destroy pool");
    });
}

#[test]
fn what_is_nested_counts_for_its_volume() {
    isolated(|home| {
        let (spec, pool) = create(home, "btrfs");
        pool.create_empty("c1").expect("create");
        let rootfs = pool.dir(&instance("c1")).join("rootfs");
        let nest = |dir: &Path, name: &str| sys::btrfs::create(sys::btrfs::open(dir).expect("open"), name.as_ref());
        // One is there before the limit, others come later.
        nest(&rootfs, "before").expect("create subvolume");
        nest(&rootfs.join("before"), "deeper").expect("create subvolume");
        assert_eq!(pool.keep_to_limit("c1").expect("subvolumes"), Subvolumes::Any);
        pool.set_quota("c1", Some(20 << 20)).expect("set quota");
        assert_eq!(pool.keep_to_limit("c1").expect("subvolumes"), Subvolumes::Counted);
        nest(&rootfs.join("before/deeper"), "after").expect("create subvolume");
        let write = |path: PathBuf, megabytes: usize| {
            fs::write(&path, vec![0x5a; megabytes << 20])
                .and_then(|()| fs::File::open(&path)?.sync_all())
                .map_err(|error| error.raw_os_error())
        };
        const EDQUOT: Option<i32> = Some(122);
        for dir in ["before", "before/deeper", "before/deeper/after"] {
            assert_eq!(write(rootfs.join(dir).join("big"), 30), Err(EDQUOT), "{dir}");
            fs::remove_file(rootfs.join(dir).join("big")).expect("remove");
            sys::copy::sync_fs(&rootfs).expect("sync");
        }
        write(rootfs.join("before/deeper/after/half"), 12).expect("within the limit");
        assert_eq!(write(rootfs.join("other half"), 12), Err(EDQUOT), "together they are beyond it");
        sys::copy::sync_fs(&rootfs).expect("sync");
        let usage = pool.usage_bytes(&instance("c1")).expect("usage");
        assert!((12 << 20..22 << 20).contains(&usage), "what is nested is shown: {usage}");
        fs::remove_file(rootfs.join("other half")).expect("remove");
        sys::copy::sync_fs(&rootfs).expect("sync");
        // A saved running state is not the guest's.
        let state = pool.make_state("c1").expect("state");
        write(state.join("pages"), 30).expect("no limit for the state");
        pool.snapshot("c1", "snap0").expect("snapshot");
        pool.restore("c1", "snap0").expect("restore");
        nest(&rootfs, "new").expect("create subvolume");
        assert_eq!(write(rootfs.join("new/big"), 30), Err(EDQUOT), "the limit stays");
        fs::remove_file(rootfs.join("new/big")).expect("remove");
        sys::copy::sync_fs(&rootfs).expect("sync");
        // One with groups of its own choice does not, until it is looked for.
        sys::btrfs::create_apart(sys::btrfs::open(&rootfs).expect("open"), "apart".as_ref()).expect("create subvolume");
        write(rootfs.join("apart/big"), 30).expect("beyond the limit");
        sys::copy::sync_fs(&rootfs).expect("sync");
        assert_eq!(pool.keep_to_limit("c1").expect("subvolumes"), Subvolumes::Counted);
        assert_eq!(write(rootfs.join("apart/more"), 1), Err(EDQUOT));
        assert!(pool.usage_bytes(&instance("c1")).expect("usage") > 25 << 20);
        // Full to the brim, it still goes away.
        pool.delete("c1").expect("delete");
        assert_eq!(subvolumes_on(&spec), [], "no subvolume is left");
    });
}

#[test]
fn btrfs_on_a_directory_of_an_existing_one() {
    isolated(|home| {
        let (outer, _pool) = create(home, "btrfs");
        let data = outer.dir.join("data");
        fs::create_dir(&data).expect("mkdir");
        let mut inner = spec(home, "btrfs");
        inner.name = "inner".into();
        inner.dir = home.join("storage-pools/inner");
        inner.config = [("source".to_owned(), data.to_string_lossy().into_owned())].into();
        let pool = storage::create(&mut inner).expect("create pool");
        with_image(&*pool);
        pool.create_from_image("c1", FINGERPRINT).expect("create");
        drop(pool);
        let pool = storage::open(&inner).expect("open");
        assert_eq!(read(&*pool, &instance("c1"), "version"), "image");
        assert!(pool.dir(&instance("c1")).starts_with(data.join("inner")));
        storage::destroy(&inner).expect("destroy");
        assert_eq!(fs::read_dir(&data).expect("list").count(), 0);
        inner.config.insert("source".into(), home.to_string_lossy().into_owned());
        let error = storage::create(&mut inner).err().expect("not a btrfs").to_string();
        assert!(error.contains("must be a directory on a btrfs"), "{error}");
    });
}

#[test]
fn a_pool_is_found_again_after_its_mount_was_lost() {
    isolated(|home| {
        let (spec, pool) = create(home, "btrfs");
        pool.create_empty("c1").expect("create");
        sys::mount::unmount(&spec.dir).expect("unmount");
        let pool = storage::open(&spec).expect("open mounts it");
        assert_eq!(pool.list().expect("list").instances, ["c1"]);
        storage::open(&spec).expect("open twice");
        let mut other = spec.clone();
        other.config.clear();
        assert!(storage::create(&mut other).is_err(), "the loop file is there already");
        assert_eq!(pool.list().expect("list").instances, ["c1"], "and was not touched");
    });
}

#[test]
fn shifting_there_and_back_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("mkdir");
    fill_image(&tree).expect("fill");
    let outside = dir.path().join("outside");
    fs::write(&outside, "").expect("write");
    symlink(&outside, tree.join("rootfs/link")).expect("symlink");
    let root = Root::open(&tree).expect("open");
    root.lchown("rootfs/version", 1000, 33).expect("chown");
    let version = fs::File::open(tree.join("rootfs/version")).expect("open");
    // ACL version 2: user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
    let no_id = [0xff; 4];
    let entry = |tag: u8, permissions: u8, id: [u8; 4]| [&[tag, 0, permissions, 0][..], &id].concat();
    let acl = [
        vec![2, 0, 0, 0],
        entry(1, 6, no_id),
        entry(2, 4, 1000u32.to_le_bytes()),
        entry(4, 4, no_id),
        entry(0x10, 4, no_id),
        entry(0x20, 0, no_id),
    ]
    .concat();
    xattr::set(&version, xattr::ACL_ACCESS, &acl).expect("set ACL");
    let su = fs::File::open(tree.join("rootfs/bin/su")).expect("open");
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(&su, xattr::CAPABILITY, &capability).expect("set capability");

    let map = IdMap::contiguous(100_000, 200_000, 65_536);
    let value = |file: &fs::File, name| xattr::get(file, name, &mut xattr::Buffer::default()).expect("getxattr").expect("present").to_vec();
    storage::shift_tree(&root, &IdMap::default(), &map, ShiftState::Fresh).expect("shift");
    let stat = |path: &str| fs::symlink_metadata(tree.join(path)).expect("stat");
    assert_eq!((stat("rootfs").uid(), stat("rootfs").gid()), (100_000, 200_000));
    assert_eq!((stat("rootfs/version").uid(), stat("rootfs/version").gid()), (101_000, 200_033));
    assert_eq!(stat("rootfs/link").uid(), 100_000);
    assert_eq!((stat("rootfs/bin/su").uid(), stat("rootfs/bin/su").mode() & 0o7777), (100_000, 0o4755));
    assert_eq!(fs::metadata(&outside).expect("stat").uid(), 0, "links are not followed");
    assert_eq!(value(&version, xattr::ACL_ACCESS)[16..20], 101_000u32.to_le_bytes());
    let shifted = value(&su, xattr::CAPABILITY);
    assert_eq!((shifted[3], shifted[20..].to_vec()), (3, 100_000u32.to_le_bytes().to_vec()), "bound to the container's root");

    storage::shift_tree(&root, &map, &IdMap::default(), ShiftState::Fresh).expect("shift back");
    assert_eq!((stat("rootfs/version").uid(), stat("rootfs/version").gid()), (1000, 33));
    assert_eq!(stat("rootfs/bin/su2").uid(), 0);
    assert_eq!(value(&version, xattr::ACL_ACCESS), acl);
    assert_eq!(value(&su, xattr::CAPABILITY), capability);
}

#[test]
fn an_interrupted_shift_is_gone_on_with() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("mkdir");
    fill_image(&tree).expect("fill");
    let root = Root::open(&tree).expect("open");
    let map = IdMap::contiguous(100_000, 100_000, 65_536);
    let owner = |path: &str| fs::symlink_metadata(tree.join(path)).map(|stat| (stat.uid(), stat.gid())).expect("stat");
    // Some have been dealt with, one by half.
    root.lchown("rootfs/version", 100_033, 100_033).expect("chown");
    root.lchown("rootfs/bin", 100_000, 100_000).expect("chown");
    root.lchown("templates", 100_000, 0).expect("chown");
    storage::shift_tree(&root, &IdMap::default(), &map, ShiftState::Interrupted).expect("go on");
    assert_eq!(
        (owner("rootfs/version"), owner("rootfs/bin"), owner("templates")),
        ((100_033, 100_033), (100_000, 100_000), (100_000, 100_000))
    );
    assert_eq!((owner("rootfs"), owner("rootfs/bin/su")), ((100_000, 100_000), (100_000, 100_000)));
    assert_eq!(fs::metadata(tree.join("rootfs/bin/su")).expect("stat").mode() & 0o7777, 0o4755);
    // And back.
    root.lchown("rootfs/version", 33, 33).expect("chown");
    storage::shift_tree(&root, &map, &IdMap::default(), ShiftState::Interrupted).expect("go on");
    assert_eq!((owner("rootfs/version"), owner("rootfs/bin/su")), ((33, 33), (0, 0)));
}

/// Prints how long the operations take; run with `--ignored --nocapture`. `ROOTFS` may name a
/// tree to use as the image.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let image: Option<PathBuf> = std::env::var_os("ROOTFS").map(PathBuf::from);
    for driver in storage::driver_names() {
        let image = image.clone();
        isolated(move |home| {
            let mut spec = spec(home, driver);
            if *driver == "btrfs" {
                spec.config.insert("size".into(), "4GB".into());
            }
            let pool = storage::create(&mut spec).expect("create pool");
            let start = Instant::now();
            pool.create_image(FINGERPRINT, &mut |dir| {
                fill_image(dir)?;
                if let Some(image) = &image {
                    sys::tree::remove(dir.join("rootfs"))?;
                    fs::create_dir(dir.join("rootfs")).expect("mkdir");
                    sys::copy::copy_tree(&Root::open(image)?, &Root::open(dir.join("rootfs"))?, &[])?;
                }
                Ok(())
            })
            .expect("create image");
            println!("{driver}: create_image {:?}", start.elapsed());
            let count = if *driver == "dir" && image.is_some() { 4 } else { 50 };
            let report = |what: &str, action: &dyn Fn(&str)| {
                let mut times: Vec<Duration> = (0..count)
                    .map(|index| {
                        let start = Instant::now();
                        action(&format!("c{index}"));
                        start.elapsed()
                    })
                    .collect();
                times.sort();
                println!("{driver}: {what} min {:?} median {:?} max {:?}", times[0], times[count / 2], times[count - 1]);
            };
            report("create_from_image", &|name| pool.create_from_image(name, FINGERPRINT).expect("create"));
            report("snapshot", &|name| pool.snapshot(name, "snap0").expect("snapshot"));
            report("restore", &|name| pool.restore(name, "snap0").expect("restore"));
            report("copy", &|name| pool.copy(&instance(name), &format!("copy-{name}")).expect("copy"));
            report("delete", &|name| pool.delete(name).expect("delete"));
        });
    }
}

/// The disk that holds a pool may be mounted late: what is then found in its place is no pool.
#[test]
fn a_directory_without_the_marker_is_not_the_pool() {
    isolated(|home| {
        let disk = home.join("disk");
        fs::create_dir(&disk).expect("mkdir");
        let mount = || sys::mount::mount_fs("tmpfs", &disk, "tmpfs", MountFlags::empty(), "mode=755").expect("mount");
        let mut spec = spec(home, "dir");
        spec.config.insert("source".into(), disk.join("pool").display().to_string());
        mount();
        let pool = storage::create(&mut spec).expect("create pool");
        pool.create_empty("c1").expect("create");
        drop(pool);
        sys::mount::unmount(&disk).expect("unmount");
        fs::create_dir(disk.join("pool")).expect("an empty directory under the mount point");
        let error = storage::open(&spec).err().expect("refused").to_string();
        assert!(error.contains("is the disk mounted"), "{error}");
        assert_eq!(fs::read_dir(disk.join("pool")).expect("list").count(), 0, "something was made under the mount point");
        storage::destroy(&spec).expect("nothing of the pool is there");
        assert!(disk.join("pool").exists(), "a directory that is not the pool's was removed");
    });
}
