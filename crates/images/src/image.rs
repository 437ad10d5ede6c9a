//! Facts about image files: fingerprint, kind and metadata.

use std::io::{Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};
use sys::archive_io::File;

use crate::archive::{MemberKind, TarReader, relative_path};
use crate::formats::{self, Compression, Format};
use crate::metadata::MAX_METADATA_BYTES;
use crate::{Error, Metadata, Result, stream};

/// How an image is laid out in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// One archive with everything.
    Unified(Compression),
    /// An archive with metadata and templates, and the root file system in a second file.
    Split {
        /// Compression of the first.
        metadata: Compression,
        /// What the second is.
        rootfs: Format,
    },
}

impl ImageKind {
    /// Ending of the name of the metadata or unified file.
    pub fn extension(self) -> &'static str {
        let (ImageKind::Unified(compression) | ImageKind::Split { metadata: compression, .. }) = self;
        Format::Tar(compression).extension()
    }

    /// Ending of the name of the second file, if there is one.
    pub fn rootfs_extension(self) -> Option<&'static str> {
        match self {
            ImageKind::Unified(_) => None,
            ImageKind::Split { rootfs, .. } => Some(rootfs.extension()),
        }
    }
}

/// What the manager records about an image.
#[derive(Clone, Debug)]
pub struct ImageFacts {
    /// SHA-256 in hex of the file, or of metadata bytes followed by rootfs bytes.
    pub fingerprint: String,
    /// Size of all files.
    pub size_bytes: u64,
    /// The validated `metadata.yaml`.
    pub metadata: Metadata,
    /// Layout and formats.
    pub kind: ImageKind,
}

/// Reads an image without unpacking it: a unified archive, or a split image if `rootfs` is given.
pub fn read_image(metadata_file: &Path, rootfs: Option<&Path>) -> Result<ImageFacts> {
    let (kind, metadata) = read_content(metadata_file, rootfs)?;
    let (fingerprint, size_bytes) = fingerprint(metadata_file, rootfs)?;
    Ok(ImageFacts { fingerprint, size_bytes, metadata, kind })
}

/// The same where fingerprint and size are known already, as after a download: the files are not read whole.
pub fn read_known_image(metadata_file: &Path, rootfs: Option<&Path>, (fingerprint, size_bytes): (String, u64)) -> Result<ImageFacts> {
    let (kind, metadata) = read_content(metadata_file, rootfs)?;
    Ok(ImageFacts { fingerprint, size_bytes, metadata, kind })
}

fn read_content(metadata_file: &Path, rootfs: Option<&Path>) -> Result<(ImageKind, Metadata)> {
    let compression = match format_of(metadata_file)? {
        Format::Tar(compression) => compression,
        Format::Squashfs => {
            return Err(Error::UnsupportedFormat {
                file: format!("{} (a squashfs can only be the rootfs of a split image)", metadata_file.display()),
            });
        }
    };
    let kind = match rootfs {
        None => ImageKind::Unified(compression),
        Some(rootfs) => ImageKind::Split { metadata: compression, rootfs: format_of(rootfs)? },
    };
    Ok((kind, Metadata::parse(&find_metadata(metadata_file)?)?))
}

/// Ending of a file's name by its content, with the dot; for downloads.
pub fn extension_of(file: &Path) -> Result<&'static str> {
    format_of(file).map(Format::extension)
}

/// SHA-256 in hex and total size of one file, or of two one after the other.
pub fn fingerprint(metadata_file: &Path, rootfs: Option<&Path>) -> Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 1 << 18];
    for path in [Some(metadata_file), rootfs].into_iter().flatten() {
        let mut file = sys::fs::open(path)?;
        loop {
            let count = file.read(&mut buffer).map_err(|source| read_error(path, source))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            size_bytes += count as u64;
        }
    }
    Ok((hex(&hash.finalize()), size_bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of `metadata.yaml` at the top of an archive; reads no further than to it.
fn find_metadata(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let mut reader = TarReader::new(stream::open_tar(sys::fs::open(path)?, &name)?, &name);
    while let Some(member) = reader.next()? {
        let is_metadata = relative_path(&member.path).is_ok_and(|path| path == Path::new("metadata.yaml"));
        if !is_metadata {
            continue;
        }
        if member.kind != MemberKind::File || member.sparse.is_some() {
            return Err(Error::refused(&member.path, "metadata.yaml must be a regular file"));
        }
        return read_small(&mut reader, member.data_bytes);
    }
    Err(Error::MissingMetadata { file: name })
}

/// The content of a member that must not be larger than `metadata.yaml` may be.
pub(crate) fn read_small<R: std::io::BufRead>(reader: &mut TarReader<R>, data_bytes: u64) -> Result<Vec<u8>> {
    if data_bytes > MAX_METADATA_BYTES as u64 {
        return Err(Error::Limit { what: "bytes of metadata.yaml", limit: MAX_METADATA_BYTES as u64 });
    }
    let mut bytes = Vec::new();
    reader.read_data(&mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

fn format_of(path: &Path) -> Result<Format> {
    let mut file: File = sys::fs::open(path)?;
    let format = formats::read_format(&mut file, &path.display().to_string())?;
    file.rewind().map_err(|source| read_error(path, source))?;
    Ok(format)
}

fn read_error(path: &Path, source: std::io::Error) -> Error {
    Error::Read { file: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::archive::TarWriter;
    use crate::formats::Encoder;

    const METADATA: &str = "architecture: x86_64\ncreation_date: 1\nproperties: {os: test}\n";

    fn image(name: &str, compression: Compression) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("file");
        let encoder = Encoder::new(file.as_file().try_clone().expect("clone"), compression).expect("encoder");
        let mut writer = TarWriter::new(encoder);
        writer.file(name, METADATA.as_bytes(), 1).expect("file");
        writer.file("rootfs/etc/motd", &[b'x'; 3000], 1).expect("file");
        writer.finish().expect("finish").finish().expect("finish");
        file
    }

    #[test]
    fn unified_images_of_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd, Compression::Lzma]
        {
            let file = image("./metadata.yaml", compression);
            let facts = read_image(file.path(), None).expect("image");
            assert_eq!(facts.kind, ImageKind::Unified(compression));
            assert_eq!(facts.metadata.properties["os"], "test");
            let output = sys::cmd::Cmd::new("sha256sum", "coreutils").arg(file.path()).run().expect("sha256sum");
            assert!(output.stdout.starts_with(facts.fingerprint.as_bytes()));
            assert_eq!(facts.size_bytes, sys::fs::size_bytes(file.path()).expect("size"));
        }
    }

    #[test]
    fn split_fingerprint_covers_both_files() {
        let (one, two) = (image("metadata.yaml", Compression::Xz), image("etc/x", Compression::Gzip));
        let facts = read_image(one.path(), Some(two.path())).expect("image");
        let mut both = sys::fs::read(one.path()).expect("read");
        both.extend(sys::fs::read(two.path()).expect("read"));
        assert_eq!(facts.fingerprint, hex(&Sha256::digest(&both)));
        assert_eq!(facts.kind.extension(), ".tar.xz");
        assert_eq!(facts.kind.rootfs_extension(), Some(".tar.gz"));
    }

    #[test]
    fn what_is_no_image_says_so() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        assert!(matches!(read_image(file.path(), None), Err(Error::UnsupportedFormat { .. })));
        file.write_all(b"hsqs....").expect("write");
        assert!(matches!(read_image(file.path(), None), Err(Error::UnsupportedFormat { .. })));
        let other = image("rootfs/metadata.yaml", Compression::Gzip);
        assert!(matches!(read_image(other.path(), None), Err(Error::MissingMetadata { .. })));
    }
}
