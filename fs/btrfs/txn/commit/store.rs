// SPDX-License-Identifier: GPL-2.0

//! What batches get their blocks from, and what follows from what they do with them.

use btrfs_batch::refs::{RefDeltas, Sharing};
use btrfs_batch::{BlockPtr, Env, RootPtr, Store};
use btrfs_format::header::Header;
use btrfs_format::key::Key;
use btrfs_format::leaf::Leaf;
use btrfs_format::node::Node;
use btrfs_format::types::{Generation, Logical, TreeId};
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::sync::Arc;
use kfs::mem::{KBuf, GFP_NOFAIL};

use super::blocks::{Block, Blocks};
use super::look::Look;
use super::pending::Pending;
use crate::space::Space;

/// Work on the trees: the blocks, and what follows from them.
pub(super) struct Work {
    pub(super) env: Env,
    space: Arc<Space>,
    pub(super) blocks: Blocks,
    /// References that extents gained and lost, not in the extent tree yet.
    pub(super) deltas: RefDeltas,
    /// The extent tree, where references to shared blocks are looked up.
    pub(super) extent: Pending,
    /// For each tree by how many blocks it grew.
    grown: RBTree<u64, i64>,
    /// Small blocks may be merged with neighbours.
    pub(super) merging: bool,
    /// The tree at hand is being dropped.
    dropping: bool,
    /// The last transaction of which the tree at hand may share blocks.
    last_snapshot: Generation,
    /// The addresses given out last: of system blocks, and of others.
    last: (Option<Logical>, Option<Logical>),
}

impl Work {
    pub(super) fn new(env: Env, space: Arc<Space>, blocks: Blocks, extent: Pending) -> Self {
        Self {
            env,
            space,
            blocks,
            deltas: RefDeltas::new(),
            extent,
            grown: RBTree::new(),
            merging: true,
            dropping: false,
            last_snapshot: Generation(0),
            last: (None, None),
        }
    }

    /// Tells of the tree that is next: blocks of transactions after `last_snapshot` are its own.
    pub(super) fn set_last_snapshot(&mut self, last_snapshot: Generation) {
        self.last_snapshot = last_snapshot;
    }

    /// Tells whether the tree that is next is being dropped: nobody asks for its size any more.
    pub(super) fn set_dropping(&mut self, dropping: bool) {
        self.dropping = dropping;
    }

    /// By how many blocks a tree grew.
    pub(super) fn growth(&self, tree: TreeId) -> i64 {
        self.grown.get(&tree.get()).copied().unwrap_or(0)
    }

    fn grow(&mut self, tree: TreeId, by: i64) -> Result {
        if let Some(count) = self.grown.get_mut(&tree.get()) {
            *count = count.saturating_add(by);
            return Ok(());
        }
        self.grown
            .try_create_and_insert(tree.get(), by, GFP_NOFAIL)?;
        Ok(())
    }

    fn place_block(&mut self, tree: TreeId) -> Result<Logical> {
        let system = tree == TreeId::CHUNK_TREE;
        let last = match system {
            true => &mut self.last.0,
            false => &mut self.last.1,
        };
        let at = self.space.alloc_tree(system, *last)?;
        *last = Some(at);
        self.grow(tree, 1)?;
        Ok(at)
    }

    fn write_block(&mut self, tree: TreeId, at: Logical, level: u8, block: KBuf) -> Result {
        if !self.blocks.is_work(at) {
            let first = match level {
                0 => Leaf::new(&block).key(0),
                _ => Node::new(&block).key(0),
            };
            self.deltas
                .new_block(at, level, first.unwrap_or(Key::MIN), tree)?;
        }
        self.blocks.put(at, tree, level, block)
    }

    fn block_copied(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> Result {
        self.grow(tree, -1)?;
        let sharing = Sharing::of(tree, self.last_snapshot);
        let mut look = Look {
            blocks: &self.blocks,
            tree: &mut self.extent,
        };
        Ok(self.deltas.copied(&mut look, &sharing, old, is_root)?)
    }

    /// Returns whether what is below is looked at too. It is where the tree's size must be right.
    fn block_removed(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> Result<bool> {
        if !self.dropping {
            return self.block_copied(tree, old, is_root).map(|()| true);
        }
        let sharing = Sharing::of(tree, self.last_snapshot);
        let mut look = Look {
            blocks: &self.blocks,
            tree: &mut self.extent,
        };
        Ok(self.deltas.removed(&mut look, &sharing, old, is_root)?)
    }

    /// Whether other trees go on using a block, and what is below it, when `tree` does not.
    pub(super) fn outlives(&mut self, tree: TreeId, block: &[u8]) -> Result<bool> {
        let sharing = Sharing::of(tree, self.last_snapshot);
        let mut look = Look {
            blocks: &self.blocks,
            tree: &mut self.extent,
        };
        Ok(self.deltas.outlives(&mut look, &sharing, block)?)
    }

    fn block_dropped(&mut self, tree: TreeId, old: &[u8]) -> Result {
        let at = Header::of(old).ok_or(EUCLEAN)?.bytenr();
        self.grow(tree, -1)?;
        self.deltas.drop_block(tree, at)?;
        self.blocks.forget(at);
        Ok(())
    }
}

impl Work {
    /// The tree, which is dropped, lets go of its last block.
    pub(super) fn give_up(&mut self, tree: TreeId, root: RootPtr) -> Result {
        self.grow(tree, -1)?;
        self.deltas.drop_block(tree, root.logical)?;
        if root.generation == self.env.transid {
            self.blocks.forget(root.logical);
        }
        Ok(())
    }
}

impl Store for Work {
    type Block = Block;
    type Buf = KBuf;

    fn read(&mut self, tree: TreeId, at: &BlockPtr) -> btrfs_batch::Result<Block> {
        Ok(self.blocks.read(tree, at)?)
    }

    fn spare(&mut self, tree: TreeId, at: &BlockPtr) -> btrfs_batch::Result<Option<Block>> {
        // In later rounds blocks only become more, so that the rounds end.
        let own = !tree.is_fstree() || at.generation > self.last_snapshot;
        match self.merging && own {
            true => Ok(self.blocks.peek(tree, at)),
            false => Ok(None),
        }
    }

    fn buffer(&mut self) -> btrfs_batch::Result<KBuf> {
        let size = usize::try_from(self.env.geometry.nodesize).unwrap_or(0);
        Ok(KBuf::new(size, GFP_NOFAIL)?)
    }

    fn place(&mut self, tree: TreeId, _level: u8) -> btrfs_batch::Result<Logical> {
        Ok(self.place_block(tree)?)
    }

    fn write(&mut self, tree: TreeId, at: Logical, level: u8, block: KBuf) -> btrfs_batch::Result {
        Ok(self.write_block(tree, at, level, block)?)
    }

    fn copied(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> btrfs_batch::Result {
        Ok(self.block_copied(tree, old, is_root)?)
    }

    fn removed(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> btrfs_batch::Result<bool> {
        Ok(self.block_removed(tree, old, is_root)?)
    }

    fn drop_block(&mut self, tree: TreeId, old: &[u8]) -> btrfs_batch::Result {
        Ok(self.block_dropped(tree, old)?)
    }

    fn item(
        &mut self,
        tree: TreeId,
        key: &Key,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> btrfs_batch::Result {
        // In the tree of roots, the caches of free space of version 1 are files.
        if !tree.is_fstree() && tree != TreeId::ROOT_TREE {
            return Ok(());
        }
        self.deltas.item(tree, key, old, new)
    }
}
