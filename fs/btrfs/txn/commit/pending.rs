// SPDX-License-Identifier: GPL-2.0

//! A tree that the commit itself keeps: what it was, and what is to become of it.
//!
//! Extent, checksum, free-space, block-group and root tree follow from what happens to the others.
//! Their changes are collected here, seen by look-ups at once, and put into the tree
//! in one batch at the end of a round.

use btrfs_batch::{BlockPtr, Change, Edit, Env, RootPtr, Store};
use btrfs_format::header::Header;
use btrfs_format::key::Key;
use btrfs_format::leaf::Leaf;
use btrfs_format::node::Node;
use btrfs_format::types::{TreeId, MAX_LEVEL};
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kfs::mem::GFP_NOFAIL;

use super::blocks::{Block, Blocks};

/// The data of an item.
pub(super) type ItemBytes = KVVec<u8>;

/// The leaf that a search found.
struct Found {
    leaf: Block,
    /// The key that the parents have for the leaf; `None` for the first one of the tree.
    lower: Option<Key>,
    /// The key that they have for what follows; `None` for the last one.
    upper: Option<Key>,
}

impl Found {
    fn covers(&self, key: &Key) -> bool {
        self.lower.is_none_or(|lower| lower <= *key) && self.upper.is_none_or(|upper| *key < upper)
    }
}

/// What a look-up came to.
enum Hit {
    Nothing,
    /// A change, by its key.
    Change(Key),
    /// A slot of the leaf that was searched last.
    Slot(usize),
}

/// See the module.
pub(super) struct Pending {
    id: TreeId,
    root: Option<RootPtr>,
    /// `None` stands for an item that is deleted.
    changes: RBTree<Key, Option<ItemBytes>>,
    /// Where the last search ended: the next one is often near.
    last: Option<Found>,
}

/// Which way a search goes.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Pending {
    /// The tree `id` below `root`, without changes.
    pub(super) fn new(id: TreeId, root: Option<RootPtr>) -> Self {
        Self {
            id,
            root,
            changes: RBTree::new(),
            last: None,
        }
    }

    /// Where its root is, without the changes that have not been put in.
    pub(super) fn root(&self) -> Option<RootPtr> {
        self.root
    }

    /// Whether all changes have been put in.
    pub(super) fn is_settled(&self) -> bool {
        self.changes.is_empty()
    }

    /// The item with this key.
    pub(super) fn get(&mut self, blocks: &Blocks, key: &Key) -> Result<Option<&[u8]>> {
        if self.changes.get(key).is_some() {
            return Ok(self.show(Hit::Change(*key)).map(|(_, data)| data));
        }
        let hit = match self.find(blocks, key)? {
            Some(found) => match Leaf::new(&found.leaf).search(key) {
                Ok(slot) => Hit::Slot(slot),
                Err(_) => Hit::Nothing,
            },
            None => Hit::Nothing,
        };
        Ok(self.show(hit).map(|(_, data)| data))
    }

    /// The first item at or behind `key`.
    pub(super) fn at_or_after(
        &mut self,
        blocks: &Blocks,
        key: &Key,
    ) -> Result<Option<(Key, &[u8])>> {
        self.search(blocks, key, Way::Up)
    }

    /// The last item at or before `key`.
    pub(super) fn at_or_before(
        &mut self,
        blocks: &Blocks,
        key: &Key,
    ) -> Result<Option<(Key, &[u8])>> {
        self.search(blocks, key, Way::Down)
    }

    /// The first item from `key` on: of the changes and the tree what comes first, but for what is
    /// deleted.
    fn search(&mut self, blocks: &Blocks, key: &Key, way: Way) -> Result<Option<(Key, &[u8])>> {
        let mut from = Some(*key);
        let mut hit = Hit::Nothing;
        while let Some(at) = from {
            let (below, above) = match way {
                Way::Up => (self.tree_after(blocks, &at)?, self.change_after(&at)),
                Way::Down => (self.tree_before(blocks, &at)?, self.change_before(&at)),
            };
            let first = |key: Key| match (below, way) {
                (None, _) => true,
                (Some((below, _)), Way::Up) => key <= below,
                (Some((below, _)), Way::Down) => key >= below,
            };
            match (above.filter(|(key, _)| first(*key)), below) {
                (Some((key, true)), _) => hit = Hit::Change(key),
                (Some((key, false)), _) => {
                    from = match way {
                        Way::Up => key.next(),
                        Way::Down => key.prev(),
                    };
                    continue;
                }
                (None, Some((_, slot))) => hit = Hit::Slot(slot),
                (None, None) => {}
            }
            break;
        }
        Ok(self.show(hit))
    }

    /// The item that was hit.
    fn show(&self, hit: Hit) -> Option<(Key, &[u8])> {
        match hit {
            Hit::Nothing => None,
            Hit::Change(key) => Some((key, self.changes.get(&key)?.as_deref()?)),
            Hit::Slot(slot) => Leaf::new(&self.last.as_ref()?.leaf).entry(slot),
        }
    }

    /// The first change at or behind `key`, and whether it is one that puts an item.
    fn change_after(&self, key: &Key) -> Option<(Key, bool)> {
        let cursor = self.changes.cursor_lower_bound(key)?;
        let (key, data) = cursor.current();
        Some((*key, data.is_some()))
    }

    /// The last change at or before `key`, and whether it is one that puts an item.
    fn change_before(&self, key: &Key) -> Option<(Key, bool)> {
        let last = || Some(self.changes.cursor_back()?.current()).map(|(k, d)| (*k, d.is_some()));
        match self.changes.cursor_lower_bound(key) {
            Some(cursor) => {
                let (found, data) = match cursor.current() {
                    at if at.0 == key => at,
                    _ => cursor.peek_prev()?,
                };
                Some((*found, data.is_some()))
            }
            None => last(),
        }
    }

    /// Puts an item in place of what there is under its key.
    pub(super) fn put(&mut self, key: Key, data: &[u8]) -> Result {
        self.change(key, Some(copy(data)?))
    }

    /// Deletes an item, if there is one.
    pub(super) fn delete(&mut self, key: Key) -> Result {
        self.change(key, None)
    }

    fn change(&mut self, key: Key, to: Option<ItemBytes>) -> Result {
        if let Some(change) = self.changes.get_mut(&key) {
            *change = to;
            return Ok(());
        }
        self.changes.try_create_and_insert(key, to, GFP_NOFAIL)?;
        Ok(())
    }

    /// Takes the changes out, in order, to be put in by [`settle`].
    pub(super) fn take(&mut self) -> RBTree<Key, Option<ItemBytes>> {
        self.last = None;
        core::mem::replace(&mut self.changes, RBTree::new())
    }

    /// Notes that the tree's root is elsewhere now.
    pub(super) fn set_root(&mut self, root: Option<RootPtr>) {
        self.last = None;
        self.root = root;
    }

    /// The first item of the tree itself at or behind `key`: its key and slot.
    fn tree_after(&mut self, blocks: &Blocks, key: &Key) -> Result<Option<(Key, usize)>> {
        let mut from = *key;
        loop {
            let Some(found) = self.find(blocks, &from)? else {
                return Ok(None);
            };
            let leaf = Leaf::new(&found.leaf);
            let (Ok(slot) | Err(slot)) = leaf.search(&from);
            if let Some(key) = leaf.key(slot) {
                return Ok(Some((key, slot)));
            }
            match found.upper {
                // Rises each time, so this ends.
                Some(upper) => from = upper,
                None => return Ok(None),
            }
        }
    }

    /// The last item of the tree itself at or before `key`: its key and slot.
    fn tree_before(&mut self, blocks: &Blocks, key: &Key) -> Result<Option<(Key, usize)>> {
        let mut from = *key;
        loop {
            let Some(found) = self.find(blocks, &from)? else {
                return Ok(None);
            };
            let leaf = Leaf::new(&found.leaf);
            let slot = match leaf.search(&from) {
                Ok(slot) => Some(slot),
                Err(slot) => slot.checked_sub(1),
            };
            if let Some((slot, key)) = slot.and_then(|slot| Some((slot, leaf.key(slot)?))) {
                return Ok(Some((key, slot)));
            }
            // Falls each time, so this ends.
            match found.lower.and_then(Key::prev) {
                Some(prev) => from = prev,
                None => return Ok(None),
            }
        }
    }

    /// The leaf that `key` is in, if it is in the tree; `None` for a tree without blocks.
    fn find(&mut self, blocks: &Blocks, key: &Key) -> Result<Option<&Found>> {
        if !self.last.as_ref().is_some_and(|found| found.covers(key)) {
            self.last = match self.root {
                Some(root) => Some(descend(blocks, self.id, root, key)?),
                None => None,
            };
        }
        Ok(self.last.as_ref())
    }
}

/// Puts the changes of a tree in.
pub(super) fn settle<S: Store>(
    env: &Env,
    store: &mut S,
    tree: TreeId,
    root: Option<RootPtr>,
    changes: &RBTree<Key, Option<ItemBytes>>,
) -> Result<Option<RootPtr>> {
    let mut list = KVVec::with_capacity(changes.iter().count(), GFP_NOFAIL)?;
    for (key, data) in changes.iter() {
        let edit = match data {
            Some(data) => Edit::Put(data),
            None => Edit::Delete,
        };
        list.push(Change { key: *key, edit }, GFP_NOFAIL)?;
    }
    Ok(btrfs_batch::apply(env, store, tree, root, &list, &[])?)
}

fn copy(data: &[u8]) -> Result<ItemBytes> {
    let mut copy = KVVec::with_capacity(data.len(), GFP_NOFAIL)?;
    copy.extend_from_slice(data, GFP_NOFAIL)?;
    Ok(copy)
}

fn descend(blocks: &Blocks, tree: TreeId, root: RootPtr, key: &Key) -> Result<Found> {
    let mut at = BlockPtr {
        logical: root.logical,
        generation: root.generation,
        level: root.level,
        first: None,
    };
    let (mut lower, mut upper) = (None, None);
    // One level lower each time.
    for _ in 0..MAX_LEVEL {
        let block = blocks.read(tree, &at)?;
        let level = Header::of(&block).ok_or(EUCLEAN)?.level;
        if level == 0 {
            return Ok(Found {
                leaf: block,
                lower,
                upper,
            });
        }
        let node = Node::new(&block);
        let slot = node.search(key);
        if slot > 0 {
            lower = node.key(slot);
        }
        if let Some(next) = node.key(slot.saturating_add(1)) {
            upper = Some(next);
        }
        let child = node.child(slot).ok_or(EUCLEAN)?;
        at = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: level.saturating_sub(1),
            first: Some(child.key),
        };
    }
    Err(EUCLEAN)
}
