// SPDX-License-Identifier: GPL-2.0

//! Block groups and the free space tree.

use super::chunk::check_remap_flags;
use super::{Field, Rule, Subject};
use crate::block_group::{BlockGroupItem, BlockGroupItemV2};
use crate::free_space::{FreeSpaceFlags, FreeSpaceInfo};
use crate::key::item;
use crate::profile::BlockGroupFlags;
use crate::superblock::Incompat;
use crate::types::objectid;

/// Verifies a `BLOCK_GROUP_ITEM`.
pub(super) fn check_block_group(subject: &Subject<'_>) -> Result<(), Rule> {
    let incompat = subject.context.incompat;
    let start = subject.key.objectid;
    let length = subject.key.offset;
    subject.range_end(Field::BlockGroupRange, start, length)?;
    let remap = incompat.contains(Incompat::REMAP_TREE);
    subject.size(if remap {
        BlockGroupItemV2::SIZE
    } else {
        BlockGroupItem::SIZE
    })?;
    let Some(group) = BlockGroupItem::parse(subject.data) else {
        return Err(subject.bad_size(BlockGroupItem::SIZE));
    };
    let chunk_objectid = group.chunk_objectid.get();
    // With extent tree v2 this is the number of a global root, which the mount checks.
    if chunk_objectid != objectid::FIRST_CHUNK_TREE && !incompat.contains(Incompat::EXTENT_TREE_V2)
    {
        return Err(Rule::BlockGroupObjectid {
            have: chunk_objectid,
        });
    }
    let used = group.used.get();
    if used > length {
        return Err(Rule::BlockGroupUsed { used, length });
    }
    check_flags(group.flags(), incompat)?;
    match BlockGroupItemV2::from_bytes(subject.data) {
        Some(group) => check_remap(subject, group),
        None => Ok(()),
    }
}

fn check_flags(flags: BlockGroupFlags, incompat: Incompat) -> Result<(), Rule> {
    if flags.profile().is_none() {
        return Err(Rule::ChunkProfile {
            have: flags.intersection(BlockGroupFlags::PROFILE_MASK).bits(),
        });
    }
    check_remap_flags(flags, incompat)?;
    const MIXED: BlockGroupFlags = BlockGroupFlags::DATA.union(BlockGroupFlags::METADATA);
    match flags.types() {
        BlockGroupFlags::DATA
        | BlockGroupFlags::METADATA
        | BlockGroupFlags::SYSTEM
        | BlockGroupFlags::METADATA_REMAP
        | MIXED => Ok(()),
        types => Err(Rule::BlockGroupType { have: types.bits() }),
    }
}

fn check_remap(subject: &Subject<'_>, group: &BlockGroupItemV2) -> Result<(), Rule> {
    let length = subject.key.offset;
    let remap_bytes = group.remap_bytes.get();
    if remap_bytes > length {
        return Err(Rule::BlockGroupRemap {
            have: remap_bytes,
            max: length,
        });
    }
    let count = group.identity_remap_count.get();
    let max = sectors(subject, length);
    if u64::from(count) > max {
        return Err(Rule::BlockGroupRemapCount { have: count, max });
    }
    Ok(())
}

/// Whole sectors in `bytes`.
fn sectors(subject: &Subject<'_>, bytes: u64) -> u64 {
    let sectorsize = u64::from(subject.context.geometry.sectorsize);
    bytes.checked_div(sectorsize).unwrap_or(0)
}

/// Verifies the key of any item of the free space tree; returns the end of its range.
fn check_key(subject: &Subject<'_>) -> Result<u64, Rule> {
    let key = &subject.key;
    subject.aligned(Field::KeyObjectid, key.objectid)?;
    subject.aligned(Field::KeyOffset, key.offset)?;
    subject.range_end(Field::FreeSpaceRange, key.objectid, key.offset)
}

/// Verifies a `FREE_SPACE_INFO`.
pub(super) fn check_info(subject: &Subject<'_>) -> Result<(), Rule> {
    check_key(subject)?;
    let Some(info) = FreeSpaceInfo::from_bytes(subject.data) else {
        return Err(subject.bad_size(FreeSpaceInfo::SIZE));
    };
    let unknown = info.flags().difference(FreeSpaceFlags::USING_BITMAPS);
    if !unknown.is_empty() {
        return Err(Rule::FreeSpaceFlags {
            have: unknown.bits(),
        });
    }
    let count = info.extent_count.get();
    let max = sectors(subject, subject.key.offset);
    if u64::from(count) > max {
        return Err(Rule::FreeSpaceCount { have: count, max });
    }
    Ok(())
}

/// Verifies a `FREE_SPACE_EXTENT`.
pub(super) fn check_extent(subject: &Subject<'_>) -> Result<(), Rule> {
    let end = check_key(subject)?;
    check_neighbour(subject, end)?;
    subject.size(0)
}

/// Verifies a `FREE_SPACE_BITMAP`: one bit per sector.
pub(super) fn check_bitmap(subject: &Subject<'_>) -> Result<(), Rule> {
    let end = check_key(subject)?;
    check_neighbour(subject, end)?;
    let bytes = sectors(subject, subject.key.offset).div_ceil(8);
    subject.size(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Verifies that free space fits what precedes it: its block group, or free space of the same kind.
fn check_neighbour(subject: &Subject<'_>, end: u64) -> Result<(), Rule> {
    let key = &subject.key;
    let Some((prev, data)) = subject.prev else {
        return Ok(());
    };
    let prev_end = prev.objectid.saturating_add(prev.offset);
    if prev.item_type != item::FREE_SPACE_INFO {
        if prev.item_type != key.item_type {
            return Err(Rule::FreeSpaceKind { prev });
        }
        if prev_end > key.objectid {
            return Err(Rule::Overlap {
                field: Field::FreeSpaceRange,
                prev_end,
                start: key.objectid,
            });
        }
        return Ok(());
    }
    // Keys ascend, so it cannot begin before the block group.
    if end > prev_end {
        return Err(Rule::FreeSpaceOutside { prev });
    }
    let bitmaps = FreeSpaceInfo::from_bytes(data).is_some_and(|info| info.uses_bitmaps());
    if bitmaps != (key.item_type == item::FREE_SPACE_BITMAP) {
        return Err(Rule::FreeSpaceKind { prev });
    }
    Ok(())
}
