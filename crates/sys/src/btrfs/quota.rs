//! Quotas: what a subvolume takes, and may take.
//!
//! Each subvolume has a quota group `0/ID`. With simple quotas a volume that is limited has besides a group of level 1,
//! `1/ID`, with what is nested in it as members, and the limit is that group's. Who makes a subvolume inside a member is put
//! into the group by the kernel, unless it names other groups itself (`BTRFS_SUBVOL_QGROUP_INHERIT`), which nothing but a
//! filter of its system calls keeps a guest from. With full quotas the kernel puts nothing into groups by itself.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use super::ioctl::{
    LIMIT_MAX_REFERENCED, QGROUP_ASSIGN, QGROUP_CREATE, QGROUP_INFO_KEY, QGROUP_LIMIT, QGROUP_LIMIT_KEY, QGROUP_RELATION_KEY,
    QGROUP_STATUS_KEY, QUOTA_CTL, QUOTA_ENABLE, QUOTA_ENABLE_SIMPLE, QUOTA_RESCAN_WAIT, QUOTA_STATUS_ON, QUOTA_STATUS_SIMPLE, QUOTA_TREE,
    QgroupLimitArgs, call, search, u64_at,
};
use super::subvolume_id;
use crate::error::{Context, Errno, Result};

/// The level of a quota group, in its number.
const LEVEL_SHIFT: u32 = 48;

/// What a subvolume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All that it refers to.
    pub referenced_bytes: u64,
    /// What no other subvolume refers to.
    pub exclusive_bytes: u64,
}

/// How a file system counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotas {
    /// Not at all.
    Off,
    /// Each extent for the subvolume that wrote it.
    Simple,
    /// Each extent for every subvolume that refers to it.
    Full,
}

/// How the file system counts.
pub fn quotas(fs: impl AsFd) -> Result<Quotas> {
    let status = item(fs, QGROUP_STATUS_KEY, 0)?;
    // struct btrfs_qgroup_status_item: version, generation, flags.
    Ok(match status.as_deref().and_then(|status| u64_at(status, 16)) {
        Some(flags) if flags & QUOTA_STATUS_ON == 0 => Quotas::Off,
        Some(flags) if flags & QUOTA_STATUS_SIMPLE != 0 => Quotas::Simple,
        Some(_) => Quotas::Full,
        None => Quotas::Off,
    })
}

/// Turns simple quotas on: each extent counts for the subvolume that wrote it, which costs next
/// to nothing. False where the kernel does not have them. Quotas that are on stay as they are.
pub fn enable_simple_quota(fs: impl AsFd) -> Result<bool> {
    match call(&fs, QUOTA_CTL, &mut [QUOTA_ENABLE_SIMPLE, 0]) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno).context("enable simple quotas of", "btrfs"),
    }
}

/// Turns full quotas on and waits until what is there has been counted. Each extent counts for
/// every subvolume that refers to it; with many snapshots of much data this makes every further
/// one slow, to seconds at a hundred. Quotas that are on stay as they are.
pub fn enable_quota(fs: impl AsFd) -> Result<()> {
    call(&fs, QUOTA_CTL, &mut [QUOTA_ENABLE, 0]).context("enable quotas of", "btrfs")?;
    match call(&fs, QUOTA_RESCAN_WAIT, &mut 0u64) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(errno) => Err(errno).context("wait for the quota scan of", "btrfs"),
    }
}

/// Makes the group of a volume, with the volume and these subvolumes as members. True if all were members already.
/// One that is not there any more is passed over. Only with simple quotas. `fs` is where there is no limit: the kernel
/// takes what a change needs from the subvolume that it is asked for through, and a full one has nothing left.
pub fn enclose(fs: impl AsFd, volume: impl AsFd, nested: &[u64]) -> Result<bool> {
    let id = subvolume_id(&volume)?;
    let group = group_of(id);
    match call(&fs, QGROUP_CREATE, &mut [1, group]) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("make the quota group of subvolume", id),
    }
    let members = members(&fs, group)?;
    let mut complete = true;
    for member in [id].iter().chain(nested).filter(|member| !members.contains(member)) {
        complete = false;
        match call(&fs, QGROUP_ASSIGN, &mut [1, *member, group]) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT | Errno::INVAL) if *member != id => {}
            Err(errno) => return Err(errno).context("put into a quota group subvolume", *member),
        }
    }
    Ok(complete)
}

/// Limits what a volume takes: its group with simple quotas, which [`enclose`] makes, else the subvolume alone.
/// `None` lifts the limit. Quotas must be on. `fs` is as for [`enclose`].
pub fn set_limit(fs: impl AsFd, volume: impl AsFd, bytes: Option<u64>) -> Result<()> {
    let id = subvolume_id(&volume)?;
    let set = |group: u64, bytes: Option<u64>| limit_group(&fs, group, bytes).context("set the quota of subvolume", id);
    if item(&fs, QGROUP_INFO_KEY, group_of(id))?.is_some() {
        set(group_of(id), bytes)?;
        // What an earlier version set.
        return if own_limit(&fs, id)?.is_some() { set(id, None) } else { Ok(()) };
    }
    set(id, bytes)
}

/// Lets a volume that goes away have what its removal takes, for which a full one has no room.
pub(super) fn lift_limits(fs: impl AsFd, ids: &BTreeSet<u64>) {
    for id in ids {
        // There may be no such group, and nothing is lost if it stays.
        let _ = limit_group(&fs, *id, None);
        let _ = limit_group(&fs, group_of(*id), None);
    }
}

fn limit_group(fs: impl AsFd, qgroup_id: u64, bytes: Option<u64>) -> std::result::Result<(), Errno> {
    // The largest number clears a limit.
    let max_referenced = bytes.unwrap_or(u64::MAX);
    let mut args = QgroupLimitArgs { qgroup_id, flags: LIMIT_MAX_REFERENCED, max_referenced, max_exclusive: 0, reserved: [0; 2] };
    call(fs, QGROUP_LIMIT, &mut args)
}

/// The limit on what a volume takes, if it has one.
pub fn limit(volume: impl AsFd) -> Result<Option<u64>> {
    let id = subvolume_id(&volume)?;
    Ok(own_limit(&volume, group_of(id))?.or(own_limit(&volume, id)?))
}

fn own_limit(fs: impl AsFd, group: u64) -> Result<Option<u64>> {
    let item = item(fs, QGROUP_LIMIT_KEY, group)?;
    let Some((flags, max)) = item.as_deref().and_then(|item| Some((u64_at(item, 0)?, u64_at(item, 8)?))) else { return Ok(None) };
    Ok((flags & LIMIT_MAX_REFERENCED != 0 && max != u64::MAX).then_some(max))
}

/// What a volume takes as of the last transaction, with those inside it; `None` where quotas are off. They are looked for
/// only where no group knows the sum: a guest may have made very many.
pub fn usage(volume: impl AsFd, nested: impl FnOnce() -> Result<Vec<u64>>) -> Result<Option<Usage>> {
    let id = subvolume_id(&volume)?;
    if let Some(usage) = own_usage(&volume, group_of(id))? {
        return Ok(Some(usage));
    }
    let Some(mut sum) = own_usage(&volume, id)? else { return Ok(None) };
    for id in nested()? {
        let Some(usage) = own_usage(&volume, id)? else { continue };
        sum.referenced_bytes = sum.referenced_bytes.saturating_add(usage.referenced_bytes);
        sum.exclusive_bytes = sum.exclusive_bytes.saturating_add(usage.exclusive_bytes);
    }
    Ok(Some(sum))
}

fn own_usage(fs: impl AsFd, group: u64) -> Result<Option<Usage>> {
    let item = item(fs, QGROUP_INFO_KEY, group)?;
    Ok(item.as_deref().and_then(|item| Some(Usage { referenced_bytes: u64_at(item, 8)?, exclusive_bytes: u64_at(item, 24)? })))
}

/// Removes the groups of a subvolume that was destroyed. Newer kernels remove its own group themselves once the subvolume is
/// cleaned up, and refuse until then; without quotas there is none. So nothing of this can fail.
pub(super) fn forget(fs: impl AsFd, id: u64) {
    let group = group_of(id);
    let members = members(&fs, group).unwrap_or_default();
    for member in &members {
        let _ = call(&fs, QGROUP_ASSIGN, &mut [0, *member, group]);
    }
    if !members.is_empty() {
        let _ = call(&fs, QGROUP_CREATE, &mut [0, group]);
    }
    let _ = call(&fs, QGROUP_CREATE, &mut [0, id]);
}

fn group_of(id: u64) -> u64 {
    1 << LEVEL_SHIFT | id
}

/// The subvolumes in a group.
fn members(fs: impl AsFd, group: u64) -> Result<Vec<u64>> {
    let mut members = Vec::new();
    // A relation is stored under both its ends; members are of the lower level.
    let lower = (0, (1 << LEVEL_SHIFT) - 1);
    absent_is_none(search(fs, QUOTA_TREE, (group, QGROUP_RELATION_KEY), lower, |member, _| members.push(member)))?;
    Ok(members)
}

fn item(fs: impl AsFd, kind: u32, group: u64) -> Result<Option<Vec<u8>>> {
    let mut found = None;
    absent_is_none(search(fs, QUOTA_TREE, (0, kind), (group, group), |_, item| found = Some(item.to_vec())))?;
    Ok(found)
}

/// There is no quota tree where quotas are off.
fn absent_is_none(searched: Result<()>) -> Result<()> {
    match searched {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
