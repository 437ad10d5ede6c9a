//! Image servers that are plain files: what their index and product files say, and which image a name means.
//!
//! Parsing and choosing only: fetching is the caller's. All text is foreign: documents have a largest
//! size (kept by who fetches them, [`MAX_INDEX_BYTES`], [`MAX_PRODUCTS_BYTES`]), nesting and counts are
//! bounded, and a path is only ever one below the server's own address ([`join`]).
//!
//! ```text
//! SERVER/streams/v1/index.json        which files list products
//! SERVER/PATH                         products, each with versions, each with files (items)
//! SERVER/PATH-OF-ITEM                 the files of an image
//! ```

mod catalogue;
mod error;
mod path;
mod wire;

pub use catalogue::{Catalogue, Item, Reading, StreamImage};
pub use error::{Error, Result};
pub use path::{INDEX, join};
pub use wire::product_files;

/// The largest index that is to be read.
pub const MAX_INDEX_BYTES: u64 = 4 << 20;
/// The largest file of products that is to be read; the largest known ones have 10 MB.
pub const MAX_PRODUCTS_BYTES: u64 = 64 << 20;
