// SPDX-License-Identifier: GPL-2.0

//! Removes whole subtrees.

use super::prefetch::WINDOW;
use super::{broken, Apply};
use crate::error::Result;
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::store::{BlockPtr, Store};
use btrfs_format::leaf::Leaf;
use btrfs_format::node::Node;

impl<S: Store> Apply<'_, S> {
    /// Removes the child at `slot` of the frame at `level`, and all below it.
    pub(super) fn remove_child(&mut self, level: usize, slot: usize, ptr: &BlockPtr) -> Result {
        if ptr.level == 0 && level == self.top && self.is_empty_leaf(ptr)? {
            // The root of an empty tree: nothing to remove.
            return Ok(());
        }
        self.announce(level)?;
        self.remove_tree(*ptr, level == self.top)?;
        self.join(level, slot, None)
    }

    fn is_empty_leaf(&mut self, ptr: &BlockPtr) -> Result<bool> {
        let leaf = self.store.read(self.tree, ptr)?;
        Ok(Leaf::new(&leaf).nritems() == 0)
    }

    /// Walks a subtree, parents before children, and reports blocks and items as gone.
    fn remove_tree(&mut self, ptr: BlockPtr, is_root: bool) -> Result {
        let mut path: KVVec<(S::Block, usize)> = KVVec::new();
        let mut next = Some(ptr);
        let mut is_root = is_root;
        loop {
            if let Some(ptr) = next.take() {
                let block = self.remove_block(&ptr, is_root)?;
                is_root = false;
                if let Some(block) = block {
                    path.push((block, 0), GFP_NOFAIL)?;
                }
            }
            let level = u8::try_from(path.len()).map_err(|_| broken())?;
            let Some((block, slot)) = path.last_mut() else {
                return Ok(());
            };
            let level = ptr.level.checked_sub(level).ok_or(broken())?;
            if *slot % WINDOW == 0 {
                self.window.clear();
                for slot in *slot..*slot + WINDOW {
                    if let Some(child) = child(block, slot, level) {
                        if child.generation < self.env.transid {
                            self.window.push(child, GFP_NOFAIL)?;
                        }
                    }
                }
                if self.window.len() > 1 {
                    self.store.prefetch(self.tree, &self.window);
                }
            }
            next = child(block, *slot, level);
            *slot += 1;
            if next.is_none() {
                path.pop();
            }
        }
    }

    /// Reports a block as gone, and its items if it is a leaf. Returns a node whose children go too.
    fn remove_block(&mut self, ptr: &BlockPtr, is_root: bool) -> Result<Option<S::Block>> {
        let block = self.store.read(self.tree, ptr)?;
        if ptr.generation == self.env.transid {
            self.store.drop_block(self.tree, &block)?;
        } else if !self.store.removed(self.tree, &block, is_root)? {
            return Ok(None);
        }
        if ptr.level == 0 {
            for (key, data) in Leaf::new(&block).iter() {
                self.store.item(self.tree, &key, Some(data), None)?;
            }
            return Ok(None);
        }
        Ok(Some(block))
    }
}

/// What a node knows about a child, which is at `level`.
fn child(node: &[u8], slot: usize, level: u8) -> Option<BlockPtr> {
    let child = Node::new(node).child(slot)?;
    Some(BlockPtr {
        logical: child.logical,
        generation: child.generation,
        level,
        first: Some(child.key),
    })
}
