// SPDX-License-Identifier: GPL-2.0

//! Making the free space tree, and giving it up.
//!
//! A commit does either as a whole: it finds out what was free in the state before from the extent
//! tree, and then the tree follows what the commit itself does, as in every other commit. The
//! superblock of that commit is the first that knows of the tree, or does not know of it any more. So
//! after a crash there is none, or all of it.
//!
//! Both happen before a file system can be written by anybody else: while one is mounted, or made
//! writable.
//!
//! Bounds: the items of the tree are in memory meanwhile, at most 36 KiB for each GiB of block
//! groups. Space for them is taken from the global reserve where it cannot be had otherwise.

use btrfs_batch::free_space::fill_group;
use btrfs_batch::Span;
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::superblock::{CompatRo, Superblock};
use btrfs_format::types::{Generation, TreeId};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::super::chunks::Groups;
use super::super::{Demand, Txn};
use super::apply::{look, Tree};
use super::close::Books;
use super::drop::{drop_empty, Dropping};
use super::store::Work;
use crate::tree::LiveTree;

/// What a commit does to how free space is kept on disk.
#[derive(Default)]
pub(in super::super) struct Conversion {
    /// The free space tree is made anew.
    build: bool,
    /// This free space tree is given up.
    give_up: Option<Arc<LiveTree>>,
    /// There are no caches of version 1 any more.
    no_caches: bool,
}

/// The features that say that there is a free space tree.
const FEATURES: CompatRo = CompatRo::FREE_SPACE_TREE.union(CompatRo::FREE_SPACE_TREE_VALID);

impl Txn {
    /// Makes the free space tree, or makes anew the one there is, and commits. Nobody else changes
    /// anything meanwhile.
    pub(crate) fn build_free_space_tree(&self) -> Result {
        let groups = u64::try_from(self.space.groups_used()?.len())?;
        let demand = Demand::items(groups.saturating_mul(2), RootItem::SIZE as u64);
        let mut handle = self.start(demand.deleting())?;
        if self.roots.free_space().is_none() {
            let key = Key::new(TreeId::FREE_SPACE_TREE.get(), item::ROOT_ITEM, 0);
            if self.roots.tree().get(key)?.is_some() {
                return Err(EEXIST);
            }
            let mut item = RootItem::zeroed();
            item.refs = 1.into();
            item.generation = handle.transid().into();
            item.generation_v2 = item.generation;
            self.roots.create_free_space(item)?;
            self.roots.tree().put(&mut handle, key, item.to_disk())?;
        }
        self.space.trust_free_space(false);
        self.open.lock().conversion.build = true;
        handle.touch_superblock();
        drop(handle);
        let result = self.commit();
        if result.is_ok() {
            self.space.trust_free_space(true);
        }
        result
    }

    /// Gives the free space tree up, and commits. Nobody else changes anything meanwhile.
    pub(crate) fn give_up_free_space_tree(&self) -> Result {
        let demand = Demand::items(4, RootItem::SIZE as u64);
        let mut handle = self.start(demand.deleting())?;
        let Some(tree) = self.roots.take_free_space() else {
            return Ok(());
        };
        self.open.lock().conversion.give_up = Some(tree);
        handle.touch_superblock();
        drop(handle);
        self.commit()
    }

    /// Notes, with the next commit, that there are no caches of version 1.
    pub(crate) fn note_no_caches(&self) {
        let mut open = self.open.lock();
        open.conversion.no_caches = true;
        open.forced = true;
    }
}

impl Conversion {
    /// Lets go of all blocks of a tree that is given up.
    #[inline(never)]
    pub(super) fn drop_tree(&self, work: &mut Work) -> Result<Option<Dropping>> {
        let Some(live) = &self.give_up else {
            return Ok(None);
        };
        let mut tree = KBox::new(Tree::new(live.clone()), GFP_NOFAIL)?;
        let env = work.env;
        work.set_last_snapshot(Generation(0));
        work.set_dropping(true);
        let all = [Key::MIN..=Key::MAX];
        tree.root = btrfs_batch::apply(&env, work, tree.id(), tree.root, &[], &all)?;
        work.set_dropping(false);
        let done = match tree.root {
            Some(root) => drop_empty(work, &tree, root)?,
            None => true,
        };
        match done {
            true => Ok(Some(Dropping::ended(tree))),
            false => Err(EUCLEAN),
        }
    }

    /// Puts into the tree what was free before this commit, but for the groups that it makes.
    #[inline(never)]
    pub(super) fn build_tree(&self, txn: &Txn, books: &mut Books<'_>, groups: &Groups) -> Result {
        if !self.build {
            return Ok(());
        }
        let geometry = books.work.env.geometry;
        let (tree, blocks) = books.tree(TreeId::FREE_SPACE_TREE).ok_or(EIO)?;
        let mut from = Some(Key::MIN);
        while let Some(key) = from {
            let Some((key, _)) = tree.at_or_after(blocks, &key)? else {
                break;
            };
            tree.delete(key)?;
            from = key.next();
        }
        txn.space.committed_free(|group, free| {
            let whole = span(group);
            if groups.new.iter().any(|(new, _)| *new == whole) {
                return Ok(());
            }
            let mut spans = KVVec::with_capacity(free.len(), GFP_NOFAIL)?;
            for range in free {
                spans.push(span(*range), GFP_NOFAIL)?;
            }
            Ok(fill_group(
                &mut look(blocks, tree),
                &geometry,
                whole,
                &spans,
            )?)
        })
    }

    /// What the superblock says of it.
    pub(super) fn note(&self, superblock: &mut Superblock) {
        let features = superblock.compat_ro();
        let features = match (self.build, &self.give_up) {
            (true, _) => features.union(FEATURES),
            (false, Some(_)) => features.difference(FEATURES),
            (false, None) => features,
        };
        superblock.compat_ro_flags = features.bits().into();
        if self.no_caches {
            superblock.cache_generation = 0.into();
        }
    }
}

fn span(range: crate::space::Range) -> Span {
    Span {
        start: range.logical,
        len: range.len,
    }
}
