//! Records of pax extended headers: `LENGTH KEY=VALUE\n`.

use sys::archive_io::{Time, Xattr};

use crate::{Error, Result};

/// Prefix of the keys under which star and GNU tar keep extended attributes.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
/// The kernel's bound on a value (limits.h, XATTR_SIZE_MAX).
const MAX_XATTR_BYTES: usize = 65_536;

/// What extended headers say about the member after them.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: SparseKeys,
}

/// The `GNU.sparse.*` keys of versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) file_bytes: Option<u64>,
    /// Offsets and lengths, alternating.
    pub(super) map: Option<Vec<u64>>,
}

/// Splits the records of one header; later ones win.
pub(super) fn parse(bytes: &[u8], into: &mut Extension) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length = usize::try_from(number(&rest[..space])?).map_err(|_| broken())?;
        // The length counts its own digits, the space and the newline.
        if length <= space + 2 || length > rest.len() || rest[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &rest[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        take(&record[..equals], &record[equals + 1..], into)?;
        rest = &rest[length..];
    }
    Ok(())
}

fn take(key: &[u8], value: &[u8], into: &mut Extension) -> Result<()> {
    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
        return take_xattr(name, value, into);
    }
    match key {
        b"path" => into.path = Some(value.to_vec()),
        b"linkpath" => into.link = Some(value.to_vec()),
        b"size" => into.size = Some(number(value)?),
        b"uid" => into.uid = Some(id(value)?),
        b"gid" => into.gid = Some(id(value)?),
        b"mtime" => into.mtime = time(value),
        b"GNU.sparse.major" => into.sparse.major = Some(number(value)?),
        b"GNU.sparse.name" => into.sparse.name = Some(value.to_vec()),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => into.sparse.file_bytes = Some(number(value)?),
        b"GNU.sparse.map" => {
            let map = value.split(|byte| *byte == b',').map(number).collect::<Result<Vec<_>>>()?;
            into.sparse.map = Some(map);
        }
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => into.sparse.map.get_or_insert_default().push(number(value)?),
        _ => {}
    }
    Ok(())
}

fn take_xattr(name: &[u8], value: &[u8], into: &mut Extension) -> Result<()> {
    let name = std::ffi::CString::new(name).map_err(|_| broken())?;
    if value.len() > MAX_XATTR_BYTES {
        return Err(Error::Limit { what: "bytes of an extended attribute", limit: MAX_XATTR_BYTES as u64 });
    }
    into.xattrs.retain(|known| known.name != name);
    into.xattrs.push(Xattr { name, value: value.to_vec() });
    Ok(())
}

pub(super) fn number(text: &[u8]) -> Result<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok()).ok_or_else(broken)
}

fn id(text: &[u8]) -> Result<u32> {
    u32::try_from(number(text)?).map_err(|_| broken())
}

/// `SECONDS[.FRACTION]`; what cannot be represented is no time, which is not worth an error.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if seconds.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: whole.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds: whole, nanoseconds })
}

fn broken() -> Error {
    Error::Malformed("broken extended header".to_owned())
}

/// Appends one record.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_at_every_length() {
        for length in (0..120).chain(980..1010) {
            let mut bytes = Vec::new();
            let value = vec![b'x'; length];
            push(&mut bytes, b"path", &value);
            push(&mut bytes, b"SCHILY.xattr.user.a", b"1\n=2");
            let mut extension = Extension::default();
            parse(&bytes, &mut extension).expect("parses");
            assert_eq!(extension.path.as_deref(), Some(&value[..]));
            assert_eq!(extension.xattrs[0].value, b"1\n=2");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12.5"), Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"7"), Some(Time { seconds: 7, nanoseconds: 0 }));
        assert_eq!(time(b"7.x"), None);
    }

    #[test]
    fn broken_records_are_refused() {
        for text in
            ["", " ", "5", "99 path=x\n", "3 a\n", "0 a=b\n", "7 path=\n\n", "18446744073709551616 a=b\n", "9 size=-1\n", "+9 uid=1\n"]
        {
            let result = parse(text.as_bytes(), &mut Extension::default());
            assert_eq!(result.is_err(), !text.is_empty(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            drop(parse(&bytes, &mut Extension::default()));
        }
    }
}
