// SPDX-License-Identifier: GPL-2.0

//! Edits of the free space tree.
//!
//! The free ranges of a block group stand behind its `FREE_SPACE_INFO`, as one item per range or
//! as bitmaps of the whole group, whichever is smaller; the item says which, and how many ranges
//! there are. Two thresholds, apart from each other, decide when to go over to the other form.
//!
//! Invariants: ranges are inside the group, do not touch each other, and the count is right. Bitmaps
//! cover the group without gaps, each 2048 sectors but the last.
//!
//! What overlaps superblocks is free in the tree, here as in every implementation; keeping off it
//! is up to whoever allocates.
//!
//! Cost: an edit of a range touches three items. Edits of bitmaps write each bitmap once as long as
//! changes ascend. A conversion holds the bitmap of the group in memory: 32 KiB for 1 GiB.

#![deny(clippy::arithmetic_side_effects)]

mod bitmap;
mod convert;
mod extents;

use crate::csums::Span;
use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::free_space::{FreeSpaceFlags, FreeSpaceInfo, BITMAP_SIZE};
use btrfs_format::leaf::Item;
use btrfs_format::{item as item_type, Geometry, Key};
use zerocopy::little_endian::U32;

/// A range that was allocated or freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpaceChange {
    /// The range.
    pub span: Span,
    /// Whether it is free now.
    pub freed: bool,
}

/// A block group and what all edits of its free space need.
#[derive(Clone, Copy)]
struct Group {
    start: u64,
    end: u64,
    sector: u64,
    bitmap_len: u64,
}

impl Group {
    fn of(geometry: &Geometry, group: Span) -> Result<Self> {
        let sector = u64::from(geometry.sectorsize);
        if group.len == 0
            || !geometry.is_sector_aligned(group.start.get())
            || !geometry.is_sector_aligned(group.len)
        {
            return Err(Error::Corrupt("a block group is not aligned"));
        }
        Ok(Self {
            start: group.start.get(),
            end: group.end()?,
            sector,
            bitmap_len: sector.saturating_mul(BITS),
        })
    }

    fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn info_key(&self) -> Key {
        Key::new(self.start, item_type::FREE_SPACE_INFO, self.len())
    }

    /// The range of a change: its first byte and the one behind.
    fn range(&self, span: Span) -> Result<(u64, u64)> {
        let (start, end) = (span.start.get(), span.end()?);
        let aligned = |at: u64| at & self.sector.saturating_sub(1) == 0;
        if start < self.start || end > self.end || start >= end || !aligned(start) || !aligned(end)
        {
            return Err(Error::Corrupt("a change of free space outside its group"));
        }
        Ok((start, end))
    }

    /// Where to go over to bitmaps, and back.
    fn thresholds(&self) -> (u64, u64) {
        let bitmaps = self.len().div_ceil(self.bitmap_len.max(1));
        let bytes = bitmaps.saturating_mul(BITMAP_ITEM);
        let high = bytes.checked_div(RANGE_ITEM).unwrap_or(0);
        (high, high.saturating_sub(HYSTERESIS))
    }
}

/// Sectors of a full bitmap.
const BITS: u64 = 2048;
const _: () = assert!(BITMAP_SIZE == 2048 / 8);
/// What a bitmap takes in a leaf, and a range, in bytes.
const BITMAP_ITEM: u64 = 256 + RANGE_ITEM;
const RANGE_ITEM: u64 = 25;
const _: () = assert!(Item::SIZE == 25);
/// Ranges between the thresholds, so that a group does not go to and fro.
const HYSTERESIS: u64 = 100;

const DOUBLE: Error = Error::Corrupt("free space is freed or allocated twice");
const BROKEN: Error = Error::Corrupt("the free space tree does not fit its block group");

/// Allocates a free range.
pub fn allocate(items: &mut dyn Items, geometry: &Geometry, group: Span, span: Span) -> Result {
    let change = SpaceChange { span, freed: false };
    update(items, geometry, group, &[change], true)
}

/// Frees an allocated range.
pub fn free(items: &mut dyn Items, geometry: &Geometry, group: Span, span: Span) -> Result {
    let change = SpaceChange { span, freed: true };
    update(items, geometry, group, &[change], true)
}

/// Applies changes of one block group. Best in ascending order.
///
/// `convert`: whether to go over to the form that is smaller now.
///
/// # Errors
///
/// `Corrupt` if the tree does not have what is allocated, or has what is freed. The items are then
/// half done.
pub fn update(
    items: &mut dyn Items,
    geometry: &Geometry,
    group: Span,
    changes: &[SpaceChange],
    convert: bool,
) -> Result {
    let group = Group::of(geometry, group)?;
    let old = read_info(items, &group)?;
    let mut count = u64::from(old.extent_count.get());
    let mut flags = old.flags();
    if old.uses_bitmaps() {
        let mut bitmaps = bitmap::Bitmaps::new(group);
        for change in changes {
            bitmaps.change(items, change, &mut count)?;
        }
        bitmaps.finish(items)?;
    } else {
        for change in changes {
            extents::change(items, &group, change, &mut count)?;
        }
    }
    let (high, low) = group.thresholds();
    if convert && !old.uses_bitmaps() && count > high {
        convert::to_bitmaps(items, &group, count)?;
        flags = flags | FreeSpaceFlags::USING_BITMAPS;
    } else if convert && old.uses_bitmaps() && count < low {
        convert::to_extents(items, &group, count)?;
        flags = flags.difference(FreeSpaceFlags::USING_BITMAPS);
    }
    write_info(items, &group, count, flags, Some(&old))
}

/// Adds a block group all of which is free.
pub fn new_group(items: &mut dyn Items, geometry: &Geometry, group: Span) -> Result {
    fill_group(items, geometry, group, &[group])
}

/// Adds a block group with the free ranges given; they ascend and do not touch each other.
pub fn fill_group(
    items: &mut dyn Items,
    geometry: &Geometry,
    group: Span,
    free: &[Span],
) -> Result {
    let group = Group::of(geometry, group)?;
    let mut prev_end = None;
    for span in free {
        let (start, end) = group.range(*span)?;
        if prev_end.is_some_and(|prev| prev >= start) {
            return Err(BROKEN);
        }
        prev_end = Some(end);
        items.put(extents::range_key(start, end), &[])?;
    }
    let count = u64::try_from(free.len()).map_err(|_| BROKEN)?;
    let mut flags = FreeSpaceFlags::empty();
    if count > group.thresholds().0 {
        convert::to_bitmaps(items, &group, count)?;
        flags = FreeSpaceFlags::USING_BITMAPS;
    }
    write_info(items, &group, count, flags, None)
}

/// Removes all items of a block group.
pub fn remove_group(items: &mut dyn Items, geometry: &Geometry, group: Span) -> Result {
    let group = Group::of(geometry, group)?;
    let mut from = group.info_key();
    while let Some((key, _)) = items.at_or_after(&from)? {
        if key.objectid >= group.end {
            break;
        }
        items.delete(key)?;
        let Some(next) = key.next() else { break };
        from = next;
    }
    Ok(())
}

fn read_info(items: &mut dyn Items, group: &Group) -> Result<FreeSpaceInfo> {
    let data = items.get(&group.info_key())?.ok_or(Error::Corrupt(
        "a block group is missing in the free space tree",
    ))?;
    Ok(*FreeSpaceInfo::from_bytes(data).ok_or(BROKEN)?)
}

fn write_info(
    items: &mut dyn Items,
    group: &Group,
    count: u64,
    flags: FreeSpaceFlags,
    old: Option<&FreeSpaceInfo>,
) -> Result {
    let info = FreeSpaceInfo {
        extent_count: U32::new(u32::try_from(count).map_err(|_| BROKEN)?),
        flags: U32::new(flags.bits()),
    };
    if old == Some(&info) {
        return Ok(());
    }
    items.put(group.info_key(), info.to_disk())
}
