// SPDX-License-Identifier: GPL-2.0

//! What the C module has left of a subvolume that it was dropping.
//!
//! It drops a tree from the first key to the last, as this one does, but leaves the blocks on the way
//! to where it is as they were: a position in the root item says which of their pointers count. What
//! lies before has no reference of this tree any more, and may be something else by now.
//!
//! So a commit takes these blocks for what they would be without the pointers that do not count. The
//! first part that it removes begins right there: all of them are copied or go, from the root down,
//! and what is left is a sound tree as any other. The position is cleared with that.
//!
//! The C module may also have been at work below the block that comes next, one that other trees
//! share: it makes what the dropped tree owns there hold its children, parents first. How far that
//! got is nowhere noted. It need not be: see [`RefDeltas::outlives`](btrfs_batch::refs::RefDeltas).

use btrfs_batch::build::NodeBuilder;
use btrfs_batch::{BlockPtr, RootPtr};
use btrfs_format::header::Header;
use btrfs_format::key::{DiskKey, Key};
use btrfs_format::node::Node;
use btrfs_format::root::RootItem;
use btrfs_format::types::{Logical, TreeId};
use kernel::prelude::*;
use kfs::mem::{KBuf, GFP_NOFAIL};

use super::blocks::{Block, Blocks};

/// Whether dropping the tree was begun by the C module.
pub(in super::super) fn is_begun(item: &RootItem) -> bool {
    item.drop_progress.get().objectid != 0
}

/// Makes the item that of a whole tree.
pub(super) fn forget_position(item: &mut RootItem) {
    item.drop_progress = DiskKey::from(Key::MIN);
    item.drop_level = 0;
}

/// The blocks on the way to the position in `item`, with the pointers that count.
///
/// `EUCLEAN` if the position does not fit the tree.
pub(in super::super) fn rest_of(
    blocks: &Blocks,
    tree: TreeId,
    root: RootPtr,
    item: &RootItem,
) -> Result<KVVec<(Logical, Block)>> {
    let (position, level) = (item.drop_progress.get(), item.drop_level);
    if level == 0 || level > root.level {
        return Err(EUCLEAN);
    }
    let mut rest = KVVec::new();
    let mut at = BlockPtr {
        logical: root.logical,
        generation: root.generation,
        level: root.level,
        first: None,
    };
    loop {
        let block = blocks.read(tree, &at)?;
        let node = Node::new(&block);
        let behind = node.ptrs().partition_point(|ptr| ptr.key.get() <= position);
        let slot = behind.checked_sub(1).ok_or(EUCLEAN)?;
        let child = node.child(slot).ok_or(EUCLEAN)?;
        rest.push((at.logical, from_slot(&block, slot)?), GFP_NOFAIL)?;
        if at.level == level {
            return match child.key == position {
                true => Ok(rest),
                false => Err(EUCLEAN),
            };
        }
        at = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: at.level.checked_sub(1).ok_or(EUCLEAN)?,
            first: Some(child.key),
        };
    }
}

/// A node without the pointers before `slot`.
fn from_slot(block: &[u8], slot: usize) -> Result<Block> {
    let header = *Header::of(block).ok_or(EUCLEAN)?;
    let node = Node::new(block);
    let mut buf = KBuf::new(block.len(), GFP_NOFAIL)?;
    let mut builder = NodeBuilder::new(&mut buf);
    let pushed = builder.push_range(&node, slot..node.nritems());
    pushed.map_err(|_| EUCLEAN)?;
    builder.finish(header);
    Block::made(buf)
}
