// SPDX-License-Identifier: GPL-2.0

//! An open file system: what ties volume, trees and options together.
//!
//! Layers below know nothing of [`Fs`]; those above take from it what they need.

use btrfs_format::device::DevExtent;
use btrfs_format::key::{item, Key};
use btrfs_format::superblock::{CompatRo, Incompat};
use btrfs_format::types::{DevId, Generation, Logical, Physical, TreeId};
use core::fmt;
use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    new_mutex, Arc, Mutex,
};
use kfs::block::{DevNum, Workers};

use super::data_options::DataOptions;
use super::options::{Flags, Options};
use super::{space_cache, writable};
use crate::data::autodefrag::Notes;
use crate::space::statfs::{self, Counts, DeviceSpace};
use crate::space::{Settings, Space, Summary};
use crate::subvol::{delete, path, uuid_scan, SubvolTable};
use crate::tree::{Roots, TreeView};
use crate::txn::Txn;
use crate::volume::{Log, Volume};

/// An open file system.
///
/// The order of the fields is that in which they go: devices are closed last.
#[pin_data]
pub(crate) struct Fs {
    #[pin]
    subvols: SubvolTable,
    roots: Arc<Roots>,
    txn: Arc<Txn>,
    space: Arc<Space>,
    #[pin]
    options: Mutex<Options>,
    #[pin]
    autodefrag: Notes,
    #[pin]
    workers: Mutex<Option<Workers>>,
    sector_size: u64,
    /// It was cut off.
    shut: Atomic<bool>,
    volume: Arc<Volume>,
}

/// The parts that [`Fs`] is put together from.
pub(super) struct Parts {
    pub(super) volume: Arc<Volume>,
    pub(super) roots: Arc<Roots>,
    pub(super) space: Arc<Space>,
    pub(super) options: Options,
}

impl Fs {
    /// Puts the parts together.
    pub(super) fn new(parts: Parts) -> Result<Arc<Self>> {
        let Parts {
            volume,
            roots,
            space,
            options,
        } = parts;
        let sector_size = u64::from(volume.geometry().sectorsize);
        let options = options.with_data(DataOptions::PLAIN);
        let txn = Txn::new(&volume, &roots, &space)?;
        Arc::pin_init(
            pin_init!(Self {
                subvols <- SubvolTable::new(roots.clone(), txn.clone()),
                roots,
                txn,
                space,
                options <- new_mutex!(options, "btrfs-options"),
                autodefrag <- Notes::new(),
                workers <- new_mutex!(None, "btrfs-workers"),
                sector_size,
                shut: Atomic::new(false),
                volume,
            }),
            GFP_KERNEL,
        )
    }

    /// The devices.
    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The trees.
    pub(crate) fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    /// The subvolumes in use.
    pub(crate) fn subvols(&self) -> &SubvolTable {
        &self.subvols
    }

    /// What is to be defragmented.
    pub(crate) fn autodefrag(&self) -> &Notes {
        &self.autodefrag
    }

    /// Log lines in the file system's name.
    pub(crate) fn log(&self) -> &Log {
        self.volume.log()
    }

    /// The sector size in bytes: the unit of data extents and checksums.
    pub(crate) fn sector_size(&self) -> u64 {
        self.sector_size
    }

    /// The options as they are now, but for those that are of a subvolume
    /// ([`Subvol::data_options`](crate::subvol::Subvol::data_options)).
    pub(crate) fn options(&self) -> Options {
        *self.options.lock()
    }

    /// Replaces the options.
    pub(super) fn set_options(&self, options: Options) {
        *self.options.lock() = options.with_data(DataOptions::PLAIN);
        if let Some(workers) = &*self.workers.lock() {
            workers.resize(options.thread_pool);
        }
        self.volume.set_barriers(!options.has(Flags::NOBARRIER));
        self.txn.set_interval(options.commit_interval);
        self.txn
            .set_flush_on_commit(options.has(Flags::FLUSHONCOMMIT));
        self.txn
            .set_panics(options.has(Flags::PANIC_ON_FATAL_ERROR));
        self.space.set_settings(space_settings(&options));
    }

    /// Gives it work queues of its own, as large as the options say; until then it used the module's.
    pub(crate) fn begin_workers(&self) -> Result {
        let workers = Workers::new(self.volume.lanes(), self.options().thread_pool)?;
        *self.workers.lock() = Some(workers);
        Ok(())
    }

    /// Ends them, and waits for what is queued.
    pub(crate) fn end_workers(&self) {
        let workers = self.workers.lock().take();
        drop(workers);
    }

    /// Forgets the options that only mean something while mounting.
    pub(crate) fn clear_one_shot_options(&self) {
        self.options.lock().clear_one_shot();
    }

    /// Begins to take changes, after a mount or remount for writing with these options.
    ///
    /// Fails, with a message, where the devices or what is on them forbid writing.
    pub(super) fn make_writable(&self, options: &Options) -> Result {
        writable::check(self, options)?;
        self.volume.set_barriers(!options.has(Flags::NOBARRIER));
        self.volume.set_writable()?;
        self.check_dev_extents()
            .inspect_err(|_| self.volume.set_read_only())?;
        self.space.reassess()?;
        self.roots.cache().verifier().set_writable(true);
        self.txn.set_interval(options.commit_interval);
        self.txn
            .set_flush_on_commit(options.has(Flags::FLUSHONCOMMIT));
        self.txn
            .set_panics(options.has(Flags::PANIC_ON_FATAL_ERROR));
        self.txn.begin()?;
        self.settle(options).inspect_err(|_| {
            // The reason was told.
            let _ = self.make_read_only();
        })
    }

    /// What has to be done before anybody else writes.
    fn settle(&self, options: &Options) -> Result {
        space_cache::settle(self, options)?;
        delete::resume(self);
        uuid_scan::settle(self, options.flags);
        writable::spoil_quotas(self)?;
        self.space.start_discards()
    }

    /// Checks that the device tree says of the devices what the chunks say: new chunks are put where
    /// there is none.
    fn check_dev_extents(&self) -> Result {
        let tree = self.roots.standard().device.clone().ok_or(EINVAL)?;
        let mut cursor = tree.view().seek(Key::new(1, item::DEV_EXTENT, 0))?;
        self.volume.check_dev_extents(|| {
            while let Some((key, data)) = cursor.item() {
                let extent = DevExtent::from_bytes(data).copied();
                cursor.next()?;
                if key.item_type == item::DEV_EXTENT {
                    let extent = extent.ok_or(EUCLEAN)?;
                    return Ok(Some((DevId(key.objectid), Physical(key.offset), extent)));
                }
            }
            Ok(None)
        })
    }

    /// Makes what was changed durable and takes no more changes.
    ///
    /// After a transaction was aborted there is nothing that could be made durable.
    pub(crate) fn make_read_only(&self) -> Result {
        let aborted = self.txn.is_aborted();
        let result = self.txn.end();
        self.space.stop_discards();
        if cfg!(debug_assertions) && result.is_ok() {
            self.space.check_quiet();
        }
        self.volume.set_read_only();
        self.roots.cache().verifier().set_writable(false);
        match aborted {
            true => Ok(()),
            false => result,
        }
    }

    /// The kernel took a device away. `Ok` if the file system goes on, as if mounted degraded.
    pub(crate) fn device_gone(&self, dev: DevNum) -> Result {
        self.volume.device_gone(dev)?;
        self.options.lock().flags.set(Flags::DEGRADED);
        Ok(())
    }

    /// `EIO` after the file system was cut off.
    pub(crate) fn check_usable(&self) -> Result {
        match self.shut.load(Relaxed) {
            true => Err(EIO),
            false => Ok(()),
        }
    }

    /// Cuts the file system off: nothing is written any more, what would change it fails, and so
    /// does reading files.
    pub(crate) fn shut_down(&self) {
        self.shut.store(true, Relaxed);
        self.log().error(format_args!("emergency shutdown"));
        self.txn.shut_down();
    }

    /// The transactions.
    pub(crate) fn txn(&self) -> &Arc<Txn> {
        &self.txn
    }

    /// Block groups, and what is free in them.
    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// How the space is used.
    pub(crate) fn summary(&self) -> Result<Summary> {
        self.space.summary()
    }

    /// Metadata space held back, bytes.
    pub(crate) fn global_reserve(&self) -> u64 {
        self.space.global_reserve().0
    }

    /// Whether it has the features `features`.
    pub(crate) fn has_compat_ro(&self, features: CompatRo) -> bool {
        self.volume.superblock().compat_ro().contains(features)
    }

    /// Whether it has the features `features`.
    pub(crate) fn has_incompat(&self, features: Incompat) -> bool {
        self.volume.superblock().incompat().contains(features)
    }

    /// Whether it has a free space cache of version 1 that is in use.
    pub(crate) fn has_space_cache_v1(&self) -> bool {
        has_space_cache_v1(&self.volume)
    }

    /// The last committed transaction.
    pub(crate) fn generation(&self) -> Generation {
        self.roots.generation()
    }

    /// The checksums of the `len` bytes from `address` on; `None` if they are not wanted.
    ///
    /// Where data should have a checksum and has none, that is logged, and zeroes stand for it:
    /// no read of it will succeed.
    ///
    /// `committed` is the checksum tree as of some time before the address was looked up: what it
    /// does not know may be younger.
    pub(crate) fn data_checksums(
        &self,
        address: Logical,
        len: u64,
        committed: Option<&TreeView>,
    ) -> Result<Option<KVVec<u8>>> {
        let Some(tree) = self.roots.standard().csum.as_ref() else {
            return Ok(None);
        };
        let geometry = self.volume.geometry();
        let (sector, size) = (self.sector_size, geometry.csum_type.size());
        let count = usize::try_from(len / sector)?;
        let bytes = count.checked_mul(size).ok_or(EINVAL)?;
        // What is not committed yet comes first: a commit may end meanwhile.
        let (mut fresh, mut known): (KVVec<u8>, KVec<Range<u64>>) = (KVVec::new(), KVec::new());
        if self.txn.has_fresh_csums() {
            fresh.resize(bytes, 0, GFP_KERNEL)?;
        }
        self.txn.csums(address, sector, size, &mut fresh, |range| {
            Ok(known.push(range, GFP_KERNEL)?)
        })?;
        let (start, end) = (address.get(), address.get().saturating_add(len));
        if matches!(known.as_slice(), [all] if all.start == start && all.end == end) {
            return Ok(Some(fresh));
        }
        let mut csums = match committed {
            Some(view) => view.csums_for(geometry, address, len)?,
            None => tree.view().csums_for(geometry, address, len)?,
        };
        let index = |at: u64| Some(usize::try_from((at - start) / sector).ok()? * size);
        if committed.is_some() && !csums.holes.is_empty() {
            let view = tree.view();
            let holes = core::mem::take(&mut csums.holes);
            for hole in holes {
                let found = view.csums_for(geometry, Logical(hole.start), hole.end - hole.start)?;
                let at = index(hole.start).ok_or(EINVAL)?;
                let target = csums.data.get_mut(at..at + found.data.len());
                target.ok_or(EINVAL)?.copy_from_slice(&found.data);
                for hole in found.holes {
                    csums.holes.push(hole, GFP_KERNEL)?;
                }
            }
        }
        for range in known.iter() {
            let (from, to) = (index(range.start), index(range.end));
            let range = from.ok_or(EINVAL)?..to.ok_or(EINVAL)?;
            let source = fresh.get(range.clone()).ok_or(EINVAL)?;
            let target = csums.data.get_mut(range).ok_or(EINVAL)?;
            target.copy_from_slice(source);
        }
        // Several extents that are new may lie side by side.
        let is_known = |hole: &Range<u64>| {
            let parts = known.iter().map(|range| {
                let (start, end) = (range.start.max(hole.start), range.end.min(hole.end));
                end.saturating_sub(start)
            });
            parts.sum::<u64>() >= hole.end.saturating_sub(hole.start)
        };
        for hole in csums.holes.iter().filter(|hole| !is_known(hole)) {
            self.log().warn_limited(format_args!(
                "csum hole found for disk bytenr range [{}, {})",
                hole.start, hole.end
            ));
        }
        Ok(Some(csums.data))
    }

    /// The path of subvolume `id` below the top-level subvolume, with a leading slash.
    pub(crate) fn subvol_path(&self, id: TreeId) -> Result<KVec<u8>> {
        path::of(self.roots.tree(), id, |id| {
            Ok(self.subvols.get(id)?.tree().clone())
        })
    }

    /// What `statfs` counts, in sectors.
    pub(crate) fn statfs(&self) -> Result<Counts> {
        let mut spaces = KVec::new();
        let mut writable = 0;
        let own = self.volume.identity().metadata_uuid;
        for device in self.volume.devices()?.iter() {
            writable += u64::from(device.is_writable());
            let state = device.state();
            // Nothing is allocated on seeds.
            if !device.in_metadata() || device.is_missing() || state.fsid != own {
                continue;
            }
            let space = DeviceSpace {
                total: state.total_bytes,
                allocated: state.bytes_used,
            };
            spaces.push(space, GFP_KERNEL)?;
        }
        let superblock = self.volume.superblock();
        Ok(statfs::counts(
            &self.summary()?,
            &mut spaces,
            writable,
            superblock.total_bytes.get(),
            self.global_reserve(),
            self.volume.geometry().sectorsize,
        ))
    }
}

/// What the options say of space.
pub(super) fn space_settings(options: &Options) -> Settings {
    Settings {
        ssd: options.has(Flags::SSD),
        ssd_spread: options.has(Flags::SSD_SPREAD),
        discard_sync: options.has(Flags::DISCARD_SYNC),
        discard_async: options.has(Flags::DISCARD_ASYNC),
        metadata_ratio: options.metadata_ratio,
        enospc_debug: options.has(Flags::ENOSPC_DEBUG),
    }
}

/// Whether a free space cache of version 1 is in use.
pub(super) fn has_space_cache_v1(volume: &Volume) -> bool {
    volume.superblock().cache_generation.get() != 0
}

/// Whether there is an option that forbids writing for good.
pub(super) fn is_rescue(options: &Options) -> bool {
    [
        Flags::NOLOGREPLAY,
        Flags::IGNOREBADROOTS,
        Flags::IGNOREDATACSUMS,
        Flags::IGNOREMETACSUMS,
        Flags::IGNORESUPERFLAGS,
        Flags::USEBACKUPROOT,
    ]
    .iter()
    .any(|flag| options.has(*flag))
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "btrfs on {}", self.log().name())
    }
}
