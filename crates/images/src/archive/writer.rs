//! Writing members: ustar headers, with a pax header where ustar is too small.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{BLOCK_BYTES, MAX_PAX_BYTES, Member, MemberKind, pax};
use crate::{Error, Result};

/// The largest number of seven octal digits.
const MAX_OCTAL_ID: u32 = 0o7_777_777;
/// The largest number of eleven octal digits.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;

/// Writes an archive.
pub(crate) struct TarWriter<W: Write> {
    out: W,
    /// Bytes that the current member still owes.
    owed: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, owed: 0, padding: 0 }
    }

    /// Begins a member; its `data_bytes` bytes are to follow by `write_data`. The map of a sparse
    /// one is written here and not counted in them.
    pub(crate) fn begin(&mut self, member: &Member) -> Result<()> {
        let map = member.sparse.as_ref().map(sparse_map).unwrap_or_default();
        let size = member.data_bytes + map.len() as u64;
        let records = records(member, size);
        if records.len() > MAX_PAX_BYTES {
            let reason = format!("its extended attributes take more than an archive holds, {MAX_PAX_BYTES} bytes: remove some");
            return Err(Error::Unpackable { file: String::from_utf8_lossy(&member.path).into_owned(), reason });
        }
        if !records.is_empty() {
            self.extended_header(&records)?;
        }
        let header = header(member, size)?;
        self.put(header.as_bytes())?;
        self.put(&map)?;
        self.owed = member.data_bytes;
        self.padding = pad(size);
        self.close_if_done()
    }

    /// Writes content of the current member.
    pub(crate) fn write_data(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.owed.checked_sub(bytes.len() as u64).ok_or_else(|| Error::Malformed("member grew while it was read".to_owned()))?;
        self.put(bytes)?;
        self.owed = left;
        self.close_if_done()
    }

    /// A small file in one go.
    pub(crate) fn file(&mut self, path: &str, content: &[u8], mtime: i64) -> Result<()> {
        let member = Member {
            path: path.into(),
            kind: MemberKind::File,
            data_bytes: content.len() as u64,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: sys::archive_io::Time { seconds: mtime, nanoseconds: 0 },
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        };
        self.begin(&member)?;
        self.write_data(content)
    }

    /// Ends the archive and returns the writer.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.put(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.out)
    }

    fn close_if_done(&mut self) -> Result<()> {
        if self.owed == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.put(&[0; BLOCK_BYTES][..padding])?;
        }
        Ok(())
    }

    fn extended_header(&mut self, records: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        set_name(&mut header, b"././@PaxHeader");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(records)?;
        self.put(&[0; BLOCK_BYTES][..pad(records.len() as u64)])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source: io::Error| Error::Write { file: "image archive".to_owned(), source })
    }
}

fn pad(size: u64) -> usize {
    let over = (size % BLOCK_BYTES as u64) as usize;
    (BLOCK_BYTES - over) % BLOCK_BYTES
}

/// The map of a sparse member as version 1.0 puts it before the data.
fn sparse_map(sparse: &super::Sparse) -> Vec<u8> {
    let mut map = format!("{}\n", sparse.pieces.len()).into_bytes();
    for (offset, length) in &sparse.pieces {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len() + pad(map.len() as u64), 0);
    map
}

/// What the ustar header has no room for.
fn records(member: &Member, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    match &member.sparse {
        Some(sparse) => {
            pax::push(&mut records, b"GNU.sparse.major", b"1");
            pax::push(&mut records, b"GNU.sparse.minor", b"0");
            pax::push(&mut records, b"GNU.sparse.name", &member.path);
            pax::push(&mut records, b"GNU.sparse.realsize", sparse.file_bytes.to_string().as_bytes());
        }
        None if !fits_name(&member.path) => pax::push(&mut records, b"path", &member.path),
        None => {}
    }
    if member.link.len() > 100 {
        pax::push(&mut records, b"linkpath", &member.link);
    }
    if size > MAX_OCTAL_SIZE {
        pax::push(&mut records, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if id > MAX_OCTAL_ID {
            pax::push(&mut records, key, id.to_string().as_bytes());
        }
    }
    if !(0..=MAX_OCTAL_SIZE as i64).contains(&member.mtime.seconds) {
        pax::push(&mut records, b"mtime", member.mtime.seconds.to_string().as_bytes());
    }
    for xattr in &member.xattrs {
        pax::push(&mut records, &[pax::XATTR_PREFIX, xattr.name.as_bytes()].concat(), &xattr.value);
    }
    records
}

fn header(member: &Member, size: u64) -> Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(match member.kind {
        MemberKind::File => EntryType::Regular,
        MemberKind::Directory => EntryType::Directory,
        MemberKind::Symlink => EntryType::Symlink,
        MemberKind::HardLink => EntryType::Link,
        MemberKind::CharDevice => EntryType::Char,
        MemberKind::BlockDevice => EntryType::Block,
        MemberKind::Fifo => EntryType::Fifo,
    });
    set_name(&mut header, &member.path);
    let link = &mut header.as_mut_bytes()[157..257];
    let length = member.link.len().min(100);
    link[..length].copy_from_slice(&member.link[..length]);
    header.set_mode(member.mode);
    header.set_uid(member.uid.min(MAX_OCTAL_ID).into());
    header.set_gid(member.gid.min(MAX_OCTAL_ID).into());
    header.set_mtime(member.mtime.seconds.clamp(0, MAX_OCTAL_SIZE as i64) as u64);
    header.set_size(size.min(MAX_OCTAL_SIZE));
    if matches!(member.kind, MemberKind::CharDevice | MemberKind::BlockDevice) {
        let bad = |error: io::Error| Error::Malformed(error.to_string());
        header.set_device_major(member.device.0).map_err(bad)?;
        header.set_device_minor(member.device.1).map_err(bad)?;
    }
    header.set_cksum();
    Ok(header)
}

/// The name field alone is used; the prefix field is left to readers of the pax record.
fn fits_name(path: &[u8]) -> bool {
    path.len() <= 100
}

fn set_name(header: &mut Header, path: &[u8]) {
    let length = path.len().min(100);
    header.as_mut_bytes()[..length].copy_from_slice(&path[..length]);
}

#[cfg(test)]
mod tests {
    use sys::archive_io::{Time, Xattr};

    use super::super::{Sparse, TarReader};
    use super::*;

    fn member(path: &str, kind: MemberKind) -> Member {
        Member {
            path: path.into(),
            kind,
            data_bytes: 0,
            mode: 0o4755,
            uid: 1000,
            gid: 4_000_000_000,
            mtime: Time { seconds: 1_700_000_000, nanoseconds: 0 },
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    fn read_back(bytes: &[u8]) -> Vec<(Member, Vec<u8>)> {
        let mut reader = TarReader::new(bytes, "test");
        let mut members = Vec::new();
        while let Some(member) = reader.next().expect("member") {
            let mut content = Vec::new();
            reader
                .read_data(&mut |part| {
                    content.extend_from_slice(part);
                    Ok(())
                })
                .expect("data");
            members.push((member, content));
        }
        members
    }

    #[test]
    fn everything_survives_the_round_trip() {
        let long = "d/".repeat(300) + "file";
        let mut file = member(&long, MemberKind::File);
        file.data_bytes = 5;
        file.xattrs = vec![Xattr { name: c"security.capability".to_owned(), value: vec![1, 0, 255, b'\n'] }];
        let mut link = member("link", MemberKind::Symlink);
        link.link = "t".repeat(500).into_bytes();
        let mut device = member("dev/null", MemberKind::CharDevice);
        device.device = (1, 3);
        let mut holes = member("holes", MemberKind::File);
        holes.sparse = Some(Sparse { file_bytes: 1 << 40, pieces: vec![(512, 3), (1 << 39, 4)] });
        holes.data_bytes = 7;
        holes.mtime.seconds = -5;
        let mut writer = TarWriter::new(Vec::new());
        writer.begin(&file).expect("begin");
        writer.write_data(b"hello").expect("data");
        writer.begin(&link).expect("begin");
        writer.begin(&device).expect("begin");
        writer.begin(&holes).expect("begin");
        writer.write_data(b"abcdefg").expect("data");
        let members = read_back(&writer.finish().expect("finish"));
        assert_eq!(members.len(), 4);
        assert_eq!(members[0].0.path, long.as_bytes());
        assert_eq!((members[0].0.mode, members[0].0.uid, members[0].0.gid), (0o4755, 1000, 4_000_000_000));
        assert_eq!(members[0].0.xattrs, file.xattrs);
        assert_eq!(members[0].1, b"hello");
        assert_eq!(members[1].0.link, link.link);
        assert_eq!(members[2].0.device, (1, 3));
        assert_eq!(members[3].0.path, b"holes");
        assert_eq!(members[3].0.sparse, holes.sparse);
        assert_eq!(members[3].0.mtime.seconds, -5);
        assert_eq!(members[3].1, b"abcdefg");
    }

    #[test]
    fn gnu_tar_reads_it() {
        let mut holes = member("holes", MemberKind::File);
        holes.sparse = Some(Sparse { file_bytes: 1 << 20, pieces: vec![(4096, 3)] });
        holes.data_bytes = 3;
        let mut writer = TarWriter::new(Vec::new());
        writer.begin(&holes).expect("begin");
        writer.write_data(b"abc").expect("data");
        writer.begin(&member(&"x".repeat(200), MemberKind::Directory)).expect("begin");
        let bytes = writer.finish().expect("finish");
        let output = sys::cmd::Cmd::new("tar", "tar").args(["--numeric-owner", "-tvf", "-"]).stdin_bytes(bytes).run().expect("tar");
        let listing = String::from_utf8(output.stdout).expect("utf-8");
        assert!(listing.contains("1048576") && listing.contains("holes") && listing.contains("1000/4000000000"), "{listing}");
        assert!(listing.contains(&"x".repeat(200)), "{listing}");
    }

    #[test]
    fn attributes_are_written_as_far_as_they_can_be_read() {
        let mut file = member("file", MemberKind::File);
        let xattr =
            |number: usize| Xattr { name: std::ffi::CString::new(format!("user.{number}")).expect("name"), value: vec![b'v'; 65_536] };
        file.xattrs = (0..15).map(xattr).collect();
        let mut writer = TarWriter::new(Vec::new());
        writer.begin(&file).expect("begin");
        let members = read_back(&writer.finish().expect("finish"));
        assert_eq!(members[0].0.xattrs, file.xattrs);
        file.xattrs.push(xattr(15));
        let error = TarWriter::new(Vec::new()).begin(&file).expect_err("too much").to_string();
        assert!(error.contains("`file` cannot be packed") && error.contains("extended attributes"), "{error}");
    }

    #[test]
    fn content_of_another_length_is_refused() {
        let mut writer = TarWriter::new(Vec::new());
        let mut file = member("file", MemberKind::File);
        file.data_bytes = 2;
        writer.begin(&file).expect("begin");
        assert!(writer.write_data(b"abc").is_err());
        assert_eq!(writer.owed, 2);
    }

    #[test]
    fn huge_declared_headers_do_not_take_memory() {
        for kind in [EntryType::GNULongName, EntryType::XHeader, EntryType::XGlobalHeader] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(1 << 40);
            header.set_mode(0o644);
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.resize(1 << 20, b'x');
            let error = TarReader::new(&bytes[..], "test").next().expect_err("must fail");
            assert!(matches!(error, Error::Limit { .. }), "{error}");
        }
    }

    #[test]
    fn endless_chain_of_headers_is_refused() {
        let mut writer = TarWriter::new(Vec::new());
        for _ in 0..100 {
            writer.extended_header(b"12 comment=a\n").expect("header");
        }
        assert!(TarReader::new(&writer.finish().expect("finish")[..], "test").next().is_err());
    }

    #[test]
    fn declared_size_beyond_the_end_is_an_error() {
        let mut file = member("file", MemberKind::File);
        file.data_bytes = 1 << 60;
        let mut writer = TarWriter::new(Vec::new());
        writer.begin(&file).expect("begin");
        let bytes = writer.out;
        let mut reader = TarReader::new(&bytes[..], "test");
        assert_eq!(reader.next().expect("header").expect("member").data_bytes, 1 << 60);
        assert!(reader.read_data(&mut |_| Ok(())).is_err());
    }

    proptest::proptest! {
        #[test]
        fn changed_archives_never_panic(at in 0usize..4096, byte: u8, fix: bool) {
            let mut file = member(&"n".repeat(150), MemberKind::File);
            file.sparse = Some(Sparse { file_bytes: 100_000, pieces: vec![(512, 3), (9000, 4)] });
            file.data_bytes = 7;
            let mut writer = TarWriter::new(Vec::new());
            writer.begin(&file).expect("begin");
            writer.write_data(b"abcdefg").expect("data");
            let mut bytes = writer.finish().expect("finish");
            let at = at % bytes.len();
            bytes[at] = byte;
            if fix {
                let start = at / BLOCK_BYTES * BLOCK_BYTES;
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(&bytes[start..start + BLOCK_BYTES]);
                header.set_cksum();
                bytes[start..start + BLOCK_BYTES].copy_from_slice(header.as_bytes());
            }
            let mut reader = TarReader::new(&bytes[..], "test");
            while let Ok(Some(_)) = reader.next() {
                drop(reader.read_data(&mut |_| Ok(())));
            }
        }

        #[test]
        fn random_blocks_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000)) {
            let mut bytes = bytes;
            if bytes.len() >= BLOCK_BYTES {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(&bytes[..BLOCK_BYTES]);
                header.set_cksum();
                bytes[..BLOCK_BYTES].copy_from_slice(header.as_bytes());
            }
            let mut reader = TarReader::new(&bytes[..], "test");
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
