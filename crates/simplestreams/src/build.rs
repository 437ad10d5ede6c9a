//! One build of a product: the two files that an image is made of, and the fingerprint of both.

use api::Timestamp;

use crate::wire::{Version, WireItem};

/// How many images a server may list.
pub(crate) const MAX_IMAGES: usize = 50_000;
/// As much of a text that describes an image is kept.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;
/// Digits of a SHA-256.
pub(crate) const HASH_DIGITS: usize = 64;

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the server's address; to be used through [`crate::join`] only.
    pub path: String,
    /// What it must have.
    pub size_bytes: u64,
    /// What it must have, hexadecimal; empty where the server does not say.
    pub sha256: String,
}

/// What is kept of a build.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub serial: String,
    pub label: String,
    pub created_at: Timestamp,
    /// Of both files.
    pub fingerprint: String,
    pub metadata: Item,
    pub rootfs: Item,
}

impl Build {
    /// A build that is an image; `None` where something of that is missing. Its serial begins with a date.
    pub fn of(serial: &str, version: &Version) -> Option<Self> {
        let created_at = date(serial.get(..8)?)?;
        let metadata = version.metadata.as_ref()?;
        let or = |one: &str, other: &str| if one.is_empty() { other.to_ascii_lowercase() } else { one.to_ascii_lowercase() };
        let (rootfs, fingerprint) = match (&version.squashfs, &version.tarball) {
            (Some(squashfs), _) => (squashfs, or(&metadata.combined_squashfs_sha256, &metadata.combined_sha256)),
            (None, Some(tarball)) => (tarball, or(&metadata.combined_rootxz_sha256, &metadata.combined_sha256)),
            (None, None) => return None,
        };
        let (metadata, rootfs) = (usable(metadata)?, usable(rootfs)?);
        let (serial, label) = (cut(serial).to_owned(), cut(&version.label).to_owned());
        is_hash(&fingerprint).then_some(Self { serial, label, created_at, fingerprint, metadata, rootfs })
    }

    /// Of both files; `None` where a server says more than there can be.
    pub fn size_bytes(&self) -> Option<i64> {
        i64::try_from(self.metadata.size_bytes.checked_add(self.rootfs.size_bytes)?).ok()
    }
}

fn usable(item: &WireItem) -> Option<Item> {
    let sha256 = item.sha256.to_ascii_lowercase();
    let is_usable = item.size > 0 && (1..=MAX_TEXT_BYTES).contains(&item.path.len()) && (sha256.is_empty() || is_hash(&sha256));
    is_usable.then(|| Item { path: item.path.clone(), size_bytes: item.size, sha256 })
}

/// The beginning of a text that is too long.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Midnight of a day that is written with eight digits.
pub(crate) fn date(digits: &str) -> Option<Timestamp> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range| digits.get::<std::ops::Range<usize>>(range)?.parse::<i16>().ok();
    let day = jiff::civil::Date::new(number(0..4)?, number(4..6)?.try_into().ok()?, number(6..8)?.try_into().ok()?).ok()?;
    Some(Timestamp(Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())))
}
