// SPDX-License-Identifier: GPL-2.0

//! Free space as one item per range.

#![deny(clippy::arithmetic_side_effects)]

use super::{Group, SpaceChange, BROKEN, DOUBLE};
use crate::error::Result;
use crate::items::Items;
use btrfs_format::{item as item_type, Key};

/// The key of a free range.
pub(super) fn range_key(start: u64, end: u64) -> Key {
    let len = end.saturating_sub(start);
    Key::new(start, item_type::FREE_SPACE_EXTENT, len)
}

/// Applies one change, and counts.
pub(super) fn change(
    items: &mut dyn Items,
    group: &Group,
    change: &SpaceChange,
    count: &mut u64,
) -> Result {
    let (start, end) = group.range(change.span)?;
    let before = at_or_before(items, group, start)?;
    if !change.freed {
        let (free, free_end) = before.filter(|&(_, to)| to >= end).ok_or(DOUBLE)?;
        items.delete(range_key(free, free_end))?;
        *count = count.checked_sub(1).ok_or(BROKEN)?;
        for (from, to) in [(free, start), (end, free_end)] {
            if from < to {
                items.put(range_key(from, to), &[])?;
                *count = count.saturating_add(1);
            }
        }
        return Ok(());
    }
    if before.is_some_and(|(_, to)| to > start) {
        return Err(DOUBLE);
    }
    let behind = at_or_after(items, group, start)?;
    if behind.is_some_and(|(from, _)| from < end) {
        return Err(DOUBLE);
    }
    let (mut joined, mut joined_end) = (start, end);
    *count = count.saturating_add(1);
    if let Some((from, to)) = before.filter(|&(_, to)| to == start) {
        items.delete(range_key(from, to))?;
        *count = count.checked_sub(1).ok_or(BROKEN)?;
        joined = from;
    }
    if let Some((from, to)) = behind.filter(|&(from, _)| from == end) {
        items.delete(range_key(from, to))?;
        *count = count.checked_sub(1).ok_or(BROKEN)?;
        joined_end = to;
    }
    items.put(range_key(joined, joined_end), &[])
}

/// The last free range that begins at `at` or before.
fn at_or_before(items: &mut dyn Items, group: &Group, at: u64) -> Result<Option<(u64, u64)>> {
    let last = Key::new(at, u8::MAX, u64::MAX);
    // At least the group's own item is there.
    let (key, _) = items.at_or_before(&last)?.ok_or(BROKEN)?;
    if key == group.info_key() {
        return Ok(None);
    }
    range_of(group, &key).map(Some)
}

/// The first free range that begins at `at` or behind.
fn at_or_after(items: &mut dyn Items, group: &Group, at: u64) -> Result<Option<(u64, u64)>> {
    let first = Key::new(at, item_type::FREE_SPACE_EXTENT, 0);
    match items.at_or_after(&first)? {
        Some((key, _)) if key.objectid < group.end => range_of(group, &key).map(Some),
        _ => Ok(None),
    }
}

/// The range of a key, which must be one of a free range in the group.
pub(super) fn range_of(group: &Group, key: &Key) -> Result<(u64, u64)> {
    let end = key.objectid.checked_add(key.offset).ok_or(BROKEN)?;
    if key.item_type != item_type::FREE_SPACE_EXTENT
        || key.objectid < group.start
        || end > group.end
    {
        return Err(BROKEN);
    }
    Ok((key.objectid, end))
}
