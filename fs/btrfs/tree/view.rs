// SPDX-License-Identifier: GPL-2.0

//! A tree as a transaction left it, and the search in it.

use btrfs_format::header::{Header, HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::key::Key;
use btrfs_format::types::{Generation, Logical, TreeId};
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Acquire, Atomic, Release},
    Arc,
};
use kfs::mem::GFP_NOFAIL;
use kfs::rcu::{self, RcuRef};

use super::block::{BlockBuf, BlockRef, Expect, TreeBlock};
use super::cache::TreeCache;
use super::cursor::{Cursor, ItemRef};

/// A committed tree: its root block, and by it everything below.
///
/// Cheap to clone. A view sees one state of the tree for as long as it exists, and keeps the
/// blocks that a later commit freed from being written again; so views are short-lived: long
/// work keeps a key as its position and goes on in a newer view.
#[derive(Clone)]
pub(crate) struct TreeView(Arc<Tree>);

struct Tree {
    cache: Arc<TreeCache>,
    /// Held: everything below is found through it.
    root: BlockRef,
    id: TreeId,
    epoch: Arc<Epoch>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.root.release();
        self.epoch.over.store(true, Release);
    }
}

/// The time in which a state of a tree may be looked at.
///
/// The blocks and extents that a commit freed may still be read through views of the states
/// before it. They can be used again when the epochs of all these states are over.
pub(crate) struct Epoch {
    over: Atomic<bool>,
}

impl Epoch {
    /// Whether no view of the state exists any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Acquire)
    }
}

/// Where a search ended.
pub(super) struct Place {
    pub(super) leaf: BlockRef,
    /// The key that the parents have for what follows the leaf; `None` in the last leaf.
    pub(super) upper: Option<Key>,
}

impl TreeView {
    /// A view of the tree `id` below `root`, which must have been verified to belong to it.
    pub(crate) fn new(cache: Arc<TreeCache>, root: BlockRef, id: TreeId) -> Result<Self> {
        let over = Atomic::new(false);
        let epoch = Arc::new(Epoch { over }, GFP_NOFAIL)?;
        root.hold();
        let tree = Tree {
            cache,
            root,
            id,
            epoch,
        };
        Ok(Self(Arc::new(tree, GFP_NOFAIL)?))
    }

    /// A view of a tree that has no blocks yet: of a leaf in memory without items, at address 0
    /// and of generation 0.
    pub(crate) fn empty(cache: Arc<TreeCache>, id: TreeId) -> Result<Self> {
        let geometry = cache.verifier().geometry;
        let mut buf = BlockBuf::zeroed(usize::try_from(geometry.nodesize)?, GFP_NOFAIL)?;
        let mut header = Header::zeroed();
        header.fsid = cache.verifier().fsid;
        header.owner = id.into();
        header.set_flags(HeaderFlags::WRITTEN, BACKREF_REV_MIXED);
        let room = buf.get_mut(..Header::SIZE).ok_or(EINVAL)?;
        room.copy_from_slice(header.to_disk());
        let root = cache.index().make(buf)?;
        Self::new(cache, root, id)
    }

    /// Whether the tree has no blocks yet.
    pub(crate) fn is_unborn(&self) -> bool {
        self.0.root.logical() == Logical(0)
    }

    /// The epoch that the view keeps from being over.
    pub(crate) fn epoch(&self) -> &Arc<Epoch> {
        &self.0.epoch
    }

    /// The tree's id.
    pub(crate) fn id(&self) -> TreeId {
        self.0.id
    }

    /// The transaction that wrote the root block: the last one that changed the tree.
    pub(crate) fn generation(&self) -> Generation {
        self.0.root.generation()
    }

    /// The root block.
    pub(crate) fn root(&self) -> &BlockRef {
        &self.0.root
    }

    /// The cache the blocks are in.
    pub(crate) fn cache(&self) -> &Arc<TreeCache> {
        &self.0.cache
    }

    /// The item with exactly this key.
    ///
    /// May read; errors are those of [`TreeCache::get`].
    pub(crate) fn get(&self, key: Key) -> Result<Option<ItemRef>> {
        let Place { leaf, .. } = self.descend(&key)?;
        match leaf.leaf().search(&key) {
            Ok(slot) => Ok(ItemRef::new(leaf, slot)),
            Err(_) => Ok(None),
        }
    }

    /// A cursor on the first item at or behind `key`; behind the last one if there is none.
    pub(crate) fn seek(&self, key: Key) -> Result<Cursor> {
        let place = self.descend(&key)?;
        let slot = match place.leaf.leaf().search(&key) {
            Ok(slot) | Err(slot) => slot,
        };
        let mut cursor = Cursor::new(self.clone(), place, slot);
        cursor.settle_forward()?;
        Ok(cursor)
    }

    /// A cursor on the last item at or before `key`; on no item if there is none.
    pub(crate) fn seek_at_or_before(&self, key: Key) -> Result<Cursor> {
        let place = self.descend(&key)?;
        match place.leaf.leaf().search(&key) {
            Ok(slot) => Ok(Cursor::new(self.clone(), place, slot)),
            Err(slot) => {
                let mut cursor = Cursor::new(self.clone(), place, slot);
                cursor.prev()?;
                Ok(cursor)
            }
        }
    }

    /// A cursor on the first item at or behind `from` in a leaf that transaction `since` or a
    /// later one wrote; `None` if there is none.
    ///
    /// Subtrees that are older are not read: a block is never older than what is below it.
    pub(crate) fn seek_since(&self, from: Key, since: Generation) -> Result<Option<Cursor>> {
        let mut from = from;
        loop {
            let (upper, place) = self.descend_since(&from, since)?;
            if let Some(leaf) = place {
                let (Ok(slot) | Err(slot)) = leaf.leaf().search(&from);
                if slot < leaf.leaf().nritems() {
                    let place = Place { leaf, upper };
                    return Ok(Some(Cursor::new(self.clone(), place, slot)));
                }
            }
            // Rises each time, so this ends.
            match upper {
                Some(next) => from = next,
                None => return Ok(None),
            }
        }
    }

    /// Goes to the first new enough leaf at or behind the one for `key`, as long as that is below
    /// the same node; the key is where to go on.
    fn descend_since(
        &self,
        key: &Key,
        since: Generation,
    ) -> Result<(Option<Key>, Option<BlockRef>)> {
        let mut key = *key;
        let mut upper = None;
        let mut block = self.0.root.clone();
        if block.generation() < since {
            return Ok((None, None));
        }
        while block.level() > 0 {
            let node = block.node();
            let slot = node.search(&key);
            let newer = |slot: &usize| {
                node.child(*slot)
                    .is_some_and(|child| child.generation >= since)
            };
            let Some(found) = (slot..node.nritems()).find(newer) else {
                return Ok((upper, None));
            };
            if let (true, Some(first)) = (found > slot, node.key(found)) {
                key = first;
            }
            if let Some(next) = node.key(found.saturating_add(1)) {
                upper = Some(next);
            }
            block = self.step(&block, found, upper)?;
        }
        Ok((upper, Some(block)))
    }

    /// The block of `level` on the way to `key`; `None` if the tree is not that high.
    pub(crate) fn node_at(&self, key: &Key, level: u8) -> Result<Option<BlockRef>> {
        let mut upper = None;
        let mut block = self.0.root.clone();
        if block.level() < level {
            return Ok(None);
        }
        while block.level() > level {
            let node = block.node();
            let slot = node.search(key);
            if let Some(next) = node.key(slot.saturating_add(1)) {
                upper = Some(next);
            }
            block = self.step(&block, slot, upper)?;
        }
        Ok(Some(block))
    }

    /// Whether the leaf for `key` is in memory, found without waiting. It may be gone a moment later.
    pub(crate) fn is_at_hand(&self, key: &Key) -> bool {
        matches!(
            Self::follow_links(&self.0.root, key, &mut None),
            Step::Leaf(_)
        )
    }

    /// The child at `slot` of `node`, linked or not.
    fn step(&self, node: &BlockRef, slot: usize, upper: Option<Key>) -> Result<BlockRef> {
        let linked = {
            let guard = rcu::read_lock();
            node.child(slot, &guard).and_then(RcuRef::upgrade)
        };
        match linked {
            Some(child) => Ok(child),
            None => self.0.cache.child(node, slot, self.0.id, upper),
        }
    }

    /// Begins to read the leaves that `keys` are in, all at the same time.
    ///
    /// Waits for the nodes above them, which are read at the same time too, but not for the
    /// leaves. Fails as [`Self::get`] does for the nodes.
    pub(crate) fn prefetch(&self, keys: &[Key]) -> Result {
        for level in (0..self.0.root.level()).rev() {
            let mut wanted: KVec<Expect> = KVec::with_capacity(keys.len(), GFP_KERNEL)?;
            for key in keys {
                let mut upper = None;
                let mut node = self.0.root.clone();
                while node.level() > level.saturating_add(1) {
                    let slot = node.node().search(key);
                    if let Some(next) = node.key(slot.saturating_add(1)) {
                        upper = Some(next);
                    }
                    node = self.step(&node, slot, upper)?;
                }
                let slot = node.node().search(key);
                if let Some(expect) = node.expect(slot, Some(self.0.id)) {
                    // Neighbours are often in the same block.
                    if wanted
                        .last()
                        .is_none_or(|last| last.logical != expect.logical)
                    {
                        wanted.push(expect, GFP_KERNEL)?;
                    }
                }
            }
            self.0.cache.prefetch(&mut wanted);
        }
        Ok(())
    }

    /// Finds the leaf that `key` is in, if it is anywhere.
    pub(super) fn descend(&self, key: &Key) -> Result<Place> {
        let mut upper = None;
        let mut base: Option<BlockRef> = None;
        loop {
            let top = base.as_ref().unwrap_or(&self.0.root);
            let step = Self::follow_links(top, key, &mut upper);
            let (parent, slot) = match step {
                Step::Leaf(leaf) => return Ok(Place { leaf, upper }),
                Step::Unlinked(parent, slot) => (parent, slot),
                Step::Evicted => {
                    (upper, base) = (None, None);
                    continue;
                }
            };
            // One level lower than `parent`, so this happens once per level.
            base = Some(self.0.cache.child(&parent, slot, self.0.id, upper)?);
        }
    }

    /// Goes down from `top` as far as blocks are linked. Neither sleeps nor locks.
    fn follow_links(top: &BlockRef, key: &Key, upper: &mut Option<Key>) -> Step {
        let guard = rcu::read_lock();
        let mut block: RcuRef<'_, TreeBlock> = top.as_rcu();
        loop {
            let current = block.get();
            current.touch();
            if current.level() == 0 {
                return block.upgrade().map_or(Step::Evicted, Step::Leaf);
            }
            let node = current.node();
            let slot = node.search(key);
            if let Some(next) = node.key(slot.saturating_add(1)) {
                *upper = Some(next);
            }
            match current.child(slot, &guard) {
                Some(child) => block = child,
                None => {
                    return block
                        .upgrade()
                        .map_or(Step::Evicted, |node| Step::Unlinked(node, slot))
                }
            }
        }
    }
}

/// How far the links led.
enum Step {
    /// To the leaf.
    Leaf(BlockRef),
    /// To this node, whose child at the slot is not linked.
    Unlinked(BlockRef, usize),
    /// Somebody freed the block on the way.
    Evicted,
}
