// SPDX-License-Identifier: GPL-2.0

//! The cache of tree blocks.

use btrfs_format::key::Key;
use btrfs_format::types::{Logical, TreeId, Uuid};
use core::fmt;
use core::pin::Pin;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLock,
    },
};
use kfs::mem::Shrink;
use kfs::rcu;

use super::block::{BlockBuf, BlockRef, Expect, TreeBlock, Usage};
use super::readahead;
use super::table::{BlockId, Load, State, Table};
use super::verify::{self, Verifier};

/// How much a message about a block matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Severity {
    /// Something is wrong, but there is a way on.
    Warning,
    /// Something failed.
    Error,
    /// The filesystem is damaged.
    Critical,
}

/// Where tree blocks come from: the volume, or a test.
pub(crate) trait BlockSource: Send + Sync {
    /// Reads the tree block at `at`, trying all copies until `verify(bytes, mirror)` accepts
    /// one. Sleeps. Fails with what `verify` said of the last copy, or with what reading gave.
    fn read(&self, at: Logical, verify: &dyn Fn(&[u8], u32) -> Result) -> Result<BlockBuf>;

    /// Whether headers of tree blocks may have the UUID `fsid`: it is the metadata UUID, or that of
    /// a seed.
    fn is_own(&self, fsid: Uuid) -> bool;

    /// Writes a line to the kernel log, in the name of the filesystem.
    fn report(&self, severity: Severity, message: fmt::Arguments<'_>);
}

/// Number of shards; a power of two.
const SHARDS: usize = 16;

/// Slots of a shard that one call of the eviction looks at, at most.
const EVICT_STEPS: usize = 256;

type Shard = Pin<KBox<SpinLock<Table>>>;

/// The cache of a filesystem's tree blocks.
pub(crate) struct TreeCache {
    source: Arc<dyn BlockSource>,
    verifier: Verifier,
    shards: KVec<Shard>,
    /// Bytes and number of the blocks that the shards know.
    cached: Atomic<usize>,
    cached_blocks: Atomic<usize>,
    /// Bytes beyond which reading a block evicts others.
    limit: usize,
    /// The shard that is next to give memory back.
    next_victim: Atomic<usize>,
    usage: Arc<Usage>,
}

/// What a look into the index says.
enum Found {
    Ready(BlockRef),
    Loading(Arc<Load>),
    Missing(Ticket),
}

/// The duty to read a block; others wait for it.
///
/// Dropping it makes those who wait read the block themselves.
pub(super) struct Ticket {
    cache: Arc<TreeCache>,
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
        if let Some(shard) = self.cache.shard(self.id) {
            let mut table = shard.lock();
            match &result {
                // The entry exists, so there is no insertion that could lack room.
                Ok(block) => drop(table.set(self.id, State::Ready(block.clone()))),
                Err(_) => table.remove(self.id),
            }
        }
        if let Ok(block) = &result {
            self.cache.charge(block.size());
        }
        load.finish(result);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Err(EAGAIN));
    }
}

impl TreeCache {
    /// An empty cache that reads from `source`, checks with `verifier`, and keeps up to `limit`
    /// bytes.
    pub(crate) fn new(
        source: Arc<dyn BlockSource>,
        verifier: Verifier,
        limit: usize,
    ) -> Result<Arc<Self>> {
        let mut shards = KVec::with_capacity(SHARDS, GFP_KERNEL)?;
        for _ in 0..SHARDS {
            let shard = KBox::pin_init(new_spinlock!(Table::new(), "btrfs-tree"), GFP_KERNEL)?;
            shards.push(shard, GFP_KERNEL)?;
        }
        let cache = Self {
            source,
            verifier,
            shards,
            cached: Atomic::new(0),
            cached_blocks: Atomic::new(0),
            limit,
            next_victim: Atomic::new(0),
            usage: Arc::new(Usage::new(), GFP_KERNEL)?,
        };
        Ok(Arc::new(cache, GFP_KERNEL)?)
    }

    /// The memory of the blocks that are alive, cached or held by someone.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Bytes of the blocks in the cache.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached.load(Relaxed)
    }

    /// What blocks are checked against.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Where blocks come from.
    pub(crate) fn source(&self) -> &Arc<dyn BlockSource> {
        &self.source
    }

    /// The block that `expect` describes, from the cache or read now.
    ///
    /// Sleeps. Fails with `EIO` or `EUCLEAN` when there is no good copy, or `ENOMEM`.
    pub(crate) fn get(self: &Arc<Self>, expect: &Expect) -> Result<BlockRef> {
        let block = loop {
            match self.look(expect)? {
                Found::Ready(block) => break block,
                Found::Missing(ticket) => return self.read(expect, ticket),
                Found::Loading(load) => match load.wait() {
                    // A readahead that did not take place.
                    Err(error) if error == EAGAIN => {}
                    result => break result?,
                },
            }
        };
        // The one who read it may have expected something else.
        verify::matches(&block, expect).inspect_err(|&_error| {
            self.report_mismatch(&block, expect);
        })?;
        Ok(block)
    }

    /// The child at `slot` of `parent`, whose keys must be below `upper`; it is linked.
    ///
    /// Errors are those of [`Self::get`], and `EUCLEAN` when parent and child do not fit.
    pub(super) fn child(
        self: &Arc<Self>,
        parent: &BlockRef,
        slot: usize,
        tree: TreeId,
        upper: Option<Key>,
    ) -> Result<BlockRef> {
        let expect = parent.expect(slot, Some(tree)).ok_or(EUCLEAN)?;
        parent.readahead.visit(self, parent, slot, tree);
        let child = self.get(&expect)?;
        verify::below(&child, upper).inspect_err(|&_error| {
            self.source.report(
                Severity::Critical,
                format_args!(
                    "corrupt {}: root={} block={} slot={}, bad key order, last key of the block \
                     is not below the next key of its parent block={}",
                    verify::kind(child.level()),
                    child.owner(),
                    child.logical(),
                    child.nritems().saturating_sub(1),
                    parent.logical(),
                ),
            );
        })?;
        self.link(parent, slot, &child);
        Ok(child)
    }

    /// Links `child` into `parent` if it is still cached.
    ///
    /// A linked block must be in the index, because the eviction cuts links from there.
    fn link(&self, parent: &BlockRef, slot: usize, child: &BlockRef) {
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

    fn shard(&self, id: BlockId) -> Option<&Shard> {
        // The top bits: the table uses the low ones.
        let shard = usize::try_from(id.hash() >> 60).unwrap_or(0) % SHARDS;
        self.shards.get(shard)
    }

    /// Looks the block up, or takes the duty to read it.
    fn look(self: &Arc<Self>, expect: &Expect) -> Result<Found> {
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
                let cache = self.clone();
                drop(table);
                return Ok(Found::Missing(Ticket {
                    cache,
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

    /// The duty to read the block, unless it is cached or being read already.
    pub(super) fn ticket(self: &Arc<Self>, expect: &Expect) -> Option<Ticket> {
        match self.look(expect) {
            Ok(Found::Missing(ticket)) => Some(ticket),
            _ => None,
        }
    }

    /// Begins to read the block, unless it is cached or being read already.
    pub(super) fn prefetch(self: &Arc<Self>, expect: Expect) {
        if let Some(ticket) = self.ticket(&expect) {
            // Without memory for it, whoever needs the block reads it.
            let _ = readahead::read_in_background(expect, ticket, self.clone());
        }
    }

    /// Reads the block and files it.
    pub(super) fn read(&self, expect: &Expect, ticket: Ticket) -> Result<BlockRef> {
        let result = self.read_block(expect);
        ticket.finish(result.clone());
        if self.cached.load(Relaxed) > self.limit {
            self.evict(self.limit / 64);
        }
        result
    }

    fn read_block(&self, expect: &Expect) -> Result<BlockRef> {
        let check =
            |bytes: &[u8], mirror: u32| self.verifier.check(&*self.source, bytes, mirror, expect);
        let buf = match self.source.read(expect.logical, &check) {
            // Means something else to those who wait.
            Err(error) if error == EAGAIN => return Err(EIO),
            result => result?,
        };
        let block = TreeBlock::new(buf, self.usage.clone())?;
        Ok(BlockRef::new(block, GFP_KERNEL)?)
    }

    fn charge(&self, bytes: usize) {
        self.cached.add(bytes, Relaxed);
        self.cached_blocks.add(1usize, Relaxed);
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

    fn report_mismatch(&self, block: &BlockRef, expect: &Expect) {
        self.source.report(
            Severity::Error,
            format_args!(
                "tree block {} does not fit its parent: level {} owner {}, wanted level {} in \
                 root {}",
                block.logical(),
                block.level(),
                block.owner(),
                expect.level,
                expect.tree.unwrap_or(TreeId(0)),
            ),
        );
    }
}

impl Shrink for TreeCache {
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

impl Drop for TreeCache {
    fn drop(&mut self) {
        self.shards.clear();
        // What was freed has left memory when the filesystem is gone.
        rcu::barrier();
    }
}
