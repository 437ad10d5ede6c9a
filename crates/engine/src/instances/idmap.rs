//! Which host ids an instance's users become: the shared range, an isolated one, `raw.idmap`.

use api::Config;
use keys::instance as key;
use keys::subid::{self, SubidRange};
use sys::idmap::{Entry, IdMap};

use crate::{Error, Result};

/// The ids of the host that containers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostIds {
    pub uid: SubidRange,
    pub gid: SubidRange,
}

/// Who runs the daemon.
const USER: &str = "root";

/// Reads the host's grant: the subid files where they and `newuidmap` are there, else a fixed
/// range, or what is left of the daemon's own map where it is itself in a user namespace.
pub(crate) fn read_host_ids() -> std::result::Result<HostIds, String> {
    let read = |path: &str| sys::fs::read_to_string(path).ok();
    let tools = ["newuidmap", "newgidmap"].iter().all(|tool| sys::cmd::Cmd::is_installed(tool));
    let files = read("/etc/subuid").zip(read("/etc/subgid")).filter(|_| tools);
    let own = [read("/proc/self/uid_map").unwrap_or_default(), read("/proc/self/gid_map").unwrap_or_default()];
    let ids = host_ids(files, &own);
    if let Ok(HostIds { uid, gid }) = &ids {
        tracing::info!("Available uid map: 0 {} {}", uid.start, uid.count);
        tracing::info!("Available gid map: 0 {} {}", gid.start, gid.count);
    }
    ids
}

fn host_ids(files: Option<(String, String)>, own: &[String; 2]) -> std::result::Result<HostIds, String> {
    let ids = match files {
        Some((uid, gid)) => HostIds {
            uid: subid::usable_subid("/etc/subuid", &uid, USER).map_err(|error| error.to_string())?,
            gid: subid::usable_subid("/etc/subgid", &gid, USER).map_err(|error| error.to_string())?,
        },
        None => {
            let range =
                |map: &str| subid::range_of_own_map(map).ok_or_else(|| "the daemon's own user namespace has too few ids".to_owned());
            HostIds { uid: range(&own[0])?, gid: range(&own[1])? }
        }
    };
    if subid::is_within_own_map(ids.uid, &own[0]) && subid::is_within_own_map(ids.gid, &own[1]) {
        Ok(ids)
    } else {
        Err("the range of /etc/subuid and /etc/subgid is not within the daemon's own user namespace".into())
    }
}

/// The ids that an instance is to run with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    /// Empty for a privileged instance.
    pub map: IdMap,
    /// Start of its own range, if it is isolated.
    pub base: Option<u32>,
}

/// The ids of an instance with this expanded configuration. `taken` are the isolated ranges of
/// the others.
pub(crate) fn choose(config: &Config, host: &std::result::Result<HostIds, String>, taken: &[SubidRange]) -> Result<Choice> {
    if key::SECURITY_PRIVILEGED.is_true(config) {
        return Ok(Choice::default());
    }
    let host = host.as_ref().map_err(|reason| {
        Error::bad_request(format!(
            "LXD doesn't have a uid/gid allocation. In this mode, only privileged containers are supported. ({reason})"
        ))
    })?;
    let (map, base) = if key::SECURITY_IDMAP_ISOLATED.is_true(config) {
        let range = isolated(config, host, taken)?;
        (IdMap::contiguous(range.start, range.start, range.count), Some(range.start))
    } else {
        let entry = |is_uid, range: SubidRange| Entry { is_uid, is_gid: !is_uid, host: range.start, guest: 0, count: shared_count(range) };
        (IdMap { entries: vec![entry(true, host.uid), entry(false, host.gid)] }, None)
    };
    let map = match key::RAW_IDMAP.text(config) {
        Some(text) => with_raw(map, text)?,
        None => map,
    };
    Ok(Choice { map, base })
}

/// How many ids of the host's range the instances without isolation share. The rest is for isolated
/// ones: root of a shared map must not own files of theirs, on a disk that both have.
fn shared_count(range: SubidRange) -> u32 {
    (range.count / 2).max(65_536).min(range.count)
}

/// The instance's own range: asked for, kept from before, or the first gap.
fn isolated(config: &Config, host: &HostIds, taken: &[SubidRange]) -> Result<SubidRange> {
    let count = key::SECURITY_IDMAP_SIZE.get(config).unwrap_or(65_536).max(1);
    if let Some(start) = key::SECURITY_IDMAP_BASE.text(config).and(key::SECURITY_IDMAP_BASE.get(config)) {
        return Ok(SubidRange { start, count });
    }
    let first = |range: SubidRange| u64::from(range.start) + u64::from(shared_count(range));
    let mut start = first(host.uid).max(first(host.gid));
    let end = end_of(host.uid).min(end_of(host.gid));
    if let Some(kept) = keys::instance::volatile::IDMAP_BASE.get(config).filter(|base| *base != 0) {
        let kept = SubidRange { start: kept, count };
        if u64::from(kept.start) >= start && end_of(kept) <= end && !taken.iter().any(|other| overlaps(*other, kept)) {
            return Ok(kept);
        }
    }
    let mut sorted = taken.to_vec();
    sorted.sort_by_key(|range| range.start);
    for other in sorted {
        if start + u64::from(count) <= u64::from(other.start) {
            break;
        }
        start = start.max(end_of(other));
    }
    match u32::try_from(start) {
        Ok(start) if u64::from(start) + u64::from(count) <= end => Ok(SubidRange { start, count }),
        _ => {
            Err(Error::internal("Not enough uid/gid available for the container.")
                .hint("enlarge the ranges in /etc/subuid and /etc/subgid"))
        }
    }
}

fn end_of(range: SubidRange) -> u64 {
    u64::from(range.start) + u64::from(range.count)
}

fn overlaps(a: SubidRange, b: SubidRange) -> bool {
    u64::from(a.start) < end_of(b) && u64::from(b.start) < end_of(a)
}

/// Lays the entries of `raw.idmap` over a map: each cuts its guest ids out of what is there.
fn with_raw(base: IdMap, text: &str) -> Result<IdMap> {
    let raw = keys::idmap::parse_raw_idmap(text).map_err(Error::bad_request)?;
    let mut entries = base.entries.clone();
    for entry in raw {
        let host = SubidRange { start: entry.host, count: entry.count };
        for (is_uid, wanted) in [(true, entry.is_uid), (false, entry.is_gid)] {
            if !wanted {
                continue;
            }
            let same = |other: &Entry| if is_uid { other.is_uid } else { other.is_gid };
            if base.entries.iter().any(|other| same(other) && overlaps(host, SubidRange { start: other.host, count: other.count })) {
                return Err(Error::bad_request("Host id is in the range of subids"));
            }
            let new = Entry { is_uid, is_gid: !is_uid, host: entry.host, guest: entry.guest, count: entry.count };
            entries = entries.into_iter().flat_map(|old| if same(&old) { cut(old, &new) } else { vec![old] }).collect();
            entries.push(new);
        }
    }
    Ok(IdMap { entries })
}

/// What is left of `old` outside the guest ids of `new`.
fn cut(old: Entry, new: &Entry) -> Vec<Entry> {
    let (old_end, new_end) = (u64::from(old.guest) + u64::from(old.count), u64::from(new.guest) + u64::from(new.count));
    if u64::from(new.guest) >= old_end || new_end <= u64::from(old.guest) {
        return vec![old];
    }
    let mut left = Vec::new();
    if new.guest > old.guest {
        left.push(Entry { count: new.guest - old.guest, ..old });
    }
    if new_end < old_end {
        let skipped = (new_end - u64::from(old.guest)) as u32;
        left.push(Entry { host: old.host + skipped, guest: old.guest + skipped, count: old.count - skipped, ..old });
    }
    left
}

/// The isolated ranges that an instance has reserved: the one that was stored for it, until it is
/// taken away from it, and the one that its configuration demands.
pub(crate) fn reserved(config: &Config) -> Vec<SubidRange> {
    let count = key::SECURITY_IDMAP_SIZE.get(config).unwrap_or(65_536);
    let demanded = key::SECURITY_IDMAP_BASE.get(config).filter(|_| key::SECURITY_IDMAP_ISOLATED.is_true(config));
    [demanded, key::volatile::IDMAP_BASE.get(config)]
        .into_iter()
        .flatten()
        .filter(|base| *base != 0)
        .map(|start| SubidRange { start, count })
        .collect()
}

/// The ranges that a running container uses and shares with nobody. What is mapped as in the
/// shared map is not among them, nor what `raw.idmap` maps from elsewhere.
pub(crate) fn in_use(map: &IdMap, host: &HostIds) -> Vec<SubidRange> {
    let own = |entry: &&Entry| {
        let shared = if entry.is_uid { host.uid } else { host.gid };
        let is_shared = entry.host.checked_sub(entry.guest) == Some(shared.start);
        !is_shared && overlaps(SubidRange { start: entry.host, count: entry.count }, shared)
    };
    map.entries.iter().filter(own).map(|entry| SubidRange { start: entry.host, count: entry.count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::idmap::Kind;

    const OWN: &str = "0 0 4294967295";

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn host() -> std::result::Result<HostIds, String> {
        let range = SubidRange { start: 1_000_000, count: 1_000_000 };
        Ok(HostIds { uid: range, gid: range })
    }

    fn idmap(config: &Config, host: &std::result::Result<HostIds, String>, taken: &[SubidRange]) -> Result<IdMap> {
        choose(config, host, taken).map(|choice| choice.map)
    }

    #[test]
    fn grant_comes_from_the_files_or_is_fixed() {
        let own = [OWN.to_owned(), OWN.to_owned()];
        let files = |uid: &str, gid: &str| Some((uid.to_owned(), gid.to_owned()));
        assert_eq!(host_ids(None, &own).expect("default").uid.start, 1_000_000);
        let ids = host_ids(files("root:500000:65536", "root:600000:65536"), &own).expect("files");
        assert_eq!((ids.uid.start, ids.gid.start), (500_000, 600_000));
        let error = host_ids(files("me:1:2", "me:1:2"), &own).expect_err("no line");
        assert!(error.contains("User \"root\" has no subuids") && error.contains("/etc/subuid"), "{error}");
    }

    #[test]
    fn shared_privileged_and_none() {
        assert!(idmap(&config(&[("security.privileged", "true")]), &Err("no".into()), &[]).expect("map").is_empty());
        assert_eq!(idmap(&config(&[]), &host(), &[]).expect("map").to_host(Kind::Uid, 33), Some(1_000_033));
        let error = idmap(&config(&[]), &Err("why".into()), &[]).expect_err("none").report();
        assert!(error.contains("only privileged containers") && error.contains("why"));
    }

    #[test]
    fn isolated_ranges_do_not_meet() {
        let mut taken = Vec::new();
        for expected in [1_500_000, 1_565_536, 1_631_072] {
            let map = idmap(&config(&[("security.idmap.isolated", "true")]), &host(), &taken).expect("map");
            assert_eq!(map.to_host(Kind::Uid, 0), Some(expected));
            taken.push(SubidRange { start: expected, count: 65_536 });
        }
        taken.remove(1);
        let gap = config(&[("security.idmap.isolated", "true")]);
        assert_eq!(idmap(&gap, &host(), &taken).expect("map").to_host(Kind::Gid, 0), Some(1_565_536));
        let big = config(&[("security.idmap.isolated", "true"), ("security.idmap.size", "400000")]);
        assert!(idmap(&big, &host(), &taken).is_err());
        let kept = config(&[("security.idmap.isolated", "true"), ("volatile.idmap.base", "1800000")]);
        assert_eq!(idmap(&kept, &host(), &taken).expect("map").to_host(Kind::Uid, 0), Some(1_800_000));
        let of_the_shared = config(&[("security.idmap.isolated", "true"), ("volatile.idmap.base", "1200000")]);
        assert_eq!(idmap(&of_the_shared, &host(), &taken).expect("map").to_host(Kind::Uid, 0), Some(1_565_536));
    }

    #[test]
    fn raw_entries_cut_the_base() {
        let map = idmap(&config(&[("raw.idmap", "both 1000 1000")]), &host(), &[]).expect("map");
        assert_eq!(map.to_host(Kind::Uid, 1000), Some(1000));
        assert_eq!(map.to_host(Kind::Uid, 999), Some(1_000_999));
        assert_eq!(map.to_host(Kind::Gid, 1001), Some(1_001_001));
        assert_eq!(map.of(Kind::Uid).map(|entry| u64::from(entry.count)).sum::<u64>(), 500_000);
        assert!(idmap(&config(&[("raw.idmap", "uid 1000005 5")]), &host(), &[]).is_err());
        let edge = idmap(&config(&[("raw.idmap", "uid 7 0")]), &host(), &[]).expect("map");
        assert_eq!((edge.to_host(Kind::Uid, 0), edge.to_host(Kind::Uid, 1)), (Some(7), Some(1_000_001)));
    }

    #[test]
    fn a_running_container_holds_what_it_uses() {
        let ids = host().expect("ids");
        let map = |pairs: &[(&str, &str)]| idmap(&config(pairs), &host(), &[]).expect("map");
        let range = |start, count| SubidRange { start, count };
        assert_eq!(in_use(&map(&[("security.idmap.isolated", "true")]), &ids), [range(1_500_000, 65_536); 2]);
        assert!(in_use(&map(&[]), &ids).is_empty());
        assert!(in_use(&map(&[("raw.idmap", "both 1000 1000")]), &ids).is_empty());
        assert!(in_use(&IdMap::default(), &ids).is_empty());
    }

    #[test]
    fn a_stored_range_stays_reserved() {
        let ranges = |pairs: &[(&str, &str)]| reserved(&config(pairs)).iter().map(|range| range.start).collect::<Vec<_>>();
        assert_eq!(ranges(&[("volatile.idmap.base", "1065536")]), [1_065_536], "also when the instance is to be isolated no more");
        assert_eq!(ranges(&[("security.idmap.isolated", "true"), ("security.idmap.base", "7000000")]), [7_000_000]);
        assert!(ranges(&[("security.idmap.isolated", "true")]).is_empty());
    }

    #[test]
    fn the_base_is_not_what_raw_maps() {
        let choice = choose(&config(&[("security.idmap.isolated", "true"), ("raw.idmap", "both 0 0")]), &host(), &[]).expect("choice");
        assert_eq!(choice.base, Some(1_500_000));
    }
}
