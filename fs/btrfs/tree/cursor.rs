// SPDX-License-Identifier: GPL-2.0

//! Items, and walking from one to the next.

use btrfs_format::key::Key;
use core::ops::{Deref, Range};
use kernel::prelude::*;

use super::block::BlockRef;
use super::view::{Place, TreeView};

/// The data of an item; it stays valid as long as this exists.
#[derive(Clone)]
pub(crate) struct ItemRef {
    block: BlockRef,
    key: Key,
    range: Range<usize>,
}

impl ItemRef {
    /// The item at `slot` of a leaf.
    pub(super) fn new(block: BlockRef, slot: usize) -> Option<Self> {
        let leaf = block.leaf();
        let (key, range) = (leaf.key(slot)?, leaf.item_range(slot)?);
        Some(Self { block, key, range })
    }

    /// The item's key.
    pub(crate) fn key(&self) -> Key {
        self.key
    }
}

impl Deref for ItemRef {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.block.data().get(self.range.clone()).unwrap_or(&[])
    }
}

/// A position in a tree: on an item, before the first one, or behind the last one.
///
/// Moving within a leaf costs nothing; moving to another one is a search from the root, which
/// is cheaper than holding on to all the nodes in between.
pub(crate) struct Cursor {
    view: TreeView,
    leaf: BlockRef,
    slot: usize,
    /// Where the leaf that follows begins, by its parents; `None` in the last leaf.
    upper: Option<Key>,
    /// The cursor went backwards from the first item.
    before: bool,
}

impl Cursor {
    pub(super) fn new(view: TreeView, place: Place, slot: usize) -> Self {
        Self {
            view,
            leaf: place.leaf,
            slot,
            upper: place.upper,
            before: false,
        }
    }

    /// The tree the cursor is in.
    pub(crate) fn view(&self) -> &TreeView {
        &self.view
    }

    /// Key and data of the item under the cursor.
    #[inline]
    pub(crate) fn item(&self) -> Option<(Key, &[u8])> {
        if self.before {
            return None;
        }
        self.leaf.leaf().entry(self.slot)
    }

    /// The key of the item under the cursor.
    #[inline]
    pub(crate) fn key(&self) -> Option<Key> {
        if self.before {
            return None;
        }
        self.leaf.leaf().key(self.slot)
    }

    /// The leaf under the cursor.
    pub(crate) fn leaf(&self) -> &BlockRef {
        &self.leaf
    }

    /// The key that the leaf after this one begins with; `None` in the last leaf.
    pub(crate) fn leaf_end(&self) -> Option<Key> {
        self.upper
    }

    /// Whether [`Self::next`] ends on another item of the same leaf.
    pub(crate) fn has_next_in_leaf(&self) -> bool {
        self.before || self.slot.saturating_add(1) < self.leaf.leaf().nritems()
    }

    /// Moves to the next item; behind the last one there is none.
    ///
    /// May read. After an error the cursor is on no item, and the next call tries again.
    pub(crate) fn next(&mut self) -> Result {
        if self.before {
            self.before = false;
        } else if self.slot < self.leaf.leaf().nritems() {
            self.slot += 1;
        }
        self.settle_forward()
    }

    /// From behind the last item of a leaf goes on to the next leaf that has one.
    pub(super) fn settle_forward(&mut self) -> Result {
        while self.slot >= self.leaf.leaf().nritems() {
            // The next search's upper key is above the one it searches for, so this ends.
            let Some(next) = self.upper else {
                return Ok(());
            };
            // Whoever walks cached leaves does not sleep.
            kfs::task::cond_resched();
            let place = self.view.descend(&next)?;
            self.leaf = place.leaf;
            self.upper = place.upper;
            self.slot = 0;
        }
        Ok(())
    }

    /// Moves to the previous item; before the first one there is none.
    ///
    /// May read. After an error the cursor stays where it is.
    pub(crate) fn prev(&mut self) -> Result {
        if let Some(slot) = self.slot.checked_sub(1) {
            self.slot = slot;
            return Ok(());
        }
        // Everything below the leaf's first key is in leaves before it.
        let mut bound = self.leaf.leaf().key(0);
        while let Some(key) = bound.and_then(Key::prev) {
            let place = self.view.descend(&key)?;
            let leaf = place.leaf.leaf();
            let slot = match leaf.search(&key) {
                Ok(slot) => Some(slot),
                Err(slot) => slot.checked_sub(1),
            };
            if let Some(slot) = slot {
                self.slot = slot;
                self.upper = place.upper;
                self.leaf = place.leaf;
                return Ok(());
            }
            // The search went to the first leaf because all there is lies behind `key`.
            // A leaf in the middle begins at or before what leads to it, so this is the end.
            bound = None;
        }
        self.before = true;
        Ok(())
    }

    /// Moves to the first item at or behind `key`, in this leaf if it must be here.
    pub(crate) fn seek(&mut self, key: Key) -> Result {
        let leaf = self.leaf.leaf();
        let here = leaf.key(0).is_some_and(|first| first <= key)
            && self.upper.is_none_or(|upper| key < upper);
        if !here {
            let place = self.view.descend(&key)?;
            self.leaf = place.leaf;
            self.upper = place.upper;
        }
        self.before = false;
        self.slot = match self.leaf.leaf().search(&key) {
            Ok(slot) | Err(slot) => slot,
        };
        self.settle_forward()
    }
}
