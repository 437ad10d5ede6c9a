//! Maps between guest (container) and host user and group ids: pure algebra.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One contiguous piece of a map. The JSON names are those of `volatile.*.idmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Applies to user ids.
    #[serde(rename = "Isuid")]
    pub is_uid: bool,
    /// Applies to group ids.
    #[serde(rename = "Isgid")]
    pub is_gid: bool,
    /// First id on the host.
    #[serde(rename = "Hostid")]
    pub host: u32,
    /// First id in the container.
    #[serde(rename = "Nsid")]
    pub guest: u32,
    /// How many ids.
    #[serde(rename = "Maprange")]
    pub count: u32,
}

/// User or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// User ids.
    Uid,
    /// Group ids.
    Gid,
}

/// A whole map; empty means ids are the same inside and outside (a privileged container).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdMap {
    /// The pieces, in no particular order, not overlapping.
    pub entries: Vec<Entry>,
}

impl IdMap {
    /// A map of guest 0.. to `host`.. for users and groups alike.
    pub fn contiguous(host_uid: u32, host_gid: u32, count: u32) -> Self {
        let entry = |is_uid, host| Entry { is_uid, is_gid: !is_uid, host, guest: 0, count };
        Self { entries: vec![entry(true, host_uid), entry(false, host_gid)] }
    }

    /// No translation at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The host's id for a guest id.
    pub fn to_host(&self, kind: Kind, guest: u32) -> Option<u32> {
        if self.is_empty() {
            return Some(guest);
        }
        self.of(kind)
            .find_map(|entry| guest.checked_sub(entry.guest).filter(|offset| *offset < entry.count).map(|offset| entry.host + offset))
    }

    /// The guest's id for a host id.
    pub fn to_guest(&self, kind: Kind, host: u32) -> Option<u32> {
        if self.is_empty() {
            return Some(host);
        }
        self.of(kind)
            .find_map(|entry| host.checked_sub(entry.host).filter(|offset| *offset < entry.count).map(|offset| entry.guest + offset))
    }

    /// The pieces of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| match kind {
            Kind::Uid => entry.is_uid,
            Kind::Gid => entry.is_gid,
        })
    }

    /// The text for `/proc/PID/uid_map` or `gid_map`, see user_namespaces(7).
    pub fn to_kernel(&self, kind: Kind) -> String {
        use fmt::Write;
        self.of(kind).fold(String::new(), |mut text, entry| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {} {}", entry.guest, entry.host, entry.count);
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates_both_ways() {
        let map = IdMap::contiguous(100_000, 200_000, 65_536);
        assert_eq!(map.to_host(Kind::Uid, 0), Some(100_000));
        assert_eq!(map.to_host(Kind::Gid, 33), Some(200_033));
        assert_eq!(map.to_host(Kind::Uid, 65_536), None);
        assert_eq!(map.to_guest(Kind::Uid, 165_535), Some(65_535));
        assert_eq!(map.to_guest(Kind::Uid, 99_999), None);
        assert_eq!(map.to_kernel(Kind::Uid), "0 100000 65536\n");
    }
}
