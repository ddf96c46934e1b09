// SPDX-License-Identifier: GPL-2.0

//! The items of block groups, in the extent tree or the block-group tree.

#![deny(clippy::arithmetic_side_effects)]

use crate::csums::Span;
use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::block_group::{BlockGroupItem, BlockGroupItemV2};
use btrfs_format::types::objectid;
use btrfs_format::{item as item_type, BlockGroupFlags, Key};
use zerocopy::little_endian::U64;

fn group_key(group: Span) -> Key {
    let start = group.start.get();
    Key::new(start, item_type::BLOCK_GROUP_ITEM, group.len)
}

/// Adds the item of a new block group.
pub fn put_group(items: &mut dyn Items, group: Span, used: u64, flags: BlockGroupFlags) -> Result {
    let item = BlockGroupItem {
        used: U64::new(used),
        chunk_objectid: U64::new(objectid::FIRST_CHUNK_TREE),
        flags: U64::new(flags.bits()),
    };
    items.put(group_key(group), item.to_disk())
}

/// Writes how many bytes of a block group are in use. All else stays as it is.
///
/// # Errors
///
/// `Corrupt` if the group has no item, or is shorter.
pub fn set_used(items: &mut dyn Items, group: Span, used: u64) -> Result {
    if used > group.len {
        return Err(Error::Corrupt("a block group uses more than it has"));
    }
    let key = group_key(group);
    let data = items
        .get(&key)?
        .ok_or(Error::Corrupt("a block group has no item"))?;
    if let Some(item) = BlockGroupItemV2::from_bytes(data) {
        let mut item = *item;
        item.base.used = U64::new(used);
        return items.put(key, item.to_disk());
    }
    let mut item =
        *BlockGroupItem::from_bytes(data).ok_or(Error::Corrupt("a block group item is short"))?;
    item.used = U64::new(used);
    items.put(key, item.to_disk())
}

/// Removes the item of a block group.
pub fn delete_group(items: &mut dyn Items, group: Span) -> Result {
    items.delete(group_key(group))
}
