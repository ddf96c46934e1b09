// SPDX-License-Identifier: GPL-2.0

//! A store in memory that checks every rule of the trait, and a model of what a tree holds.

#![allow(dead_code)]

pub mod leaves;

use btrfs_batch::{apply, BlockPtr, Change, Edit, Env, Error, Result, RootPtr, Store};
use btrfs_format::superblock::Incompat;
use btrfs_format::{
    check_block, CheckContext, CsumType, Expected, Generation, Geometry, Header, Key, Leaf,
    Logical, Node, TreeId, Uuid,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::rc::Rc;

pub const TREE: TreeId = TreeId(300);
const FSID: Uuid = Uuid([0x5a; 16]);

/// A small random generator; the same seed gives the same numbers everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = self.next().to_le_bytes();
        (0..len)
            .map(|i| seed[i % 8].wrapping_add(i as u8))
            .collect()
    }
}

pub fn geometry(nodesize: u32) -> Geometry {
    Geometry::new(nodesize.min(4096), nodesize, CsumType::Crc32c).unwrap()
}

/// An item that changed: key, old data, new data.
pub type Report = (Key, Option<Vec<u8>>, Option<Vec<u8>>);

/// Blocks in memory.
pub struct Memory {
    pub geometry: Geometry,
    pub transid: u64,
    pub blocks: HashMap<u64, Rc<Vec<u8>>>,
    /// Addresses that the tree uses.
    pub live: HashSet<u64>,
    next: u64,
    /// Whether neighbours are offered for merging.
    pub spares: bool,
    /// What happened since `begin`.
    pub reads: Vec<(u64, u8)>,
    pub announced: Vec<(u64, u8)>,
    pub writes: usize,
    pub placed: HashSet<u64>,
    pub copied: Vec<u64>,
    pub items: Vec<Report>,
    /// Of the tree as it was at `begin`: parents of blocks, and the leaf of each item.
    parents: HashMap<u64, u64>,
    homes: HashMap<Key, u64>,
    root: Option<RootPtr>,
    /// Checks are skipped where time is measured.
    pub fast: bool,
    /// The store fails after so many calls.
    pub fail_in: Option<u32>,
}

impl Memory {
    pub fn new(nodesize: u32) -> Self {
        Self {
            geometry: geometry(nodesize),
            transid: 1,
            blocks: HashMap::new(),
            live: HashSet::new(),
            next: 1 << 20,
            spares: true,
            reads: Vec::new(),
            announced: Vec::new(),
            writes: 0,
            placed: HashSet::new(),
            copied: Vec::new(),
            items: Vec::new(),
            parents: HashMap::new(),
            homes: HashMap::new(),
            root: None,
            fast: false,
            fail_in: None,
        }
    }

    pub fn env(&self) -> Env {
        Env {
            geometry: self.geometry,
            transid: Generation(self.transid),
            fsid: FSID,
            chunk_tree_uuid: Uuid([7; 16]),
        }
    }

    pub fn apply(
        &mut self,
        root: Option<RootPtr>,
        changes: &[Change<'_>],
        clears: &[RangeInclusive<Key>],
    ) -> Result<Option<RootPtr>> {
        apply(&self.env(), self, TREE, root, changes, clears)
    }

    /// Looks at a tree before a batch, and forgets what happened.
    pub fn begin(&mut self, root: Option<RootPtr>) {
        self.reads.clear();
        self.announced.clear();
        self.writes = 0;
        self.placed.clear();
        self.copied.clear();
        self.items.clear();
        self.parents.clear();
        self.homes.clear();
        self.root = root;
        let (mut parents, mut homes) = (HashMap::new(), HashMap::new());
        self.walk(root, |parent, at, block| {
            if let Some(parent) = parent {
                parents.insert(at, parent);
            }
            if Header::of(block).unwrap().is_leaf() {
                for (key, _) in Leaf::new(block).iter() {
                    homes.insert(key, at);
                }
            }
        });
        self.parents = parents;
        self.homes = homes;
    }

    fn count_down(&mut self) -> Result {
        match &mut self.fail_in {
            Some(0) => {
                self.fail_in = None;
                return Err(Error::NoSpace);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// New blocks get addresses from there on.
    pub fn skip_to(&mut self, at: u64) {
        self.next = at;
    }

    pub fn check_at(&self, block: &[u8], logical: Logical, level: u8) {
        let ptr = BlockPtr {
            logical,
            generation: Generation(self.transid),
            level,
            first: None,
        };
        self.check(block, &ptr);
    }

    fn check(&self, block: &[u8], ptr: &BlockPtr) {
        let fsids = [FSID];
        let context = CheckContext::new(
            self.geometry,
            Incompat::STABLE,
            Generation(self.transid),
            &fsids,
        );
        let expected = Expected {
            logical: ptr.logical,
            level: Some(ptr.level),
            generation: Some(ptr.generation),
            owner: Some(TREE),
            first_key: ptr.first,
        };
        check_block(block, &context, &expected).unwrap();
    }

    /// Calls `each` with (parent, address, block) for every block of a tree, and verifies them.
    pub fn walk(&self, root: Option<RootPtr>, mut each: impl FnMut(Option<u64>, u64, &[u8])) {
        let Some(root) = root else { return };
        let mut todo = vec![(
            None,
            BlockPtr {
                logical: root.logical,
                generation: root.generation,
                level: root.level,
                first: None,
            },
        )];
        while let Some((parent, ptr)) = todo.pop() {
            let block = &self.blocks[&ptr.logical.get()];
            self.check(block, &ptr);
            each(parent, ptr.logical.get(), block);
            if ptr.level > 0 {
                let node = Node::new(block);
                for slot in (0..node.nritems()).rev() {
                    let child = node.child(slot).unwrap();
                    todo.push((
                        Some(ptr.logical.get()),
                        BlockPtr {
                            logical: child.logical,
                            generation: child.generation,
                            level: ptr.level - 1,
                            first: Some(child.key),
                        },
                    ));
                }
            }
        }
    }

    /// All items of a tree, in the order of a walk.
    pub fn contents(&self, root: Option<RootPtr>) -> Vec<(Key, Vec<u8>)> {
        let mut all = Vec::new();
        self.walk(root, |_, _, block| {
            if Header::of(block).unwrap().is_leaf() {
                all.extend(
                    Leaf::new(block)
                        .iter()
                        .map(|(key, data)| (key, data.to_vec())),
                );
            }
        });
        all
    }

    /// Blocks and the average fill of leaves, in percent.
    pub fn fill(&self, root: Option<RootPtr>) -> (usize, usize) {
        let (mut blocks, mut leaves, mut used) = (0, 0, 0);
        self.walk(root, |_, _, block| {
            blocks += 1;
            if Header::of(block).unwrap().is_leaf() {
                leaves += 1;
                used += Leaf::new(block)
                    .iter()
                    .map(|(_, data)| data.len() + 25)
                    .sum::<usize>();
            }
        });
        (
            blocks,
            used * 100 / (leaves * self.geometry.body_size()).max(1),
        )
    }

    fn is_work(block: &[u8], transid: u64) -> bool {
        Header::of(block).unwrap().generation().get() == transid
    }
}

impl Store for Memory {
    type Block = Blk;
    type Buf = Vec<u8>;

    fn read(&mut self, tree: TreeId, at: &BlockPtr) -> Result<Blk> {
        self.count_down()?;
        assert_eq!(tree, TREE);
        let block = self.blocks.get(&at.logical.get()).ok_or(Error::Io)?.clone();
        if !self.fast {
            assert!(
                self.live.contains(&at.logical.get()),
                "read of a dropped block"
            );
            self.check(&block, at);
            self.reads.push((at.logical.get(), at.level));
        }
        Ok(Blk(block))
    }

    fn prefetch(&mut self, _: TreeId, blocks: &[BlockPtr]) {
        if !self.fast {
            assert!((2..=64).contains(&blocks.len()));
            self.announced
                .extend(blocks.iter().map(|ptr| (ptr.logical.get(), ptr.level)));
        }
    }

    fn spare(&mut self, tree: TreeId, at: &BlockPtr) -> Result<Option<Blk>> {
        if self.spares {
            self.read(tree, at).map(Some)
        } else {
            Ok(None)
        }
    }

    fn buffer(&mut self) -> Result<Vec<u8>> {
        self.count_down()?;
        Ok(vec![0xee; self.geometry.nodesize as usize])
    }

    fn place(&mut self, _: TreeId, _: u8) -> Result<Logical> {
        self.count_down()?;
        let at = self.next;
        self.next += u64::from(self.geometry.nodesize);
        self.placed.insert(at);
        self.live.insert(at);
        Ok(Logical(at))
    }

    fn write(&mut self, _: TreeId, at: Logical, level: u8, block: Vec<u8>) -> Result {
        self.count_down()?;
        self.writes += 1;
        if !self.fast {
            assert!(self.live.contains(&at.get()));
            match self.blocks.get(&at.get()) {
                Some(old) => assert!(Self::is_work(old, self.transid)),
                None => assert!(self.placed.contains(&at.get())),
            }
            self.check(
                &block,
                &BlockPtr {
                    logical: at,
                    generation: Generation(self.transid),
                    level,
                    first: None,
                },
            );
        }
        self.blocks.insert(at.get(), Rc::new(block));
        Ok(())
    }

    fn copied(&mut self, _: TreeId, old: &[u8], is_root: bool) -> Result {
        self.count_down()?;
        let at = Header::of(old).unwrap().bytenr().get();
        if !self.fast {
            assert!(!Self::is_work(old, self.transid));
            match self.parents.get(&at) {
                Some(parent) => {
                    let work = Self::is_work(&self.blocks[parent], self.transid);
                    assert!(work || !self.live.contains(parent), "parents come first");
                    assert!(!is_root);
                }
                None => {
                    assert!(is_root);
                    assert_eq!(at, self.root.unwrap().logical.get());
                }
            }
        }
        assert!(self.live.remove(&at));
        self.copied.push(at);
        Ok(())
    }

    fn drop_block(&mut self, _: TreeId, old: &[u8]) -> Result {
        self.count_down()?;
        assert!(Self::is_work(old, self.transid));
        assert!(self.live.remove(&Header::of(old).unwrap().bytenr().get()));
        Ok(())
    }

    fn item(&mut self, _: TreeId, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> Result {
        self.count_down()?;
        if self.fast {
            return Ok(());
        }
        assert_ne!(old, new);
        if old.is_some() {
            let home = self.homes[key];
            let work = Self::is_work(&self.blocks[&home], self.transid);
            assert!(
                work || !self.live.contains(&home),
                "a leaf comes before its items"
            );
        }
        let own = |data: Option<&[u8]>| data.map(<[u8]>::to_vec);
        self.items.push((*key, own(old), own(new)));
        Ok(())
    }
}

/// A block of [`Memory`].
pub struct Blk(pub Rc<Vec<u8>>);

impl std::ops::Deref for Blk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// What a batch does, owned.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub changes: BTreeMap<Key, Option<Vec<u8>>>,
    pub clears: Vec<RangeInclusive<Key>>,
}

impl Batch {
    pub fn changes(&self) -> Vec<Change<'_>> {
        self.changes
            .iter()
            .map(|(key, data)| Change {
                key: *key,
                edit: data.as_ref().map_or(Edit::Delete, |data| Edit::Put(data)),
            })
            .collect()
    }
}

/// A tree, and what should be in it.
pub struct Model {
    pub memory: Memory,
    pub root: Option<RootPtr>,
    pub items: BTreeMap<Key, Vec<u8>>,
}

impl Model {
    pub fn new(nodesize: u32) -> Self {
        Self {
            memory: Memory::new(nodesize),
            root: None,
            items: BTreeMap::new(),
        }
    }

    /// Applies a batch to both and compares everything.
    pub fn step(&mut self, batch: &Batch) {
        let old = self.items.clone();
        for clear in &batch.clears {
            let gone: Vec<_> = self
                .items
                .range(clear.clone())
                .map(|(key, _)| *key)
                .collect();
            for key in gone {
                self.items.remove(&key);
            }
        }
        for (key, data) in &batch.changes {
            match data {
                Some(data) => self.items.insert(*key, data.clone()),
                None => self.items.remove(key),
            };
        }

        self.memory.begin(self.root);
        let (height, blocks) = match self.root {
            Some(root) => (root.level + 1, self.memory.live.len() as u64),
            None => (0, 0),
        };
        let root = self
            .memory
            .apply(self.root, &batch.changes(), &batch.clears)
            .unwrap();
        if old == self.items {
            assert_eq!(root, self.root, "nothing changed");
            assert_eq!(self.memory.writes, 0);
            assert!(self.memory.copied.is_empty());
        }
        self.root = root;
        self.compare(&old);
        // What is announced is read, in the same order.
        let mut reads = self.memory.reads.iter();
        for block in &self.memory.announced {
            if block.1 == 0 {
                assert!(reads.any(|read| read == block), "announced in vain");
            }
        }

        let load = btrfs_batch::Load {
            edits: (batch.changes.len() + 2 * batch.clears.len()) as u64,
            puts: batch.changes.values().flatten().count() as u64,
            bytes: batch
                .changes
                .values()
                .flatten()
                .map(|d| d.len() as u64)
                .sum(),
        };
        let bound = btrfs_batch::cost(&self.memory.geometry, height, blocks, load);
        assert!(
            self.memory.writes as u64 <= bound,
            "{} writes, bound {bound}, {load:?}, height {height}",
            self.memory.writes
        );
    }

    fn compare(&self, old: &BTreeMap<Key, Vec<u8>>) {
        let contents = self.memory.contents(self.root);
        assert_eq!(contents.len(), self.items.len());
        for ((key, data), (want_key, want)) in contents.iter().zip(&self.items) {
            assert_eq!(key, want_key);
            assert!(data == want, "data of {key:?}");
        }
        // Reports are the difference, in order.
        let mut want = Vec::new();
        for key in old.keys().chain(self.items.keys()) {
            let (old, new) = (old.get(key), self.items.get(key));
            if old != new {
                want.push((*key, old.cloned(), new.cloned()));
            }
        }
        want.sort();
        want.dedup();
        assert!(self.memory.items == want, "items reported");
        // No block is lost, none is used twice.
        let mut reached = HashSet::new();
        self.memory.walk(self.root, |_, at, _| {
            assert!(reached.insert(at));
        });
        assert_eq!(reached, self.memory.live);
        if let Some(root) = self.root {
            if root.level > 0 && self.memory.writes > 0 {
                let block = &self.memory.blocks[&root.logical.get()];
                assert!(Node::new(block).nritems() > 1);
            }
        }
    }

    /// Ends the transaction: what was written is committed now.
    pub fn commit(&mut self) {
        self.memory.transid += 1;
        let live = &self.memory.live;
        self.memory.blocks.retain(|at, _| live.contains(at));
    }
}

/// How random batches look.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Objectids in use.
    pub objects: u64,
    /// Offsets per object and type.
    pub offsets: u64,
    pub longest: usize,
    pub batch: u64,
    /// Of 16 changes, how many are deletes.
    pub deletes: u64,
    /// One of so many batches has cleared ranges.
    pub clears: u64,
    /// Whether new keys are ascending.
    pub ascending: bool,
}

impl Mix {
    fn key(&self, random: &mut Random) -> Key {
        Key::new(
            random.below(self.objects) + 1,
            [2, 5][random.below(2) as usize],
            random.below(self.offsets) + 1,
        )
    }

    fn data(&self, random: &mut Random) -> Vec<u8> {
        let len = match random.below(8) {
            0 => 0,
            1 => random.below(self.longest as u64 + 1),
            2..=4 => random.below(self.longest as u64 / 8 + 2),
            _ => 53.min(self.longest as u64),
        };
        random.bytes(len as usize)
    }

    pub fn batch(&self, random: &mut Random, model: &Model) -> Batch {
        let mut batch = Batch::default();
        let count = random.below(self.batch) + 1;
        let last = model.items.keys().next_back().map_or(0, |key| key.objectid);
        // Some batches are dense, some are spread.
        let window = if random.one_in(2) {
            Some(self.key(random))
        } else {
            None
        };
        for i in 0..count {
            let mut key = match self.ascending && random.below(16) < 14 {
                true => Key::new(last + 1 + i / 3, [2, 3, 5][i as usize % 3], i + 1),
                false => self.key(random),
            };
            if let (Some(window), false) = (window, self.ascending) {
                key.objectid = window.objectid + key.objectid % 4;
            }
            let existing = model.items.range(key..).next();
            let edit = if random.below(16) < self.deletes {
                if let (Some((old, _)), true) = (existing, random.below(8) > 0) {
                    key = *old;
                }
                None
            } else if random.one_in(6) {
                // The same bytes again.
                match existing {
                    Some((old, data)) => {
                        key = *old;
                        Some(data.clone())
                    }
                    None => Some(self.data(random)),
                }
            } else {
                Some(self.data(random))
            };
            batch.changes.insert(key, edit);
        }
        if random.one_in(self.clears) {
            let mut borders: Vec<Key> = (0..2 * (1 + random.below(3)))
                .map(|_| match random.below(12) {
                    0 => Key::MIN,
                    1 => Key::MAX,
                    _ => self.key(random),
                })
                .collect();
            borders.sort();
            borders.dedup();
            for pair in borders.chunks_exact(2) {
                batch.clears.push(pair[0]..=pair[1]);
                if random.one_in(2) {
                    let inside: Vec<_> = batch
                        .changes
                        .range(pair[0]..=pair[1])
                        .map(|(key, _)| *key)
                        .collect();
                    for key in inside {
                        batch.changes.remove(&key);
                    }
                }
            }
        }
        batch
    }
}
