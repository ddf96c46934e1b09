// SPDX-License-Identifier: GPL-2.0

//! One shard of the cache's index: a hash table of blocks that are there or being read.
//!
//! Open addressing with linear probing, so that the table is one allocation, which is made
//! outside the shard's lock. The clock hand of the eviction walks over the same slots.

use btrfs_format::types::{Generation, Logical};
use kernel::{
    prelude::*,
    sync::{Arc, Completion, SetOnce},
};
use kfs::rcu;

use super::block::BlockRef;

/// What a block is filed under.
///
/// An address alone does not do: once a block is freed, a later transaction may write another
/// one there while views of the earlier state still exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockId {
    pub(super) logical: Logical,
    pub(super) generation: Generation,
}

impl BlockId {
    /// Spreads ids evenly over 64 bits. Addresses are multiples of 4096.
    pub(super) fn hash(self) -> u64 {
        let x = (self.logical.get() >> 12) ^ self.generation.get().rotate_left(40);
        let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^ (x >> 32)
    }
}

/// A read under way. Whoever needs the block meanwhile waits for it.
#[pin_data]
pub(super) struct Load {
    #[pin]
    done: Completion,
    result: SetOnce<Result<BlockRef>>,
}

impl Load {
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            done <- Completion::new(),
            result: SetOnce::new(),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Ends the read for all who wait.
    pub(super) fn finish(&self, result: Result<BlockRef>) {
        self.result.populate(result);
        self.done.complete_all();
    }

    /// Waits for the read; sleeps.
    pub(super) fn wait(&self) -> Result<BlockRef> {
        self.done.wait_for_completion();
        match self.result.as_ref() {
            Some(Ok(block)) => Ok(block.clone()),
            Some(Err(error)) => Err(*error),
            None => Err(EIO),
        }
    }
}

/// State of a block that the table knows.
pub(super) enum State {
    /// It is in memory.
    Ready(BlockRef),
    /// It is being read.
    Loading(Arc<Load>),
}

struct Entry {
    id: BlockId,
    state: State,
}

/// The index of one shard.
///
/// # Invariants
///
/// `slots` is empty or a power of two long with at least a quarter free, `len` counts the
/// entries, and between an entry's home slot and the entry no slot is free.
pub(super) struct Table {
    slots: KVVec<Option<Entry>>,
    len: usize,
    hand: usize,
}

/// Slots of a table's first allocation.
const FIRST: usize = 64;

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            slots: KVVec::new(),
            len: 0,
            hand: 0,
        }
    }

    /// Number of slots that a table must have before the next insertion, unless it has room.
    pub(super) fn wants(&self) -> Option<usize> {
        let cap = self.slots.len();
        ((self.len + 1) * 4 > cap * 3).then(|| (cap * 2).max(FIRST))
    }

    /// An empty table of `cap` slots, a power of two.
    pub(super) fn with_capacity(cap: usize) -> Result<Self> {
        let mut slots = KVVec::with_capacity(cap, GFP_KERNEL)?;
        for _ in 0..cap {
            slots.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            len: 0,
            hand: 0,
        })
    }

    /// Moves the entries over to `larger`, which becomes this table, if that is really larger.
    ///
    /// The smaller one is returned: freeing it may sleep, so not under the lock.
    pub(super) fn grow(&mut self, mut larger: Self) -> Self {
        if larger.slots.len() <= self.slots.len() {
            return larger;
        }
        for slot in self.slots.iter_mut() {
            if let Some(entry) = slot.take() {
                larger.put(entry);
            }
        }
        core::mem::replace(self, larger)
    }

    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    fn home(&self, id: BlockId) -> usize {
        // The low half chooses the slot, the top bits have chosen the shard.
        let low = id.hash() & u64::from(u32::MAX);
        usize::try_from(low).unwrap_or(0) & self.mask()
    }

    /// The slot of `id`, or the free one where it would go.
    fn find(&self, id: BlockId) -> core::result::Result<usize, Option<usize>> {
        let mut at = self.home(id);
        for _ in 0..self.slots.len() {
            match self.slots.get(at) {
                Some(Some(entry)) if entry.id == id => return Ok(at),
                Some(Some(_)) => at = (at + 1) & self.mask(),
                _ => return Err(Some(at)),
            }
        }
        Err(None)
    }

    /// What the table knows of `id`.
    pub(super) fn get(&self, id: BlockId) -> Option<&State> {
        let at = self.find(id).ok()?;
        self.slots.get(at)?.as_ref().map(|entry| &entry.state)
    }

    /// Files `state` under `id`; returns false without room.
    pub(super) fn set(&mut self, id: BlockId, state: State) -> bool {
        match self.find(id) {
            Ok(at) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = Some(Entry { id, state });
                }
                true
            }
            Err(_) if self.wants().is_some() => false,
            Err(_) => {
                self.put(Entry { id, state });
                true
            }
        }
    }

    fn put(&mut self, entry: Entry) {
        if let Err(Some(at)) = self.find(entry.id) {
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = Some(entry);
                self.len += 1;
            }
        }
    }

    /// Forgets `id`.
    pub(super) fn remove(&mut self, id: BlockId) {
        if let Ok(at) = self.find(id) {
            self.remove_at(at);
        }
    }

    /// Frees the slot `hole`, and moves up those entries behind it that would no longer be found.
    fn remove_at(&mut self, mut hole: usize) -> Option<State> {
        let removed = self.slots.get_mut(hole)?.take()?;
        self.len -= 1;
        let mut at = hole;
        for _ in 0..self.slots.len() {
            at = (at + 1) & self.mask();
            let Some(Some(entry)) = self.slots.get(at) else {
                break;
            };
            let home = self.home(entry.id);
            // It may move if its home is not between the hole and its place.
            if (at.wrapping_sub(home) & self.mask()) >= (at.wrapping_sub(hole) & self.mask()) {
                self.slots.swap(hole, at);
                hole = at;
            }
        }
        Some(removed.state)
    }

    /// Looks at up to `steps` slots from where the last call ended and evicts blocks that no
    /// search came by since the hand was last there. Ends early when `enough(bytes)` says so.
    ///
    /// Returns the number of blocks evicted and their bytes.
    pub(super) fn evict(&mut self, steps: usize, enough: impl Fn(usize) -> bool) -> (usize, usize) {
        let guard = rcu::read_lock();
        let (mut blocks, mut bytes) = (0, 0);
        for _ in 0..steps.min(self.slots.len()) {
            self.hand &= self.mask();
            let at = self.hand;
            let evict = match self.slots.get(at) {
                Some(Some(Entry {
                    state: State::Ready(block),
                    ..
                })) => {
                    let idle = !block.take_recent();
                    block.unlink(idle, &guard);
                    idle && !block.is_held()
                }
                _ => false,
            };
            if !evict {
                self.hand += 1;
            } else if let Some(State::Ready(block)) = self.remove_at(at) {
                // Another entry may have moved into the slot: the hand stays.
                blocks += 1;
                bytes += block.size();
                if enough(bytes) {
                    break;
                }
            }
        }
        (blocks, bytes)
    }

    /// Some read under way.
    pub(super) fn any_load(&self) -> Option<Arc<Load>> {
        self.slots
            .iter()
            .flatten()
            .find_map(|entry| match &entry.state {
                State::Loading(load) => Some(load.clone()),
                State::Ready(_) => None,
            })
    }
}
