//! Images of containers: reading, unpacking, packing, templates, and building them.
//!
//! An image is a tar archive with `metadata.yaml`, `templates/` and `rootfs/` (unified), or a
//! small archive with the first two and the root file system in a second file (split). All
//! bytes of an image are foreign: parsers have caps, and everything is written beneath an
//! opened directory. This crate knows nothing of records, pools or the API.

mod archive;
mod backup;
mod build;
mod error;
mod formats;
mod image;
mod metadata;
mod pack;
mod parallel_gzip;
mod stream;
mod templates;
mod unpack;

pub use backup::{BackupConfig, BackupIndex, BackupReader, BackupWriter, CUSTOM_VOLUME, read_backup_index};
pub use build::{BuiltImage, Distribution, Recipe, build};
pub use error::Error;
pub use formats::{Compression, Format};
pub use image::{ImageFacts, ImageKind, extension_of, fingerprint, read_image, read_known_image};
pub use metadata::{Metadata, Template, canonical_architecture, host_architecture};
pub use pack::{Cancel, PackSource, Packed, Packing, pack};
pub use templates::{TemplateContext, apply_templates};
pub use unpack::{DevicePolicy, UnpackOptions, unpack, unpack_with};

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;
