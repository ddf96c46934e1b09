// SPDX-License-Identifier: GPL-2.0

//! The bookkeeping trees: what is to be in them follows from what happened to all trees, these
//! included.
//!
//! A round puts references into the extent tree, checksums, free space, the use of block groups
//! and root items into theirs. That copies blocks, which changes references, and so there is
//! another round. A block of the committed state is copied once and then rewritten in place, so
//! rounds become empty: usually the third or fourth is the last.
//!
//! It can take many more. The item of a leaf of the extent tree is in some leaf of that tree, which
//! is copied to delete it, and whose own item is in yet another one. Such a chain may be as long as
//! the tree has leaves, with one of them in each round. So what is counted is not the rounds, but
//! those that let go of no committed block: these only split what is new, which needs half a block
//! of items each.

use btrfs_batch::csums::{self, CsumWriter, Span};
use btrfs_batch::free_space::{self, SpaceChange};
use btrfs_batch::refs::{apply_refs, ExtentChanges, ExtentKind, ExtentRules};
use btrfs_batch::{groups, RootPtr};
use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::superblock::Incompat;
use btrfs_format::types::{Generation, Logical, TreeId};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::super::born::BornMap;
use super::super::chunks::Groups;
use super::super::Txn;
use super::apply::{look, ranges, Tree};
use super::blocks::Blocks;
use super::pending::{settle, Pending};
use super::store::Work;
use crate::space::{Range, Space};
use crate::tree::LiveTree;
use crate::volume::Volume;

/// More rounds than this that let go of no committed block are a bug.
pub(super) const MAX_IDLE_ROUNDS: usize = 16;

/// The bookkeeping of a commit.
pub(super) struct Books<'a> {
    volume: &'a Volume,
    space: &'a Space,
    pub(super) work: &'a mut Work,
    /// All trees that the commit changes or may change, but the root and chunk trees' own root
    /// items, which there are not.
    pub(super) trees: KVVec<Tree>,
    csum: Option<Pending>,
    free_space: Option<Pending>,
    groups: Option<Pending>,
    pub(super) root: Pending,
    rules: ExtentRules,
    /// What the extent tree gained and lost.
    pub(super) changes: ExtentChanges,
    /// How much of `changes` the other trees know of.
    seen: (usize, usize),
    /// Free space may change its form: not in later rounds, so that they end.
    convert: bool,
}

impl<'a> Books<'a> {
    #[inline(never)]
    pub(super) fn new(
        txn: &'a Txn,
        work: &'a mut Work,
        mut trees: KVVec<Tree>,
    ) -> Result<KBox<Self>> {
        let standard = txn.roots.standard();
        let mut pending = |live: Option<&Arc<LiveTree>>| -> Result<Option<Pending>> {
            let Some(live) = live else {
                return Ok(None);
            };
            let tree = Tree::new(live.clone());
            let pending = Pending::new(tree.id(), tree.root);
            trees.push(tree, GFP_NOFAIL)?;
            Ok(Some(pending))
        };
        let _ = pending(standard.extent.as_ref())?;
        let csum = pending(standard.csum.as_ref())?;
        let free_space = pending(txn.roots.free_space().as_ref())?;
        let groups = pending(standard.block_group.as_ref())?;
        let root = pending(Some(txn.roots.tree()))?.ok_or(EIO)?;
        let incompat = txn.volume.superblock().incompat();
        let rules = ExtentRules {
            geometry: work.env.geometry,
            skinny: incompat.contains(Incompat::SKINNY_METADATA),
            transid: work.env.transid,
            crc32c: kfs::csum::crc32c_raw,
        };
        let books = Self {
            volume: &txn.volume,
            space: &txn.space,
            rules,
            work,
            trees,
            csum,
            free_space,
            groups,
            root,
            changes: ExtentChanges::default(),
            seen: (0, 0),
            convert: true,
        };
        Ok(KBox::new(books, GFP_NOFAIL)?)
    }

    /// A tree that the commit keeps, and the blocks to look it up in.
    pub(super) fn tree(&mut self, id: TreeId) -> Option<(&mut Pending, &Blocks)> {
        let tree = match id {
            TreeId::ROOT_TREE => &mut self.root,
            TreeId::EXTENT_TREE => &mut self.work.extent,
            TreeId::CSUM_TREE => self.csum.as_mut()?,
            TreeId::FREE_SPACE_TREE => self.free_space.as_mut()?,
            TreeId::BLOCK_GROUP_TREE => self.groups.as_mut()?,
            _ => return None,
        };
        Some((tree, &self.work.blocks))
    }

    /// Makes and deletes the items of new and removed block groups.
    #[inline(never)]
    pub(super) fn change_groups(&mut self, changes: &Groups) -> Result {
        let geometry = self.work.env.geometry;
        let blocks = &self.work.blocks;
        for (span, flags) in changes.new.iter() {
            if let Some(tree) = &mut self.free_space {
                let free = self.space.free_of_new(span.start)?;
                let free = spans_of(&free)?;
                free_space::fill_group(&mut look(blocks, tree), &geometry, *span, &free)?;
            }
            let tree = self.groups.as_mut().unwrap_or(&mut self.work.extent);
            groups::put_group(&mut look(blocks, tree), *span, 0, *flags)?;
        }
        for (span, _) in changes.gone.iter() {
            if let Some(tree) = &mut self.free_space {
                free_space::remove_group(&mut look(blocks, tree), &geometry, *span)?;
            }
            let tree = self.groups.as_mut().unwrap_or(&mut self.work.extent);
            groups::delete_group(&mut look(blocks, tree), *span)?;
        }
        Ok(())
    }

    /// Does rounds until there is nothing to do.
    #[inline(never)]
    pub(super) fn close(&mut self, born: &BornMap) -> Result {
        let (mut first, mut idle) = (true, 0);
        while idle < MAX_IDLE_ROUNDS {
            let Work {
                blocks,
                deltas,
                extent,
                ..
            } = &mut *self.work;
            apply_refs(
                &mut look(blocks, extent),
                &self.rules,
                deltas,
                &mut self.changes,
            )?;
            idle += usize::from(self.changes.removed.len() == self.seen.1);
            self.convert = first;
            self.work.merging = first;
            if first {
                self.insert_csums(born)?;
            }
            first = false;
            self.follow()?;
            self.settle_all()?;
            self.note_roots()?;
            self.settle_one(TreeId::ROOT_TREE)?;
            let rests = self.work.deltas.is_empty() && self.is_settled();
            if rests && !self.renew_root_tree()? {
                return Ok(());
            }
        }
        self.volume
            .log()
            .error(format_args!("the trees of a commit do not come to rest"));
        Err(EIO)
    }

    /// The superblock says of which transaction the root of the root tree is: its own. So where
    /// nothing changed after all the root is copied. Returns whether it was.
    fn renew_root_tree(&mut self) -> Result<bool> {
        let old = self.root.root().ok_or(EIO)?;
        let (id, env) = (TreeId::ROOT_TREE, self.work.env);
        self.work.set_last_snapshot(Generation(0));
        let root = btrfs_batch::renew_root(&env, &mut *self.work, id, old)?;
        self.set_root(id, Some(root));
        Ok(root != old)
    }

    fn set_root(&mut self, id: TreeId, root: Option<RootPtr>) {
        if let Some((pending, _)) = self.tree(id) {
            pending.set_root(root);
        }
        if let Some(tree) = self.trees.iter_mut().find(|tree| tree.id() == id) {
            tree.root = root;
        }
    }

    fn is_settled(&self) -> bool {
        let kept = [
            self.csum.as_ref(),
            self.free_space.as_ref(),
            self.groups.as_ref(),
        ];
        self.work.extent.is_settled()
            && self.root.is_settled()
            && kept.into_iter().flatten().all(Pending::is_settled)
            && self.seen == (self.changes.added.len(), self.changes.removed.len())
    }

    /// Puts the checksums of new data in, of what something refers to.
    fn insert_csums(&mut self, born: &BornMap) -> Result {
        let Some(tree) = &mut self.csum else {
            return Ok(());
        };
        let mut look = look(&self.work.blocks, tree);
        let mut writer = CsumWriter::new(&self.work.env.geometry);
        let released = &self.changes.released;
        for (at, csums) in born.csums() {
            let behind = released.partition_point(|extent| extent.start <= at);
            let before = behind.checked_sub(1).and_then(|i| released.get(i));
            let end = before.and_then(|extent| extent.start.checked_add(extent.len));
            if end.is_none_or(|end| end <= at) {
                writer.add(&mut look, at, csums)?;
            }
        }
        Ok(writer.finish(&mut look)?)
    }

    /// Lets the other trees follow what the extent tree gained and lost since the last round.
    fn follow(&mut self) -> Result {
        let (added, removed) = self.seen;
        self.seen = (self.changes.added.len(), self.changes.removed.len());
        let added = self.changes.added.get(added..).unwrap_or_default();
        let removed = self.changes.removed.get(removed..).unwrap_or_default();
        let geometry = self.work.env.geometry;
        let blocks = &self.work.blocks;
        let mut changes = KVVec::with_capacity(added.len() + removed.len(), GFP_NOFAIL)?;
        let mut erased = KVVec::new();
        for (freed, list) in [(false, added), (true, removed)] {
            for extent in list.iter() {
                let span = span_of(extent.start, extent.len);
                changes.push(SpaceChange { span, freed }, GFP_NOFAIL)?;
                if freed && extent.kind == ExtentKind::Data {
                    erased.push(span, GFP_NOFAIL)?;
                }
            }
        }
        if let Some(tree) = &mut self.csum {
            csums::erase_csums(&mut look(blocks, tree), &geometry, &erased)?;
        }
        if let Some(tree) = &mut self.free_space {
            btrfs_batch::sort::sort_by_key(&mut changes, |change| change.span.start);
            let mut look = look(blocks, tree);
            let mut rest = changes.as_slice();
            while let Some(first) = rest.first() {
                let chunk = self.volume.chunks().get(first.span.start).ok_or(EUCLEAN)?;
                let group = span_of(chunk.start(), chunk.len());
                let end = chunk.start().checked_add(chunk.len()).ok_or(EUCLEAN)?;
                let here = rest.partition_point(|change| change.span.start < end);
                let (now, later) = rest.split_at(here);
                free_space::update(&mut look, &geometry, group, now, self.convert)?;
                rest = later;
            }
        }
        let used = self.space.commit_changes(ranges(added), ranges(removed))?;
        let tree = self.groups.as_mut().unwrap_or(&mut self.work.extent);
        let mut look = look(blocks, tree);
        for group in used.iter() {
            groups::set_used(&mut look, span_of(group.start, group.len), group.used)?;
        }
        Ok(())
    }

    /// Puts what has collected into the trees, the root tree excepted.
    fn settle_all(&mut self) -> Result {
        for id in [
            TreeId::CSUM_TREE,
            TreeId::FREE_SPACE_TREE,
            TreeId::BLOCK_GROUP_TREE,
            TreeId::EXTENT_TREE,
        ] {
            self.settle_one(id)?;
        }
        Ok(())
    }

    fn settle_one(&mut self, id: TreeId) -> Result {
        let Some((pending, _)) = self.tree(id) else {
            return Ok(());
        };
        if pending.is_settled() {
            return Ok(());
        }
        let (changes, root) = (pending.take(), pending.root());
        self.work.set_last_snapshot(Generation(0));
        let env = self.work.env;
        let root = settle(&env, &mut *self.work, id, root, &changes)?;
        self.set_root(id, root);
        Ok(())
    }

    /// Writes root items that say where the trees' roots are now.
    fn note_roots(&mut self) -> Result {
        let transid = self.work.env.transid;
        let nodesize = i64::from(self.work.env.geometry.nodesize);
        for tree in self.trees.iter_mut() {
            let id = tree.id();
            if tree.root == tree.noted || [TreeId::ROOT_TREE, TreeId::CHUNK_TREE].contains(&id) {
                continue;
            }
            let key = Key::new(id.get(), item::ROOT_ITEM, tree.live.key_offset());
            let found = self.root.get(&self.work.blocks, &key)?.ok_or(EUCLEAN)?;
            let mut item = RootItem::parse(found).ok_or(EUCLEAN)?;
            let grown = self.work.growth(id).saturating_mul(nodesize);
            let bytes = tree
                .live
                .item()
                .bytes_used
                .get()
                .saturating_add_signed(grown);
            point(&mut item, tree.root.ok_or(EUCLEAN)?, transid, bytes);
            self.root.put(key, item.to_disk())?;
            tree.item = item;
            tree.noted = tree.root;
        }
        Ok(())
    }
}

/// Makes a root item lead to `root`.
fn point(item: &mut RootItem, root: RootPtr, transid: Generation, bytes: u64) {
    item.bytenr = root.logical.into();
    item.generation = transid.into();
    item.generation_v2 = transid.into();
    item.level = root.level;
    item.bytes_used = bytes.into();
    if item.root_dirid.get() != 0 {
        let now = kfs::fs::current_time();
        item.ctransid = transid.into();
        item.ctime = btrfs_format::inode::Timespec::new(now.sec, now.nsec);
    }
}

fn span_of(start: Logical, len: u64) -> Span {
    Span { start, len }
}

fn spans_of(ranges: &[Range]) -> Result<KVVec<Span>> {
    let mut spans = KVVec::with_capacity(ranges.len(), GFP_NOFAIL)?;
    for range in ranges {
        spans.push(span_of(range.logical, range.len), GFP_NOFAIL)?;
    }
    Ok(spans)
}
