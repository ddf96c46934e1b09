// SPDX-License-Identifier: GPL-2.0

//! Live trees against a model: edits, freezing, publishing and walking in random order.

use btrfs_format::key::{item, Key};
use btrfs_format::root::RootItem;
use btrfs_format::types::{Generation, TreeId};
use kernel::{prelude::*, sync::Arc};

use super::live::LiveTree;
use super::merge::LiveCursor;
use super::overlay::{Collected, EditContext};
use super::tests::{open, Image};
use super::view::TreeView;

/// Objectids that random edits touch.
const IDS: u64 = 12;
/// Offsets per objectid.
const OFFSETS: u64 = 24;
/// Objectids from here on are given out in order, as new inodes are.
const FRESH: u64 = 2000;

/// Ends a test with an error, and says where.
macro_rules! holds {
    ($condition:expr) => {
        if !$condition {
            pr_err!("{}:{}: {}\n", file!(), line!(), stringify!($condition));
            return Err(EINVAL);
        }
    };
}

macro_rules! same {
    ($a:expr, $b:expr) => {
        let (a, b) = (&$a, &$b);
        if a != b {
            pr_err!("{}:{}: {:?}, should be {:?}\n", file!(), line!(), a, b);
            return Err(EINVAL);
        }
    };
}

fn key(objectid: u64, offset: u64) -> Key {
    Key::new(objectid, item::STRING_ITEM, offset)
}

/// An operation of a transaction.
struct Operation {
    transid: Generation,
    noted: usize,
    bytes: usize,
}

impl Operation {
    fn new(transid: u64) -> Self {
        Self {
            transid: Generation(transid),
            noted: 0,
            bytes: 0,
        }
    }
}

impl EditContext for Operation {
    fn transid(&self) -> Generation {
        self.transid
    }

    fn note_dirty(&mut self, _tree: &Arc<LiveTree>) -> Result {
        self.noted += 1;
        Ok(())
    }

    fn charge(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// Items in order.
struct Model(KVec<(Key, u64)>);

impl Model {
    fn copy(&self) -> Result<Self> {
        let mut copy = KVec::new();
        copy.extend_from_slice(&self.0, GFP_KERNEL)?;
        Ok(Self(copy))
    }

    fn place(&self, key: Key) -> core::result::Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }

    fn get(&self, key: Key) -> Option<u64> {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| *value)
    }

    fn put(&mut self, key: Key, value: u64) -> Result {
        match self.place(key) {
            Ok(at) => self.0.get_mut(at).ok_or(EINVAL)?.1 = value,
            Err(at) => {
                self.0.push((key, value), GFP_KERNEL)?;
                self.0.get_mut(at..).ok_or(EINVAL)?.rotate_right(1);
            }
        }
        Ok(())
    }

    fn clear(&mut self, first: Key, last: Key) {
        self.0.retain(|(key, _)| *key < first || *key > last);
    }

    fn at_or_after(&self, key: Key) -> Option<(Key, u64)> {
        let (Ok(at) | Err(at)) = self.place(key);
        self.0.get(at).copied()
    }

    fn at_or_before(&self, key: Key) -> Option<(Key, u64)> {
        match self.place(key) {
            Ok(at) => self.0.get(at),
            Err(at) => self.0.get(at.checked_sub(1)?),
        }
        .copied()
    }

    /// A committed tree with these items.
    fn commit(&self) -> Result<TreeView> {
        let (image, root) = Image::of(&self.0)?;
        Ok(open(image, &root, usize::MAX)?.0)
    }

    fn apply(&mut self, changes: &Collected) -> Result {
        let mut last = None;
        for range in &changes.clears {
            if last.is_some_and(|last| last >= *range.start()) {
                return Err(EINVAL);
            }
            last = Some(*range.end());
            self.clear(*range.start(), *range.end());
        }
        last = None;
        for (key, edit) in &changes.edits {
            if last.is_some_and(|last| last >= *key) {
                return Err(EINVAL);
            }
            last = Some(*key);
            match edit.item() {
                Some(data) => self.put(*key, number(data)?)?,
                None => self.clear(*key, *key),
            }
        }
        Ok(())
    }
}

fn number(data: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(data.try_into().map_err(|_| EINVAL)?))
}

/// What is under a cursor.
fn under(cursor: &LiveCursor) -> Result<Option<(Key, u64)>> {
    let found = match cursor.item() {
        Some((key, data)) => Some((key, number(data)?)),
        None => None,
    };
    same!(found.map(|found| found.0), cursor.key());
    same!(cursor.generation().is_some(), found.is_some());
    Ok(found)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// One of the keys that edits touch, or one beside them.
    fn key(&mut self, fresh: u64) -> Key {
        let objectid = match self.below(8) {
            0 => fresh - self.below(4).min(fresh - FRESH),
            1 => 999 + self.below(2) * (IDS + 2),
            _ => 1000 + self.below(IDS),
        };
        key(objectid, self.below(OFFSETS))
    }
}

/// A tree and what should be in it.
struct Bench {
    tree: Arc<LiveTree>,
    model: Model,
    committed: Model,
    /// What was there when the overlay was frozen, and the overlay's changes.
    frozen: Option<(Model, Collected)>,
    transid: u64,
    fresh: u64,
    random: Random,
    /// The last value given out.
    value: u64,
}

impl Bench {
    fn new(seed: u64) -> Result<Self> {
        let mut model = Model(KVec::new());
        // These stay: no tree of files is ever empty.
        model.put(key(900, 0), 1)?;
        model.put(key(9000, 0), 2)?;
        for n in 0..IDS * 10 {
            model.put(key(1000 + n / 10, n % 10 * 2), n)?;
        }
        let mut item = RootItem::zeroed();
        item.refs = 1.into();
        Ok(Self {
            tree: LiveTree::new(model.commit()?, item, 0)?,
            committed: model.copy()?,
            model,
            frozen: None,
            transid: 8,
            fresh: FRESH,
            random: Random(seed),
            value: 1000,
        })
    }

    fn edit(&mut self) -> Result {
        let mut operation = Operation::new(self.transid);
        let at = self.random.key(self.fresh);
        match self.random.below(13) {
            0..=5 => {
                self.value += 1;
                let data = self.value.to_le_bytes();
                self.tree.put(&mut operation, at, &data)?;
                self.model.put(at, self.value)?;
            }
            6..=8 => {
                self.tree.delete(&mut operation, at)?;
                self.model.clear(at, at);
            }
            9 => {
                let last = key(at.objectid, at.offset + self.random.below(OFFSETS));
                self.tree.clear(&mut operation, at..=last)?;
                self.model.clear(at, last);
            }
            10 => {
                let first = Key::new(at.objectid, 0, 0);
                let last = Key::new(at.objectid, u8::MAX, u64::MAX);
                self.tree.clear(&mut operation, first..=last)?;
                self.model.clear(first, last);
            }
            11 => self.tree.renew(&mut operation, at)?,
            _ => {
                self.fresh += 1;
                self.tree.set_complete(&mut operation, self.fresh)?;
            }
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result {
        if self.frozen.is_some() {
            holds!(!matches!(self.tree.freeze(), Ok(Some(_))));
            return Ok(());
        }
        let Some(overlay) = self.tree.freeze()? else {
            return Ok(());
        };
        same!(overlay.transid(), Generation(self.transid));
        self.transid += 1;
        let changes = overlay.collect()?;
        self.frozen = Some((self.model.copy()?, changes));
        Ok(())
    }

    fn publish(&mut self) -> Result {
        let Some((model, changes)) = self.frozen.take() else {
            return Ok(());
        };
        self.committed.apply(&changes)?;
        holds!(self.committed.0.as_slice() == model.0.as_slice());
        let old = self.tree.view().epoch().clone();
        let epoch = self
            .tree
            .publish_in(LiveTree::place()?, model.commit()?, self.tree.item());
        holds!(Arc::ptr_eq(&old, &epoch));
        self.committed = model;
        Ok(())
    }

    fn look(&mut self) -> Result {
        let at = self.random.key(self.fresh);
        let found = match self.tree.get(at)? {
            Some(item) => Some(number(&item)?),
            None => None,
        };
        same!(found, self.model.get(at));
        let up = self.tree.seek(at)?;
        same!(under(&up)?, self.model.at_or_after(at));
        let down = self.tree.seek_at_or_before(at)?;
        same!(under(&down)?, self.model.at_or_before(at));
        Ok(())
    }

    /// Moves a cursor, which may have been there for a while.
    fn walk(&mut self, cursor: &mut LiveCursor) -> Result {
        let ahead = |key: Key| key.next().and_then(|key| self.model.at_or_after(key));
        let behind = |key: Key| key.prev().and_then(|key| self.model.at_or_before(key));
        let expected = match (self.random.below(5), cursor.key()) {
            (0 | 1, Some(key)) => {
                cursor.next()?;
                ahead(key)
            }
            (2 | 3, Some(key)) => {
                cursor.prev()?;
                behind(key)
            }
            _ => {
                let at = self.random.key(self.fresh);
                *cursor = self.tree.seek(at)?;
                self.model.at_or_after(at)
            }
        };
        same!(under(cursor)?, expected);
        Ok(())
    }

    /// Walks over everything, both ways.
    fn walk_all(&self) -> Result {
        let mut cursor = self.tree.seek(Key::MIN)?;
        for expected in &self.model.0 {
            same!(under(&cursor)?, Some(*expected));
            cursor.next()?;
        }
        holds!(cursor.item().is_none());
        for expected in self.model.0.iter().rev() {
            cursor.prev()?;
            same!(under(&cursor)?, Some(*expected));
        }
        cursor.prev()?;
        holds!(cursor.item().is_none());
        cursor.next()?;
        same!(under(&cursor)?, self.model.0.first().copied());
        Ok(())
    }

    fn run(&mut self, steps: usize) -> Result {
        let mut cursors = [
            self.tree.seek(Key::MIN)?,
            self.tree.seek_at_or_before(Key::MAX)?,
            self.tree.seek(key(1005, 5))?,
        ];
        for step in 0..steps {
            match self.random.below(40) {
                0 => self.freeze()?,
                1 => self.publish()?,
                2..=12 => self.edit()?,
                13..=20 => self.look()?,
                _ => {
                    let which = self.random.below(3);
                    if let Some(cursor) = cursors.get_mut(usize::try_from(which)?) {
                        self.walk(cursor)?;
                    }
                }
            }
            if step % 256 == 0 {
                self.walk_all()?;
            }
        }
        Ok(())
    }
}

#[kernel::macros::kunit_tests(btrfs_live_tree)]
mod suite {
    use super::*;

    #[test]
    fn random_operations() -> Result {
        for seed in 1..=4 {
            Bench::new(seed * 0x9e37_79b9)?.run(4000)?;
        }
        Ok(())
    }

    #[test]
    fn epochs_end() -> Result {
        let mut bench = Bench::new(7)?;
        let view = bench.tree.view();
        let old = view.epoch().clone();
        bench.edit()?;
        bench.freeze()?;
        bench.publish()?;
        assert!(!old.is_over());
        drop(view);
        assert!(old.is_over());
        assert!(!bench.tree.view().epoch().is_over());
        Ok(())
    }

    #[test]
    fn new_objects_are_not_searched_for() -> Result {
        let (image, root) = Image::of(&[(key(900, 0), 1)])?;
        let (view, _image) = open(image, &root, usize::MAX)?;
        let tree = LiveTree::new(view, RootItem::zeroed(), 0)?;
        let mut operation = Operation::new(8);
        tree.set_complete(&mut operation, 500)?;
        tree.put(&mut operation, key(500, 1), &1u64.to_le_bytes())?;
        tree.put(&mut operation, key(500, 2), &2u64.to_le_bytes())?;
        tree.delete(&mut operation, key(500, 1))?;
        assert_eq!(operation.noted, 1);
        assert!(operation.bytes > 0);
        assert!(tree.get(key(500, 1))?.is_none());
        assert!(tree.get(key(500, 2))?.is_some());
        let changes = tree.freeze()?.ok_or(EINVAL)?.collect()?;
        // Nothing stays of what came and went.
        assert_eq!(changes.edits.len(), 1);
        assert_eq!(changes.clears.len(), 0);
        Ok(())
    }

    #[test]
    fn a_tree_without_blocks() -> Result {
        let (image, root) = Image::of(&[(key(900, 0), 1)])?;
        let (view, _image) = open(image, &root, usize::MAX)?;
        let empty = TreeView::empty(view.cache().clone(), TreeId(300))?;
        assert!(empty.is_unborn());
        assert!(!view.is_unborn());
        let tree = LiveTree::new(empty, RootItem::zeroed(), 0)?;
        assert!(tree.get(key(256, 0))?.is_none());
        assert!(tree.seek(Key::MIN)?.item().is_none());
        assert!(tree.seek_at_or_before(Key::MAX)?.item().is_none());
        let mut operation = Operation::new(8);
        tree.put(&mut operation, key(256, 0), &[])?;
        assert_eq!(tree.get(key(256, 0))?.as_deref(), Some([].as_slice()));
        let mut cursor = tree.seek(Key::MIN)?;
        assert_eq!(cursor.key(), Some(key(256, 0)));
        cursor.prev()?;
        assert!(cursor.key().is_none());
        Ok(())
    }

    #[test]
    fn cleared_ranges_are_joined() -> Result {
        let mut bench = Bench::new(3)?;
        let mut operation = Operation::new(bench.transid);
        for (first, last) in [(0, 3), (10, 12), (4, 6), (8, 9), (7, 7), (20, 21)] {
            bench
                .tree
                .clear(&mut operation, key(1001, first)..=key(1001, last))?;
            bench.model.clear(key(1001, first), key(1001, last));
        }
        bench.walk_all()?;
        bench.freeze()?;
        let (_, changes) = bench.frozen.as_ref().ok_or(EINVAL)?;
        assert_eq!(changes.clears.len(), 2);
        assert_eq!(changes.edits.len(), 0);
        bench.publish()
    }

    #[test]
    fn data_of_all_sizes() -> Result {
        let bench = Bench::new(5)?;
        let mut operation = Operation::new(bench.transid);
        let bytes = KVVec::from_elem(7u8, 65_410, GFP_KERNEL)?;
        for len in [0, 1, 28, 29, 160, 508, 4092, 4093, 65_410] {
            let data = bytes.get(..len).ok_or(EINVAL)?;
            bench.tree.put(&mut operation, key(1, 1), data)?;
            let found = bench.tree.get(key(1, 1))?.ok_or(ENOENT)?;
            assert!(*found == *data);
        }
        Ok(())
    }
}
