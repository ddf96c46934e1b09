// SPDX-License-Identifier: GPL-2.0

//! Extents and their references, as the extent tree has them.

use btrfs_format::extent::{extent_data_refs, ExtentFlags, ExtentRecord, ExtentRef};
use btrfs_format::key::{item, Key};
use btrfs_format::types::Logical;
use kernel::prelude::*;

use super::Backrefs;
use crate::tree::{BlockRef, Cursor, Expect};

/// An extent of data.
pub(super) struct DataExtent {
    pub(super) start: Logical,
    pub(super) refs: KVVec<ExtentRef>,
}

impl Backrefs<'_> {
    /// The extent of data that `logical` is in. `ENOENT` if there is none.
    pub(super) fn data_extent(&self, logical: Logical) -> Result<DataExtent> {
        let last = Key::new(logical.get(), item::METADATA_ITEM, u64::MAX);
        let mut cursor = self.extents.seek_at_or_before(last)?;
        // References and block groups may stand between.
        while let Some((key, data)) = cursor.item() {
            match key.item_type {
                item::METADATA_ITEM => return Err(ENOENT),
                item::EXTENT_ITEM => {
                    let inside = logical.get().wrapping_sub(key.objectid) < key.offset;
                    let record = ExtentRecord::parse(&key, data).ok_or(EUCLEAN)?;
                    if !inside || record.item.flags().contains(ExtentFlags::TREE_BLOCK) {
                        return Err(ENOENT);
                    }
                    return Ok(DataExtent {
                        start: Logical(key.objectid),
                        refs: references(&mut cursor)?,
                    });
                }
                _ => cursor.prev()?,
            }
        }
        Err(ENOENT)
    }

    /// The tree block at `logical`. `EUCLEAN` if there is none.
    pub(super) fn block(&self, logical: Logical) -> Result<BlockRef> {
        let cursor = self.block_item(logical)?;
        let (key, data) = cursor.item().ok_or(EUCLEAN)?;
        let record = ExtentRecord::parse(&key, data).ok_or(EUCLEAN)?;
        let level = match record.tree_block {
            Some(info) => info.level,
            None => u8::try_from(key.offset).map_err(|_| EUCLEAN)?,
        };
        self.extents.cache().get(&Expect {
            logical,
            generation: record.item.generation(),
            level,
            tree: None,
            first: None,
        })
    }

    /// The references of a block.
    pub(super) fn block_refs(&self, block: &BlockRef) -> Result<KVVec<ExtentRef>> {
        references(&mut self.block_item(block.logical())?)
    }

    /// A cursor on the item of the tree block at `logical`.
    fn block_item(&self, logical: Logical) -> Result<Cursor> {
        let cursor = self
            .extents
            .seek(Key::new(logical.get(), item::EXTENT_ITEM, 0))?;
        match cursor.item() {
            Some((key, data)) if key.objectid == logical.get() => {
                let is_block = key.item_type == item::METADATA_ITEM
                    || (key.item_type == item::EXTENT_ITEM
                        && ExtentRecord::parse(&key, data)
                            .is_some_and(|record| record.tree_block.is_some()));
                if is_block {
                    Ok(cursor)
                } else {
                    Err(EUCLEAN)
                }
            }
            _ => Err(EUCLEAN),
        }
    }
}

/// All references of the extent whose item the cursor is on: those in it, and those in items of
/// their own behind it.
fn references(cursor: &mut Cursor) -> Result<KVVec<ExtentRef>> {
    let mut refs = KVVec::new();
    let (own, data) = cursor.item().ok_or(EUCLEAN)?;
    let record = ExtentRecord::parse(&own, data).ok_or(EUCLEAN)?;
    for reference in record.inline_refs() {
        refs.push(reference, GFP_KERNEL)?;
    }
    loop {
        cursor.next()?;
        let Some((key, data)) = cursor.item() else {
            break;
        };
        if key.objectid != own.objectid || key.item_type > item::SHARED_DATA_REF {
            break;
        }
        if key.item_type == item::EXTENT_DATA_REF {
            for data_ref in extent_data_refs(data) {
                refs.push(data_ref.into(), GFP_KERNEL)?;
            }
        } else if let Some(reference) = ExtentRef::parse_keyed(&key, data) {
            refs.push(reference, GFP_KERNEL)?;
        }
    }
    Ok(refs)
}
