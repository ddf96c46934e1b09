// SPDX-License-Identifier: GPL-2.0

//! Dropping deleted subvolumes.
//!
//! A deleted subvolume is a tree that nobody can change any more, and whose items go from the first
//! to the last, as if somebody deleted them: so it is a sound tree all the time, and no position has
//! to be kept. What is left in the end is an empty leaf, which goes with the root item.
//!
//! What other subvolumes share is removed by its top, however much is below. So a commit takes more
//! of such parts ([`SHARED`]) than of nodes with all their leaves ([`STEPS`]), and no more once many
//! references were removed ([`REFS`]).
//!
//! What the C module was dropping is gone on with: [`remains`].

use btrfs_batch::RootPtr;
use btrfs_format::header::Header;
use btrfs_format::key::{item, Key};
use btrfs_format::node::Node;
use btrfs_format::root::RootItem;
use btrfs_format::types::{objectid, Generation};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::super::Txn;
use super::apply::{root_of, Tree};
use super::blocks::Blocks;
use super::close::Books;
use super::remains;
use super::store::Work;
use crate::tree::LiveTree;
use btrfs_batch::BlockPtr;

/// Nodes above leaves whose leaves one commit deletes.
const STEPS: usize = 8;
/// Shared subtrees that one commit lets go of.
const SHARED: usize = 512;
/// References after which a commit takes no further part: each may be in another leaf.
const REFS: usize = 1 << 14;

/// A subvolume of which a commit deletes a part.
pub(super) struct Dropping {
    /// Apart, because a tree is large.
    tree: KBox<Tree>,
    /// Nothing is left of it.
    done: bool,
}

impl Dropping {
    /// One of which nothing is left.
    pub(super) fn ended(tree: KBox<Tree>) -> Self {
        Self { tree, done: true }
    }
}

impl Txn {
    /// Drops a deleted subvolume, in the background. Nobody may change it any more.
    ///
    /// `EUCLEAN` if it was half dropped, and what is left cannot be found.
    pub(crate) fn drop_tree(&self, tree: Arc<LiveTree>) -> Result {
        let item = tree.item();
        if remains::is_begun(&item) {
            let blocks = Blocks::new(self.roots.cache().clone(), self.transid());
            let root = root_of(&tree.view()).ok_or(EUCLEAN)?;
            remains::rest_of(&blocks, tree.id(), root, &item)?;
        }
        self.dropping.lock().push(tree, GFP_NOFAIL)?;
        let mut open = self.open.lock();
        open.forced = true;
        drop(open);
        self.request();
        Ok(())
    }

    /// Whether subvolumes wait for being dropped.
    pub(crate) fn is_dropping(&self) -> bool {
        !self.dropping.lock().is_empty()
    }

    /// Deletes a part of the first subvolume that waits for it.
    ///
    /// `changed` are the trees that the commit has changes of: such a one has to wait.
    #[inline(never)]
    pub(super) fn drop_some(&self, work: &mut Work, changed: &[Tree]) -> Result<Option<Dropping>> {
        let waits = |live: &&Arc<LiveTree>| changed.iter().all(|tree| tree.id() != live.id());
        let first = self.dropping.lock().iter().find(waits).cloned();
        let Some(live) = first else {
            return Ok(None);
        };
        let mut tree = KBox::new(Tree::new(live), GFP_NOFAIL)?;
        work.set_last_snapshot(Generation(tree.item.last_snapshot.get()));
        let env = work.env;
        let (mut steps, mut shared) = (0, 0);
        work.set_dropping(true);
        if let Some(root) = tree.root.filter(|_| remains::is_begun(&tree.item)) {
            let rest = remains::rest_of(&work.blocks, tree.id(), root, &tree.item)?;
            work.blocks.read_instead(rest);
        }
        let before = work.deltas.len();
        let enough = |work: &Work| work.deltas.len().saturating_sub(before) > REFS;
        while steps < STEPS && shared < SHARED && !(steps + shared > 0 && enough(work)) {
            let Some(root) = tree.root else {
                break;
            };
            let part = first_part(work, &tree, root)?;
            match part.shared {
                true => shared += 1,
                false => steps += 1,
            }
            let range = [Key::MIN..=part.end.unwrap_or(Key::MAX)];
            tree.root = btrfs_batch::apply(&env, work, tree.id(), tree.root, &[], &range)?;
            // None of these is in the tree any more.
            work.blocks.read_instead(KVVec::new());
            if part.end.is_none() {
                break;
            }
        }
        work.set_dropping(false);
        let done = match tree.root {
            Some(root) => drop_empty(work, &tree, root)?,
            None => true,
        };
        Ok(Some(Dropping { tree, done }))
    }
}

/// What one batch removes from the front of a tree.
struct Part {
    /// The last key that may be in it; `None` if it is all that is left.
    end: Option<Key>,
    /// It is not looked at below its top.
    shared: bool,
}

/// The first subtree that others go on using, or the first node above the leaves.
fn first_part(work: &mut Work, tree: &Tree, root: RootPtr) -> Result<Part> {
    let mut at = BlockPtr {
        logical: root.logical,
        generation: root.generation,
        level: root.level,
        first: None,
    };
    let mut end = None;
    let mut block = work.blocks.read(tree.id(), &at)?;
    while at.level >= 1 {
        let node = Node::new(&block);
        let next = node.key(1);
        let child = node.child(0).ok_or(EUCLEAN)?;
        at = BlockPtr {
            logical: child.logical,
            generation: child.generation,
            level: at.level.saturating_sub(1),
            first: Some(child.key),
        };
        if at.level == 0 {
            break;
        }
        if let Some(next) = next {
            end = next.prev();
        }
        block = work.blocks.read(tree.id(), &at)?;
        if work.outlives(tree.id(), &block)? {
            return Ok(Part { end, shared: true });
        }
    }
    Ok(Part { end, shared: false })
}

/// Lets go of the root block if it is a leaf without items.
pub(super) fn drop_empty(work: &mut Work, tree: &Tree, root: RootPtr) -> Result<bool> {
    let at = BlockPtr {
        logical: root.logical,
        generation: root.generation,
        level: root.level,
        first: None,
    };
    let block = work.blocks.read(tree.id(), &at)?;
    let header = Header::of(&block).ok_or(EUCLEAN)?;
    if header.level != 0 || header.nritems.get() != 0 {
        return Ok(false);
    }
    drop(block);
    work.give_up(tree.id(), root)?;
    Ok(true)
}

impl Books<'_> {
    /// Notes what is left of a subvolume: where its root is now, or that it is gone.
    pub(super) fn note_dropping(&mut self, dropping: Dropping) -> Result<Option<Arc<LiveTree>>> {
        let Dropping { tree, done } = dropping;
        let id = tree.id().get();
        let root = Key::new(id, item::ROOT_ITEM, tree.live.key_offset());
        if !done {
            if remains::is_begun(&tree.item) {
                let found = self.root.get(&self.work.blocks, &root)?.ok_or(EUCLEAN)?;
                let mut item = RootItem::parse(found).ok_or(EUCLEAN)?;
                remains::forget_position(&mut item);
                self.root.put(root, item.to_disk())?;
            }
            self.trees.push(KBox::into_inner(tree), GFP_NOFAIL)?;
            return Ok(None);
        }
        self.root.delete(root)?;
        self.root
            .delete(Key::new(objectid::ORPHAN, item::ORPHAN_ITEM, id))?;
        Ok(Some(KBox::into_inner(tree).live))
    }
}
