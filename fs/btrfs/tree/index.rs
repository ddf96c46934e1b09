// SPDX-License-Identifier: GPL-2.0

//! The index of cached blocks: looking them up, filing them, evicting them.
//!
//! It knows nothing of devices, so that a completion that files a block does not keep a volume
//! open.

use core::pin::Pin;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLock,
    },
};
use kfs::mem::{Shrink, GFP_NOFAIL};

use super::block::{BlockRef, Expect, TreeBlock, Usage};
use super::table::{BlockId, Load, State, Table};
use super::verify::Verifier;

/// Number of shards; a power of two.
const SHARDS: usize = 16;

/// Slots of a shard that one call of the eviction looks at, at most.
const EVICT_STEPS: usize = 256;

type Shard = Pin<KBox<SpinLock<Table>>>;

/// See the module.
pub(super) struct Index {
    pub(super) verifier: Verifier,
    shards: KVec<Shard>,
    /// Bytes and number of the blocks that the shards know.
    cached: Atomic<usize>,
    cached_blocks: Atomic<usize>,
    /// Bytes beyond which reading a block evicts others.
    limit: usize,
    /// The shard that is next to give memory back.
    next_victim: Atomic<usize>,
    pub(super) usage: Arc<Usage>,
}

/// What a look into the index says.
pub(super) enum Found {
    Ready(BlockRef),
    Loading(Arc<Load>),
    Missing(Ticket),
}

/// The duty to read a block; others wait for it.
///
/// Dropping it makes those who wait read the block themselves.
pub(super) struct Ticket {
    index: Arc<Index>,
    id: BlockId,
    load: Option<Arc<Load>>,
}

impl Ticket {
    /// Hands the block, or why there is none, to the cache and to all who wait.
    pub(super) fn finish(mut self, result: Result<BlockRef>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<BlockRef>) {
        let Some(load) = self.load.take() else {
            return;
        };
        if let Ok(block) = &result {
            self.index.charge(block.size());
        }
        if let Some(shard) = self.index.shard(self.id) {
            let mut table = shard.lock();
            match &result {
                // The entry exists, so there is no insertion that could lack room.
                Ok(block) => {
                    table.set(self.id, State::Ready(block.clone()));
                }
                Err(_) => table.remove(self.id),
            }
        }
        load.finish(result);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Err(EAGAIN));
    }
}

impl Index {
    pub(super) fn new(verifier: Verifier, limit: usize) -> Result<Arc<Self>> {
        let mut shards = KVec::with_capacity(SHARDS, GFP_KERNEL)?;
        for _ in 0..SHARDS {
            let shard = KBox::pin_init(new_spinlock!(Table::new(), "btrfs-tree"), GFP_KERNEL)?;
            shards.push(shard, GFP_KERNEL)?;
        }
        let index = Self {
            verifier,
            shards,
            cached: Atomic::new(0),
            cached_blocks: Atomic::new(0),
            limit,
            next_victim: Atomic::new(0),
            usage: Arc::new(Usage::new(), GFP_KERNEL)?,
        };
        Ok(Arc::new(index, GFP_KERNEL)?)
    }

    /// Bytes of the blocks in the cache.
    pub(super) fn cached_bytes(&self) -> usize {
        self.cached.load(Relaxed)
    }

    /// Bytes that the cache may take.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    fn shard(&self, id: BlockId) -> Option<&Shard> {
        // The top bits: the table uses the low ones.
        let shard = usize::try_from(id.hash() >> 60).unwrap_or(0) % SHARDS;
        self.shards.get(shard)
    }

    /// Looks the block up, or takes the duty to read it. Sleeps only for memory.
    pub(super) fn look(self: &Arc<Self>, expect: &Expect) -> Result<Found> {
        let id = BlockId {
            logical: expect.logical,
            generation: expect.generation,
        };
        let shard = self.shard(id).ok_or(EINVAL)?;
        let mut fresh: Option<Arc<Load>> = None;
        loop {
            let mut table = shard.lock();
            match table.get(id) {
                Some(State::Ready(block)) => {
                    block.touch();
                    return Ok(Found::Ready(block.clone()));
                }
                Some(State::Loading(load)) => return Ok(Found::Loading(load.clone())),
                None => {}
            }
            let wants = table.wants();
            if let (Some(load), None) = (&fresh, wants) {
                table.set(id, State::Loading(load.clone()));
                drop(table);
                return Ok(Found::Missing(Ticket {
                    index: self.clone(),
                    id,
                    load: fresh,
                }));
            }
            drop(table);
            if let Some(cap) = wants {
                let larger = Table::with_capacity(cap)?;
                let smaller = shard.lock().grow(larger);
                drop(smaller);
            }
            if fresh.is_none() {
                fresh = Some(Load::new()?);
            }
        }
    }

    /// The block, if it is there.
    pub(super) fn peek(&self, expect: &Expect) -> Option<BlockRef> {
        let id = BlockId {
            logical: expect.logical,
            generation: expect.generation,
        };
        match self.shard(id)?.lock().get(id) {
            Some(State::Ready(block)) => Some(block.clone()),
            _ => None,
        }
    }

    /// The duty to read the block, unless it is cached or being read already.
    pub(super) fn ticket(self: &Arc<Self>, expect: &Expect) -> Option<Ticket> {
        match self.look(expect) {
            Ok(Found::Missing(ticket)) => Some(ticket),
            _ => None,
        }
    }

    /// Makes a block of verified bytes. Waits for memory.
    pub(super) fn make(&self, buf: super::block::BlockBuf) -> Result<BlockRef> {
        let block = TreeBlock::new(buf, self.usage.clone())?;
        Ok(BlockRef::new(block, GFP_NOFAIL)?)
    }

    /// Links `child` into `parent` if it is still cached.
    ///
    /// A linked block must be in the index, because the eviction cuts links from there.
    pub(super) fn link(&self, parent: &BlockRef, slot: usize, child: &BlockRef) {
        let id = BlockId {
            logical: child.logical(),
            generation: child.generation(),
        };
        let Some(shard) = self.shard(id) else {
            return;
        };
        let table = shard.lock();
        if let Some(State::Ready(known)) = table.get(id) {
            if BlockRef::ptr_eq(known, child) {
                parent.link(slot, child);
            }
        }
    }

    /// Waits for all reads under way. New ones must not begin meanwhile.
    pub(super) fn quiesce(&self) {
        for shard in self.shards.iter() {
            loop {
                let load = shard.lock().any_load();
                match load {
                    Some(load) => drop(load.wait()),
                    None => break,
                }
            }
        }
    }

    fn charge(&self, bytes: usize) {
        self.cached.add(bytes, Relaxed);
        self.cached_blocks.add(1usize, Relaxed);
    }

    /// Gives memory back if more than the limit is in use.
    pub(super) fn trim(&self) {
        let cached = self.cached_bytes();
        if cached > self.limit {
            self.evict(cached - self.limit + self.limit / 64);
        }
    }

    /// Evicts blocks that are not in use until about `bytes` are free; returns how many blocks.
    fn evict(&self, bytes: usize) -> usize {
        let (mut blocks, mut freed) = (0, 0);
        // Twice around: the first time only takes the marks of recent use away.
        let rounds = 2 * SHARDS * (1 + self.cached_blocks.load(Relaxed) / (SHARDS * EVICT_STEPS));
        for _ in 0..rounds {
            let (evicted, size) = self.evict_step(EVICT_STEPS, bytes.saturating_sub(freed));
            blocks += evicted;
            freed += size;
            if freed >= bytes {
                break;
            }
        }
        blocks
    }

    /// Lets the next shard evict up to `bytes`, looking at up to `steps` slots.
    fn evict_step(&self, steps: usize, bytes: usize) -> (usize, usize) {
        let next = self.next_victim.fetch_add(1usize, Relaxed) % SHARDS;
        let Some(shard) = self.shards.get(next) else {
            return (0, 0);
        };
        let (blocks, freed) = shard.lock().evict(steps, |freed| freed >= bytes);
        let _ = self.cached.fetch_sub(freed, Relaxed);
        let _ = self.cached_blocks.fetch_sub(blocks, Relaxed);
        (blocks, freed)
    }
}

impl Shrink for Index {
    fn count(&self) -> usize {
        self.cached_blocks.load(Relaxed)
    }

    fn scan(&self, nr: usize, _may_enter_fs: bool) -> Option<usize> {
        // Only spinlocks under which nothing is allocated: fine in any context.
        let (mut looked, mut blocks) = (0, 0);
        while looked < nr {
            let steps = EVICT_STEPS.min(nr - looked);
            blocks += self.evict_step(steps, usize::MAX).0;
            looked += steps;
        }
        Some(blocks)
    }
}
