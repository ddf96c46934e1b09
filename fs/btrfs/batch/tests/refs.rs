// SPDX-License-Identifier: GPL-2.0

//! References against a walk: several subvolumes with files, snapshots, drops and clones. After
//! each commit all trees are walked, and what they refer to must be exactly what the extent items
//! say, kinds, counts and flags included.

mod support;

use btrfs_batch::items::ItemMap;
use btrfs_batch::refs::Sharing;
use btrfs_batch::{
    apply, apply_refs, empty_root, BlockPtr, Change, Edit, Env, Error, ExtentChanges, ExtentKind,
    ExtentRules, RefDeltas, Result, RootPtr, Store,
};
use btrfs_format::crc32c::crc32c;
use btrfs_format::extent::{extent_data_refs, ExtentFlags, ExtentRecord, ExtentRef};
use btrfs_format::file_extent::{Compression, DiskExtent, FileExtent};
use btrfs_format::header::{HeaderFlags, BACKREF_REV_MIXED};
use btrfs_format::{
    item as item_type, Generation, Geometry, Header, Ino, Key, Leaf, Logical, Node, TreeId, Uuid,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::rc::Rc;
use support::leaves::check_items;
use support::{geometry, Random};

struct Blk(Rc<Vec<u8>>);

impl std::ops::Deref for Blk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Blocks of all trees, and the books.
struct World {
    geometry: Geometry,
    skinny: bool,
    transid: u64,
    blocks: HashMap<u64, Rc<Vec<u8>>>,
    next: u64,
    extents: ItemMap,
    deltas: RefDeltas,
    sharing: Sharing,
    spares: bool,
    random: Random,
    /// What has an item: by address, length.
    allocated: BTreeMap<u64, u64>,
    trees: BTreeMap<u64, Tree>,
}

/// A subvolume: its root and what should be in it.
#[derive(Clone)]
struct Tree {
    root: RootPtr,
    last_snapshot: u64,
    items: BTreeMap<Key, Vec<u8>>,
}

impl Store for World {
    type Block = Blk;
    type Buf = Vec<u8>;

    fn read(&mut self, _: TreeId, at: &BlockPtr) -> Result<Blk> {
        self.blocks
            .get(&at.logical.get())
            .map(|block| Blk(block.clone()))
            .ok_or(Error::Io)
    }

    fn spare(&mut self, tree: TreeId, at: &BlockPtr) -> Result<Option<Blk>> {
        if self.spares && self.random.one_in(2) {
            self.read(tree, at).map(Some)
        } else {
            Ok(None)
        }
    }

    fn buffer(&mut self) -> Result<Vec<u8>> {
        Ok(vec![0; self.geometry.nodesize as usize])
    }

    fn place(&mut self, tree: TreeId, level: u8) -> Result<Logical> {
        let at = Logical(self.next);
        self.next += u64::from(self.geometry.nodesize);
        self.deltas.new_block(at, level, Key::new(1, 2, 3), tree)?;
        Ok(at)
    }

    fn write(&mut self, _: TreeId, at: Logical, _: u8, block: Vec<u8>) -> Result {
        self.blocks.insert(at.get(), Rc::new(block));
        Ok(())
    }

    fn copied(&mut self, _: TreeId, old: &[u8], is_root: bool) -> Result {
        self.deltas
            .copied(&mut self.extents, &self.sharing, old, is_root)
    }

    fn removed(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> Result<bool> {
        if self.random.one_in(8) {
            return self.copied(tree, old, is_root).map(|()| true);
        }
        self.deltas
            .removed(&mut self.extents, &self.sharing, old, is_root)
    }

    fn drop_block(&mut self, tree: TreeId, old: &[u8]) -> Result {
        self.deltas
            .drop_block(tree, Header::of(old).unwrap().bytenr())
    }

    fn item(&mut self, tree: TreeId, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> Result {
        self.deltas.item(tree, key, old, new)
    }
}

/// References to an extent and how often.
type Refs = BTreeMap<(u8, u64, u64, u64), u64>;

fn identity(reference: &ExtentRef) -> (u8, u64, u64, u64) {
    let kind = reference.kind();
    match *reference {
        ExtentRef::TreeBlock { root } | ExtentRef::Owner { root } => (kind, root.get(), 0, 0),
        ExtentRef::SharedBlock { parent } | ExtentRef::SharedData { parent, .. } => {
            (kind, parent.get(), 0, 0)
        }
        ExtentRef::Data {
            root, ino, offset, ..
        } => (kind, root.get(), ino.get(), offset),
    }
}

impl World {
    fn new(nodesize: u32, skinny: bool, seed: u64) -> Self {
        let mut world = Self {
            geometry: geometry(nodesize),
            skinny,
            transid: 1,
            blocks: HashMap::new(),
            next: 1 << 24,
            extents: ItemMap::default(),
            deltas: RefDeltas::new(),
            sharing: Sharing::none(TreeId(0)),
            spares: true,
            random: Random(seed),
            allocated: BTreeMap::new(),
            trees: BTreeMap::new(),
        };
        let env = world.env();
        let root = empty_root(&env, &mut world, TreeId(5)).unwrap();
        let tree = Tree {
            root,
            last_snapshot: 0,
            items: BTreeMap::new(),
        };
        world.trees.insert(5, tree);
        world.commit();
        world
    }

    fn env(&self) -> Env {
        Env {
            geometry: self.geometry,
            transid: Generation(self.transid),
            fsid: Uuid([1; 16]),
            chunk_tree_uuid: Uuid([2; 16]),
        }
    }

    fn rules(&self) -> ExtentRules {
        ExtentRules {
            geometry: self.geometry,
            skinny: self.skinny,
            transid: Generation(self.transid),
            crc32c,
        }
    }

    fn header(&self, at: u64) -> Header {
        *Header::of(&self.blocks[&at]).unwrap()
    }

    /// Applies a batch to a subvolume.
    fn edit(
        &mut self,
        id: u64,
        changes: &BTreeMap<Key, Option<Vec<u8>>>,
        clears: &[RangeInclusive<Key>],
    ) {
        let mut tree = self.trees[&id].clone();
        for range in clears {
            tree.items.retain(|key, _| !range.contains(key));
        }
        for (key, data) in changes {
            match data {
                Some(data) => tree.items.insert(*key, data.clone()),
                None => tree.items.remove(key),
            };
        }
        let list: Vec<_> = changes
            .iter()
            .map(|(key, data)| Change {
                key: *key,
                edit: data.as_ref().map_or(Edit::Delete, |data| Edit::Put(data)),
            })
            .collect();
        self.sharing = Sharing::of(TreeId(id), Generation(tree.last_snapshot));
        let env = self.env();
        let root = apply(&env, self, TreeId(id), Some(tree.root), &list, clears);
        tree.root = root.unwrap().unwrap();
        self.trees.insert(id, tree);
    }

    /// A new data extent.
    fn born(&mut self) -> (u64, u64) {
        let len = 4096 * (1 + self.random.below(8));
        let at = self.next;
        self.next += len + 4096 * self.random.below(2);
        self.deltas.born(Logical(at), len).unwrap();
        (at, len)
    }

    /// A file extent: of new data, a part of what some tree has, or nothing on disk.
    fn file_extent(&mut self) -> Vec<u8> {
        let (mut at, mut len) = (0, 0);
        match self.random.below(8) {
            0 => return vec![0; 21], // inline
            1 => {}                  // a hole
            2..5 => {
                let trees: Vec<_> = self.trees.keys().copied().collect();
                let id = trees[self.random.below(trees.len() as u64) as usize];
                let items = &self.trees[&id].items;
                if !items.is_empty() {
                    let skip = self.random.below(items.len() as u64) as usize;
                    let (key, data) = items.iter().nth(skip).unwrap();
                    // Other items are random bytes.
                    let data = if key.item_type == item_type::EXTENT_DATA {
                        data
                    } else {
                        &[][..]
                    };
                    if let Some(FileExtent::Regular(extent) | FileExtent::Prealloc(extent)) =
                        FileExtent::parse(data)
                    {
                        (at, len) = (extent.disk_bytenr.get(), extent.disk_num_bytes);
                    }
                }
            }
            _ => (at, len) = self.born(),
        }
        let offset = if len > 4096 && self.random.one_in(2) {
            4096
        } else {
            0
        };
        let extent = DiskExtent {
            generation: Generation(self.transid),
            ram_bytes: len,
            compression: Compression::None,
            disk_bytenr: Logical(at),
            disk_num_bytes: len,
            offset,
            num_bytes: len - offset,
        };
        if self.random.one_in(5) {
            extent.prealloc_item().to_disk().to_vec()
        } else {
            extent.regular_item().to_disk().to_vec()
        }
    }

    fn random_edit(&mut self, id: u64, count: u64, inodes: u64) {
        let mut changes = BTreeMap::new();
        let mut clears = Vec::new();
        if self.random.one_in(4) {
            let ino = 256 + self.random.below(inodes);
            let end = ino + self.random.below(inodes / 2 + 1);
            clears.push(Key::new(ino, 0, 0)..=Key::new(end, 255, u64::MAX));
        }
        for _ in 0..count {
            let ino = 256 + self.random.below(inodes);
            if self.random.one_in(3) {
                // Something that takes room and refers to nothing.
                let len = self.random.below(200) as usize;
                let key = Key::new(ino, 254, self.random.below(4));
                changes.insert(key, Some(self.random.bytes(len)));
                continue;
            }
            let key = Key::new(ino, item_type::EXTENT_DATA, 4096 * self.random.below(40));
            let data = if self.random.one_in(3) {
                None
            } else {
                Some(self.file_extent())
            };
            changes.insert(key, data);
        }
        self.edit(id, &changes, &clears);
    }

    fn snapshot(&mut self, source: u64, id: u64) {
        let tree = self.trees.get_mut(&source).unwrap();
        tree.last_snapshot = self.transid;
        let mut copy = tree.clone();
        let old = self.blocks[&copy.root.logical.get()].clone();
        let env = self.env();
        let at = self.place(TreeId(id), copy.root.level).unwrap();
        let mut block = old.to_vec();
        let mut header = *Header::of(&old).unwrap();
        header.bytenr = at.into();
        header.owner = TreeId(id).into();
        header.generation = env.transid.into();
        block[..Header::SIZE].copy_from_slice(header.to_disk());
        self.blocks.insert(at.get(), Rc::new(block));
        self.deltas.snapshot(TreeId(id), &old).unwrap();
        copy.root = RootPtr {
            logical: at,
            generation: env.transid,
            level: copy.root.level,
        };
        self.trees.insert(id, copy);
    }

    fn children(&self, at: u64) -> Vec<u64> {
        let block = &self.blocks[&at];
        if Header::of(block).unwrap().is_leaf() {
            return Vec::new();
        }
        let node = Node::new(block);
        node.ptrs().iter().map(|ptr| ptr.blockptr.get()).collect()
    }

    /// Makes a node hold its children, which hold theirs as before: as another driver leaves nodes
    /// that it moved, or tops of what it was dropping.
    fn hold_children(&mut self, id: u64) {
        let tree = TreeId(id);
        let mut parent = self.trees[&id].root.logical.get();
        loop {
            let children = self.children(parent);
            if children.is_empty() {
                return;
            }
            let at = children[self.random.below(children.len() as u64) as usize];
            let owned = [parent, at].iter().all(|at| {
                let refs = self.deltas.refs_of(&mut self.extents, Logical(*at));
                self.header(*at).owner() == tree && !refs.unwrap().full
            });
            if !owned || self.header(at).is_leaf() {
                return;
            }
            if self.random.one_in(2) {
                parent = at;
                continue;
            }
            // It is taken for shared: with all children of its parent it gets a reference...
            let deltas = &mut self.deltas;
            deltas.snapshot(tree, &self.blocks[&parent]).unwrap();
            let sharing = Sharing::of(tree, Generation(self.transid));
            let block = &self.blocks[&at];
            let extents = &mut self.extents;
            deltas.copied(extents, &sharing, block, false).unwrap();
            // ...which the others give back, and the copy that there is not does so with all of its.
            for child in children.into_iter().filter(|child| *child != at) {
                deltas.drop_block(tree, Logical(child)).unwrap();
            }
            for ptr in Node::new(block).ptrs() {
                deltas.drop_block(tree, ptr.blockptr.into()).unwrap();
            }
            let mut block = block.to_vec();
            let mut header = *Header::of(&block).unwrap();
            header.set_flags(HeaderFlags::WRITTEN | HeaderFlags::RELOC, BACKREF_REV_MIXED);
            block[..Header::SIZE].copy_from_slice(header.to_disk());
            self.blocks.insert(at, Rc::new(block));
            return;
        }
    }

    /// Drops a subvolume by removing all items, a part at a time.
    fn drop_tree(&mut self, id: u64) {
        let nothing = BTreeMap::new();
        for part in 0..self.random.below(4) {
            let end = Key::new(256 + 8 * part + self.random.below(16), 255, u64::MAX);
            self.edit(id, &nothing, &[Key::MIN..=end]);
        }
        self.edit(id, &nothing, &[Key::MIN..=Key::MAX]);
        let tree = self.trees.remove(&id).unwrap();
        assert_eq!(tree.root.level, 0);
        self.deltas
            .drop_block(TreeId(id), tree.root.logical)
            .unwrap();
    }

    /// Writes references, and compares them with a walk.
    fn commit(&mut self) {
        let rules = self.rules();
        let mut out = ExtentChanges::new();
        apply_refs(&mut self.extents, &rules, &mut self.deltas, &mut out).unwrap();
        assert!(self.deltas.is_empty());
        for extent in &out.added {
            let old = self.allocated.insert(extent.start.get(), extent.len);
            assert_eq!(old, None);
        }
        for extent in &out.removed {
            let old = self.allocated.remove(&extent.start.get());
            assert_eq!(old, Some(extent.len));
            if let ExtentKind::TreeBlock { level, .. } = extent.kind {
                assert_eq!(self.header(extent.start.get()).level, level);
                self.blocks.remove(&extent.start.get());
            }
        }
        for extent in &out.released {
            assert!(!self.allocated.contains_key(&extent.start.get()));
            if extent.kind != ExtentKind::Data {
                self.blocks.remove(&extent.start.get());
            }
        }
        self.transid += 1;
    }

    /// All references that the trees make, by a walk, and the owners that reach a block.
    fn walk(&self, flags: &BTreeMap<u64, ExtentFlags>) -> BTreeMap<u64, Refs> {
        let mut all = BTreeMap::<u64, Refs>::new();
        let mut reached = BTreeMap::<u64, BTreeSet<u64>>::new();
        let mut add = |extent: u64, reference: ExtentRef| {
            *all.entry(extent)
                .or_default()
                .entry(identity(&reference))
                .or_default() += 1;
        };
        let mut seen = BTreeSet::new();
        for (id, tree) in &self.trees {
            let root = tree.root.logical.get();
            add(root, ExtentRef::TreeBlock { root: TreeId(*id) });
            let mut contents = BTreeMap::new();
            let mut stack = vec![root];
            while let Some(at) = stack.pop() {
                reached.entry(at).or_default().insert(*id);
                let block = &self.blocks[&at];
                let header = Header::of(block).unwrap();
                assert_eq!(header.bytenr().get(), at);
                let full = flags[&at].contains(ExtentFlags::FULL_BACKREF);
                let first = seen.insert(at);
                let parent = Logical(at);
                let owner = header.owner();
                if !header.is_leaf() {
                    for child in self.children(at) {
                        stack.push(child);
                        if first && full {
                            add(child, ExtentRef::SharedBlock { parent });
                        } else if first {
                            add(child, ExtentRef::TreeBlock { root: owner });
                        }
                    }
                    continue;
                }
                for (key, data) in Leaf::new(block).iter() {
                    contents.insert(key, data.to_vec());
                    if !first || key.item_type != item_type::EXTENT_DATA {
                        continue;
                    }
                    let (FileExtent::Regular(extent) | FileExtent::Prealloc(extent)) =
                        FileExtent::parse(data).unwrap()
                    else {
                        continue;
                    };
                    if extent.is_hole() {
                        continue;
                    }
                    let reference = if full {
                        ExtentRef::SharedData { parent, count: 1 }
                    } else {
                        ExtentRef::Data {
                            root: owner,
                            ino: Ino(key.objectid),
                            offset: key.offset.wrapping_sub(extent.offset),
                            count: 1,
                        }
                    };
                    add(extent.disk_bytenr.get(), reference);
                }
            }
            assert!(contents == tree.items, "contents of {id}");
        }
        for (at, trees) in &reached {
            if !flags[at].contains(ExtentFlags::FULL_BACKREF) {
                let owner = self.header(*at).owner().get();
                assert!(trees.contains(&owner), "{owner} does not use {at}");
            }
        }
        all
    }

    fn verify(&self) {
        let mut flags = BTreeMap::new();
        let mut all = BTreeMap::<u64, Refs>::new();
        let mut counts = BTreeMap::new();
        for (key, data) in &self.extents.0 {
            let refs = all.entry(key.objectid).or_default();
            let mut add = |reference: ExtentRef| {
                let old = refs.insert(identity(&reference), u64::from(reference.count()));
                assert_eq!(old, None, "a reference stands twice");
            };
            if key.item_type > item_type::METADATA_ITEM {
                match key.item_type {
                    item_type::EXTENT_DATA_REF => extent_data_refs(data)
                        .iter()
                        .for_each(|data| add(ExtentRef::from(data))),
                    _ => add(ExtentRef::parse_keyed(key, data).unwrap()),
                }
                continue;
            }
            let record = ExtentRecord::parse(key, data).unwrap();
            record.inline_refs().for_each(&mut add);
            flags.insert(key.objectid, record.item.flags());
            counts.insert(key.objectid, record.item.refs.get());
            let skinny = key.item_type == item_type::METADATA_ITEM;
            let is_block = record.item.flags().contains(ExtentFlags::TREE_BLOCK);
            assert_eq!(skinny, is_block && self.skinny);
            assert!(data.len() < self.geometry.body_size() / 16 - 25);
            if is_block {
                let level = u64::from(self.header(key.objectid).level);
                let have = record
                    .tree_block
                    .map_or(key.offset, |info| info.level.into());
                assert_eq!(have, level);
            }
        }
        let walked = self.walk(&flags);
        assert!(walked.keys().eq(all.keys()));
        for (extent, refs) in &walked {
            assert_eq!(refs, &all[extent], "{extent}");
            assert_eq!(refs.values().sum::<u64>(), counts[extent]);
        }
        assert!(self.allocated.keys().eq(walked.keys()));
        check_items(
            &self.extents.0,
            &self.geometry,
            TreeId::EXTENT_TREE,
            self.transid,
        );
    }
}

fn run(nodesize: u32, skinny: bool, seed: u64, steps: u32, edits: u64, inodes: u64) {
    let mut world = World::new(nodesize, skinny, seed);
    world.verify();
    let mut next_id = 256;
    let mut snapshots = 0;
    for _ in 0..steps {
        let ids: Vec<_> = world.trees.keys().copied().collect();
        if world.random.one_in(2) {
            let id = ids[world.random.below(ids.len() as u64) as usize];
            world.hold_children(id);
            world.commit();
            world.verify();
        }
        let mut edited = BTreeSet::new();
        for _ in 0..1 + world.random.below(3) {
            let id = ids[world.random.below(ids.len() as u64) as usize];
            // The items of a tree change once per commit.
            if edited.insert(id) {
                let count = 1 + world.random.below(edits);
                world.random_edit(id, count, inodes);
            }
        }
        if world.random.one_in(3) && ids.len() < 6 {
            let source = ids[world.random.below(ids.len() as u64) as usize];
            world.snapshot(source, next_id);
            next_id += 1;
            snapshots += 1;
        }
        let victim = ids[world.random.below(ids.len() as u64) as usize];
        // Work blocks that a snapshot has must stay.
        let is_source = world.trees[&victim].last_snapshot == world.transid;
        if ids.len() > 3 && world.random.one_in(3) && !is_source {
            world.drop_tree(victim);
        }
        world.commit();
        world.verify();
    }
    assert!(snapshots > 0 || steps < 20);
}

#[test]
fn walks_agree() {
    for seed in 0..6 {
        run(4096, true, seed, 60, 60, 30);
        run(4096, false, seed + 100, 40, 60, 30);
    }
    run(16384, true, 1000, 40, 300, 100);
}

/// Blocks of 2 KiB, which no filesystem has: trees are higher, and shared subtrees as well.
#[test]
fn high_trees() {
    for seed in 0..4 {
        run(2048, seed % 2 == 0, seed + 3000, 80, 400, 150);
    }
}

/// A subvolume goes that owns what is below nodes that hold it, and that a snapshot has.
#[test]
fn moved_nodes() {
    for seed in 0..6 {
        let mut world = World::new(2048, seed % 2 == 0, seed + 9000);
        world.random_edit(5, 8000, 200);
        world.commit();
        assert!(world.trees[&5].root.level >= 2);
        for _ in 0..20 {
            world.hold_children(5);
            world.commit();
            world.verify();
        }
        world.snapshot(5, 256);
        world.commit();
        world.drop_tree(5);
        world.commit();
        world.verify();
        world.random_edit(256, 40, 200);
        world.commit();
        world.verify();
    }
}

/// Hundreds of references to a few extents: items of their own, and collisions.
#[test]
fn many_references() {
    for seed in 0..3 {
        run(4096, true, seed + 7, 40, 400, 3);
        run(16384, true, seed + 8, 30, 1500, 3);
    }
}

#[test]
#[ignore = "minutes"]
fn walks_agree_for_long() {
    for seed in 0..40 {
        run(4096, seed % 4 != 0, seed + 5000, 400, 120, 60);
        run(16384, seed % 4 != 1, seed + 6000, 100, 2000, 200);
        run(2048, seed % 4 != 2, seed + 7000, 400, 500, 300);
    }
}

mod corrupt {
    use super::*;

    fn apply_to(
        extents: &mut ItemMap,
        fill: impl FnOnce(&mut RefDeltas) -> Result,
    ) -> (Result, ExtentChanges) {
        let world = World::new(4096, true, 1);
        let mut deltas = RefDeltas::new();
        fill(&mut deltas).unwrap();
        let mut out = ExtentChanges::new();
        let result = apply_refs(extents, &world.rules(), &mut deltas, &mut out);
        (result, out)
    }

    fn file_extent(at: u64) -> Vec<u8> {
        let extent = DiskExtent {
            generation: Generation(1),
            ram_bytes: 4096,
            compression: Compression::None,
            disk_bytenr: Logical(at),
            disk_num_bytes: 4096,
            offset: 0,
            num_bytes: 4096,
        };
        extent.regular_item().to_disk().to_vec()
    }

    #[test]
    fn is_found() {
        let key = Key::new(300, item_type::EXTENT_DATA, 0);
        let data = file_extent(1 << 20);
        let (at, len) = (Logical(1 << 20), 4096);
        let put = |deltas: &mut RefDeltas| deltas.item(TreeId(5), &key, None, Some(&data));
        let delete = |deltas: &mut RefDeltas| deltas.item(TreeId(5), &key, Some(&data), None);
        let is_corrupt = |result: Result| matches!(result, Err(Error::Corrupt(_)));

        // A reference to what is not allocated, or one less than none.
        let mut extents = ItemMap::default();
        assert!(is_corrupt(apply_to(&mut extents, put).0));
        assert!(is_corrupt(apply_to(&mut extents, delete).0));
        // Written but not used.
        let (result, out) = apply_to(&mut extents, |deltas| {
            deltas.born(at, len)?;
            put(deltas)?;
            delete(deltas)
        });
        result.unwrap();
        assert_eq!(out.released.len(), 1);
        assert!(extents.0.is_empty());
        // Used, then allocated again, dropped twice, and taken for a block.
        let (result, out) = apply_to(&mut extents, |deltas| {
            put(deltas)?;
            deltas.born(at, len)
        });
        result.unwrap();
        assert_eq!(out.added.len(), 1);
        assert_eq!(extents.0.len(), 1);
        let again = |fill: &dyn Fn(&mut RefDeltas) -> Result| {
            let mut copy = extents.clone();
            let (result, _) = apply_to(&mut copy, fill);
            result
        };
        assert!(is_corrupt(again(&|deltas| deltas
            .born(at, len)
            .and(put(deltas)))));
        assert!(is_corrupt(again(
            &|deltas| delete(deltas).and(delete(deltas))
        )));
        assert!(is_corrupt(
            again(&|deltas| deltas.drop_block(TreeId(5), at))
        ));
        let other = Key::new(301, item_type::EXTENT_DATA, 0);
        assert!(is_corrupt(again(&|deltas| deltas.item(
            TreeId(5),
            &other,
            Some(&data),
            None
        ))));
        again(&delete).unwrap();
        // An item that counts fewer than it has.
        extents.0.values_mut().next().unwrap()[0] = 0;
        assert!(is_corrupt(apply_to(&mut extents, put).0));
    }
}
