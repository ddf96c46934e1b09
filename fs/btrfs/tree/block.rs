// SPDX-License-Identifier: GPL-2.0

//! One verified tree block in memory.

use btrfs_format::header::Header;
use btrfs_format::key::Key;
use btrfs_format::leaf::Leaf;
use btrfs_format::node::Node;
use btrfs_format::types::{Generation, Logical, TreeId, MAX_LEVEL};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use kfs::mem::GFP_NOFAIL;
use kfs::rcu::{Guard, RcuArc, RcuRef, RcuSlot};

use super::readahead::Readahead;

/// A counted reference to a block.
pub(crate) type BlockRef = RcuArc<TreeBlock>;

/// The memory of a block.
pub(crate) type BlockBuf = kfs::block::KBuf;

/// What whoever points at a block knows about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    /// Where the block is.
    pub(crate) logical: Logical,
    /// The transaction that wrote it.
    pub(crate) generation: Generation,
    /// Its level; the pointer's own level less one.
    pub(crate) level: u8,
    /// The tree that the search is in, if that is known.
    pub(crate) tree: Option<TreeId>,
    /// Its first key, if the pointer says.
    pub(crate) first: Option<Key>,
}

/// Counts the memory of a cache's blocks, whoever holds them.
pub(crate) struct Usage {
    bytes: Atomic<usize>,
    blocks: Atomic<usize>,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            bytes: Atomic::new(0),
            blocks: Atomic::new(0),
        }
    }

    /// Bytes of all blocks that are alive.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Number of all blocks that are alive.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.load(Relaxed)
    }
}

/// A leaf or node that has been verified and never changes.
pub(crate) struct TreeBlock {
    buf: BlockBuf,
    logical: Logical,
    generation: Generation,
    owner: TreeId,
    level: u8,
    /// Whether a search came by since the cache last looked.
    recent: Atomic<bool>,
    /// Links of parents to this block, and roots; while there are any, it stays cached.
    holders: Atomic<usize>,
    /// For each pointer of a node, the child, if it is cached.
    links: KVVec<RcuSlot<TreeBlock>>,
    /// How the children have been read.
    pub(super) readahead: Readahead,
    usage: Arc<Usage>,
}

impl TreeBlock {
    /// Makes a block of bytes that have passed the tree checker.
    pub(super) fn new(buf: BlockBuf, usage: Arc<Usage>) -> Result<Self> {
        let header = Header::of(&buf).ok_or(EUCLEAN)?;
        if header.level >= MAX_LEVEL {
            return Err(EUCLEAN);
        }
        let (logical, generation) = (header.bytenr(), header.generation());
        let (owner, level) = (header.owner(), header.level);
        let mut links = KVVec::new();
        if level > 0 {
            let count = Node::new(&buf).nritems();
            links.reserve(count, GFP_NOFAIL)?;
            for _ in 0..count {
                links.push(RcuSlot::new(), GFP_NOFAIL)?;
            }
        }
        let block = Self {
            buf,
            logical,
            generation,
            owner,
            level,
            recent: Atomic::new(true),
            holders: Atomic::new(0),
            links,
            readahead: Readahead::new(),
            usage,
        };
        block.usage.bytes.add(block.size(), Relaxed);
        block.usage.blocks.add(1usize, Relaxed);
        Ok(block)
    }

    /// Where the block is.
    pub(crate) fn logical(&self) -> Logical {
        self.logical
    }

    /// The transaction that wrote it.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// The tree it was written for; others may share it.
    pub(crate) fn owner(&self) -> TreeId {
        self.owner
    }

    /// Distance from the leaves.
    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    /// The block's bytes.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        &self.buf
    }

    /// The block as a leaf; only for level 0.
    #[inline]
    pub(crate) fn leaf(&self) -> Leaf<'_> {
        Leaf::new(&self.buf)
    }

    /// The block as a node; only for levels above 0.
    #[inline]
    pub(crate) fn node(&self) -> Node<'_> {
        Node::new(&self.buf)
    }

    /// Number of items or pointers.
    pub(crate) fn nritems(&self) -> usize {
        match self.level {
            0 => self.leaf().nritems(),
            _ => self.node().nritems(),
        }
    }

    /// The key at `slot`.
    pub(crate) fn key(&self, slot: usize) -> Option<Key> {
        match self.level {
            0 => self.leaf().key(slot),
            _ => self.node().key(slot),
        }
    }

    /// What the pointer at `slot` of this node says about the child.
    pub(crate) fn expect(&self, slot: usize, tree: Option<TreeId>) -> Option<Expect> {
        let child = self.node().child(slot)?;
        Some(Expect {
            logical: child.logical,
            generation: child.generation,
            level: self.level.checked_sub(1)?,
            tree,
            first: Some(child.key),
        })
    }

    /// Bytes of memory the block takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.buf.len() + self.links.len() * size_of::<RcuSlot<Self>>()
    }

    /// Notes that a search came by.
    #[inline]
    pub(super) fn touch(&self) {
        // Written only when it changes: all processors read the line.
        if !self.recent.load(Relaxed) {
            self.recent.store(true, Relaxed);
        }
    }

    /// Whether a search came by since this was last called.
    pub(super) fn take_recent(&self) -> bool {
        let recent = self.recent.load(Relaxed);
        if recent {
            self.recent.store(false, Relaxed);
        }
        recent
    }

    /// The child at `slot`, if it is linked.
    #[inline]
    pub(super) fn child<'g>(&self, slot: usize, guard: &'g Guard) -> Option<RcuRef<'g, Self>> {
        self.links.get(slot)?.load(guard)
    }

    /// Links `child` at `slot`, where it must belong; does nothing if one is linked already.
    pub(super) fn link(&self, slot: usize, child: &BlockRef) {
        let Some(link) = self.links.get(slot) else {
            return;
        };
        child.hold();
        if link.fill(child.clone()).is_err() {
            child.release();
        }
    }

    /// Cuts the links to children that no search used since the cache last looked at them; all
    /// links when `all`.
    pub(super) fn unlink(&self, all: bool, guard: &Guard) {
        for link in self.links.iter() {
            let idle = link
                .load(guard)
                .is_some_and(|child| all || !child.recent.load(Relaxed));
            if idle {
                Self::cut(link);
            }
        }
    }

    fn cut(link: &RcuSlot<Self>) {
        if let Some(child) = link.replace(None) {
            child.release();
        }
    }

    /// Keeps the block in the cache until [`Self::release`].
    pub(super) fn hold(&self) {
        self.holders.add(1usize, Relaxed);
    }

    /// Undoes one [`Self::hold`].
    pub(super) fn release(&self) {
        let _ = self.holders.fetch_sub(1usize, Relaxed);
    }

    /// Whether a link or root keeps the block in the cache.
    pub(super) fn is_held(&self) -> bool {
        self.holders.load(Relaxed) != 0
    }
}

impl Drop for TreeBlock {
    fn drop(&mut self) {
        // The children are released one level at a time: each goes through RCU on its own, so
        // this does not recurse.
        for link in self.links.iter() {
            Self::cut(link);
        }
        let _ = self.usage.bytes.fetch_sub(self.size(), Relaxed);
        let _ = self.usage.blocks.fetch_sub(1usize, Relaxed);
    }
}
