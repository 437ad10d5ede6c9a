//! Which ids of the host containers may use: `/etc/subuid`, `/etc/subgid` and the id maps of the
//! daemon's own user namespace. Texts in, ranges out; reading the files is the caller's.

use crate::KeyError;

/// Fewest ids that make a usable range.
pub const MIN_COUNT: u32 = 65_536;
/// First id of the range taken where no file grants one.
pub const DEFAULT_START: u32 = 1_000_000;
/// Length of the range taken where no file grants one.
pub const DEFAULT_COUNT: u32 = 1_000_000_000;

/// A contiguous range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubidRange {
    /// First id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// The ranges that a file in the format of subuid(5) grants to `user`; comments, blank lines and
/// other users' lines are skipped, and names compare without case.
pub fn parse_subid(file: &str, text: &str, user: &str) -> Result<Vec<SubidRange>, KeyError> {
    let mut ranges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let bad = || KeyError::other(format!("{file} line {}: `{}` isn't of the form NAME:START:COUNT", index + 1, line.escape_debug()));
        let mut fields = line.split(':');
        let (Some(name), Some(start), Some(count), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return Err(bad());
        };
        if !name.eq_ignore_ascii_case(user) {
            continue;
        }
        let (start, count): (u32, u32) = start.trim().parse().ok().zip(count.trim().parse().ok()).ok_or_else(bad)?;
        if start.checked_add(count).is_none() {
            return Err(bad());
        }
        ranges.push(SubidRange { start, count });
    }
    Ok(ranges)
}

/// The first usable range that a file grants to `user`, or an error that says what to add.
pub fn usable_subid(file: &str, text: &str, user: &str) -> Result<SubidRange, KeyError> {
    let ranges = parse_subid(file, text, user)?;
    let kind = if file.contains("gid") { "subgids" } else { "subuids" };
    let remedy = format!("add the line `{user}:{DEFAULT_START}:{DEFAULT_COUNT}` to {file} and restart the daemon");
    if ranges.is_empty() {
        return Err(KeyError::other(format!("User \"{user}\" has no {kind}. ({remedy})")));
    }
    let usable = ranges.iter().find(|range| range.count >= MIN_COUNT && range.start > 0);
    usable.copied().ok_or_else(|| KeyError::other(format!("User \"{user}\" has no range of at least {MIN_COUNT} {kind}. ({remedy})")))
}

/// The range to use where no file grants one, from the text of the daemon's `/proc/self/uid_map`
/// (or `gid_map`): in the initial namespace a fixed one, in a nested one what is left of the map
/// above id 100000. `None` where that is too little.
pub fn range_of_own_map(text: &str) -> Option<SubidRange> {
    const FIRST_NESTED: u64 = 100_000;
    let ranges: Vec<(u64, u64)> = text.lines().filter_map(map_line).collect();
    if ranges.is_empty() || ranges.iter().any(|(start, count)| *start == 0 && *count >= u64::from(u32::MAX)) {
        return Some(SubidRange { start: DEFAULT_START, count: DEFAULT_COUNT });
    }
    ranges.iter().find_map(|(start, count)| {
        let end = start + count;
        let start = (*start).max(FIRST_NESTED);
        let count = end.checked_sub(start).filter(|count| *count > u64::from(MIN_COUNT))?;
        Some(SubidRange { start: u32::try_from(start).ok()?, count: u32::try_from(count).ok()? })
    })
}

/// Whether every id of `range` exists in the daemon's own namespace, whose map is `text`.
pub fn is_within_own_map(range: SubidRange, text: &str) -> bool {
    let mut ranges = text.lines().filter_map(map_line).peekable();
    let (start, end) = (u64::from(range.start), u64::from(range.start) + u64::from(range.count));
    ranges.peek().is_none() || ranges.any(|(first, count)| first <= start && end <= first + count)
}

/// Inner start and length of a line of a uid_map.
fn map_line(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (inner, _outer, count) = (fields.next()?, fields.next()?, fields.next()?);
    Some((inner.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/subuid";

    #[test]
    fn takes_the_first_large_range_of_the_user() {
        let text = "# comment\nlxd:1:70000\nroot:100:10\n\nROOT:500000:65536 # mine\nroot:900000:70000\n";
        assert_eq!(usable_subid(FILE, text, "root"), Ok(SubidRange { start: 500_000, count: 65_536 }));
    }

    #[test]
    fn says_what_is_missing_and_what_to_do() {
        let none = usable_subid(FILE, "lxd:100000:65536\n0:100000:65536\n", "root").expect_err("none").to_string();
        assert!(none.starts_with("User \"root\" has no subuids."), "{none}");
        assert!(none.contains("root:1000000:1000000000"), "{none}");
        let small = usable_subid("/etc/subgid", "root:100000:1000\n", "root").expect_err("small").to_string();
        assert!(small.contains("at least 65536 subgids"), "{small}");
    }

    #[test]
    fn malformed_lines_are_named() {
        for text in ["root:1", "root:a:b", "root:1:2:3", "root:4294967295:65536"] {
            let error = usable_subid(FILE, text, "root").expect_err(text).to_string();
            assert!(error.contains("/etc/subuid line 1"), "{error}");
        }
    }

    #[test]
    fn own_map_decides_without_files() {
        let full = "         0          0 4294967295\n";
        assert_eq!(range_of_own_map(full), Some(SubidRange { start: DEFAULT_START, count: DEFAULT_COUNT }));
        let nested = "0 1000000 1000000\n";
        assert_eq!(range_of_own_map(nested), Some(SubidRange { start: 100_000, count: 900_000 }));
        assert_eq!(range_of_own_map("0 100000 65536\n"), None);
        assert!(is_within_own_map(SubidRange { start: 100_000, count: 900_000 }, nested));
        assert!(!is_within_own_map(SubidRange { start: 100_000, count: 900_001 }, nested));
    }
}
