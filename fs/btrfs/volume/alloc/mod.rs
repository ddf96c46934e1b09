// SPDX-License-Identifier: GPL-2.0

//! New chunks and removed ones: which places on the devices they get and give back.
//!
//! Which ranges of each device are taken is kept in memory ([`Extents`]), from the chunks that a
//! mount has read; it exists as soon as the volume is to be written, and has what is planned but
//! not yet in any tree. The [`policy`] decides how large a chunk is.
//!
//! # Life of a chunk
//!
//! [`Volume::plan_chunk`] finds a place and returns a [`NewChunk`], which has the items for the
//! trees. [`Volume::add_new_chunk`] makes it usable; a plan that is dropped before that gives its
//! place back. [`Volume::retire_chunk`] says which items go, and [`Volume::remove_chunk`] gives the
//! place back, when that is durable.
//!
//! Device items have the bytes of all chunks that are planned and not retired. So whoever puts them
//! into the chunk tree plans, adds and puts under one lock, and within one transaction.
//!
//! # Locks
//!
//! The mutex of [`Allocation`] is taken after that of the list of devices is released, and before
//! devices' state.

mod chunk;
mod extents;
mod policy;

pub(crate) use chunk::{NewChunk, OldChunk};

use super::{chunk_map::ChunkStripe, device::Device, raid::Shape, Chunk, Volume};
use btrfs_format::{
    chunk::ChunkHeader,
    device::DevExtent,
    key::{item, DiskKey, Key},
    profile::BlockGroupFlags,
    superblock::{RESERVED_BYTES, SYS_CHUNK_ARRAY_SIZE},
    types::objectid,
    DevId, Logical, Physical,
};
use core::cmp::Reverse;
use extents::{Extents, Range};
use kernel::{prelude::*, sync::Arc};
use kfs::mem::{NoFs, GFP_NOFAIL};

/// What of the devices and of the address space is taken.
pub(super) struct Allocation {
    devices: KVec<DeviceSpace>,
    /// Where the next chunk begins: behind all that were ever there.
    next: Logical,
}

/// A device and what of it is taken.
struct DeviceSpace {
    device: Arc<Device>,
    extents: Extents,
}

/// A device that a chunk may be put on.
struct Candidate {
    /// Index in [`Allocation::devices`].
    index: usize,
    hole: Range,
    /// Bytes of the device that no chunk has.
    free: u64,
}

impl Allocation {
    pub(super) const fn new() -> Self {
        Self {
            devices: KVec::new(),
            next: Logical(0),
        }
    }

    fn space(&mut self, device: &Arc<Device>) -> Result<&mut DeviceSpace> {
        let at = self
            .devices
            .iter()
            .position(|space| Arc::ptr_eq(&space.device, device));
        let at = match at {
            Some(at) => at,
            None => {
                let space = DeviceSpace {
                    device: device.clone(),
                    extents: Extents::new(),
                };
                self.devices.push(space, GFP_NOFAIL)?;
                self.devices.len().saturating_sub(1)
            }
        };
        self.devices.get_mut(at).ok_or(EINVAL)
    }

    /// Takes the places of all stripes of a chunk, or of none.
    fn take(&mut self, chunk: &Chunk) -> Result {
        let len = chunk.stripe_len();
        for (index, stripe) in chunk.stripes().iter().enumerate() {
            let taken = self
                .space(&stripe.device)
                .and_then(|space| space.extents.insert(stripe.physical.get(), len));
            if let Err(error) = taken {
                self.give_back(chunk.stripes().get(..index).unwrap_or_default());
                return Err(error);
            }
        }
        let end = chunk.start().checked_add(chunk.len()).ok_or(EINVAL)?;
        self.next = self.next.max(end);
        Ok(())
    }

    fn give_back(&mut self, stripes: &[ChunkStripe]) {
        for stripe in stripes {
            if let Ok(space) = self.space(&stripe.device) {
                space.extents.remove(stripe.physical.get());
            }
        }
    }

    /// The devices that have room for a chunk, those with the largest holes first.
    fn candidates(&self, limits: &policy::Limits) -> Result<KVec<Candidate>> {
        let mut candidates = KVec::with_capacity(self.devices.len(), GFP_NOFAIL)?;
        for (index, space) in self.devices.iter().enumerate() {
            let device = &space.device;
            if device.bdev_for_write().is_none() || !device.in_metadata() {
                continue;
            }
            let state = device.state();
            let free = state.total_bytes.saturating_sub(state.bytes_used);
            let hole = space.extents.hole(state.total_bytes, limits.want);
            if free >= limits.least && hole.len >= limits.least {
                let candidate = Candidate { index, hole, free };
                candidates.push(candidate, GFP_NOFAIL)?;
            }
        }
        candidates.sort_unstable_by_key(|c| (Reverse(c.hole.len), Reverse(c.free), c.index));
        Ok(candidates)
    }
}

impl Volume {
    /// Learns what of the devices is taken, from the chunks. `EUCLEAN`, with a message, if two of
    /// them want the same.
    pub(super) fn load_allocation(&self) -> Result {
        let mut allocation = Allocation::new();
        for device in self.devices()?.iter() {
            allocation.space(device)?;
        }
        let table = self.chunks.table().ok_or(EINVAL)?;
        for chunk in table.iter() {
            allocation.take(chunk).inspect_err(|_| {
                self.log.error(format_args!(
                    "chunk {} overlaps another one on a device",
                    chunk.start()
                ));
            })?;
        }
        *self.allocation.lock() = allocation;
        Ok(())
    }

    /// Checks that the device tree and the chunk tree agree, before anything is allocated: `next`
    /// returns all device extents. `EUCLEAN`, with a message, if they do not.
    pub(crate) fn check_dev_extents(
        &self,
        mut next: impl FnMut() -> Result<Option<(DevId, Physical, DevExtent)>>,
    ) -> Result {
        let mut found: usize = 0;
        let allocation = self.allocation.lock();
        while let Some((devid, start, extent)) = next()? {
            let known = allocation
                .devices
                .iter()
                .filter(|space| space.device.devid() == devid)
                .find_map(|space| space.extents.get(start.get()));
            let chunk = self.chunks.get(extent.chunk());
            let named = chunk.as_ref().is_some_and(|chunk| {
                chunk.start() == extent.chunk()
                    && chunk
                        .stripes()
                        .iter()
                        .any(|stripe| stripe.device.devid() == devid && stripe.physical == start)
            });
            if known != Some(extent.length.get()) || !named {
                self.log.error(format_args!(
                    "dev extent physical offset {start} on devid {devid} doesn't have \
                     corresponding chunk"
                ));
                return Err(EUCLEAN);
            }
            found = found.saturating_add(1);
        }
        let all = allocation.devices.iter().map(|space| space.extents.len());
        if found != all.fold(0, usize::saturating_add) {
            self.log
                .error(format_args!("a chunk lacks some of its dev extents"));
            return Err(EUCLEAN);
        }
        Ok(())
    }

    /// Finds a place for a chunk of these types and this profile, and takes it.
    ///
    /// `ENOSPC` if not enough devices have room; `EFBIG` if there is no room for another system
    /// chunk in the superblock; `EOPNOTSUPP` for profiles with parity; `EINVAL` if the flags make
    /// no sense; `EROFS`, `ENOMEM`.
    pub(crate) fn plan_chunk(self: &Arc<Self>, flags: BlockGroupFlags) -> Result<NewChunk> {
        let _nofs = NoFs::enter();
        if !self.is_writable() {
            return Err(EROFS);
        }
        if flags.intersects(BlockGroupFlags::RAID56_MASK) {
            return Err(EOPNOTSUPP);
        }
        let profile = flags.profile().ok_or(EINVAL)?;
        let mut allocation = self.allocation.lock();
        let mut writable: u64 = 0;
        for space in allocation.devices.iter() {
            if space.device.bdev_for_write().is_some() {
                writable = writable.saturating_add(space.device.state().total_bytes);
            }
        }
        let limits = policy::limits(flags, writable, self.geometry.nodesize).ok_or(EINVAL)?;
        let candidates = allocation.candidates(&limits)?;
        let mut holes = KVec::with_capacity(candidates.len(), GFP_NOFAIL)?;
        for candidate in candidates.iter() {
            holes.push(candidate.hole.len, GFP_NOFAIL)?;
        }
        let size = policy::size(&limits, &holes).ok_or(ENOSPC)?;
        let shape = Shape {
            profile,
            num_stripes: size.num_stripes,
        };
        self.check_system_room(flags, size.num_stripes)?;
        let mut stripes = KVec::with_capacity(usize::from(size.num_stripes), GFP_NOFAIL)?;
        for candidate in candidates.iter().take(size.devices) {
            let space = allocation.devices.get(candidate.index).ok_or(EINVAL)?;
            let mut physical = Physical(candidate.hole.start);
            for _ in 0..size.dev_stripes {
                let stripe = ChunkStripe::new(space.device.clone(), physical);
                stripes.push(stripe, GFP_NOFAIL)?;
                physical = physical.checked_add(size.stripe_len).ok_or(ENOSPC)?;
            }
        }
        let chunk = Chunk::new(allocation.next, size.len, flags, shape, stripes)?;
        let item = chunk::chunk_item(&chunk, self.geometry.sectorsize)?;
        allocation.take(&chunk)?;
        drop(allocation);
        Ok(NewChunk::new(self.clone(), chunk, item))
    }

    /// Discards what no chunk has, but for copies of the superblock, until `stop` says so. Returns
    /// how many bytes that was.
    ///
    /// No chunk is made meanwhile: the lock is held for one discard at a time. `EINTR` if it was
    /// stopped; else the first error of a device, after all were asked.
    pub(crate) fn discard_unallocated(&self, stop: impl Fn() -> bool) -> Result<u64> {
        let mut bytes: u64 = 0;
        let mut result = Ok(());
        for device in self.devices()?.iter() {
            let bdev = device.bdev_for_write().filter(|bdev| bdev.can_discard());
            let Some(bdev) = bdev.filter(|_| self.is_writable() && device.in_metadata()) else {
                continue;
            };
            let mut at = RESERVED_BYTES;
            loop {
                if stop() {
                    return Err(EINTR);
                }
                let allocation = self.allocation.lock();
                let mut spaces = allocation.devices.iter();
                let space = spaces.find(|space| Arc::ptr_eq(&space.device, device));
                let size = device.state().total_bytes;
                let Some(hole) = space.and_then(|space| space.extents.hole_behind(at, size)) else {
                    break;
                };
                at = hole.start.saturating_add(hole.len);
                match bdev.discard(hole.start, hole.len) {
                    Ok(()) => bytes = bytes.saturating_add(hole.len),
                    Err(error) => {
                        result = result.and(Err(error));
                        break;
                    }
                }
            }
        }
        result.map(|()| bytes)
    }

    /// A system chunk has an entry in the superblock, where room is short.
    fn check_system_room(&self, flags: BlockGroupFlags, num_stripes: u16) -> Result {
        if !flags.contains(BlockGroupFlags::SYSTEM) {
            return Ok(());
        }
        let entry = |num_stripes| {
            let key = DiskKey::from(Key::default()).to_disk().len();
            ChunkHeader::item_size(num_stripes).saturating_add(key)
        };
        let mut size = entry(num_stripes);
        let table = self.chunks.table().ok_or(EINVAL)?;
        for chunk in table.iter() {
            if chunk.flags().contains(BlockGroupFlags::SYSTEM) {
                size = size.saturating_add(entry(chunk.shape().num_stripes));
            }
        }
        match size <= SYS_CHUNK_ARRAY_SIZE {
            true => Ok(()),
            false => Err(EFBIG),
        }
    }

    /// Makes a chunk that was planned usable, and adds the features that its profile stands for to
    /// the superblock.
    ///
    /// Whatever refers to it must be committed with its items or later. `ENOMEM`: the chunk is as it
    /// was.
    pub(crate) fn add_new_chunk(&self, new: &mut NewChunk) -> Result {
        let _nofs = NoFs::enter();
        self.add_incompat(new.features())?;
        let chunk = new.copy()?;
        let start = chunk.start();
        self.chunks.insert(chunk)?;
        self.chunks.publish().inspect_err(|_| {
            self.chunks.forget(start);
        })?;
        new.set_added();
        Ok(())
    }

    /// Begins to remove a chunk that nothing refers to any more: says which items go. Its place is
    /// taken until [`Volume::remove_chunk`]. `ENOENT` if no chunk begins there.
    pub(crate) fn retire_chunk(&self, start: Logical) -> Result<OldChunk> {
        let chunk = self
            .chunks
            .get(start)
            .filter(|chunk| chunk.start() == start);
        Ok(OldChunk::new(chunk.ok_or(ENOENT)?))
    }

    /// Removes a chunk and gives its place back, when it is durable that its items are gone.
    ///
    /// `ENOMEM`: the place stays taken until the next mount.
    pub(crate) fn remove_chunk(&self, old: OldChunk) -> Result {
        let _nofs = NoFs::enter();
        let chunk = old.into_chunk();
        self.chunks.forget(chunk.start());
        self.chunks.publish()?;
        self.allocation.lock().give_back(chunk.stripes());
        Ok(())
    }
}

/// The key of a chunk's item.
fn chunk_key(start: Logical) -> Key {
    Key::new(objectid::FIRST_CHUNK_TREE, item::CHUNK_ITEM, start.get())
}
