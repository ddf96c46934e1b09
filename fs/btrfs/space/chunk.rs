// SPDX-License-Identifier: GPL-2.0

//! More block groups, and fewer.
//!
//! A block group is made when a reservation does not fit, and when a commit would have less room
//! for tree blocks than was promised. One at a time: whoever comes second finds that there is
//! enough. The [`ChunkSink`] makes the chunk, under a transaction handle of its own; then its
//! block group joins the others.
//!
//! Space that no chunk has is what tree blocks are overcommitted by; so data gets a chunk only
//! after the promises for tree blocks are good without it.
//!
//! An empty group goes when the space is wanted for another kind of group, or by the cleaner:
//! nothing is allocated from it any more, its items are deleted, and once that is durable the
//! volume may have its place on the devices.

use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::types::{Generation, Logical};
use kernel::prelude::*;
use kernel::sync::{atomic::ordering::Relaxed, Arc};
use kfs::mem::GFP_NOFAIL;

use super::group::{BlockGroup, Loaded, Parts};
use super::info::{Counters, Info, Kind};
use super::load;
use super::statfs::{self, DeviceSpace};
use super::summary::factor;
use super::{fill, Range, Space};

/// Makes and removes chunks; the transaction layer.
///
/// Called without locks of this layer but the one that makes chunks one after the other. So the
/// reservation of a handle must not wait for a chunk: [`Urgency::Completion`](super::Urgency).
pub(crate) trait ChunkSink: Send + Sync {
    /// Makes a chunk of these types and this profile: lets the volume plan it, puts its items into
    /// the trees, and adds it to the volume's. Returns where it begins, and the transaction whose
    /// commit has the items; that also writes the item of the block group and its free space.
    ///
    /// `ENOSPC` if the devices have no place for it.
    fn make(&self, flags: BlockGroupFlags) -> Result<(Logical, Generation)>;

    /// Deletes all items of an empty block group and its chunk. Once that is durable, the volume
    /// may have its place back, not before.
    fn remove(&self, group: &BlockGroup) -> Result;
}

/// Data chunks get no larger, bytes.
const LARGEST_DATA_CHUNK: u64 = 1 << 30;
/// Less than this is not promised beyond what there is, bytes.
const LEAST_OVERCOMMIT: u64 = 256 << 20;
/// A chunk of metadata is worth having early if less than this is free, bytes.
const SCARCE: u64 = 64 << 20;

/// Whether a chunk of metadata is worth having before it is needed, if `less` bytes were not there
/// of those that are free.
pub(super) fn is_scarce(counters: &Counters, less: u64) -> bool {
    let total = counters.total.saturating_sub(less);
    let full = counters.allocated().saturating_add(2 << 20) >= total / 10 * 8;
    full && counters.free().saturating_sub(less) < SCARCE.min(total)
}

/// Which empty groups are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spare {
    /// All but what the next commit would make again.
    Idle,
    /// Those too: somebody is out of space.
    All,
}

impl Space {
    /// Who puts chunks into the trees. `None` before the file system is torn down.
    pub(crate) fn set_chunk_sink(&self, sink: Option<Arc<dyn ChunkSink>>) {
        let old = core::mem::replace(&mut *self.sink.lock(), sink);
        drop(old);
        self.update_overcommit();
    }

    fn sink(&self) -> Option<Arc<dyn ChunkSink>> {
        self.sink.lock().clone()
    }

    /// Makes a block group for `kind` if `wanted` says so when nobody else makes one. Returns
    /// whether it is worth trying again: there is a new one.
    ///
    /// `Ok(false)` if there is no place for one.
    pub(super) fn grow(&self, kind: Kind, wanted: &dyn Fn(&Counters) -> bool) -> Result<bool> {
        let Some(sink) = self.sink() else {
            return Ok(false);
        };
        let _growing = self.growing.lock();
        let info = self.info(kind)?;
        if !wanted(&info.counters()) {
            return Ok(true);
        }
        let made = self
            .prepare_for(&*sink, kind)
            .and_then(|()| self.make_group(&*sink, info));
        match made {
            Ok(()) => Ok(true),
            Err(error) if error == ENOSPC => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the groups that one of `kind` needs, or would take the place of.
    fn prepare_for(&self, sink: &dyn ChunkSink, kind: Kind) -> Result {
        if kind != Kind::System {
            self.prepare_system(sink)?;
        }
        if kind == Kind::Data {
            let info = self.info(Kind::Metadata)?;
            let mixed = info.types.contains(BlockGroupFlags::DATA);
            let made = self.data_chunks.load(Relaxed).saturating_add(1);
            let ratio = u64::from(self.settings.lock().metadata_ratio);
            let due = ratio > 0 && made % ratio == 0;
            if !mixed && (due || info.with(|c| c.taken() > c.total)) {
                // If there is no place, there is none for data either.
                self.make_group(sink, info)?;
            }
            self.data_chunks.store(made, Relaxed);
        }
        Ok(())
    }

    /// The items of a chunk change the chunk tree, for whose blocks there must be room.
    fn prepare_system(&self, sink: &dyn ChunkSink) -> Result {
        let info = self.info(Kind::System)?;
        let level = u64::from(self.volume.superblock().chunk_root_level);
        let devices = load::writable_devices(&self.volume)?;
        // A path for each device's item and one for the chunk's, each copied and split.
        let paths = devices.saturating_add(1).saturating_mul(level + 2);
        let need = paths.saturating_mul(2).saturating_mul(self.nodesize);
        if info.counters().free() >= need {
            return Ok(());
        }
        match self.make_group(sink, info) {
            // What there is may do.
            Err(error) if error == ENOSPC && info.counters().free() > need / 2 => Ok(()),
            result => result,
        }
    }

    /// Makes a block group. `ENOSPC` if there is no place on the devices.
    fn make_group(&self, sink: &dyn ChunkSink, info: &Info) -> Result {
        let devices = load::writable_devices(&self.volume)?;
        let profile = info.counters().next_profile(devices);
        let (start, transid) = sink.make(info.types | profile.flag())?;
        let chunk = self.volume.chunks().get(start).ok_or(EUCLEAN)?;
        let parts = Parts {
            start,
            len: chunk.len(),
            used: 0,
            flags: chunk.flags(),
            excluded: load::excluded(&chunk)?,
            retired: false,
            born: transid,
        };
        let group = Arc::pin_init(BlockGroup::new(parts), GFP_NOFAIL)?;
        let map = fill::empty(&group)?;
        group.with(|inner| {
            inner.map = map;
            inner.loaded = Loaded::Yes;
        });
        self.add_group(info, &group)?;
        self.update_overcommit();
        info.wake();
        Ok(())
    }

    /// Lets a group that nobody knows yet join the others.
    fn add_group(&self, info: &Info, group: &Arc<BlockGroup>) -> Result {
        // Before others know it: what they use of it they count.
        let facts = group.facts(false);
        let _changing = self.changing.lock();
        let table = self.table()?.with(group)?;
        self.table.replace(Some(table));
        info.with(|counters| {
            counters.add_group(&facts);
            counters.refill();
        });
        Ok(())
    }

    /// Which devices can be written has changed: looks anew what may be allocated from.
    pub(crate) fn reassess(&self) -> Result {
        let _growing = self.growing.lock();
        let devices = load::writable_devices(&self.volume)?;
        for group in self.table()?.iter() {
            let types = group.flags().types();
            let info = self.infos.iter().find(|info| info.types == types);
            let info = info.ok_or(EUCLEAN)?;
            let chunk = self.volume.chunks().get(group.start()).ok_or(EUCLEAN)?;
            let facts = group.facts(load::is_unwritable(&chunk));
            let retired = facts.is_retired(info.counters().next_profile(devices));
            group.with(|inner| {
                match (inner.retired, retired) {
                    (false, true) => self.retire(info, group, inner),
                    (true, false) => self.revive(info, group, inner),
                    _ => {}
                }
                inner.retired = retired;
            });
        }
        for info in self.infos.iter() {
            info.with(|counters| counters.refill());
            info.wake();
        }
        self.update_overcommit();
        Ok(())
    }

    /// Sees to it that a commit finds `bytes` of free tree blocks: all that operations promised
    /// themselves, and what the bookkeeping takes. Makes block groups if it must.
    ///
    /// Called before the gate is closed. `ENOSPC` if there is no more.
    pub(crate) fn make_tree_room(&self, bytes: u64) -> Result {
        while self.tree_room() < bytes {
            if !self.grow(Kind::Metadata, &|counters| counters.free() < bytes)? {
                return Err(ENOSPC);
            }
        }
        let scarce = |counters: &Counters| is_scarce(counters, 0);
        let info = self.info(Kind::Metadata)?;
        if scarce(&info.counters()) && self.is_roomy(info)? {
            // Better now than when it is urgent, but not a must.
            self.grow(Kind::Metadata, &scarce)?;
        }
        Ok(())
    }

    /// Free bytes for tree blocks.
    pub(crate) fn tree_room(&self) -> u64 {
        let info = self.info(Kind::Metadata);
        info.map_or(0, |info| info.counters().free())
    }

    /// Whether much of the devices is in no chunk: ten chunks' worth.
    fn is_roomy(&self, info: &Info) -> Result<bool> {
        let total = self.volume.superblock().total_bytes.get();
        Ok(self.growable(info)? > total / 8)
    }

    /// Bytes that new block groups like those of `info` could have.
    pub(super) fn growable(&self, info: &Info) -> Result<u64> {
        let mut spaces = KVec::new();
        let mut devices = 0;
        for device in self.volume.devices()?.iter().filter(|d| d.is_writable()) {
            let state = device.state();
            devices += 1;
            let space = DeviceSpace {
                total: state.total_bytes,
                allocated: state.bytes_used,
            };
            spaces.push(space, GFP_NOFAIL)?;
        }
        let profile = info.counters().next_profile(devices);
        let copies = factor(profile).max(1);
        let stripes = statfs::unallocated(&mut spaces, profile);
        Ok(stripes / copies)
    }

    /// By how much tree blocks may be promised beyond what there is: an eighth of what new groups
    /// could have, one data chunk kept.
    fn update_overcommit(&self) {
        let limit = || -> Result<u64> {
            if self.sink.lock().is_none() {
                return Ok(0);
            }
            let info = self.info(Kind::Metadata)?;
            // Where data shares the groups, its promises must be good in full.
            if info.types.contains(BlockGroupFlags::DATA) {
                return Ok(0);
            }
            let total = self.volume.superblock().total_bytes.get();
            let chunk = LARGEST_DATA_CHUNK.min(total / 10);
            let limit = self.growable(info)?.saturating_sub(chunk) / 8;
            // What is promised beyond is made before a commit; little is not worth a chunk.
            Ok(if limit < LEAST_OVERCOMMIT { 0 } else { limit })
        };
        self.overcommit.store(limit().unwrap_or(0), Relaxed);
    }

    /// Takes empty block groups away, of each kind and profile all but one. Returns whether that is
    /// worth a commit: there were some, or the one that is running needs them.
    ///
    /// Their place on the devices is free after the next commit. Under the lock that makes groups
    /// one after the other; needs a handle for each.
    pub(crate) fn remove_empty(&self, which: Spare) -> Result<bool> {
        let Some(sink) = self.sink() else {
            return Ok(false);
        };
        let _growing = self.growing.lock();
        let table = self.table()?;
        let mut found = false;
        for group in table.iter() {
            let types = group.flags().types();
            let info = self.infos.iter().find(|info| info.types == types);
            let Some(info) = info else {
                continue;
            };
            if types == BlockGroupFlags::SYSTEM
                || info.counters().profile(group.profile()).groups < 2
            {
                continue;
            }
            if self.is_committed_to(info, group) {
                found |= group.used() == 0;
                continue;
            }
            if self.close_empty(info, group, which) {
                if let Err(error) = sink.remove(group) {
                    group.with(|inner| self.revive(info, group, inner));
                    return Err(error);
                }
                self.forget(info, group)?;
                found = true;
            }
        }
        self.update_overcommit();
        Ok(found)
    }

    /// Whether the commit that is running may need a group. The sums do not tell: they have younger
    /// groups too, which are not for its tree blocks.
    fn is_committed_to(&self, info: &Info, group: &BlockGroup) -> bool {
        let committing = self.committing.load(Relaxed);
        let metadata = info.types.contains(BlockGroupFlags::METADATA);
        metadata && committing > 0 && group.born().get() <= committing
    }

    /// Makes a group read-only if it is empty, and not needed for promises.
    fn close_empty(&self, info: &Info, group: &BlockGroup, which: Spare) -> bool {
        let ahead = which == Spare::Idle && info.types.contains(BlockGroupFlags::METADATA);
        group.with(|inner| {
            let busy = inner.used.saturating_add(inner.reserved);
            let busy = busy.saturating_add(inner.pinned).saturating_add(inner.lost);
            if busy > 0 || inner.read_only > 0 {
                return false;
            }
            inner.read_only = 1;
            let free = group.unused(inner);
            info.with(|counters| {
                let fits = counters.taken().saturating_add(free) <= counters.total
                    && !(ahead && is_scarce(counters, free));
                if fits {
                    counters.retire(group.profile(), free, group.len());
                }
                inner.read_only = u32::from(fits);
                fits
            })
        })
    }

    /// Takes a closed group out of the table.
    fn forget(&self, info: &Info, group: &BlockGroup) -> Result {
        self.discards.close(group.start());
        let _changing = self.changing.lock();
        let table = self.table()?.without(group.start().get())?;
        self.table.replace(Some(table));
        let facts = group.facts(false);
        info.with(|counters| counters.remove_group(&facts));
        Ok(())
    }

    /// What is free in a block group that has just been made: all but where superblocks are.
    pub(crate) fn free_of_new(&self, start: Logical) -> Result<KVec<Range>> {
        let chunk = self.volume.chunks().get(start).ok_or(EUCLEAN)?;
        load::free_ranges(&chunk)
    }
}
