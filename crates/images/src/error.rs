//! The error of this crate: what was done to which image or file, and why it failed.

use std::io;

use sys::Errno;

/// Why an image could not be read, unpacked, made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// A program failed.
    #[error(transparent)]
    Cmd(#[from] sys::cmd::CmdError),
    /// Neither a known compression nor an archive.
    #[error("Unsupported compression: {file} is not a tar archive (plain or compressed with gzip, bzip2, xz, lzma or zstd) nor a squashfs")]
    UnsupportedFormat {
        /// The file.
        file: String,
    },
    /// Bytes could not be read or decompressed.
    #[error("read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// The reason.
        source: io::Error,
    },
    /// Bytes could not be written or compressed.
    #[error("write {file}: {source}")]
    Write {
        /// The file.
        file: String,
        /// The reason.
        source: io::Error,
    },
    /// The archive breaks the format's rules.
    #[error("malformed tar archive: {0}")]
    Malformed(String),
    /// A member that would act outside the target or is not what it must be.
    #[error("refused archive member `{member}`: {reason}")]
    Refused {
        /// Its name in the archive.
        member: String,
        /// Why.
        reason: &'static str,
    },
    /// More than is accepted from an image.
    #[error("image exceeds the limit of {limit} {what}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A file that a guest has made so that packing it would not end.
    #[error("`{file}` cannot be packed: {reason}")]
    Unpackable {
        /// Its path in the instance.
        file: String,
        /// Why, and what would help.
        reason: String,
    },
    /// Somebody has broken the packing off.
    #[error("the packing was cancelled")]
    Cancelled,
    /// What is packed does not fit, as far as a file system may be filled by it.
    #[error(
        "the archive does not fit: no more than {reserve_percent} % of the file system that it is written to are left, which running \
         instances may need; free space there"
    )]
    NoRoom {
        /// The part that is left alone.
        reserve_percent: u64,
    },
    /// No `backup/index.yaml` at the beginning.
    #[error("{file} is not a backup of an instance: it does not begin with backup/index.yaml")]
    MissingIndex {
        /// The archive.
        file: String,
    },
    /// No `metadata.yaml` at the top.
    #[error("Could not extract image metadata.yaml from tar: no such member in {file}")]
    MissingMetadata {
        /// The archive.
        file: String,
    },
    /// The content of `metadata.yaml` is not acceptable.
    #[error("Could not parse metadata.yaml: {0}")]
    Metadata(String),
    /// After unpacking there is no root file system.
    #[error("Image is missing a rootfs: {file}")]
    MissingRootfs {
        /// The image file.
        file: String,
    },
    /// No space left while unpacking.
    #[error("Unable to unpack image, run out of disk space. Free space on the file system of {target}, or use a larger storage pool")]
    DiskFull {
        /// Where it was unpacked to.
        target: String,
    },
    /// A template cannot be applied.
    #[error("template `{template}` for {target}: {reason}")]
    Template {
        /// File below `templates/`.
        template: String,
        /// Path in the container.
        target: String,
        /// Why.
        reason: String,
    },
    /// The text does not name something that can be built.
    #[error("cannot build `{recipe}`: {reason}")]
    Recipe {
        /// As asked for.
        recipe: String,
        /// Why, and what would do.
        reason: String,
    },
    /// A build step failed.
    #[error("build image: {step}: {reason}")]
    Build {
        /// What was being done.
        step: &'static str,
        /// The program's last words.
        reason: String,
    },
}

impl Error {
    /// True if the reason is a full disk or quota.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::DiskFull { .. } | Error::NoRoom { .. } => true,
            Error::Sys(error) => is_full(error.errno),
            Error::Read { source, .. } | Error::Write { source, .. } => {
                source.raw_os_error().is_some_and(|code| is_full(Errno::from_raw_os_error(code)))
            }
            _ => false,
        }
    }

    pub(crate) fn refused(member: &[u8], reason: &'static str) -> Self {
        Error::Refused { member: String::from_utf8_lossy(member).into_owned(), reason }
    }
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}
