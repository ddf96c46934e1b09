// SPDX-License-Identifier: GPL-2.0

//! Moving readers to a state that is durable.
//!
//! When the superblock is on disk the commit is over, and nothing may fail any more: readers would
//! go on with a state whose space the next commit takes for free. So all that the move needs is
//! made before ([`Next`]), and the move is assignments.

use kernel::prelude::*;
use kernel::sync::{atomic::Relaxed, Arc};
use kfs::mem::{KBuf, GFP_NOFAIL};

use super::super::pins::Record;
use super::super::Txn;
use super::apply::{ranges, Applied};
use super::write::Durable;
use crate::space;
use crate::tree::{BlockRef, Epoch, LiveTree, Place, TreeView};
use btrfs_batch::refs::ExtentKind;
use btrfs_format::root::RootItem;
use btrfs_format::types::Logical;

/// What a tree becomes.
struct NextTree {
    live: Arc<LiveTree>,
    place: Place,
    view: TreeView,
    item: RootItem,
    /// The view is another one than before.
    moves: bool,
}

/// What readers are going to see.
pub(super) struct Next {
    trees: KVVec<NextTree>,
    /// A subvolume that is dropped.
    gone: Option<NextTree>,
    /// Room for an epoch for each of them.
    epochs: KVVec<Arc<Epoch>>,
    /// What was used up to now.
    freed: KVVec<(Logical, u64)>,
}

impl NextTree {
    /// Nobody sees it yet.
    fn new(live: &Arc<LiveTree>, view: TreeView, item: RootItem, moves: bool) -> Result<Self> {
        Ok(Self {
            live: live.clone(),
            place: LiveTree::place()?,
            view,
            item,
            moves,
        })
    }

    fn publish(self, epochs: &mut KVVec<Arc<Epoch>>) {
        let old = self.live.publish_in(self.place, self.view, self.item);
        if self.moves {
            // There is room for all.
            let _ = epochs.push_within_capacity(old);
        }
    }
}

impl Applied {
    /// Files the blocks in the cache, which nobody has pointers to yet, and makes what
    /// [`Durable::publish`] needs.
    pub(super) fn next(&self, txn: &Txn, blocks: KVVec<(Logical, KBuf)>) -> Result<Next> {
        let cache = txn.roots.cache();
        let mut filed: KVVec<BlockRef> = KVVec::with_capacity(blocks.len(), GFP_NOFAIL)?;
        for (_, buf) in blocks {
            filed.push(cache.insert(buf)?, GFP_NOFAIL)?;
        }
        let mut trees = KVVec::with_capacity(self.trees.len(), GFP_NOFAIL)?;
        for tree in self.trees.iter() {
            let root = tree.root.filter(|root| root.generation == self.transid);
            let view = match root {
                // Nothing changed after all; the overlay goes.
                None => tree.live.view(),
                Some(root) => {
                    let at = filed.binary_search_by_key(&root.logical, |block| block.logical());
                    let block = at.ok().and_then(|at| filed.get(at)).ok_or(EIO)?;
                    TreeView::new(cache.clone(), block.clone(), tree.id())?
                }
            };
            let next = NextTree::new(&tree.live, view, tree.item, root.is_some())?;
            trees.push(next, GFP_NOFAIL)?;
        }
        let gone = match &self.gone {
            // Whoever still has it open must not keep its blocks from being used.
            Some(gone) => {
                let nothing = TreeView::empty(cache.clone(), gone.id())?;
                Some(NextTree::new(gone, nothing, gone.item(), true)?)
            }
            None => None,
        };
        let count = trees.len().saturating_add(1);
        Ok(Next {
            trees,
            gone,
            epochs: KVVec::with_capacity(count, GFP_NOFAIL)?,
            freed: self.freed()?,
        })
    }

    /// What is pinned when the state is published.
    fn freed(&self) -> Result<KVVec<(Logical, u64)>> {
        let changes = &self.changes;
        let count = changes.removed.len().saturating_add(changes.released.len());
        let mut freed = KVVec::with_capacity(count, GFP_NOFAIL)?;
        for range in ranges(&changes.removed) {
            freed.push(range, GFP_NOFAIL)?;
        }
        for extent in changes.released.iter() {
            if !matches!(extent.kind, ExtentKind::TreeBlock { .. }) {
                freed.push((extent.start, extent.len), GFP_NOFAIL)?;
            }
        }
        Ok(freed)
    }
}

impl Durable {
    /// Gives each tree its new state. What was freed is free as soon as nobody looks at the states
    /// before. Does not fail.
    #[inline(never)]
    pub(super) fn publish(self, txn: &Txn) {
        let Self { applied, next } = self;
        let applied = KBox::into_inner(applied);
        let Next {
            trees,
            gone,
            mut epochs,
            freed,
        } = next;
        for tree in trees {
            tree.publish(&mut epochs);
        }
        for (span, chunk) in applied.groups.gone {
            txn.space.discard_removed(span.start);
            // Else its place on the devices stays taken until the next mount.
            let _ = txn.volume.remove_chunk(chunk);
        }
        *txn.frozen.lock() = None;
        drop(applied.born);
        let _ = txn.bytes.fetch_sub(applied.bytes, Relaxed);
        for extent in applied.changes.released.iter() {
            // Tree blocks that were given up again were never anywhere; data may be being read.
            match extent.kind {
                ExtentKind::TreeBlock { .. } => txn.space.unalloc(extent.start, extent.len),
                _ => txn.space.pin_reserved(extent.start, extent.len),
            }
        }
        if let Some(gone) = gone {
            let id = gone.live.id();
            gone.publish(&mut epochs);
            txn.roots.forget(id);
            txn.dropping.lock().retain(|tree| tree.id() != id);
        }
        txn.space.note_pinned();
        txn.resize_reserve();
        txn.pin(Record {
            ranges: freed,
            epochs,
        });
    }
}

impl Txn {
    /// Makes the global reserve as large as the trees of the new state want it.
    fn resize_reserve(&self) {
        let free_space_tree = self.roots.free_space().is_some();
        let bytes = space::wanted_reserve(&self.volume, &self.roots, free_space_tree);
        self.space.set_global_reserve(bytes);
    }
}
