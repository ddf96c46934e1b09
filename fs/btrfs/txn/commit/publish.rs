// SPDX-License-Identifier: GPL-2.0

//! Moving readers to a state that is durable.

use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;

use super::super::pins::Record;
use super::super::Txn;
use super::apply::ranges;
use super::write::Written;
use crate::space;
use crate::tree::{BlockRef, TreeView};
use btrfs_batch::refs::ExtentKind;

impl Written {
    /// Files the blocks in the cache and gives each tree its new state. What was freed is free as
    /// soon as nobody looks at the states before.
    pub(super) fn publish(self, txn: &Txn) -> Result {
        let Self { applied, blocks } = self;
        let cache = txn.roots.cache();
        let mut filed: KVVec<BlockRef> = KVVec::with_capacity(blocks.len(), GFP_KERNEL)?;
        for (_, buf) in blocks {
            filed.push(cache.insert(buf)?, GFP_KERNEL)?;
        }
        let mut epochs = KVVec::with_capacity(applied.trees.len(), GFP_KERNEL)?;
        for tree in applied.trees.iter() {
            let old = tree.live.view();
            let root = tree.root.filter(|root| root.generation == applied.transid);
            let Some(root) = root else {
                // Nothing changed after all; the overlay goes.
                tree.live.publish(old, tree.item)?;
                continue;
            };
            let at = filed.binary_search_by_key(&root.logical, |block| block.logical());
            let block = at.ok().and_then(|at| filed.get(at)).ok_or(EIO)?;
            let view = TreeView::new(cache.clone(), block.clone(), tree.id())?;
            epochs.push(tree.live.publish(view, tree.item)?, GFP_KERNEL)?;
        }
        for (_, chunk) in applied.groups.gone {
            txn.volume.remove_chunk(chunk)?;
        }
        *txn.frozen.lock() = None;
        drop(applied.born);
        let _ = txn.bytes.fetch_sub(applied.bytes, Relaxed);
        let changes = &applied.changes;
        let mut freed = KVVec::with_capacity(
            changes.removed.len().saturating_add(changes.released.len()),
            GFP_KERNEL,
        )?;
        for range in ranges(&changes.removed) {
            freed.push(range, GFP_KERNEL)?;
        }
        for extent in changes.released.iter() {
            // Tree blocks that were given up again were never anywhere; data may be being read.
            if let ExtentKind::TreeBlock { .. } = extent.kind {
                txn.space.unalloc(extent.start, extent.len);
            } else {
                txn.space.pin_reserved(extent.start, extent.len);
                freed.push((extent.start, extent.len), GFP_KERNEL)?;
            }
        }
        let ranges = freed;
        if let Some(gone) = applied.gone {
            // Whoever still has it open must not keep its blocks from being used.
            let nothing = TreeView::empty(cache.clone(), gone.id())?;
            epochs.push(gone.publish(nothing, gone.item())?, GFP_KERNEL)?;
            txn.roots.forget(gone.id());
            txn.dropping.lock().retain(|tree| tree.id() != gone.id());
        }
        txn.resize_reserve();
        txn.pin(Record { ranges, epochs })
    }
}

impl Txn {
    /// Makes the global reserve as large as the trees of the new state want it.
    fn resize_reserve(&self) {
        let free_space_tree = self.roots.standard().free_space.is_some();
        let bytes = space::wanted_reserve(&self.volume, &self.roots, free_space_tree);
        self.space.set_global_reserve(bytes);
    }
}
