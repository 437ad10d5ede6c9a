//! The messages of the control connection, and what is believed of them.
//!
//! Field numbers are those of LXD 2.0 to 5.0. What is not known is skipped, as protobuf wants it, so newer servers may
//! say more.

use std::collections::BTreeMap;

use prost::Message;

use crate::error::{Error, Result};

/// Most snapshots of one instance, which is also what this side sends.
pub const MAX_SNAPSHOTS: usize = 4096;
/// Most entries of an id map, profiles of a snapshot, devices, and keys of any of these.
const MAX_ENTRIES: usize = 4096;
/// Longest text of anything, bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Longest header, bytes.
const MAX_HEADER_BYTES: usize = 8 << 20;
/// Longest message of success or failure, bytes; what is longer is cut when it is told.
const MAX_REASON_BYTES: usize = 4096;

/// How a file system is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FsType {
    /// By two programs rsync, one on each side.
    Rsync = 0,
    /// By `btrfs send`.
    Btrfs = 1,
    /// By `zfs send`.
    Zfs = 2,
    /// By `rbd export`.
    Rbd = 3,
    /// Of a virtual machine.
    BlockAndRsync = 4,
}

/// How a running state is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CriuType {
    /// CRIU's images, by rsync.
    Rsync = 0,
    /// By p.haul.
    Phaul = 1,
    /// It runs, but only its files are sent: a second time, once they have been sent, to catch up.
    None = 2,
    /// Of a virtual machine.
    Qemu = 3,
}

/// A range of ids that the files have on the disk of the source.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct IdMapEntry {
    /// Of users.
    #[prost(bool, required, tag = "1")]
    pub is_uid: bool,
    /// Of groups.
    #[prost(bool, required, tag = "2")]
    pub is_gid: bool,
    /// The first id on the disk.
    #[prost(int32, required, tag = "3")]
    pub host: i32,
    /// The first id as the guest sees it.
    #[prost(int32, required, tag = "4")]
    pub guest: i32,
    /// How many there are.
    #[prost(int32, required, tag = "5")]
    pub count: i32,
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Config {
    /// The key.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Device {
    /// Its name.
    #[prost(string, required, tag = "1")]
    pub name: String,
    /// Its keys.
    #[prost(message, repeated, tag = "2")]
    pub config: Vec<Config>,
}

/// A snapshot, as its record is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Snapshot {
    /// Without the name of the instance.
    #[prost(string, required, tag = "1")]
    pub name: String,
    /// Its own configuration.
    #[prost(message, repeated, tag = "2")]
    pub config: Vec<Config>,
    /// Names of its profiles.
    #[prost(string, repeated, tag = "3")]
    pub profiles: Vec<String>,
    /// The instance was to be deleted when it stops.
    #[prost(bool, required, tag = "4")]
    pub ephemeral: bool,
    /// Its own devices.
    #[prost(message, repeated, tag = "5")]
    pub devices: Vec<Device>,
    /// By LXD's numbers.
    #[prost(int32, required, tag = "6")]
    pub architecture: i32,
    /// It holds a running state.
    #[prost(bool, required, tag = "7")]
    pub stateful: bool,
    /// When it was taken, seconds since 1970.
    #[prost(int64, optional, tag = "8")]
    pub created_at: Option<i64>,
    /// When the instance was last started, seconds since 1970.
    #[prost(int64, optional, tag = "9")]
    pub last_used_at: Option<i64>,
    /// When it expires, seconds since 1970; zero, or before it, is never.
    #[prost(int64, optional, tag = "10")]
    pub expires_at: Option<i64>,
}

/// What a server's rsync is to do beyond the least: both sides must be told the same, since it changes what is sent.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RsyncFeatures {
    /// Extended attributes.
    #[prost(bool, optional, tag = "1")]
    pub xattrs: Option<bool>,
    /// Delete what the source does not have.
    #[prost(bool, optional, tag = "2")]
    pub delete: Option<bool>,
    /// Compress what is sent.
    #[prost(bool, optional, tag = "3")]
    pub compress: Option<bool>,
    /// Whoever says this goes by what both sides have said.
    #[prost(bool, optional, tag = "4")]
    pub bidirectional: Option<bool>,
    /// Hard links and access control lists. Not known to LXD, which does without.
    #[prost(bool, optional, tag = "1001")]
    pub links_and_acls: Option<bool>,
}

/// What is offered, and the answer to it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MigrationHeader {
    /// How file systems are sent.
    #[prost(enumeration = "FsType", required, tag = "1")]
    pub fs: i32,
    /// How a running state is sent; absent: not at all.
    #[prost(enumeration = "CriuType", optional, tag = "2")]
    pub criu: Option<i32>,
    /// The ids that files have on the disk of the source; empty: as the guest sees them.
    #[prost(message, repeated, tag = "3")]
    pub idmap: Vec<IdMapEntry>,
    /// Names of the snapshots, oldest first.
    #[prost(string, repeated, tag = "4")]
    pub snapshot_names: Vec<String>,
    /// The snapshots, in the same order.
    #[prost(message, repeated, tag = "5")]
    pub snapshots: Vec<Snapshot>,
    /// Memory is sent before the processes are stopped.
    #[prost(bool, optional, tag = "7")]
    pub predump: Option<bool>,
    /// Absent: version 2.0.
    #[prost(message, optional, tag = "8")]
    pub rsync_features: Option<RsyncFeatures>,
    /// Only the snapshots that the answer names are wanted.
    #[prost(bool, optional, tag = "9")]
    pub refresh: Option<bool>,
    /// Of volumes that are block devices, bytes.
    #[prost(int64, optional, tag = "11")]
    pub volume_size: Option<i64>,
    /// An index precedes the file systems; this side asks for none.
    #[prost(uint32, optional, tag = "13")]
    pub index_header_version: Option<u32>,
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MigrationControl {
    /// Well.
    #[prost(bool, required, tag = "1")]
    pub success: bool,
    /// Why not.
    #[prost(string, optional, tag = "2")]
    pub message: Option<String>,
}

impl RsyncFeatures {
    /// What this side can.
    pub fn ours() -> Self {
        Self { xattrs: Some(true), delete: Some(true), compress: Some(false), bidirectional: Some(true), links_and_acls: Some(true) }
    }

    /// What both sides can.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        let both = |one: Option<bool>, other: Option<bool>| Some(one.unwrap_or(false) && other.unwrap_or(false));
        Self {
            xattrs: both(self.xattrs, other.xattrs),
            delete: both(self.delete, other.delete),
            compress: both(self.compress, other.compress),
            bidirectional: both(self.bidirectional, other.bidirectional),
            links_and_acls: both(self.links_and_acls, other.links_and_acls),
        }
    }

    /// What a target does that has answered with these; absent: one of version 2.0.
    pub fn of_answer(answer: Option<Self>) -> Self {
        match answer {
            None => Self::default(),
            Some(answer) if answer.bidirectional == Some(true) => Self::ours().common(answer),
            // Such a server takes it that all three are used, whatever it is told.
            Some(_) => Self { xattrs: Some(true), delete: Some(true), compress: Some(true), ..Self::default() },
        }
    }
}

impl Snapshot {
    /// Its configuration; of a key that is there twice, the last.
    pub fn config(&self) -> BTreeMap<String, String> {
        pairs(&self.config)
    }

    /// Its devices.
    pub fn devices(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.devices.iter().map(|device| (device.name.clone(), pairs(&device.config))).collect()
    }
}

impl Config {
    /// A map as pairs.
    pub fn of<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Self> {
        map.into_iter().map(|(key, value)| Self { key: key.clone(), value: value.clone() }).collect()
    }
}

fn pairs(config: &[Config]) -> BTreeMap<String, String> {
    config.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

impl MigrationControl {
    /// It went well.
    pub fn success() -> Self {
        Self { success: true, message: Some(String::new()) }
    }

    /// It did not.
    pub fn failure(reason: &str) -> Self {
        Self { success: false, message: Some(cut(reason)) }
    }

    /// Success, or the reason of the failure as an error.
    pub fn into_result(self) -> Result<()> {
        if self.success { Ok(()) } else { Err(Error::GaveUp(reason(&self.message.unwrap_or_default()))) }
    }
}

/// Reads a header. A source that gives up before it has sent one says why in its place.
pub fn parse_header(bytes: &[u8]) -> Result<MigrationHeader> {
    if bytes.len() > MAX_HEADER_BYTES {
        return Err(Error::Malformed(format!("a header of {} bytes; at most {MAX_HEADER_BYTES} are taken", bytes.len())));
    }
    match MigrationHeader::decode(bytes) {
        Ok(header) => check(header),
        Err(error) => match MigrationControl::decode(bytes) {
            Ok(control) if !control.success => Err(control.into_result().err().unwrap_or(Error::Closed)),
            _ => Err(Error::Malformed(format!("a header that cannot be read: {error}"))),
        },
    }
}

/// Reads how it went.
pub fn parse_control(bytes: &[u8]) -> Result<MigrationControl> {
    if bytes.len() > MAX_HEADER_BYTES {
        return Err(Error::Malformed(format!("a message of {} bytes", bytes.len())));
    }
    MigrationControl::decode(bytes).map_err(|error| Error::Malformed(format!("a message that cannot be read: {error}")))
}

fn check(header: MigrationHeader) -> Result<MigrationHeader> {
    let too_many = |what: &str, count: usize, most: usize| Err(Error::Malformed(format!("{count} {what}; at most {most} are taken")));
    if header.snapshots.len().max(header.snapshot_names.len()) > MAX_SNAPSHOTS {
        return too_many("snapshots", header.snapshots.len().max(header.snapshot_names.len()), MAX_SNAPSHOTS);
    }
    if header.idmap.len() > MAX_ENTRIES {
        return too_many("ranges of ids", header.idmap.len(), MAX_ENTRIES);
    }
    for snapshot in &header.snapshots {
        let keys = snapshot.devices.iter().map(|device| device.config.len()).max().unwrap_or_default().max(snapshot.config.len());
        let most = keys.max(snapshot.devices.len()).max(snapshot.profiles.len());
        if most > MAX_ENTRIES {
            return too_many("keys, devices or profiles of a snapshot", most, MAX_ENTRIES);
        }
        let all = snapshot.devices.iter().flat_map(|device| &device.config).chain(&snapshot.config);
        let longest = all.map(|pair| pair.key.len().max(pair.value.len())).max().unwrap_or_default();
        if longest > MAX_TEXT_BYTES {
            return too_many("bytes of a value", longest, MAX_TEXT_BYTES);
        }
    }
    Ok(header)
}

/// A reason as it may be told: without what a terminal would obey.
fn reason(text: &str) -> String {
    let text: String = cut(text).chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if text.trim().is_empty() { "it did not say why".to_owned() } else { text.trim().to_owned() }
}

fn cut(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_REASON_BYTES).last().unwrap_or_default();
    if text.len() <= MAX_REASON_BYTES { text.to_owned() } else { text[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As LXD 5.0.2 sends it for a container with one snapshot on a pool of the driver dir.
    #[test]
    fn field_numbers_are_those_of_others() {
        let bytes = [
            0x08, 0x00, // fs: rsync
            0x22, 0x02, b's', b'0', // a name
            0x2a, 0x16, // a snapshot
            0x0a, 0x02, b's', b'0', 0x12, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v', 0x20, 0x00, 0x30, 0x02, 0x38, 0x00, 0x40, 0x07, 0x50,
            0x00, // created 7, never expires
            0x38, 0x00, // no predump
            0x42, 0x08, 0x08, 0x01, 0x10, 0x01, 0x18, 0x01, 0x20, 0x01, // rsync
            0x68, 0x01, // an index
            0x70, 0x01, // a field of later
        ];
        let header = parse_header(&bytes).expect("header");
        assert_eq!((header.fs, header.snapshot_names.as_slice()), (0, ["s0".to_owned()].as_slice()));
        let snapshot = &header.snapshots[0];
        assert_eq!((snapshot.created_at, snapshot.expires_at, snapshot.architecture), (Some(7), Some(0), 2));
        assert_eq!(snapshot.config(), [("k".to_owned(), "v".to_owned())].into());
        let common = RsyncFeatures::ours().common(header.rsync_features.expect("features"));
        assert_eq!((common.xattrs, common.delete, common.compress), (Some(true), Some(true), Some(false)));
        assert_eq!((common.bidirectional, common.links_and_acls), (Some(true), Some(false)));
        assert_eq!(parse_header(&header.encode_to_vec()).expect("again"), header);
    }

    #[test]
    fn what_gives_up_says_why() {
        let told = parse_header(&MigrationControl::failure("no\u{1b}[2J space").encode_to_vec()).expect_err("no header").to_string();
        assert_eq!(told, "the other server gave up: no [2J space");
        let long = MigrationControl::failure(&"ä".repeat(1 << 20));
        assert!(long.message.as_ref().is_some_and(|message| message.len() <= MAX_REASON_BYTES));
        assert!(parse_control(&MigrationControl::success().encode_to_vec()).expect("control").into_result().is_ok());
        assert!(parse_control(b"\xff\xff").is_err() && parse_header(b"").is_ok());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let names = MigrationHeader { snapshot_names: vec![String::new(); MAX_SNAPSHOTS + 1], ..MigrationHeader::default() };
        assert!(parse_header(&names.encode_to_vec()).expect_err("too many").to_string().contains("4097 snapshots"));
        assert!(parse_header(&vec![0; MAX_HEADER_BYTES + 1]).is_err());
        let snapshot = Snapshot { config: Config::of([(&"k".to_owned(), &"v".repeat(MAX_TEXT_BYTES + 1))]), ..Snapshot::default() };
        let long = MigrationHeader { snapshots: vec![snapshot], ..MigrationHeader::default() };
        assert!(parse_header(&long.encode_to_vec()).expect_err("too long").to_string().contains("bytes of a value"));
    }

    #[test]
    fn targets_of_every_version_are_understood() {
        assert_eq!(RsyncFeatures::of_answer(None), RsyncFeatures::default());
        let old = RsyncFeatures { xattrs: Some(true), ..RsyncFeatures::default() };
        assert_eq!(RsyncFeatures::of_answer(Some(old)).compress, Some(true));
        assert_eq!(RsyncFeatures::of_answer(Some(RsyncFeatures { bidirectional: Some(true), ..old })).delete, Some(false));
    }
}
