//! Image servers that are plain files: what their index and product files say, and which image a name means.
//!
//! Parsing and choosing only: fetching is the caller's. All text is foreign: documents have a largest
//! size (told to who fetches them), nesting, counts and the text that is kept are bounded, and a path is
//! only ever one below the server's own address ([`join`]).
//!
//! ```text
//! SERVER/streams/v1/index.json        which files list products
//! SERVER/PATH                         products, each with versions, each with files (items)
//! SERVER/PATH-OF-ITEM                 the files of an image
//! ```

mod build;
mod catalogue;
mod error;
mod path;
mod wire;

pub use build::Item;
pub use catalogue::{Catalogue, Reading, StreamImage};
pub use error::{Error, Result};
pub use path::join;
