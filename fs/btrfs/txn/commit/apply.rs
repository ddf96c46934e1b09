// SPDX-License-Identifier: GPL-2.0

//! Making the new trees.

use btrfs_batch::refs::{Extent, ExtentChanges};
use btrfs_batch::{Env, RootPtr};
use btrfs_format::header::Header;
use btrfs_format::key::Key;
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
use super::drop::Dropping;
use super::free_space::Conversion;
use super::freeze::Frozen;
use super::look::Look;
use super::pending::Pending;
use super::store::Work;
use crate::tree::{Collected, LiveTree, TreeView};

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
    ///
    /// Each step has a frame of its own, which is gone when the next one begins: applying a batch
    /// and writing blocks go deep.
    pub(super) fn apply(mut self: KBox<Self>, txn: &Txn) -> Result<KBox<Applied>> {
        let mut work = self.begin(txn)?;
        let mut made = self.apply_operations(txn, &mut work)?;
        let trees = mem::take(&mut made.trees);
        let mut books = Books::new(txn, &mut work, trees)?;
        self.keep_books(txn, &mut books, &mut made)?;
        txn.space.end_commit();
        let (trees, changes) = (mem::take(&mut books.trees), mem::take(&mut books.changes));
        drop(books);
        self.finish(work, trees, changes, made)
    }

    /// The work of a commit is large: not on the stack.
    #[inline(never)]
    fn begin(&mut self, txn: &Txn) -> Result<KBox<Work>> {
        let env = env_of(txn, self.transid)?;
        let paid = mem::replace(&mut self.paid, txn.space.no_metadata());
        txn.space.begin_commit(paid);
        let cache = txn.roots.cache().clone();
        cache.verifier().set_generation(self.transid);
        let extent = txn.roots.standard().extent.clone().ok_or(EIO)?;
        let extent = Pending::new(TreeId::EXTENT_TREE, root_of(&extent.view()));
        let blocks = Blocks::new(cache, self.transid);
        let mut work = Work::new(env, txn.space.clone(), blocks, extent);
        for (at, born) in self.born.iter() {
            work.deltas.born(at, born.len)?;
        }
        Ok(KBox::new(work, GFP_NOFAIL)?)
    }

    /// Puts what operations changed into the trees that the commit does not keep by itself.
    #[inline(never)]
    fn apply_operations(&self, txn: &Txn, work: &mut Work) -> Result<Made> {
        let mut made = Made {
            trees: KVVec::with_capacity(self.trees.len(), GFP_NOFAIL)?,
            kept: KVVec::new(),
            chunk_changes: None,
            dropping: None,
            gone: None,
        };
        for (live, overlay) in self.trees.iter() {
            let changes = overlay.collect()?;
            if is_kept(live.id()) {
                made.kept.push((live.id(), changes), GFP_NOFAIL)?;
                continue;
            }
            apply_live(work, &mut made.trees, live, &changes)?;
            if live.id() == TreeId::CHUNK_TREE {
                made.chunk_changes = Some(changes);
            }
        }
        made.dropping = match self.conversion.drop_tree(work)? {
            None => txn.drop_some(work, &made.trees)?,
            dropping => dropping,
        };
        Ok(made)
    }

    /// Puts what follows from that into the others.
    #[inline(never)]
    fn keep_books(&self, txn: &Txn, books: &mut Books<'_>, made: &mut Made) -> Result {
        for (id, changes) in made.kept.iter() {
            preload(books, *id, changes)?;
        }
        // After what operations say of its root item.
        made.gone = match made.dropping.take() {
            Some(dropping) => books.note_dropping(dropping)?,
            None => None,
        };
        self.conversion.build_tree(txn, books, &self.groups)?;
        books.change_groups(&self.groups)?;
        books.close(&self.born)
    }

    #[inline(never)]
    fn finish(
        self: KBox<Self>,
        work: KBox<Work>,
        trees: KVVec<Tree>,
        changes: ExtentChanges,
        made: Made,
    ) -> Result<KBox<Applied>> {
        let frozen = KBox::into_inner(self);
        let applied = Applied {
            transid: frozen.transid,
            blocks: KBox::into_inner(work).blocks,
            trees,
            changes,
            chunk_changes: made.chunk_changes,
            groups: frozen.groups,
            conversion: frozen.conversion,
            gone: made.gone,
            bytes: frozen.bytes,
            born: frozen.born,
        };
        Ok(KBox::new(applied, GFP_NOFAIL)?)
    }
}

/// What became of the changes of operations.
struct Made {
    trees: KVVec<Tree>,
    /// Changes of trees that the commit keeps.
    kept: KVVec<(TreeId, Collected)>,
    chunk_changes: Option<Collected>,
    dropping: Option<Dropping>,
    /// What was dropped to its end.
    gone: Option<Arc<LiveTree>>,
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
#[inline(never)]
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
        match edit.item() {
            Some(data) if key.is_subvolume() => put_root(tree, blocks, *key, data)?,
            Some(data) => tree.put(*key, data)?,
            None => tree.delete(*key)?,
        }
    }
    Ok(())
}

/// Adapts a tree that the commit keeps.
pub(super) fn look<'a>(blocks: &'a Blocks, tree: &'a mut Pending) -> Look<'a> {
    Look { blocks, tree }
}

/// Puts the root item of a subvolume that an operation made or changed. It may have read it before the last commit of the
/// subvolume ended, so where the root is it does not know.
fn put_root(tree: &mut Pending, blocks: &Blocks, key: Key, data: &[u8]) -> Result {
    let mut item = RootItem::parse(data).ok_or(EUCLEAN)?;
    if let Some(latest) = tree.get(blocks, &key)?.and_then(RootItem::parse) {
        item.follow(&latest);
    }
    tree.put(key, item.to_disk())
}
