// SPDX-License-Identifier: GPL-2.0

//! The changes of one tree in one transaction.

use btrfs_format::key::Key;
use btrfs_format::types::{Generation, TreeId};
use core::ops::RangeInclusive;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::{
    atomic::{Acquire, Atomic, Relaxed, Release},
    new_spinlock, Arc, SpinLock,
};
use kfs::mem::GFP_NOFAIL;

use super::shard::{Direction, Probe, Shard, SubKey, What};

/// What one transaction changes in one tree.
#[pin_data]
pub(crate) struct Overlay {
    tree: TreeId,
    transid: Generation,
    #[pin]
    shards: SpinLock<RBTree<u64, Arc<Shard>>>,
    /// Rises with every change, once it is made.
    version: Atomic<u64>,
    /// Bytes of memory.
    bytes: Atomic<usize>,
}

/// Memory of a shard without edits.
const SHARD_SIZE: usize = size_of::<Shard>() + size_of::<(u64, Arc<Shard>)>() + 64;

impl Overlay {
    /// An overlay without changes.
    pub(in crate::tree) fn new(tree: TreeId, transid: Generation) -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            tree,
            transid,
            shards <- new_spinlock!(RBTree::new(), "btrfs-overlay"),
            version: Atomic::new(0),
            bytes: Atomic::new(size_of::<Self>()),
        });
        Arc::pin_init(init, GFP_NOFAIL)
    }

    /// The transaction that changes it.
    pub(crate) fn transid(&self) -> Generation {
        self.transid
    }

    /// Bytes of memory that the overlay takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// A number that rises with every change. What was found out after reading it holds as long
    /// as it stays.
    pub(in crate::tree) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// What the overlay says of a key.
    pub(in crate::tree) fn find(&self, key: &Key) -> What {
        match self.shard(key.objectid) {
            Some(shard) => shard.find(SubKey::of(key)),
            None => What::Unknown,
        }
    }

    /// What the overlay says of a key, and how far in `direction` it says the same at least.
    pub(in crate::tree) fn probe(&self, key: &Key, direction: Direction) -> Probe<Key> {
        let objectid = key.objectid;
        let Some((at, shard)) = self.beside(objectid, direction) else {
            return Probe {
                what: What::Unknown,
                edge: match direction {
                    Direction::Up => Key::MAX,
                    Direction::Down => Key::MIN,
                },
            };
        };
        if at != objectid {
            // Up to where the next shard begins, whatever is in it.
            let edge = match direction {
                Direction::Up => SubKey::MIN.with(at).prev(),
                Direction::Down => SubKey::MAX.with(at).next(),
            };
            return Probe {
                what: What::Unknown,
                edge: edge.unwrap_or(*key),
            };
        }
        let Probe { what, edge } = shard.probe(SubKey::of(key), direction);
        Probe {
            what,
            edge: edge.with(objectid),
        }
    }

    /// Puts an item; returns by how many bytes the overlay grew.
    pub(in crate::tree) fn put(&self, key: &Key, data: &[u8]) -> Result<usize> {
        let (shard, fresh) = self.shard_or_new(key.objectid)?;
        let grown = shard.put(SubKey::of(key), data)?;
        Ok(self.changed(fresh, grown))
    }

    /// Has the leaf of an item, which older stages have with this data, written anew, if the overlay says
    /// nothing of the key yet.
    pub(in crate::tree) fn renew(&self, key: &Key, data: &[u8]) -> Result<usize> {
        let (shard, fresh) = self.shard_or_new(key.objectid)?;
        let grown = shard.renew(SubKey::of(key), data)?;
        Ok(self.changed(fresh, grown))
    }

    /// Deletes an item, if there is one.
    pub(in crate::tree) fn delete(&self, key: &Key) -> Result<usize> {
        let (shard, fresh) = self.shard_or_new(key.objectid)?;
        let grown = shard.delete(SubKey::of(key))?;
        Ok(self.changed(fresh, grown))
    }

    /// Deletes all items of a range within one objectid.
    pub(in crate::tree) fn clear(&self, range: &RangeInclusive<Key>) -> Result<usize> {
        let (first, last) = (range.start(), range.end());
        if first.objectid != last.objectid {
            return Err(EINVAL);
        }
        if first > last {
            return Ok(0);
        }
        let (shard, fresh) = self.shard_or_new(first.objectid)?;
        let grown = shard.clear(SubKey::of(first)..=SubKey::of(last))?;
        Ok(self.changed(fresh, grown))
    }

    /// Notes that older stages have nothing of this objectid.
    pub(in crate::tree) fn set_complete(&self, objectid: u64) -> Result<usize> {
        let (shard, fresh) = self.shard_or_new(objectid)?;
        shard.set_complete();
        Ok(self.changed(fresh, 0))
    }

    /// Tells readers of a change, and counts it.
    fn changed(&self, fresh: bool, grown: isize) -> usize {
        let _ = self.version.fetch_add(1u64, Release);
        let mut by = match fresh {
            true => SHARD_SIZE,
            false => 0,
        };
        let size = grown.unsigned_abs();
        if grown < 0 {
            let _ = self.bytes.fetch_sub(size, Relaxed);
        } else {
            by = by.saturating_add(size);
        }
        self.bytes.add(by, Relaxed);
        by
    }

    /// The shard of an objectid.
    pub(super) fn shard(&self, objectid: u64) -> Option<Arc<Shard>> {
        self.shards.lock().get(&objectid).cloned()
    }

    /// The shard of an objectid, and whether it was just made.
    fn shard_or_new(&self, objectid: u64) -> Result<(Arc<Shard>, bool)> {
        if let Some(shard) = self.shard(objectid) {
            return Ok((shard, false));
        }
        let shard = Shard::new()?;
        let node = RBTreeNode::new(objectid, shard.clone(), GFP_NOFAIL)?;
        let mut shards = self.shards.lock();
        if let Some(other) = shards.get(&objectid) {
            return Ok((other.clone(), false));
        }
        shards.insert(node);
        Ok((shard, true))
    }

    /// The first shard at or behind `objectid`, or the last one at or before it.
    pub(super) fn beside(&self, objectid: u64, direction: Direction) -> Option<(u64, Arc<Shard>)> {
        let copy = |(at, shard): (&u64, &Arc<Shard>)| (*at, shard.clone());
        let shards = self.shards.lock();
        let at = shards.cursor_lower_bound(&objectid);
        match (direction, at) {
            (Direction::Up, at) => at.map(|cursor| copy(cursor.current())),
            (Direction::Down, Some(cursor)) if *cursor.current().0 == objectid => {
                Some(copy(cursor.current()))
            }
            (Direction::Down, Some(cursor)) => cursor.peek_prev().map(copy),
            (Direction::Down, None) => shards.cursor_back().map(|cursor| copy(cursor.current())),
        }
    }
}
