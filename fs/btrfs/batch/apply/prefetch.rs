// SPDX-License-Identifier: GPL-2.0

//! Tells the store which blocks will be read next.
//!
//! The walk reads one block at a time. A node knows all its children that the batch concerns, so
//! they are announced together, a window at a time, and their reads overlap.

use super::Apply;
use crate::error::Result;
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::{BlockPtr, Store};
use btrfs_format::node::Node;
use btrfs_format::Key;

/// Most blocks that are announced at once.
pub(super) const WINDOW: usize = 64;

impl<S: Store> Apply<'_, S> {
    /// Announces the children from `slot` on, of the frame at `level`, that will be read.
    pub(super) fn prefetch(&mut self, level: usize, slot: usize) -> Result {
        let mut blocks = core::mem::take(&mut self.window);
        blocks.clear();
        let end = self.collect(level, slot, &mut blocks)?;
        self.frame(level)?.prefetched = end;
        if blocks.len() > 1 {
            self.store.prefetch(self.tree, &blocks);
        }
        self.window = blocks;
        Ok(())
    }

    /// Collects committed children that the batch concerns; returns the first one not looked at.
    fn collect(
        &mut self,
        level: usize,
        slot: usize,
        blocks: &mut KVVec<BlockPtr>,
    ) -> Result<usize> {
        let (transid, changes, clears) = (self.env.transid, self.changes, self.clears);
        let (mut change, mut clear) = (self.change, self.clear);
        let frame = self.frame(level)?;
        let Some(source) = &frame.node else {
            return Ok(frame.count);
        };
        let node = Node::new(&source.block);
        let child_level = node.level().saturating_sub(1);
        let mut slot = slot;
        while blocks.len() < WINDOW {
            let next_change = changes.get(change).map(|change| change.key);
            let next_clear = clears.get(clear).map(|clear| *clear.start());
            let Some(key) = next_change.into_iter().chain(next_clear).min() else {
                return Ok(frame.count);
            };
            if frame.upper.is_some_and(|upper| key >= upper) {
                return Ok(frame.count);
            }
            slot = slot.max(node.search(&key));
            let Some(child) = node.child(slot) else {
                return Ok(frame.count);
            };
            if child.generation < transid {
                let ptr = BlockPtr {
                    logical: child.logical,
                    generation: child.generation,
                    level: child_level,
                    first: Some(child.key),
                };
                blocks.push(ptr, GFP_NOFAIL)?;
            }
            slot += 1;
            let Some(upper) = node.key(slot) else {
                return Ok(frame.count);
            };
            let is_below = |key: &Key| *key < upper;
            let rest = changes.get(change..).unwrap_or(&[]);
            change += rest.partition_point(|change| is_below(&change.key));
            let rest = clears.get(clear..).unwrap_or(&[]);
            clear += rest.partition_point(|clear| is_below(clear.end()));
        }
        Ok(slot)
    }
}
