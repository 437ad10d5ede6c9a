//! What two servers say to each other when an instance or a volume goes from one to the other: LXD's migration
//! protocol, on descriptors. Knows nothing of HTTP, of records or of how files are read and written.
//!
//! There are two connections, websockets that somebody else looks after. On `control` each message is one protobuf:
//! ```text
//! source -> target   MigrationHeader    what there is, and how it could be sent
//! target -> source   MigrationHeader    what is wanted, and how it is to be sent
//! target -> source   MigrationControl   how it went; before that, the source may send one to say that it gives up
//! ```
//! On `fs` file systems follow each other: first the snapshots, oldest first, then the instance itself. Each is bytes in
//! both directions, and a mark at the end of each direction.
//!
//! A [`Channel`] is our end of such a connection. Between it and whoever looks after the websocket, messages are
//! [frames](frame) on a stream socket.

mod channel;
mod error;
pub mod frame;
mod header;

pub use channel::{Channel, Received};
pub use error::{Error, Result};
pub use header::{
    Config, CriuType, Device, FsType, IdMapEntry, MAX_SNAPSHOTS, MigrationControl, MigrationHeader, RsyncFeatures, Snapshot, parse_control,
    parse_header,
};
