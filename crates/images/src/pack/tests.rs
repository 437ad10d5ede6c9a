//! Packing real trees.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use sys::archive_io::{Attrs, Time, TreeWriter, Xattr};
use sys::cmd::Cmd;

use super::*;
use crate::{Compression, DevicePolicy, UnpackOptions, read_image, unpack_with};

fn volume() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    for name in ["templates", "rootfs", "target"] {
        sys::fs::create_dir(dir.path().join(name), 0o755).expect("mkdir");
    }
    sys::fs::write(dir.path().join("metadata.yaml"), "architecture: x86_64\ncreation_date: 7\nextra: kept\nproperties: {os: x}\n")
        .expect("write");
    sys::fs::write(dir.path().join("templates/a.tpl"), "text").expect("write");
    dir
}

fn fill(dir: &Path, shift: u32) {
    let mut writer = TreeWriter::new(Root::open(dir.join("rootfs")).expect("root"));
    let attrs = |mode, uid| Attrs {
        mode,
        uid: uid + shift,
        gid: 50 + shift,
        mtime: Some(Time { seconds: 1_500_000_000, nanoseconds: 0 }),
        xattrs: Vec::new(),
    };
    writer.create_dir(Path::new(""), &attrs(0o755, 0)).expect("top");
    writer.create_dir(Path::new("dir"), &attrs(0o2775, 5)).expect("dir");
    let put = |writer: &mut TreeWriter, path: &str, content: &str, attrs: &Attrs| {
        let mut file = writer.create_file(Path::new(path)).expect("create");
        file.write_all(content.as_bytes()).expect("write");
        archive_io::finish_file(&file, attrs, Path::new(path)).expect("finish");
    };
    let noted = Attrs { xattrs: vec![Xattr { name: c"user.note".to_owned(), value: b"n".to_vec() }], ..attrs(0o4755, 1000) };
    put(&mut writer, "dir/su", "content", &noted);
    put(&mut writer, "empty", "", &attrs(0o600, 0));
    writer.hard_link(Path::new("dir/su"), Path::new("again")).expect("link");
    writer.symlink(Path::new("/x/y"), Path::new("link"), &attrs(0o777, 9)).expect("symlink");
    writer.node(Path::new("pipe"), NodeKind::Fifo, (0, 0), &attrs(0o644, 0)).expect("fifo");
    writer.node(Path::new("null"), NodeKind::CharDevice, (1, 3), &attrs(0o666, 0)).expect("device");
    writer.node(Path::new("socket"), NodeKind::Socket, (0, 0), &attrs(0o666, 0)).expect("socket");
    let holes = sys::fs::create(dir.join("rootfs/holes"), 0o644).expect("create");
    archive_io::write_all_at(&holes, b"end", 100_000_000, Path::new("holes")).expect("write");
    sys::fs::chown(dir.join("rootfs/holes"), shift, shift).expect("chown");
    if shift > 0 {
        put(&mut writer, "foreign", "x", &Attrs { mode: 0o644, ..Attrs::default() });
    }
}

#[test]
fn what_is_packed_unpacks_the_same() {
    for compression in [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd, Compression::Lzma] {
        for shift in [0, 100_000] {
            let dir = volume();
            fill(dir.path(), shift);
            let map = IdMap::contiguous(shift, shift, 65_536);
            let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
            let source = PackSource { volume: &volume, rootfs: &rootfs, ids: (shift > 0).then_some(&map), architecture: "x86_64" };
            let image = dir.path().join("image");
            let packed = pack(&source, &BTreeMap::new(), &sys::fs::create(&image, 0o600).expect("create"), compression).expect("pack");
            let facts = read_image(&image, None).expect("read");
            assert_eq!((facts.fingerprint, facts.size_bytes), (packed.fingerprint, packed.size_bytes));
            let target = dir.path().join("target");
            unpack_with(&image, None, &target, &UnpackOptions { devices: DevicePolicy::All, limit_bytes: None }).expect("unpack");
            let stat = |path: &str| std::fs::symlink_metadata(target.join("rootfs").join(path)).expect("stat");
            let su = stat("dir/su");
            assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink(), su.mtime()), (0o4755, 1000, 50, 2, 1_500_000_000));
            assert_eq!((stat("dir").mode() & 0o7777, stat("dir").uid()), (0o2775, 5));
            assert_eq!(stat("again").ino(), su.ino());
            assert!(stat("pipe").file_type().is_fifo() && stat("null").rdev() == 0x103);
            assert_eq!((stat("holes").size(), stat("holes").uid()), (100_000_003, 0));
            assert!(stat("holes").blocks() < 100);
            assert_eq!(sys::fs::read_link(target.join("rootfs/link")).expect("link"), Path::new("/x/y"));
            for absent in ["socket", "foreign"] {
                assert!(!sys::fs::exists(target.join("rootfs").join(absent)), "{absent}");
            }
            assert_eq!(
                sys::fs::read(target.join("metadata.yaml")).expect("read"),
                sys::fs::read(dir.path().join("metadata.yaml")).expect("read")
            );
            assert_eq!(sys::fs::read_to_string(target.join("templates/a.tpl")).expect("read"), "text");
        }
    }
}

#[test]
fn gnu_tar_unpacks_it() {
    let dir = volume();
    fill(dir.path(), 0);
    let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
    let source = PackSource { volume: &volume, rootfs: &rootfs, ids: None, architecture: "x86_64" };
    let image = dir.path().join("image");
    pack(&source, &BTreeMap::new(), &sys::fs::create(&image, 0o600).expect("create"), Compression::Gzip).expect("pack");
    Cmd::new("tar", "tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-C"])
        .arg(dir.path().join("target"))
        .arg("-xzf")
        .arg(&image)
        .run()
        .expect("tar");
    sys::fs::remove_file(dir.path().join("rootfs/socket")).expect("remove");
    for name in ["pipe", "null"] {
        sys::fs::remove_file(dir.path().join("rootfs").join(name)).expect("remove");
        sys::fs::remove_file(dir.path().join("target/rootfs").join(name)).expect("remove");
    }
    Cmd::new("diff", "diffutils")
        .args(["-r", "--no-dereference"])
        .arg(dir.path().join("rootfs"))
        .arg(dir.path().join("target/rootfs"))
        .run()
        .expect("same");
}

#[test]
fn metadata_is_kept_changed_or_made() {
    let dir = volume();
    let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
    let source = PackSource { volume: &volume, rootfs: &rootfs, ids: None, architecture: "aarch64" };
    let properties = BTreeMap::from([("description".to_owned(), "mine".to_owned())]);
    let content =
        |properties: &BTreeMap<String, String>| String::from_utf8(metadata_content(&source, properties).expect("content")).expect("utf-8");
    assert!(content(&BTreeMap::new()).contains("extra: kept"));
    let changed = content(&properties);
    assert!(changed.contains("extra: kept") && changed.contains("mine") && !changed.contains("os:"), "{changed}");
    sys::fs::remove_file(dir.path().join("metadata.yaml")).expect("remove");
    let made = Metadata::parse(content(&properties).as_bytes()).expect("valid");
    assert_eq!((made.architecture.as_str(), &made.properties), ("aarch64", &properties));
    sys::fs::symlink("/etc/passwd", dir.path().join("metadata.yaml")).expect("symlink");
    assert!(metadata_content(&source, &properties).is_err(), "a link is not followed");
}

#[test]
fn links_of_a_guest_are_packed_not_followed() {
    let dir = volume();
    sys::fs::symlink("/etc", dir.path().join("rootfs/etc")).expect("symlink");
    sys::fs::symlink("/etc/passwd", dir.path().join("templates/b.tpl")).expect("symlink");
    let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
    let source = PackSource { volume: &volume, rootfs: &rootfs, ids: None, architecture: "x86_64" };
    let image = dir.path().join("image");
    pack(&source, &BTreeMap::new(), &sys::fs::create(&image, 0o600).expect("create"), Compression::None).expect("pack");
    let output = Cmd::new("tar", "tar").arg("-tf").arg(&image).run().expect("tar");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "metadata.yaml\ntemplates/a.tpl\nrootfs/\nrootfs/etc\n");
}

#[test]
fn a_tree_deeper_than_a_path_is_packed_and_unpacked() {
    let dir = volume();
    let mut writer = TreeWriter::new(Root::open(dir.path().join("rootfs")).expect("root"));
    let attrs = Attrs { mode: 0o755, ..Attrs::default() };
    let mut path = std::path::PathBuf::new();
    for _ in 0..3000 {
        path.push("a");
        writer.create_dir(&path, &attrs).expect("mkdir");
    }
    drop(writer.create_file(&path.join("file")).expect("create"));
    writer.hard_link(&path.join("file"), &path.join("link")).expect("link");
    let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
    let source = PackSource { volume: &volume, rootfs: &rootfs, ids: None, architecture: "x86_64" };
    let image = dir.path().join("image");
    pack(&source, &BTreeMap::new(), &sys::fs::create(&image, 0o600).expect("create"), Compression::None).expect("pack");
    let target = dir.path().join("target");
    unpack_with(&image, None, &target, &UnpackOptions::default()).expect("unpack");
    let bottom = archive_io::open_tree_dir(&Root::open(target.join("rootfs")).expect("root"), &path).expect("open");
    assert_eq!(archive_io::read_dir(&bottom, Path::new("bottom")).expect("list"), ["file", "link"]);
    sys::tree::remove(dir.path()).expect("remove");
}

fn packer(cancel: Cancel) -> Packer<'static> {
    let out = tempfile::tempfile().expect("temporary file");
    Packer::new(&out, Packing { cancel, ..Packing::from(Compression::None) }).expect("packer")
}

#[test]
fn a_file_in_too_many_pieces_is_refused_or_written_whole() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let stat_of = |name: &str, file_bytes: u64| {
        let file = sys::fs::open(dir.path().join(name)).expect("open");
        let facts = file.metadata().expect("stat");
        assert_eq!(facts.size(), file_bytes);
        let top = archive_io::open_tree_dir(&Root::open(dir.path()).expect("root"), Path::new("")).expect("open");
        (file, archive_io::open_entry(&top, name.as_ref(), Path::new(name)).expect("entry").stat.clone())
    };
    let make = |name: &str, step: u64, bytes: &[u8]| {
        let file = sys::fs::create(dir.path().join(name), 0o644).expect("create");
        for piece in 0..6u64 {
            archive_io::write_all_at(&file, bytes, piece * step, Path::new(name)).expect("write");
        }
        file.set_len(6 * step).expect("truncate");
    };
    make("thin", 1 << 30, b"x");
    let (file, stat) = stat_of("thin", 6 << 30);
    assert_eq!(pieces(&file, &stat, Path::new("thin"), 6).expect("few enough").expect("has holes").len(), 6);
    let error = pieces(&file, &stat, Path::new("thin"), 5).expect_err("too many").to_string();
    assert!(error.contains("`thin`") && error.contains("more than 5 pieces") && error.contains("fill the holes"), "{error}");
    // The holes are less than what is there.
    make("thick", 64 << 10, &[1; 40 << 10]);
    let (file, stat) = stat_of("thick", 6 * (64 << 10));
    assert_eq!(pieces(&file, &stat, Path::new("thick"), 5).expect("written whole"), None);
}

#[test]
fn names_that_are_kept_for_links_are_bounded() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for name in ["one", "other"] {
        sys::fs::write(dir.path().join(name), "").expect("write");
        std::fs::hard_link(dir.path().join(name), dir.path().join(format!("{name}-again"))).expect("link");
    }
    let root = Root::open(dir.path()).expect("root");
    let mut packer = packer(Cancel::default());
    packer.max_links_bytes = "rootfs/one".len() + "rootfs/other".len();
    packer.bare_tree(&root, "rootfs").expect("just fits");
    packer.max_links_bytes -= 1;
    let error = packer.bare_tree(&root, "rootfs").expect_err("too many").to_string();
    assert!(error.contains("`rootfs/other`") && error.contains("several names"), "{error}");
}

#[test]
fn packing_ends_when_it_is_cancelled() {
    let dir = tempfile::tempdir().expect("temporary directory");
    sys::fs::write(dir.path().join("file"), "content").expect("write");
    let root = Root::open(dir.path()).expect("root");
    let cancel = Cancel::default();
    let mut packer = packer(cancel.clone());
    packer.bare_tree(&root, "rootfs").expect("goes on");
    cancel.cancel();
    assert!(matches!(packer.bare_tree(&root, "rootfs"), Err(Error::Cancelled)));
}

/// Others write to the same disk: some of it is left to them.
#[test]
fn packing_leaves_the_disk_its_reserve() {
    let thread = std::thread::spawn(|| {
        sys::process::unshare(0x0002_0000).expect("unshare");
        sys::mount::make_all_private().expect("private mounts");
        let dir = tempfile::tempdir().expect("temporary directory");
        sys::mount::mount_fs("tmpfs", dir.path(), "tmpfs", sys::mount::MountFlags::empty(), "size=64m").expect("mount");
        let volume = volume();
        let content = vec![0xa5; 80 << 20];
        sys::fs::write(volume.path().join("rootfs/large"), &content).expect("write");
        let (root, rootfs) = (Root::open(volume.path()).expect("root"), Root::open(volume.path().join("rootfs")).expect("root"));
        let source = PackSource { volume: &root, rootfs: &rootfs, ids: None, architecture: "x86_64" };
        let out = sys::fs::create(dir.path().join("image"), 0o600).expect("create");
        let error = pack(&source, &BTreeMap::new(), &out, Compression::None).expect_err("does not fit");
        let Error::Write { source: reason, .. } = &error else { panic!("{error}") };
        assert!(reason.to_string().contains("no more than 2 % of the file system"), "{reason}");
        let (total, available) = sys::fs::file_space(&out).expect("space");
        assert!(available > 0 && available < total / 4, "{available} of {total}");
        // Nothing is begun where there is no room from the start.
        sys::fs::write(dir.path().join("filler"), &content[..usize::try_from(available).expect("size") - 4096]).expect("fill");
        let begun = sys::fs::create(dir.path().join("other"), 0o600).expect("create");
        assert!(matches!(pack(&source, &BTreeMap::new(), &begun, Compression::None), Err(Error::NoRoom { .. })));
        drop((out, begun));
        sys::mount::unmount(dir.path()).expect("unmount");
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
