// SPDX-License-Identifier: GPL-2.0

//! The blocks that a commit reads and makes.

use btrfs_batch::BlockPtr;
use btrfs_format::types::{Generation, Logical, TreeId};
use core::ops::Deref;
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::sync::Arc;
use kfs::mem::{until_memory, KBuf, GFP_NOFAIL};

use crate::tree::{BlockRef, Expect, TreeCache};

/// The memory of a work block; taken out when the block is written to disk.
pub(super) struct WorkBuf(Option<KBuf>);

/// A block as it was when it was read.
#[derive(Clone)]
pub(super) enum Block {
    /// Of an earlier transaction.
    Committed(BlockRef),
    /// Made by this commit.
    Work(Arc<WorkBuf>),
}

impl Block {
    /// A block that is nowhere on disk.
    pub(super) fn made(buf: KBuf) -> Result<Self> {
        Ok(Self::Work(Arc::new(WorkBuf(Some(buf)), GFP_NOFAIL)?))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Block::Committed(block) => block.data(),
            Block::Work(buf) => buf.0.as_deref().unwrap_or(&[]),
        }
    }
}

/// A work block.
pub(super) struct Work {
    buf: Arc<WorkBuf>,
    /// The tree it was made for.
    pub(super) tree: TreeId,
    /// Its level.
    pub(super) level: u8,
}

impl Work {
    /// The memory, for whoever is the last to hold it.
    pub(super) fn into_buf(self) -> Option<KBuf> {
        let mut unique = Arc::into_unique_or_drop(self.buf)?;
        unique.as_mut().get_mut().0.take()
    }
}

/// The committed trees' blocks, and those that the commit has made.
pub(super) struct Blocks {
    cache: Arc<TreeCache>,
    transid: Generation,
    /// By address.
    work: RBTree<u64, Work>,
    /// Committed blocks that are taken for something else than they are.
    instead: KVVec<(Logical, Block)>,
}

impl Blocks {
    /// No work blocks yet.
    pub(super) fn new(cache: Arc<TreeCache>, transid: Generation) -> Self {
        Self {
            cache,
            transid,
            work: RBTree::new(),
            instead: KVVec::new(),
        }
    }

    /// Takes the committed blocks at some addresses for others, until the next call.
    pub(super) fn read_instead(&mut self, blocks: KVVec<(Logical, Block)>) {
        self.instead = blocks;
    }

    fn instead_of(&self, at: &BlockPtr) -> Option<Block> {
        let mut instead = self.instead.iter();
        let found = instead.find(|(logical, _)| *logical == at.logical);
        found.map(|(_, block)| block.clone())
    }

    /// The block at `at` in `tree`.
    ///
    /// `EUCLEAN` if a pointer leads to a work block that there is not: the trees are not what the
    /// commit takes them for.
    pub(super) fn read(&self, tree: TreeId, at: &BlockPtr) -> Result<Block> {
        if at.generation == self.transid {
            let work = self.work.get(&at.logical.get()).ok_or(EUCLEAN)?;
            return Ok(Block::Work(work.buf.clone()));
        }
        if let Some(block) = self.instead_of(at) {
            return Ok(block);
        }
        until_memory(|| self.cache.get(&expect(tree, at))).map(Block::Committed)
    }

    /// The block at `at` if it is in memory.
    pub(super) fn peek(&self, tree: TreeId, at: &BlockPtr) -> Option<Block> {
        if at.generation == self.transid {
            let work = self.work.get(&at.logical.get())?;
            return Some(Block::Work(work.buf.clone()));
        }
        if let Some(block) = self.instead_of(at) {
            return Some(block);
        }
        self.cache.peek(&expect(tree, at)).map(Block::Committed)
    }

    /// Whether there is a work block at `at`.
    pub(super) fn is_work(&self, at: Logical) -> bool {
        self.work.get(&at.get()).is_some()
    }

    /// Puts the contents of a work block in place of what it had, if anything.
    pub(super) fn put(&mut self, at: Logical, tree: TreeId, level: u8, buf: KBuf) -> Result {
        let buf = Arc::new(WorkBuf(Some(buf)), GFP_NOFAIL)?;
        if let Some(work) = self.work.get_mut(&at.get()) {
            *work = Work { buf, tree, level };
            return Ok(());
        }
        let work = Work { buf, tree, level };
        self.work
            .try_create_and_insert(at.get(), work, GFP_NOFAIL)?;
        Ok(())
    }

    /// Forgets a work block.
    pub(super) fn forget(&mut self, at: Logical) {
        self.work.remove(&at.get());
    }

    /// Number of work blocks.
    pub(super) fn len(&self) -> usize {
        self.work.iter().count()
    }

    /// Takes the work block with the lowest address out.
    pub(super) fn pop(&mut self) -> Option<(Logical, Work)> {
        let (_, node) = self.work.cursor_front_mut()?.remove_current();
        let (at, work) = node.to_key_value();
        Some((Logical(at), work))
    }
}

fn expect(tree: TreeId, at: &BlockPtr) -> Expect {
    Expect {
        logical: at.logical,
        generation: at.generation,
        level: at.level,
        tree: Some(tree),
        first: at.first,
    }
}
