// SPDX-License-Identifier: GPL-2.0

//! From ranges to bitmaps and back.

#![deny(clippy::arithmetic_side_effects)]

use super::bitmap::{bit_mask, bitmap_key, bytes_of, change_bits};
use super::extents::{range_key, range_of};
use super::{Group, BROKEN};
use crate::error::Result;
use crate::items::Items;
use crate::mem::{KVVec, GFP_NOFAIL};
use btrfs_format::{item as item_type, Key};

impl Group {
    /// The bit of an address in the bitmap of the whole group.
    fn bit(&self, at: u64) -> Result<usize> {
        let sector = at
            .saturating_sub(self.start)
            .checked_div(self.sector)
            .ok_or(BROKEN)?;
        usize::try_from(sector).map_err(|_| BROKEN)
    }

    /// The address of a bit.
    fn address(&self, bit: usize) -> Result<u64> {
        let bytes = u64::try_from(bit)
            .ok()
            .and_then(|bit| bit.checked_mul(self.sector));
        bytes
            .and_then(|bytes| self.start.checked_add(bytes))
            .ok_or(BROKEN)
    }

    /// A bitmap of the whole group.
    fn empty_bitmap(&self) -> Result<KVVec<u8>> {
        let bytes = bytes_of(u64::try_from(self.bit(self.end)?).map_err(|_| BROKEN)?)?;
        Ok(KVVec::from_elem(0, bytes, GFP_NOFAIL)?)
    }
}

/// Calls `each` with all free space items of the group and deletes them.
fn drain(
    items: &mut dyn Items,
    group: &Group,
    mut each: impl FnMut(&Key, &[u8]) -> Result,
) -> Result {
    let mut from = Key::new(group.start, item_type::FREE_SPACE_EXTENT, 0);
    while let Some((key, data)) = items.at_or_after(&from)? {
        if key.objectid >= group.end {
            break;
        }
        each(&key, data)?;
        items.delete(key)?;
        from = key.next().ok_or(BROKEN)?;
    }
    Ok(())
}

/// Replaces the ranges of a group, of which there are `count`, by bitmaps.
pub(super) fn to_bitmaps(items: &mut dyn Items, group: &Group, count: u64) -> Result {
    let mut bits = group.empty_bitmap()?;
    let mut found = 0u64;
    drain(items, group, |key, _| {
        let (start, end) = range_of(group, key)?;
        found = found.saturating_add(1);
        change_bits(&mut bits, group.bit(start)?, group.bit(end)?, true)
    })?;
    if found != count {
        return Err(BROKEN);
    }
    let mut at = group.start;
    while at < group.end {
        let end = at
            .checked_add(group.bitmap_len)
            .ok_or(BROKEN)?
            .min(group.end);
        let first = group.bit(at)? / 8;
        let sectors = end.saturating_sub(at).checked_div(group.sector);
        let len = bytes_of(sectors.ok_or(BROKEN)?)?;
        let part = bits.get(first..first.saturating_add(len)).ok_or(BROKEN)?;
        items.put(bitmap_key(at, end), part)?;
        at = end;
    }
    Ok(())
}

/// Replaces the bitmaps of a group, which have `count` ranges, by these.
pub(super) fn to_extents(items: &mut dyn Items, group: &Group, count: u64) -> Result {
    let mut bits = group.empty_bitmap()?;
    drain(items, group, |key, data| {
        let end = key.objectid.checked_add(key.offset).ok_or(BROKEN)?;
        let first = group.bit(key.objectid)?;
        if key.item_type != item_type::FREE_SPACE_BITMAP || end > group.end || first % 8 != 0 {
            return Err(BROKEN);
        }
        let first = first / 8;
        let part = bits
            .get_mut(first..first.saturating_add(data.len()))
            .ok_or(BROKEN)?;
        part.copy_from_slice(data);
        Ok(())
    })?;

    let end = group.bit(group.end)?;
    let mut found = 0u64;
    let mut bit = find(&bits, 0, end, true);
    while bit < end {
        let behind = find(&bits, bit, end, false);
        let key = range_key(group.address(bit)?, group.address(behind)?);
        items.put(key, &[])?;
        found = found.saturating_add(1);
        bit = find(&bits, behind, end, true);
    }
    if found != count {
        return Err(BROKEN);
    }
    Ok(())
}

/// The first bit from `bit` on that is set, or clear; `end` if none is.
fn find(bits: &[u8], mut bit: usize, end: usize, set: bool) -> usize {
    let none = if set { 0 } else { u8::MAX };
    while bit < end {
        let byte = bits.get(bit / 8).copied().unwrap_or(0);
        if bit % 8 == 0 && byte == none {
            bit = bit.saturating_add(8);
            continue;
        }
        if (byte & bit_mask(bit) != 0) == set {
            return bit;
        }
        bit = bit.saturating_add(1);
    }
    end
}
