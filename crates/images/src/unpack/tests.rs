//! Round trips, and attacks that must fail or stay inside.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use sys::archive_io::{Time, Xattr};
use sys::cmd::Cmd;

use super::*;
use crate::archive::{Member, MemberKind, Sparse, TarWriter};

const METADATA: &[u8] = b"architecture: x86_64\ncreation_date: 1\n";

fn member(path: &str, kind: MemberKind) -> Member {
    Member {
        path: path.into(),
        kind,
        data_bytes: 0,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time { seconds: 1_000_000_000, nanoseconds: 0 },
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    }
}

fn link(path: &str, kind: MemberKind, target: &str) -> Member {
    Member { link: target.into(), ..member(path, kind) }
}

/// A directory with an image `image.tar`, an empty `target`, and a file `outside/secret`.
struct Bench {
    dir: tempfile::TempDir,
    writer: TarWriter<Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::bare();
        bench.writer.file("metadata.yaml", METADATA, 1).expect("metadata");
        bench.add(&member("rootfs/", MemberKind::Directory));
        bench
    }

    fn bare() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["target", "outside"] {
            sys::fs::create_dir(dir.path().join(name), 0o755).expect("mkdir");
        }
        sys::fs::write(dir.path().join("outside/secret"), "untouched").expect("write");
        Self { dir, writer: TarWriter::new(Vec::new()) }
    }

    fn add(&mut self, member: &Member) -> &mut Self {
        self.writer.begin(member).expect("begin");
        self
    }

    fn file(&mut self, path: &str, content: &str) -> &mut Self {
        self.writer.file(path, content.as_bytes(), 5).expect("file");
        self
    }

    fn target(&self, path: &str) -> PathBuf {
        self.dir.path().join("target").join(path)
    }

    fn unpack_with(self, options: &UnpackOptions) -> (Self, Result<()>) {
        let Self { dir, writer } = self;
        let image = dir.path().join("image.tar");
        sys::fs::write(&image, writer.finish().expect("finish")).expect("write");
        let result = unpack_with(&image, None, &dir.path().join("target"), options);
        assert_eq!(sys::fs::list_dir(dir.path().join("outside")).expect("list"), ["secret"]);
        assert_eq!(sys::fs::read_to_string(dir.path().join("outside/secret")).expect("read"), "untouched");
        assert_eq!(sys::fs::metadata(dir.path().join("outside/secret")).expect("stat").nlink(), 1);
        (Self { dir, writer: TarWriter::new(Vec::new()) }, result)
    }

    /// Unpacks onto a tmpfs with these options, in a mount namespace of one thread alone. Also
    /// returns how many bytes and inodes are left.
    fn unpack_on_tmpfs(self, options: &'static str, rootfs: Option<&Path>) -> (tempfile::TempDir, (Result<()>, (u64, u64))) {
        let Self { dir, writer } = self;
        let (image, target) = (dir.path().join("image.tar"), dir.path().join("target"));
        sys::fs::write(&image, writer.finish().expect("finish")).expect("write");
        let rootfs = rootfs.map(Path::to_owned);
        let thread = std::thread::spawn(move || {
            sys::process::unshare(0x0002_0000).expect("unshare");
            sys::mount::make_all_private().expect("private");
            Cmd::new("mount", "mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&target).run().expect("mount");
            let result = unpack(&image, rootfs.as_deref(), &target);
            let inodes = sys::fs::fs_inodes(&target).expect("inodes").expect("are counted").1;
            (result, (sys::fs::fs_space(&target).expect("space").1, inodes))
        });
        (dir, thread.join().expect("thread"))
    }

    fn unpack(self) -> (Self, Result<()>) {
        self.unpack_with(&UnpackOptions::default())
    }

    fn outside(&self) -> String {
        self.dir.path().join("outside").display().to_string()
    }
}

fn lstat(path: PathBuf) -> std::fs::Metadata {
    std::fs::symlink_metadata(path).expect("stat")
}

#[test]
fn everything_is_restored() {
    let mut bench = Bench::new();
    let mut file = member("rootfs/usr/bin/su", MemberKind::File);
    (file.mode, file.uid, file.gid, file.data_bytes) = (0o4755, 3, 4, 2);
    file.xattrs = vec![
        Xattr { name: c"security.capability".to_owned(), value: vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] },
        Xattr { name: c"user.note".to_owned(), value: b"x".to_vec() },
        Xattr { name: c"trusted.overlay.redirect".to_owned(), value: b"/etc".to_vec() },
    ];
    bench.add(&Member { mode: 0o1777, ..member("rootfs/tmp", MemberKind::Directory) }).add(&file);
    bench.writer.write_data(b"hi").expect("data");
    bench.add(&link("rootfs/usr/bin/su2", MemberKind::HardLink, "./rootfs/usr/bin/su"));
    bench.add(&Member { uid: 7, ..link("rootfs/etc/link", MemberKind::Symlink, "/nowhere/at/all") });
    bench.add(&member("rootfs/pipe", MemberKind::Fifo));
    bench.file("templates/a.tpl", "text").file("other/ignored", "x");
    let (bench, result) = bench.unpack();
    result.expect("unpack");
    let su = lstat(bench.target("rootfs/usr/bin/su"));
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink(), su.mtime()), (0o4755, 3, 4, 2, 1_000_000_000));
    assert_eq!(lstat(bench.target("rootfs/tmp")).mode() & 0o7777, 0o1777);
    assert_eq!(lstat(bench.target("rootfs/tmp")).mtime(), 1_000_000_000);
    assert_eq!(lstat(bench.target("rootfs")).mtime(), 1_000_000_000, "also of the directory that got entries later");
    let link = lstat(bench.target("rootfs/etc/link"));
    assert!(link.file_type().is_symlink() && link.uid() == 7 && link.mtime() == 1_000_000_000);
    assert!(lstat(bench.target("rootfs/pipe")).file_type().is_fifo());
    assert_eq!(sys::fs::read_to_string(bench.target("templates/a.tpl")).expect("read"), "text");
    assert!(!sys::fs::exists(bench.target("other")));
    let attributes = Cmd::new("getfattr", "attr").args(["-d", "-m", "-"]).arg(bench.target("rootfs/usr/bin/su")).run();
    if let Ok(output) = attributes {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("security.capability") && text.contains("user.note") && !text.contains("trusted"), "{text}");
    }
}

#[test]
fn archives_of_gnu_tar_with_holes_long_names_and_both_formats() {
    for format in ["gnu", "posix"] {
        let bench = Bench::bare();
        let source = bench.dir.path().join("source");
        let deep = "n".repeat(120);
        sys::fs::ensure_dir_all(source.join("rootfs").join(&deep).join(&deep), 0o755).expect("mkdir");
        sys::fs::write(source.join("metadata.yaml"), METADATA).expect("write");
        sys::fs::write(source.join("rootfs").join(&deep).join(&deep).join("file"), "deep").expect("write");
        sys::fs::symlink("t".repeat(300), source.join("rootfs/long")).expect("symlink");
        let holes = sys::fs::create(source.join("rootfs/holes"), 0o644).expect("create");
        for piece in 0..40u64 {
            sys::archive_io::write_all_at(&holes, format!("piece {piece}").as_bytes(), piece * 1_000_000, Path::new("holes"))
                .expect("write");
        }
        let image = bench.dir.path().join("made.tar.gz");
        let made = Cmd::new("tar", "tar")
            .arg(format!("--format={format}"))
            .args(["--sparse", "-C"])
            .arg(&source)
            .arg("-czf")
            .arg(&image)
            .arg(".")
            .run();
        made.expect("tar");
        unpack(&image, None, &bench.target("")).expect("unpack");
        Cmd::new("diff", "diffutils").args(["-r", "--no-dereference"]).arg(&source).arg(bench.target("")).run().expect("same");
        let (original, copy) = (lstat(source.join("rootfs/holes")), lstat(bench.target("rootfs/holes")));
        assert!(copy.blocks() <= original.blocks() + 64, "{format}: the holes are kept");
    }
}

#[test]
fn names_that_leave_the_target_are_refused_or_inside() {
    for name in ["rootfs/../../outside/new", "../outside/new", "rootfs/etc/../../../outside/new"] {
        let mut bench = Bench::new();
        bench.file(name, "x");
        assert!(matches!(bench.unpack().1, Err(Error::Refused { .. })), "{name}");
    }
    let mut bench = Bench::new();
    bench.file("/rootfs/etc/absolute", "x");
    let (bench, result) = bench.unpack();
    result.expect("as tar does");
    assert!(sys::fs::exists(bench.target("rootfs/etc/absolute")));
}

#[test]
fn writing_through_a_planted_link_stays_inside() {
    for target in ["ABS", "../../outside", "../../../../../../../../OUT"] {
        let mut bench = Bench::new();
        let outside = bench.outside();
        let target = target.replace("ABS", &outside).replace("OUT", outside.trim_start_matches('/'));
        bench.add(&link("rootfs/escape", MemberKind::Symlink, &target));
        bench.file("rootfs/escape/new", "x").file("rootfs/escape/secret", "x");
        bench.add(&member("rootfs/escape/dir", MemberKind::Directory));
        bench.add(&link("rootfs/escape/link", MemberKind::HardLink, "rootfs/escape/secret"));
        // Fails or stays inside; `unpack` checks the outside.
        drop(bench.unpack());
    }
}

#[test]
fn a_file_replaces_a_link_of_its_name() {
    let mut bench = Bench::new();
    let secret = format!("{}/secret", bench.outside());
    bench.add(&link("rootfs/file", MemberKind::Symlink, &secret)).file("rootfs/file", "mine");
    let (bench, result) = bench.unpack();
    result.expect("unpack");
    assert_eq!(sys::fs::read_to_string(bench.target("rootfs/file")).expect("read"), "mine");
    assert!(lstat(bench.target("rootfs/file")).is_file());
}

#[test]
fn hard_links_to_outside_are_refused() {
    for target in ["/etc/passwd", "../outside/secret", "metadata.yaml", "rootfs/../../outside/secret", "rootfs", "templates/a"] {
        let mut bench = Bench::new();
        bench.file("templates/a", "x").add(&link("rootfs/stolen", MemberKind::HardLink, target));
        let (bench, result) = bench.unpack();
        assert!(result.is_err(), "{target}");
        assert!(!sys::fs::exists(bench.target("rootfs/stolen")));
    }
    let mut bench = Bench::new();
    let outside = bench.outside();
    bench.add(&link("rootfs/out", MemberKind::Symlink, &outside)).add(&link("rootfs/stolen", MemberKind::HardLink, "rootfs/out/secret"));
    assert!(bench.unpack().1.is_err(), "through a link");
}

#[test]
fn parts_of_an_image_must_be_what_they_are() {
    for (path, kind) in [
        ("rootfs", MemberKind::Symlink),
        ("rootfs", MemberKind::Fifo),
        ("templates", MemberKind::Symlink),
        ("metadata.yaml", MemberKind::Symlink),
        ("metadata.yaml", MemberKind::HardLink),
        ("metadata.yaml", MemberKind::Directory),
        ("templates/x", MemberKind::Symlink),
        ("templates/x", MemberKind::CharDevice),
    ] {
        let mut bench = Bench::bare();
        bench.writer.file("metadata.yaml", METADATA, 1).expect("metadata");
        let outside = bench.outside();
        bench.add(&link(path, kind, &outside)).file("rootfs/secret", "x").file("templates/secret", "x");
        let (_, result) = bench.unpack();
        assert!(matches!(result, Err(Error::Refused { .. })), "{path} as {kind:?}: {result:?}");
    }
}

#[test]
fn missing_parts_are_named() {
    let mut bench = Bench::bare();
    bench.writer.file("metadata.yaml", METADATA, 1).expect("metadata");
    let error = bench.unpack().1.expect_err("must fail").to_string();
    assert!(error.starts_with("Image is missing a rootfs: "), "{error}");
    let mut bench = Bench::bare();
    bench.file("rootfs/x", "x");
    assert!(matches!(bench.unpack().1, Err(Error::MissingMetadata { .. })));
}

#[test]
fn a_second_metadata_is_refused() {
    let mut bench = Bench::new();
    bench.file("./metadata.yaml", "architecture: x86_64\ncreation_date: 2\n");
    assert!(matches!(bench.unpack().1, Err(Error::Refused { .. })));
}

#[test]
fn only_harmless_devices_unless_asked() {
    let add = |bench: &mut Bench| {
        bench.add(&Member { device: (1, 3), mode: 0o666, ..member("rootfs/dev/null", MemberKind::CharDevice) });
        bench.add(&Member { device: (1, 1), ..member("rootfs/dev/mem", MemberKind::CharDevice) });
        bench.add(&Member { device: (8, 0), ..member("rootfs/dev/sda", MemberKind::BlockDevice) });
    };
    for (devices, expected) in
        [(DevicePolicy::Harmless, vec!["null"]), (DevicePolicy::All, vec!["mem", "null", "sda"]), (DevicePolicy::Skip, vec![])]
    {
        let mut bench = Bench::new();
        bench.add(&member("rootfs/dev", MemberKind::Directory));
        add(&mut bench);
        let (bench, result) = bench.unpack_with(&UnpackOptions { devices, limit_bytes: None });
        result.expect("unpack");
        assert_eq!(sys::fs::list_dir(bench.target("rootfs/dev")).expect("list"), expected, "{devices:?}");
    }
}

#[test]
fn sizes_are_bounded_before_they_are_written() {
    let mut bench = Bench::new();
    bench.file("rootfs/a", &"x".repeat(600)).file("rootfs/b", &"x".repeat(600));
    let (bench, result) = bench.unpack_with(&UnpackOptions { limit_bytes: Some(15_000), ..UnpackOptions::default() });
    assert!(matches!(result, Err(Error::Limit { limit: 15_000, .. })), "{result:?}");
    assert!(!sys::fs::exists(bench.target("rootfs/b")));
    let mut bench = Bench::new();
    bench.add(&Member { data_bytes: 1 << 55, ..member("rootfs/huge", MemberKind::File) });
    let (bench, result) = bench.unpack();
    let error = result.expect_err("must fail").to_string();
    assert!(error.starts_with("Unable to unpack image, run out of disk space."), "{error}");
    assert!(!sys::fs::exists(bench.target("rootfs/huge")));
}

#[test]
fn a_sparse_terabyte_takes_no_space() {
    let mut bench = Bench::new();
    bench.add(&Member {
        data_bytes: 4,
        sparse: Some(Sparse { file_bytes: 1 << 40, pieces: vec![(1 << 39, 4)] }),
        ..member("rootfs/big", MemberKind::File)
    });
    bench.writer.write_data(b"data").expect("data");
    let (bench, result) = bench.unpack();
    result.expect("unpack");
    let stat = lstat(bench.target("rootfs/big"));
    assert_eq!(stat.size(), 1 << 40);
    assert!(stat.blocks() < 1000);
}

#[test]
fn a_full_disk_says_what_to_do() {
    let mut bench = Bench::new();
    for index in 0..40 {
        bench.file(&format!("rootfs/{index}"), &"x".repeat(100_000));
    }
    let (_dir, (result, _)) = bench.unpack_on_tmpfs("size=1m", None);
    let error = result.expect_err("must fail").to_string();
    assert!(error.starts_with("Unable to unpack image, run out of disk space.") && error.contains("larger storage pool"), "{error}");
}

#[test]
fn what_takes_no_space_in_an_archive_does_on_disk() {
    type Fill = fn(&mut Bench);
    let cases: [(&str, Fill, &str); 4] = [
        (
            "directories",
            |bench| (0..4000).for_each(|n| _ = bench.add(&member(&format!("rootfs/{n}"), MemberKind::Directory))),
            "nr_inodes=2000",
        ),
        (
            "directories that only names of members call for",
            |bench| (0..4).for_each(|n| _ = bench.file(&format!("rootfs/{}f", format!("{n}/").repeat(1000)), "")),
            "nr_inodes=2000",
        ),
        ("empty files", |bench| (0..400).for_each(|n| _ = bench.file(&format!("rootfs/{n}"), "")), "size=1m"),
        (
            "bytes in a hole",
            |bench| {
                let pieces = (0..400).map(|n| (n * 10_000, 1)).collect();
                let sparse = Some(Sparse { file_bytes: 5_000_000, pieces });
                bench.add(&Member { data_bytes: 400, sparse, ..member("rootfs/holes", MemberKind::File) });
                bench.writer.write_data(&[b'x'; 400]).expect("data");
            },
            "size=1m",
        ),
    ];
    for (what, fill, options) in cases {
        let mut bench = Bench::new();
        fill(&mut bench);
        let (_dir, (result, room)) = bench.unpack_on_tmpfs(options, None);
        assert!(matches!(result, Err(Error::DiskFull { .. })), "{what}: {result:?}");
        assert!(room.0 > 0 && room.1 > 30, "{what}: {room:?} bytes and inodes are left");
    }
}

/// A root file system as a squashfs, made from what `fill` puts into a directory.
fn squashfs(bench: &Bench, fill: impl FnOnce(&Path)) -> PathBuf {
    let (source, image) = (bench.dir.path().join("squash"), bench.dir.path().join("rootfs.squashfs"));
    sys::fs::create_dir(&source, 0o755).expect("mkdir");
    fill(&source);
    Cmd::new("mksquashfs", "squashfs-tools").arg(&source).arg(&image).args(["-quiet", "-no-progress"]).run().expect("mksquashfs");
    image
}

#[test]
fn a_squashfs_is_counted_before_and_watched_while_it_is_unpacked() {
    let bench = Bench::new();
    let image = squashfs(&bench, |dir| sys::fs::write(dir.join("big"), "x".repeat(20 << 20)).expect("write"));
    let (dir, (result, room)) = bench.unpack_on_tmpfs("size=8m", Some(&image));
    assert!(matches!(result, Err(Error::DiskFull { .. })), "{result:?}");
    assert!(room.0 > 7 << 20, "{room:?}: nothing was written");
    assert!(sys::fs::size_bytes(dir.path().join("rootfs.squashfs")).expect("size") < 1 << 20);
    let bench = Bench::new();
    let image = squashfs(&bench, |dir| (0..2000).for_each(|n| sys::fs::create_dir(dir.join(n.to_string()), 0o755).expect("mkdir")));
    let (_dir, (result, room)) = bench.unpack_on_tmpfs("nr_inodes=1000", Some(&image));
    assert!(matches!(result, Err(Error::DiskFull { .. })), "{result:?}");
    assert!(room.1 > 900, "{room:?}");
}

#[test]
fn a_squashfs_brings_only_attributes_of_a_guest() {
    let bench = Bench::new();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |path: PathBuf, name: &std::ffi::CStr, value: &[u8]| {
        sys::xattr::set(sys::fs::open(path).expect("open"), name, value).expect("set");
    };
    let image = squashfs(&bench, |dir| {
        sys::fs::create_dir(dir.join("d"), 0o755).expect("mkdir");
        sys::fs::write(dir.join("d/file"), "x").expect("write");
        for path in [dir.to_owned(), dir.join("d"), dir.join("d/file")] {
            set(path.clone(), c"trusted.overlay.redirect", b"/etc");
            set(path.clone(), c"trusted.evil", b"1");
            set(path.clone(), c"user.note", b"kept");
        }
        set(dir.join("d/file"), c"security.evil", b"1");
        set(dir.join("d/file"), c"security.capability", &capability);
    });
    let Bench { dir, writer } = bench;
    sys::fs::write(dir.path().join("image.tar"), writer.finish().expect("finish")).expect("write");
    let target = dir.path().join("target");
    unpack(&dir.path().join("image.tar"), Some(&image), &target).expect("unpack");
    let mut buffer = sys::xattr::Buffer::default();
    for (path, expected) in [("", vec![c"user.note"]), ("d", vec![c"user.note"]), ("d/file", vec![c"security.capability", c"user.note"])] {
        let file = sys::fs::open(target.join("rootfs").join(path)).expect("open");
        let mut names = sys::xattr::list(&file, &mut buffer).expect("list");
        names.sort();
        assert_eq!(names.iter().map(|name| name.as_c_str()).collect::<Vec<_>>(), expected, "{path:?}");
    }
}

#[test]
fn split_images_with_tar_and_squashfs() {
    for squashfs in [false, true] {
        let bench = Bench::bare();
        let source = bench.dir.path().join("source");
        sys::fs::ensure_dir_all(source.join("etc"), 0o755).expect("mkdir");
        sys::fs::write(source.join("etc/motd"), "hello").expect("write");
        sys::fs::chown(source.join("etc/motd"), 12, 34).expect("chown");
        let mut nodes = sys::archive_io::TreeWriter::new(Root::open(&source).expect("root"));
        for (name, device) in [("null", (1, 3)), ("mem", (1, 1))] {
            nodes.node(Path::new(name), sys::archive_io::NodeKind::CharDevice, device, &Default::default()).expect("mknod");
        }
        let mut metadata = TarWriter::new(Vec::new());
        metadata.file("metadata.yaml", METADATA, 1).expect("metadata");
        // Not a part of this file in a split image.
        metadata.file("rootfs/etc/evil", b"x", 1).expect("file");
        sys::fs::write(bench.dir.path().join("meta.tar"), metadata.finish().expect("finish")).expect("write");
        let rootfs = bench.dir.path().join("rootfs.img");
        if squashfs {
            Cmd::new("mksquashfs", "squashfs-tools").arg(&source).arg(&rootfs).args(["-quiet", "-no-progress"]).run().expect("mksquashfs");
        } else {
            Cmd::new("tar", "tar").arg("-C").arg(&source).arg("-cf").arg(&rootfs).arg(".").run().expect("tar");
        }
        unpack(&bench.dir.path().join("meta.tar"), Some(&rootfs), &bench.target("")).expect("unpack");
        assert_eq!(sys::fs::read_to_string(bench.target("rootfs/etc/motd")).expect("read"), "hello");
        assert_eq!(lstat(bench.target("rootfs/etc/motd")).gid(), 34);
        assert!(!sys::fs::exists(bench.target("rootfs/etc/evil")));
        assert_eq!(sys::fs::list_dir(bench.target("rootfs")).expect("list"), ["etc", "null"], "only harmless devices");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn random_members_never_touch_the_outside(steps in proptest::collection::vec((0usize..6, "(rootfs/)?(a|b|\\.\\.|\\.|/|out)(/(a|b|\\.\\.|secret)){0,3}", "(rootfs/|/|\\.\\./)?(a|b|\\.\\.|outside)(/(a|secret|\\.\\.)){0,3}"), 1..12)) {
        let mut bench = Bench::new();
        for (kind, path, target) in steps {
            let kind = [MemberKind::File, MemberKind::Directory, MemberKind::Symlink, MemberKind::HardLink, MemberKind::Fifo, MemberKind::Symlink][kind];
            let target = if target.contains("outside") { bench.outside() } else { target };
            bench.add(&link(&path, kind, &target));
        }
        drop(bench.unpack());
    }
}
