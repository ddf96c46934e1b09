// SPDX-License-Identifier: GPL-2.0

//! Reading the free space of a block group.
//!
//! The free space tree has it ready; where there is none, or what it says of a group is not what
//! the group's item says, the gaps between the items of the extent tree are it.

use btrfs_format::free_space::FreeSpaceInfo;
use btrfs_format::key::{item, Key};
use kernel::prelude::*;

use super::extent_map::{ExtentMap, Refused};
use super::group::BlockGroup;
use crate::tree::TreeView;

/// Puts a range into a map.
fn add(map: &mut ExtentMap, start: u64, len: u64) -> Result {
    if let Some(size) = map.wants_room() {
        drop(map.put_room(ExtentMap::room(size)?));
    }
    map.insert(start, len).map_err(error)
}

fn error(refused: Refused) -> Error {
    match refused {
        Refused::State => EUCLEAN,
        Refused::Memory => ENOMEM,
    }
}

/// Takes the places of superblocks out of a map, in case they are in it.
fn exclude(map: &mut ExtentMap, group: &BlockGroup) -> Result {
    for range in group.excluded() {
        while let Some(free) = map.next(range.start).filter(|e| e.start < range.end()) {
            if let Some(size) = map.wants_room() {
                drop(map.put_room(ExtentMap::room(size)?));
            }
            let len = free.end().min(range.end()).saturating_sub(free.start);
            map.remove(free.start, len).map_err(error)?;
        }
    }
    Ok(())
}

/// The free space of a group that nothing has been allocated from.
pub(super) fn empty(group: &BlockGroup) -> Result<ExtentMap> {
    let mut map = ExtentMap::new();
    add(&mut map, group.start().get(), group.len())?;
    exclude(&mut map, group)?;
    Ok(map)
}

/// Reads the free space tree.
///
/// `EUCLEAN` if it contradicts itself: ranges that overlap or leave the group, or are not as many
/// as they should be. Other errors are those of reading.
pub(super) fn from_free_space(
    tree: &TreeView,
    group: &BlockGroup,
    sectorsize: u64,
) -> Result<ExtentMap> {
    let start = group.start().get();
    let mut map = ExtentMap::new();
    let mut cursor = tree.seek(Key::new(start, item::FREE_SPACE_INFO, group.len()))?;
    let info = match cursor.item() {
        Some((key, data)) if key == Key::new(start, item::FREE_SPACE_INFO, group.len()) => {
            *FreeSpaceInfo::from_bytes(data).ok_or(EUCLEAN)?
        }
        _ => return Err(EUCLEAN),
    };
    cursor.next()?;
    while let Some((key, data)) = cursor.item() {
        if key.objectid >= group.end() {
            break;
        }
        if !group.contains(key.objectid, key.offset) {
            return Err(EUCLEAN);
        }
        match key.item_type {
            item::FREE_SPACE_EXTENT if !info.uses_bitmaps() => {
                add(&mut map, key.objectid, key.offset)?;
            }
            item::FREE_SPACE_BITMAP if info.uses_bitmaps() => {
                add_bitmap(&mut map, key.objectid, key.offset, data, sectorsize)?;
            }
            _ => return Err(EUCLEAN),
        }
        cursor.next()?;
    }
    if u64::from(info.extent_count.get()) != u64::try_from(map.count())? {
        return Err(EUCLEAN);
    }
    exclude(&mut map, group)?;
    Ok(map)
}

/// Adds the sectors whose bits are set.
fn add_bitmap(map: &mut ExtentMap, start: u64, len: u64, bits: &[u8], sectorsize: u64) -> Result {
    let sectors = len.checked_div(sectorsize).ok_or(EINVAL)?;
    let is_free = |sector: u64| {
        let byte = usize::try_from(sector / 8).ok().and_then(|at| bits.get(at));
        byte.is_some_and(|byte| byte >> (sector % 8) & 1 == 1)
    };
    let mut sector = 0;
    while sector < sectors {
        if !is_free(sector) {
            sector += 1;
            continue;
        }
        let first = sector;
        while sector < sectors && is_free(sector) {
            sector += 1;
        }
        let at = first.checked_mul(sectorsize).ok_or(EUCLEAN)?;
        let len = (sector - first).checked_mul(sectorsize).ok_or(EUCLEAN)?;
        add(map, start.checked_add(at).ok_or(EUCLEAN)?, len)?;
    }
    Ok(())
}

/// Reads the extent tree: what lies between extents is free, but for the places of superblocks.
///
/// `EUCLEAN` if extents overlap or leave the group.
pub(super) fn from_extents(
    tree: &TreeView,
    group: &BlockGroup,
    nodesize: u64,
) -> Result<ExtentMap> {
    let mut map = gaps(tree, group, nodesize)?;
    exclude(&mut map, group)?;
    Ok(map)
}

/// What lies between the extents of a group.
///
/// `EUCLEAN` if extents overlap or leave the group.
pub(super) fn gaps(tree: &TreeView, group: &BlockGroup, nodesize: u64) -> Result<ExtentMap> {
    let mut map = ExtentMap::new();
    let mut behind = group.start().get();
    let mut cursor = tree.seek(Key::new(behind, 0, 0))?;
    while let Some(key) = cursor.key() {
        if key.objectid >= group.end() {
            break;
        }
        let len = match key.item_type {
            item::EXTENT_ITEM => Some(key.offset),
            item::METADATA_ITEM => Some(nodesize),
            _ => None,
        };
        if let Some(len) = len {
            if key.objectid < behind || !group.contains(key.objectid, len) {
                return Err(EUCLEAN);
            }
            add(&mut map, behind, key.objectid.saturating_sub(behind))?;
            behind = key.objectid.saturating_add(len);
        }
        cursor.next()?;
    }
    add(&mut map, behind, group.end().saturating_sub(behind))?;
    Ok(map)
}
