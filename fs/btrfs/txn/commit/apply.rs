// SPDX-License-Identifier: GPL-2.0

//! Making the new trees.

use btrfs_batch::refs::{Extent, ExtentChanges};
use btrfs_batch::{Env, RootPtr};
use btrfs_format::header::Header;
use btrfs_format::root::RootItem;
use btrfs_format::types::{Generation, Logical, TreeId};
use core::mem;
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::super::born::BornMap;
use super::super::chunks::Groups;
use super::super::Txn;
use super::blocks::Blocks;
use super::close::Books;
use super::free_space::Conversion;
use super::freeze::Frozen;
use super::look::Look;
use super::pending::Pending;
use super::store::Work;
use crate::tree::{Collected, Edit, LiveTree, TreeView};

/// A tree that the commit is about.
pub(super) struct Tree {
    pub(super) live: Arc<LiveTree>,
    /// Where its root is now.
    pub(super) root: Option<RootPtr>,
    /// Where its root item says it is; of the committed state at first.
    pub(super) noted: Option<RootPtr>,
    /// Its root item: as of the last commit, or what this commit put.
    pub(super) item: RootItem,
}

impl Tree {
    pub(super) fn new(live: Arc<LiveTree>) -> Self {
        let root = root_of(&live.view());
        Self {
            root,
            noted: root,
            item: live.item(),
            live,
        }
    }

    pub(super) fn id(&self) -> TreeId {
        self.live.id()
    }
}

/// The new state, in memory.
pub(super) struct Applied {
    pub(super) transid: Generation,
    pub(super) blocks: Blocks,
    pub(super) trees: KVVec<Tree>,
    /// What the extent tree gained and lost, and what was not used after all.
    pub(super) changes: ExtentChanges,
    /// Changes of the chunk tree, which the superblock has copies of.
    pub(super) chunk_changes: Option<Collected>,
    /// Block groups that were made and removed.
    pub(super) groups: Groups,
    /// How free space is kept from now on.
    pub(super) conversion: Conversion,
    /// A subvolume, or the free space tree, that was dropped to its end.
    pub(super) gone: Option<Arc<LiveTree>>,
    pub(super) bytes: usize,
    pub(super) born: Arc<BornMap>,
}

/// Address and length of each extent.
pub(super) fn ranges(extents: &[Extent]) -> impl Iterator<Item = (Logical, u64)> + '_ {
    extents.iter().map(|extent| (extent.start, extent.len))
}

/// Where the root of a committed tree is.
pub(super) fn root_of(view: &TreeView) -> Option<RootPtr> {
    (!view.is_unborn()).then(|| RootPtr {
        logical: view.root().logical(),
        generation: view.root().generation(),
        level: view.root().level(),
    })
}

/// Whether the commit itself keeps the tree.
fn is_kept(id: TreeId) -> bool {
    [
        TreeId::ROOT_TREE,
        TreeId::EXTENT_TREE,
        TreeId::CSUM_TREE,
        TreeId::FREE_SPACE_TREE,
        TreeId::BLOCK_GROUP_TREE,
    ]
    .contains(&id)
}

impl Frozen {
    /// Puts all changes into the trees, and then what follows from them.
    // What it has on the stack is gone before blocks are written, which goes deep.
    #[inline(never)]
    pub(super) fn apply(self, txn: &Txn) -> Result<KBox<Applied>> {
        let env = env_of(txn, self.transid)?;
        txn.space.begin_commit(self.transid, self.paid);
        let cache = txn.roots.cache().clone();
        cache.verifier().set_generation(self.transid);
        let extent = txn.roots.standard().extent.clone().ok_or(EIO)?;
        let mut work = begin_work(env, txn, Blocks::new(cache, self.transid), &extent)?;
        for (at, born) in self.born.iter() {
            work.deltas.born(at, born.len)?;
        }
        let mut trees = KVVec::with_capacity(self.trees.len(), GFP_NOFAIL)?;
        let mut kept = KVVec::new();
        let mut chunk_changes = None;
        for (live, overlay) in self.trees.iter() {
            let changes = overlay.collect()?;
            if is_kept(live.id()) {
                kept.push((live.id(), changes), GFP_NOFAIL)?;
                continue;
            }
            apply_live(&mut work, &mut trees, live, &changes)?;
            if live.id() == TreeId::CHUNK_TREE {
                chunk_changes = Some(changes);
            }
        }
        let dropping = match self.conversion.drop_tree(&mut work)? {
            None => txn.drop_some(&mut work, &trees)?,
            dropping => dropping,
        };
        let mut books = Books::new(txn, &mut work, trees)?;
        for (id, changes) in kept.iter() {
            preload(&mut books, *id, changes)?;
        }
        // After what operations say of its root item.
        let gone = match dropping {
            Some(dropping) => books.note_dropping(dropping)?,
            None => None,
        };
        self.conversion.build_tree(txn, &mut books, &self.groups)?;
        books.change_groups(&self.groups)?;
        books.close(&self.born)?;
        txn.space.end_commit();
        let (trees, changes) = (mem::take(&mut books.trees), mem::take(&mut books.changes));
        drop(books);
        let applied = Applied {
            transid: self.transid,
            blocks: blocks_of(work),
            trees,
            changes,
            chunk_changes,
            groups: self.groups,
            conversion: self.conversion,
            gone,
            bytes: self.bytes,
            born: self.born,
        };
        Ok(KBox::new(applied, GFP_NOFAIL)?)
    }
}

/// The work of a commit is large, and what it calls goes deep: not on the stack.
#[inline(never)]
fn begin_work(env: Env, txn: &Txn, blocks: Blocks, extent: &LiveTree) -> Result<KBox<Work>> {
    let extent = Pending::new(TreeId::EXTENT_TREE, root_of(&extent.view()));
    let work = Work::new(env, txn.space.clone(), blocks, extent);
    Ok(KBox::new(work, GFP_NOFAIL)?)
}

#[inline(never)]
fn blocks_of(work: KBox<Work>) -> Blocks {
    KBox::into_inner(work).blocks
}

/// What all blocks of the transaction have in common.
fn env_of(txn: &Txn, transid: Generation) -> Result<Env> {
    let chunk = txn.roots.chunk().view();
    let header = Header::of(chunk.root().data()).ok_or(EUCLEAN)?;
    Ok(Env {
        geometry: *txn.volume.geometry(),
        transid,
        fsid: txn.volume.identity().metadata_uuid,
        chunk_tree_uuid: header.chunk_tree_uuid,
    })
}

/// Takes a live tree in, with the changes of its overlay.
#[inline(never)]
fn apply_live(
    work: &mut Work,
    trees: &mut KVVec<Tree>,
    live: &Arc<LiveTree>,
    changes: &Collected,
) -> Result {
    let mut tree = Tree::new(live.clone());
    apply_tree(work, &mut tree, changes)?;
    trees.push(tree, GFP_NOFAIL)?;
    Ok(())
}

/// Puts the changes of an overlay into its tree.
fn apply_tree(work: &mut Work, tree: &mut Tree, changes: &Collected) -> Result {
    let list = changes.changes()?;
    work.set_last_snapshot(Generation(tree.item.last_snapshot.get()));
    let env = work.env;
    tree.root = btrfs_batch::apply(&env, work, tree.id(), tree.root, &list, &changes.clears)?;
    Ok(())
}

/// Begins the changes of a tree that the commit keeps with those that operations made.
fn preload(books: &mut Books<'_>, id: TreeId, changes: &Collected) -> Result {
    let (tree, blocks) = books.tree(id).ok_or(EIO)?;
    for range in changes.clears.iter() {
        let mut from = *range.start();
        while let Some((key, _)) = tree.at_or_after(blocks, &from)? {
            if key > *range.end() {
                break;
            }
            tree.delete(key)?;
            match key.next() {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    for (key, edit) in changes.edits.iter() {
        match edit {
            Edit::Put(item) => tree.put(*key, item)?,
            Edit::Delete => tree.delete(*key)?,
        }
    }
    Ok(())
}

/// Adapts a tree that the commit keeps.
pub(super) fn look<'a>(blocks: &'a Blocks, tree: &'a mut Pending) -> Look<'a> {
    Look { blocks, tree }
}
