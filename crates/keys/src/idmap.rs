//! `raw.idmap`: extra entries of an instance's id map.

/// One line: `count` ids from `host` appear as those from `guest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// For users.
    pub is_uid: bool,
    /// For groups.
    pub is_gid: bool,
    /// First id on the host.
    pub host: u32,
    /// First id in the instance.
    pub guest: u32,
    /// How many.
    pub count: u32,
}

/// Parses lines of `both|uid|gid HOST CONTAINER`, each side a number or an inclusive range `a-b`.
pub fn parse_raw_idmap(text: &str) -> Result<Vec<RawEntry>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let entries: Vec<RawEntry> = lines.map(parse_line).collect::<Result<_, _>>()?;
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|other| overlaps(entry, other)) {
            return Err("idmap entries map the same id of the container twice".into());
        }
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<RawEntry, String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [kind, host, guest] = fields.as_slice() else {
        return Err(format!("invalid raw.idmap line {line}"));
    };
    let (is_uid, is_gid) = match *kind {
        "both" => (true, true),
        "uid" => (true, false),
        "gid" => (false, true),
        _ => return Err(format!("invalid raw.idmap type {line}")),
    };
    let (host, host_count) = parse_range(host)?;
    let (guest, guest_count) = parse_range(guest)?;
    if host_count != guest_count {
        return Err(format!("idmap ranges of different sizes {line}"));
    }
    Ok(RawEntry { is_uid, is_gid, host, guest, count: host_count })
}

fn parse_range(text: &str) -> Result<(u32, u32), String> {
    let bad = || format!("invalid raw.idmap range {text}");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u32, u32) = first.parse().ok().zip(last.parse().ok()).ok_or_else(bad)?;
    // The last id, 2^32-1, means "no id" to the kernel.
    if last < first || last == u32::MAX {
        return Err(bad());
    }
    Ok((first, last - first + 1))
}

fn overlaps(a: &RawEntry, b: &RawEntry) -> bool {
    let same_kind = (a.is_uid && b.is_uid) || (a.is_gid && b.is_gid);
    let end = |entry: &RawEntry| u64::from(entry.guest) + u64::from(entry.count);
    same_kind && u64::from(a.guest) < end(b) && u64::from(b.guest) < end(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_numbers_and_ranges() {
        let entries = parse_raw_idmap("both 1000 1000\nuid 50-60 500-510\n").expect("valid");
        assert_eq!(entries[0], RawEntry { is_uid: true, is_gid: true, host: 1000, guest: 1000, count: 1 });
        assert_eq!(entries[1], RawEntry { is_uid: true, is_gid: false, host: 50, guest: 500, count: 11 });
    }

    #[test]
    fn names_the_bad_part() {
        for (text, error) in [
            ("both 1000", "invalid raw.idmap line both 1000"),
            ("all 1 1", "invalid raw.idmap type all 1 1"),
            ("uid a 1", "invalid raw.idmap range a"),
            ("uid 9-1 1-9", "invalid raw.idmap range 9-1"),
            ("uid 0 4294967295", "invalid raw.idmap range 4294967295"),
            ("uid 1-2 1-3", "idmap ranges of different sizes uid 1-2 1-3"),
        ] {
            assert_eq!(parse_raw_idmap(text), Err(error.into()));
        }
        assert!(parse_raw_idmap("uid 1 5\nboth 2 5").is_err());
        assert!(parse_raw_idmap("uid 1 5\ngid 2 5").is_ok());
    }
}
