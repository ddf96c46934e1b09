// SPDX-License-Identifier: GPL-2.0

//! Space: block groups, what is free in them, and who may have it.
//!
//! * [`BlockGroup`] is a block group in memory; [`extent_map`] has its free ranges, which [`fill`]
//!   reads when they are first needed.
//! * [`Info`] adds up the groups of a kind; [`Counters`] are the sums, and the rule that makes
//!   promises good.
//! * [`chunk`] makes block groups and removes them.
//! * [`reserve`] promises space, [`ladder`] does what there is to do before that fails; [`alloc`] gives it away, as [`policy`] says where; [`commit`]
//!   follows what commits make of it.
//! * [`Summary`] is how the space is used, for whoever asks; [`statfs`] turns it into what
//!   `statfs(2)` reports.
//!
//! # Invariants
//!
//! * A byte of a group is free (and in its map, once that is loaded), reserved, used, pinned,
//!   excluded for a superblock, or lost; [`info`] has the way through these.
//! * What a commit may write is free in the last committed state, and in all older ones that
//!   somebody still reads.
//! * Free space of a group is read before anything in it changes.
//! * Nothing is allocated for a commit from a group that a later transaction made.
//!
//! # Locks
//!
//! Turn to make room (mutex) -> making of groups (mutex, starts transaction handles) -> group table (mutex, for changes) -> discarding (mutex, waits for devices) -> loading of a group (mutex, reads tree blocks) -> group
//! (mutex) -> counters (spinlock). Under the last two nothing is read, and nothing is allocated
//! that could make memory be reclaimed. Who reserves holds none of them, no transaction handle, and
//! no view of a tree, because what it sees cannot become free. Commits and writeback wait for
//! discarding, so that waits for neither, nor for memory that they give back.
//!
//! # Bounds
//!
//! Free ranges take up to 24 bytes each, of loaded groups only. One allocation of data reads the
//! free space of at most [`policy::LOADS`] groups, unless it has found nothing at all by then.

#![forbid(unsafe_code)]

pub(crate) mod alloc;
mod check;
pub(crate) mod chunk;
pub(crate) mod commit;
mod discard;
mod discard_async;
mod dump;
pub(crate) mod extent_map;
mod fill;
pub(crate) mod group;
pub(crate) mod info;
mod ladder;
pub(crate) mod load;
pub(crate) mod policy;
mod rebuild;
pub(crate) mod reserve;
pub(crate) mod statfs;
pub(crate) mod summary;
pub(crate) mod table;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

pub(crate) use chunk::{ChunkSink, Spare};
pub(crate) use group::BlockGroup;
pub(crate) use info::{Info, Kind};
pub(crate) use ladder::Flusher;
pub(crate) use reserve::{DataReservation, MetaReservation, Urgency};
pub(crate) use summary::Summary;
pub(crate) use table::GroupTable;

use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::superblock::CompatRo;
use btrfs_format::types::Logical;
use group::{Inner, Loaded};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_mutex, new_spinlock, Arc, Mutex, SpinLock};
use kfs::arc_cell::ArcCell;
use kfs::mem::until_memory;

use crate::tree::Roots;
use crate::volume::Volume;

/// How large the global reserve should be for the trees that the commit keeps, bytes; see
/// [`statfs::global_reserve`].
pub(crate) fn wanted_reserve(volume: &Volume, roots: &Roots, free_space_tree: bool) -> u64 {
    let standard = roots.standard();
    let free_space = roots.free_space();
    let trees = [
        standard.extent.as_ref(),
        standard.csum.as_ref(),
        free_space.as_ref(),
        standard.block_group.as_ref(),
    ];
    let mut used = [0; 4];
    let mut count = 0;
    for (slot, tree) in used.iter_mut().zip(trees.into_iter().flatten()) {
        *slot = tree.item().bytes_used.get();
        count += 1;
    }
    statfs::global_reserve(
        volume.geometry().nodesize,
        used.get(..count).unwrap_or_default(),
        free_space_tree,
    )
}

/// A range of logical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// First address.
    pub(crate) logical: Logical,
    /// Length in bytes.
    pub(crate) len: u64,
}

/// What mount options say of space.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Settings {
    /// Devices have no seek cost: larger free ranges are preferred to near ones.
    pub(crate) ssd: bool,
    /// And still larger ones, that begin at round addresses.
    pub(crate) ssd_spread: bool,
    /// What becomes free is discarded at once.
    pub(crate) discard_sync: bool,
    /// It is discarded later.
    pub(crate) discard_async: bool,
    /// A chunk of metadata is made after this many of data; 0 is off.
    pub(crate) metadata_ratio: u32,
    /// What there is, is logged when it is not enough.
    pub(crate) enospc_debug: bool,
}

/// All space of a file system.
#[pin_data]
pub(crate) struct Space {
    volume: Arc<Volume>,
    roots: Arc<Roots>,
    sectorsize: u64,
    nodesize: u64,
    /// One per kind of block group.
    infos: KVec<Arc<Info>>,
    table: ArcCell<GroupTable>,
    /// What the free space tree says is used; not while it is made anew.
    trusts_free_space: Atomic<bool>,
    /// Guards changes of the table.
    #[pin]
    changing: Mutex<()>,
    #[pin]
    flusher: SpinLock<Option<Arc<dyn Flusher>>>,
    #[pin]
    sink: SpinLock<Option<Arc<dyn ChunkSink>>>,
    /// Makes block groups come and go one after the other.
    #[pin]
    growing: Mutex<()>,
    /// Chunks of data made so far.
    data_chunks: Atomic<u64>,
    #[pin]
    settings: SpinLock<Settings>,
    #[pin]
    discards: discard_async::Discards,
    /// Held while a range is out of its group's map to be discarded.
    #[pin]
    discarding: Mutex<()>,
    /// The transaction whose commit allocates tree blocks, or will when it is frozen; 0 if there
    /// is none.
    committing: Atomic<u64>,
    /// By how much promises of tree blocks may exceed what there is, bytes.
    overcommit: Atomic<u64>,
    coming: ladder::Coming,
}

impl Space {
    /// Reads the block groups of a file system.
    ///
    /// `guess`: where they cannot be read, take all chunks for full. `reserve` bytes of tree
    /// blocks are held back ([`statfs::global_reserve`]).
    pub(crate) fn open(
        volume: &Arc<Volume>,
        roots: &Arc<Roots>,
        guess: bool,
        reserve: u64,
        settings: Settings,
    ) -> Result<Arc<Self>> {
        let found = load::find(volume, roots, guess)?;
        let geometry = volume.geometry();
        let space = Arc::pin_init(
            pin_init!(Self {
                volume: volume.clone(),
                roots: roots.clone(),
                sectorsize: u64::from(geometry.sectorsize),
                nodesize: u64::from(geometry.nodesize),
                infos: found.infos,
                table: ArcCell::new(),
                trusts_free_space: Atomic::new(true),
                changing <- new_mutex!((), "btrfs-groups"),
                flusher <- new_spinlock!(None, "btrfs-flusher"),
                sink <- new_spinlock!(None, "btrfs-chunk-sink"),
                growing <- new_mutex!((), "btrfs-chunks"),
                data_chunks: Atomic::new(0),
                settings <- new_spinlock!(settings, "btrfs-space-settings"),
                discards <- discard_async::Discards::new(),
                discarding <- new_mutex!((), "btrfs-discarding"),
                committing: Atomic::new(0),
                overcommit: Atomic::new(0),
                coming: ladder::Coming::new(),
            }),
            GFP_KERNEL,
        )?;
        space.table.replace(Some(found.table));
        space.info(Kind::Metadata)?.with(|counters| {
            counters.set_reserve(reserve, true);
        });
        Ok(space)
    }

    /// The sums over the groups from which `kind` is allocated.
    pub(crate) fn info(&self, kind: Kind) -> Result<&Arc<Info>> {
        let wanted = match kind {
            Kind::System => BlockGroupFlags::SYSTEM,
            Kind::Metadata => BlockGroupFlags::METADATA,
            Kind::Data => BlockGroupFlags::DATA,
        };
        let mut infos = self.infos.iter();
        infos.find(|info| info.types.contains(wanted)).ok_or(EINVAL)
    }

    /// All sums, one per kind of block group.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &Arc<Info>> {
        self.infos.iter()
    }

    /// The block groups as they are now.
    pub(crate) fn table(&self) -> Result<Arc<GroupTable>> {
        self.table.load().ok_or(EINVAL)
    }

    /// The block group that holds a range, and the sums it is in.
    fn group_of(&self, start: Logical, len: u64) -> Option<(Arc<Info>, Arc<BlockGroup>)> {
        let at = start.get();
        let found = self.table.with(|table| table.get(at).cloned()).flatten();
        let group = found.filter(|group| group.contains(at, len));
        let Some(group) = group else {
            self.volume
                .log()
                .error_limited(format_args!("no block group for start={start} len={len}"));
            return None;
        };
        let types = group.flags().types();
        let info = self.infos.iter().find(|info| info.types == types)?;
        Some((info.clone(), group))
    }

    /// Who makes room when there is none. `None` before the file system is torn down.
    pub(crate) fn set_flusher(&self, flusher: Option<Arc<dyn Flusher>>) {
        let old = core::mem::replace(&mut *self.flusher.lock(), flusher);
        drop(old);
    }

    fn flusher(&self) -> Option<Arc<dyn Flusher>> {
        self.flusher.lock().clone()
    }

    /// Mount options changed.
    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.lock() = settings;
        if !settings.discard_async {
            self.discards.clear();
        }
    }

    /// Sees to it that the free space of a group is known, or known to be unreadable. Waits for
    /// memory.
    fn load_group(&self, group: &BlockGroup) -> Result {
        let loaded = || group.with(|inner| inner.loaded != Loaded::No);
        if loaded() {
            return Ok(());
        }
        let _loading = group.loading.lock();
        if loaded() {
            return Ok(());
        }
        let map = until_memory(|| self.read_free_space(group));
        let types = group.flags().types();
        let info = self.infos.iter().find(|info| info.types == types);
        group.with(|inner| match map {
            Ok(map) => {
                inner.map = map;
                inner.loaded = Loaded::Yes;
            }
            Err(_) => {
                inner.loaded = Loaded::Failed;
                if let Some(info) = info {
                    self.retire(info, group, inner);
                }
            }
        });
        Ok(())
    }

    /// Reads the free space of a group from whichever tree has it.
    fn read_free_space(&self, group: &BlockGroup) -> Result<extent_map::ExtentMap> {
        let log = self.volume.log();
        let expected = group.with(|inner| group.unused(inner));
        let compat_ro = self.volume.superblock().compat_ro();
        let valid = CompatRo::FREE_SPACE_TREE.union(CompatRo::FREE_SPACE_TREE_VALID);
        let standard = self.roots.standard();
        let trusted = self.trusts_free_space.load(Relaxed) && compat_ro.contains(valid);
        if let Some(tree) = self.roots.free_space().filter(|_| trusted) {
            match fill::from_free_space(&tree.view(), group, self.sectorsize) {
                Ok(map) if map.free() == expected => return Ok(map),
                Err(error) if error == ENOMEM => return Err(error),
                _ => log.warn(format_args!(
                    "free space of block group {} is not as its item says, reading the extent tree",
                    group.start()
                )),
            }
        }
        let tree = standard.extent.as_ref().ok_or(ENOENT)?;
        let map = fill::from_extents(&tree.view(), group, self.nodesize)?;
        if map.free() == expected {
            return Ok(map);
        }
        log.error(format_args!(
            "block group {} has {} bytes free, but should have {expected}; nothing is allocated \
             from it",
            group.start(),
            map.free()
        ));
        Err(EUCLEAN)
    }

    /// For one more reason, nothing is allocated from a group.
    fn retire(&self, info: &Info, group: &BlockGroup, inner: &mut Inner) {
        inner.read_only = inner.read_only.saturating_add(1);
        if inner.read_only == 1 {
            let free = group.unused(inner);
            let unused = group.len().saturating_sub(inner.used);
            info.with(|counters| counters.retire(group.profile(), free, unused));
        }
    }

    /// One reason less that nothing is allocated from a group.
    fn revive(&self, info: &Info, group: &BlockGroup, inner: &mut Inner) {
        let left = inner.read_only.checked_sub(1);
        inner.read_only = left.unwrap_or(0);
        if left == Some(0) {
            let free = group.unused(inner);
            let unused = group.len().saturating_sub(inner.used);
            info.with(|counters| counters.revive(group.profile(), free, unused));
        }
    }

    /// Sets how large the global reserve should be, after a commit.
    pub(crate) fn set_global_reserve(&self, bytes: u64) {
        if let Ok(info) = self.info(Kind::Metadata) {
            info.with(|counters| counters.set_reserve(bytes, false));
        }
    }

    /// Size of the global reserve, and what it has, bytes.
    pub(crate) fn global_reserve(&self) -> (u64, u64) {
        let counters = self.info(Kind::Metadata).map(|info| info.counters());
        counters.map_or((0, 0), |c| (c.reserve_size, c.reserve))
    }

    /// How the space is used now.
    pub(crate) fn summary(&self) -> Result<Summary> {
        let mut summary = Summary::default();
        for info in self.infos.iter() {
            let info = summary::SpaceInfo::of(info.types, &info.counters())?;
            summary.infos.push(info, GFP_KERNEL)?;
        }
        Ok(summary)
    }
}
