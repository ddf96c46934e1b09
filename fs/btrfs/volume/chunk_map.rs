// SPDX-License-Identifier: GPL-2.0

//! Where logical addresses are stored: the chunks of a file system, sorted by address.
//!
//! A look-up takes no lock: the chunks are a sorted array that is replaced, not changed.
//! While a file system is opened, chunks are collected aside and published together; the
//! system chunks come first, because the tree with all others is read through them.

use super::{
    device::Device,
    raid::{Route, Shape},
};
use btrfs_format::{profile::BlockGroupFlags, Logical, Physical};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{ordering::Relaxed, Atomic},
        Arc, Mutex,
    },
};
use kfs::arc_cell::ArcCell;
use kfs::mem::GFP_NOFAIL;

/// A stripe of a chunk: a range of a device.
pub(crate) struct ChunkStripe {
    /// The device, present or missing.
    pub(crate) device: Arc<Device>,
    /// Where on the device the stripe begins.
    pub(crate) physical: Physical,
    /// A write since the last flush arrived elsewhere, but not here.
    missed: Atomic<bool>,
    /// The commit that flushed last, or is under way, has such a write.
    stale: Atomic<bool>,
}

impl ChunkStripe {
    /// A stripe that has everything.
    pub(super) fn new(device: Arc<Device>, physical: Physical) -> Self {
        Self {
            device,
            physical,
            missed: Atomic::new(false),
            stale: Atomic::new(false),
        }
    }

    /// Notes that something of which there is another copy was not written here.
    pub(super) fn set_missed(&self) {
        self.missed.store(true, Relaxed);
    }

    /// A commit begins to flush: what is missed from here on belongs to the next one.
    fn begin_flush(&self) {
        let missed = self.missed.xchg(false, Relaxed);
        self.stale.store(missed, Relaxed);
    }

    /// Whether it may lack some of what the last commit wrote.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Relaxed) || self.missed.load(Relaxed) || self.device.is_lost()
    }
}

/// A range of logical addresses and where it is stored.
pub(crate) struct Chunk {
    start: Logical,
    len: u64,
    flags: BlockGroupFlags,
    shape: Shape,
    stripes: KVec<ChunkStripe>,
}

impl Chunk {
    /// Puts a chunk together. `EUCLEAN` unless the stripes are as many as the shape says and
    /// the range neither is empty nor passes the end of the address space.
    pub(super) fn new(
        start: Logical,
        len: u64,
        flags: BlockGroupFlags,
        shape: Shape,
        stripes: KVec<ChunkStripe>,
    ) -> Result<Self> {
        if len == 0
            || start.checked_add(len).is_none()
            || shape.num_stripes == 0
            || usize::from(shape.num_stripes) != stripes.len()
        {
            return Err(EUCLEAN);
        }
        Ok(Self {
            start,
            len,
            flags,
            shape,
            stripes,
        })
    }

    /// First logical address.
    pub(crate) fn start(&self) -> Logical {
        self.start
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Types and profile.
    pub(crate) fn flags(&self) -> BlockGroupFlags {
        self.flags
    }

    /// What the layout of the profile depends on.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The stripes, in the order of the chunk item.
    pub(crate) fn stripes(&self) -> &[ChunkStripe] {
        &self.stripes
    }

    /// Length of each stripe in bytes.
    pub(crate) fn stripe_len(&self) -> u64 {
        self.shape.stripe_len(self.len)
    }

    /// The number of ways in which any byte can be had.
    pub(crate) fn copies(&self) -> u16 {
        self.shape.copies()
    }

    /// Offset of an address in the chunk, and the number of bytes from there to its end.
    pub(crate) fn offset_of(&self, logical: Logical) -> Option<(u64, u64)> {
        let offset = logical.checked_sub(self.start)?;
        let rest = self.len.checked_sub(offset)?;
        (rest > 0).then_some((offset, rest))
    }

    /// Way number `copy` to get the bytes at `offset` of the chunk.
    pub(crate) fn route(&self, offset: u64, copy: u16) -> Option<Route> {
        self.shape.route(offset, copy)
    }

    /// A stripe by its index.
    pub(crate) fn stripe(&self, index: u16) -> Option<&ChunkStripe> {
        self.stripes.get(usize::from(index))
    }

    /// How many of the stripes' devices are missing or failed.
    pub(crate) fn lost(&self) -> usize {
        self.stripes
            .iter()
            .filter(|stripe| stripe.device.is_lost())
            .count()
    }

    /// Whether every byte that the commit wrote which flushes is in one copy at least that is
    /// neither lost nor stale.
    pub(super) fn is_complete(&self) -> bool {
        let stale = |stripe: &&ChunkStripe| stripe.stale.load(Relaxed) || stripe.device.is_lost();
        let copies = usize::from(self.shape.profile.attributes().ncopies);
        self.stripes.iter().filter(stale).count() < copies
    }

    /// See [`ChunkStripe::begin_flush`].
    pub(super) fn begin_flush(&self) {
        for stripe in self.stripes.iter() {
            stripe.begin_flush();
        }
    }
}

/// Chunks sorted by address, without overlap.
pub(crate) struct ChunkTable {
    chunks: KVVec<Arc<Chunk>>,
}

impl ChunkTable {
    /// The chunk that holds an address.
    pub(crate) fn get(&self, logical: Logical) -> Option<&Arc<Chunk>> {
        let behind = self.chunks.partition_point(|c| c.start <= logical);
        let chunk = self.chunks.get(behind.checked_sub(1)?)?;
        chunk.offset_of(logical).map(|_| chunk)
    }

    /// All chunks, in order of addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.chunks.iter()
    }
}

/// The chunks of a file system.
#[pin_data]
pub(crate) struct ChunkMap {
    published: ArcCell<ChunkTable>,
    /// What the next publication consists of; guards publications as well.
    #[pin]
    pending: Mutex<KVVec<Arc<Chunk>>>,
}

/// What became of a chunk that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is there now.
    New,
    /// One that begins with the same address was there before.
    Known,
}

impl ChunkMap {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            published: ArcCell::new(),
            pending <- new_mutex!(KVVec::new()),
        })
    }

    /// The chunk that holds an address; `None` if the address is in no chunk.
    pub(crate) fn get(&self, logical: Logical) -> Option<Arc<Chunk>> {
        self.published
            .with(|table| table.get(logical).cloned())
            .flatten()
    }

    /// The chunks as they are now. `None` before the first publication.
    pub(crate) fn table(&self) -> Option<Arc<ChunkTable>> {
        self.published.load()
    }

    /// Adds a chunk, to be found after [`ChunkMap::publish`].
    ///
    /// `EEXIST` if it overlaps another one.
    pub(super) fn insert(&self, chunk: Chunk) -> Result<Inserted> {
        let mut chunks = self.pending.lock();
        let at = chunks.partition_point(|c| c.start < chunk.start);
        if let Some(next) = chunks.get(at) {
            if next.start == chunk.start {
                return Ok(Inserted::Known);
            }
            if chunk.offset_of(next.start).is_some() {
                return Err(EEXIST);
            }
        }
        if let Some(previous) = at.checked_sub(1).and_then(|i| chunks.get(i)) {
            if previous.offset_of(chunk.start).is_some() {
                return Err(EEXIST);
            }
        }
        let chunk = Arc::new(chunk, GFP_NOFAIL)?;
        chunks.reserve(1, GFP_NOFAIL)?;
        chunks
            .insert_within_capacity(at, chunk)
            .map_err(|_| ENOMEM)?;
        Ok(Inserted::New)
    }

    /// Removes the chunk that begins at `start`; it is found until [`ChunkMap::publish`].
    pub(super) fn forget(&self, start: Logical) {
        self.pending.lock().retain(|chunk| chunk.start != start);
    }

    /// Makes everything that was inserted visible, and what was removed invisible.
    pub(super) fn publish(&self) -> Result {
        let pending = self.pending.lock();
        let mut chunks = KVVec::with_capacity(pending.len(), GFP_NOFAIL)?;
        for chunk in pending.iter() {
            chunks.push(chunk.clone(), GFP_NOFAIL)?;
        }
        let table = Arc::new(ChunkTable { chunks }, GFP_NOFAIL)?;
        self.published.replace(Some(table));
        Ok(())
    }
}

#[cfg(CONFIG_KUNIT)]
#[kernel::prelude::kunit_tests(btrfs_chunk_map)]
mod tests {
    use super::*;
    use btrfs_format::{DevId, RaidProfile, Uuid};

    fn chunk(start: u64, len: u64) -> Result<Chunk> {
        let shape = Shape {
            profile: RaidProfile::Single,
            num_stripes: 1,
        };
        let device = Device::new(DevId(1), Uuid::NIL, Uuid::NIL, None)?;
        let stripe = ChunkStripe::new(device, Physical(1 << 20));
        let mut stripes = KVec::new();
        stripes.push(stripe, GFP_KERNEL)?;
        Chunk::new(Logical(start), len, BlockGroupFlags::DATA, shape, stripes)
    }

    #[test]
    fn lookup() -> Result {
        let map = KBox::pin_init(ChunkMap::new(), GFP_KERNEL)?;
        assert_eq!(map.insert(chunk(100, 50)?)?, Inserted::New);
        assert_eq!(map.insert(chunk(10, 20)?)?, Inserted::New);
        assert!(map.get(Logical(10)).is_none());
        map.publish()?;
        let found = |at| map.get(Logical(at)).map(|chunk| chunk.start().get());
        assert_eq!(found(9), None);
        assert_eq!(found(10), Some(10));
        assert_eq!(found(29), Some(10));
        assert_eq!(found(30), None);
        assert_eq!(found(149), Some(100));
        assert_eq!(found(150), None);
        assert_eq!(found(u64::MAX), None);
        Ok(())
    }

    #[test]
    fn overlap() -> Result {
        let map = KBox::pin_init(ChunkMap::new(), GFP_KERNEL)?;
        assert_eq!(map.insert(chunk(100, 50)?)?, Inserted::New);
        assert_eq!(map.insert(chunk(100, 20)?)?, Inserted::Known);
        assert_eq!(map.insert(chunk(149, 2)?), Err(EEXIST));
        assert_eq!(map.insert(chunk(99, 2)?), Err(EEXIST));
        assert_eq!(map.insert(chunk(90, 100)?), Err(EEXIST));
        assert_eq!(map.insert(chunk(150, 2)?)?, Inserted::New);
        assert_eq!(map.insert(chunk(98, 2)?)?, Inserted::New);
        assert!(chunk(u64::MAX, 2).is_err());
        assert!(chunk(5, 0).is_err());
        Ok(())
    }
}
