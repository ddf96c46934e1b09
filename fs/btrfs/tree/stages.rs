// SPDX-License-Identifier: GPL-2.0

//! What mounting reads of the trees: chunks, devices, block groups.

use btrfs_format::block_group::BlockGroupItem;
use btrfs_format::chunk::ChunkItem;
use btrfs_format::device::DevItem;
use btrfs_format::key::{item, Key};
use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::types::{objectid, Logical};
use kernel::prelude::*;

use super::view::TreeView;

/// Takes what [`read_chunk_tree`] finds.
pub(crate) trait ChunkVisitor {
    /// A device of the filesystem. All devices come before all chunks.
    fn device(&mut self, device: &DevItem) -> Result;
    /// A chunk, in order of the addresses.
    fn chunk(&mut self, start: Logical, chunk: &ChunkItem<'_>) -> Result;
}

/// Reads all of the chunk tree.
///
/// Fails with what reading or the visitor fails with.
pub(crate) fn read_chunk_tree(chunks: &TreeView, visitor: &mut dyn ChunkVisitor) -> Result {
    let mut cursor = chunks.seek(Key::new(objectid::DEV_ITEMS, 0, 0))?;
    while let Some((key, data)) = cursor.item() {
        match key.item_type {
            item::DEV_ITEM => visitor.device(DevItem::from_bytes(data).ok_or(EUCLEAN)?)?,
            item::CHUNK_ITEM => {
                let chunk = ChunkItem::parse(data).ok_or(EUCLEAN)?;
                visitor.chunk(Logical(key.offset), &chunk)?;
            }
            _ => {}
        }
        cursor.next()?;
    }
    Ok(())
}

/// A block group as its item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockGroup {
    /// First address.
    pub(crate) start: Logical,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Bytes in use.
    pub(crate) used: u64,
    /// Types and profile.
    pub(crate) flags: BlockGroupFlags,
    /// The objectid of the chunk's key.
    pub(crate) chunk_objectid: u64,
}

/// Number of block groups whose leaves are read at the same time.
const BATCH: usize = 64;

/// Finds the block group of each of `chunks` (start and length) and gives it to `visit`, in
/// order; `None` is given for a chunk without one.
///
/// In the extent tree a block group's item is among those of the extents, often in a leaf of its
/// own. So the leaves are read many at a time.
pub(crate) fn read_block_groups(
    tree: &TreeView,
    chunks: &[(Logical, u64)],
    mut visit: impl FnMut(Logical, u64, Option<BlockGroup>) -> Result,
) -> Result {
    let mut keys = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    for batch in chunks.chunks(BATCH) {
        keys.clear();
        for &(start, len) in batch {
            keys.push(block_group_key(start, len), GFP_KERNEL)?;
        }
        tree.prefetch(&keys)?;
        for &(start, len) in batch {
            let item = tree.get(block_group_key(start, len))?;
            let group = match &item {
                None => None,
                Some(data) => Some(parse_block_group(start, len, data)?),
            };
            visit(start, len, group)?;
        }
    }
    Ok(())
}

fn block_group_key(start: Logical, len: u64) -> Key {
    Key::new(start.get(), item::BLOCK_GROUP_ITEM, len)
}

fn parse_block_group(start: Logical, len: u64, data: &[u8]) -> Result<BlockGroup> {
    let item = BlockGroupItem::parse(data).ok_or(EUCLEAN)?;
    Ok(BlockGroup {
        start,
        len,
        used: item.used.get(),
        flags: item.flags(),
        chunk_objectid: item.chunk_objectid.get(),
    })
}
