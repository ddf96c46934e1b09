// SPDX-License-Identifier: GPL-2.0

//! Opening a file system, stage by stage.
//!
//! Devices and superblock, chunks, roots, block groups: each stage needs what the one
//! before it found. When a stage fails, what was opened is closed by being dropped.

use btrfs_format::chunk::ChunkItem;
use btrfs_format::device::{parse_dev_stats, DevItem};
use btrfs_format::key::{item, Key};
use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::superblock::{CompatRo, Incompat};
use btrfs_format::types::{objectid, Logical, TreeId};
use core::fmt;
use kernel::prelude::*;
use kernel::sync::{atomic::Atomic, Arc};
use kfs::block::Holder;
use kfs::log::Level;

use super::fs::{self, Fs, Parts};
use super::options::{Flags, Loudness, Options, Report};
use super::show;
use super::source::Source;
use crate::space::{self, Space, Summary};
use crate::tree::{self, ChunkVisitor, RootOptions, Roots, TreeCache, Verifier};
use crate::volume::log::{ErrorName, State};
use crate::volume::registry::Found;
use crate::volume::{Log, OpenOptions, Volume};

/// Share of the machine's memory that tree blocks may take: one in this many bytes.
const CACHE_SHARE: usize = 4;

/// Sends what is said about options to the log of a file system.
pub(super) struct ToLog<'a>(pub(super) &'a Log);

impl Report for ToLog<'_> {
    fn report(&mut self, loudness: Loudness, message: fmt::Arguments<'_>) {
        let level = match loudness {
            Loudness::Info => Level::Info,
            Loudness::Warning => Level::Warning,
            Loudness::Error => Level::Error,
        };
        self.0.print(level, message);
    }
}

/// Opens the file system that `found` means, for reading and maybe for writing. Its devices are
/// claimed in the name of `holder`.
///
/// Messages about what is wrong go to the kernel log.
pub(crate) fn open(
    found: &Found,
    holder: Holder<'_>,
    mut options: Options,
    writable: bool,
) -> Result<Arc<Fs>> {
    let volume = Volume::open(
        found,
        holder,
        OpenOptions {
            writable,
            degraded: options.has(Flags::DEGRADED),
            ignore_super_flags: options.has(Flags::IGNORESUPERFLAGS),
            ignore_meta_csums: options.has(Flags::IGNOREMETACSUMS),
        },
    )?;
    let log = volume.log();
    let result = settle_options(&volume, &mut options, writable)
        .and_then(|()| open_trees(&volume, holder, &options))
        .and_then(|roots| finish(volume.clone(), roots, options))
        .and_then(|fs| match writable {
            true => fs.make_writable(&options).map(|()| fs),
            false => Ok(fs),
        });
    result.inspect_err(|e| {
        log.error(format_args!("open_ctree failed: {}", ErrorName(*e)));
    })
}

/// Completes the options with what the file system and its devices say, and checks them.
fn settle_options(volume: &Volume, options: &mut Options, writable: bool) -> Result {
    let superblock = volume.superblock();
    let log = volume.log();
    if let Some(csum) = superblock.csum_type() {
        log.info(format_args!("using {} checksum algorithm", csum.name()));
    }
    let compat_ro = superblock.compat_ro();
    let tree = compat_ro.contains(CompatRo::FREE_SPACE_TREE);
    let zoned = superblock.incompat().contains(Incompat::ZONED);
    let (mut rotating, mut discardable) = (false, false);
    for device in volume.devices()?.iter() {
        if let Some(bdev) = device.bdev() {
            rotating |= !bdev.is_non_rotational();
            discardable |= bdev.can_discard();
        }
    }
    log.set_state(State::Error, fs::is_rescue(options));
    options.adopt_devices(rotating, discardable, zoned);
    options.adopt_space_cache(tree, fs::has_space_cache_v1(volume));
    let group_tree = compat_ro.contains(CompatRo::BLOCK_GROUP_TREE);
    options.check(!writable, tree, group_tree, &mut ToLog(log))?;
    let sector = u64::from(volume.geometry().sectorsize);
    options.max_inline = options.max_inline.min(sector);
    Ok(())
}

/// Reads chunks and devices, and opens the trees.
fn open_trees(volume: &Arc<Volume>, holder: Holder<'_>, options: &Options) -> Result<Arc<Roots>> {
    let superblock = volume.superblock();
    let log = volume.log();
    let source = Source::of(volume.clone())?;
    let verifier = Verifier {
        geometry: *volume.geometry(),
        incompat: superblock.incompat(),
        generation: Atomic::new(superblock.generation().get()),
        fsid: superblock.metadata_uuid(),
        writable: Atomic::new(false),
        crc32c: kfs::csum::crc32c_raw,
        checksum: super::source::checksum,
        ignore_checksums: options.has(Flags::IGNOREMETACSUMS),
    };
    let limit = kfs::mem::total_ram() / CACHE_SHARE;
    let cache = TreeCache::new(source, verifier, limit)?;
    let chunk = Roots::open_chunk_tree(&cache, &superblock)?;
    tree::read_chunk_tree(&chunk.view(), &mut Members { volume, holder })
        .and_then(|()| volume.seal())
        .inspect_err(|e| {
            log.error(format_args!("failed to read chunk tree: {}", ErrorName(*e)));
        })?;
    let how = RootOptions {
        use_backup: options.has(Flags::USEBACKUPROOT),
        ignore_bad: options.has(Flags::IGNOREBADROOTS),
        ignore_data_csums: options.has(Flags::IGNOREDATACSUMS),
    };
    let roots = Roots::open(&cache, chunk, &superblock, how)?;
    log.set_state(State::NoDataCsums, roots.standard().csum.is_none());
    load_device_stats(volume, &roots)?;
    Ok(roots)
}

/// Tells a volume of the devices and chunks that the chunk tree names.
struct Members<'a> {
    volume: &'a Volume,
    holder: Holder<'a>,
}

impl ChunkVisitor for Members<'_> {
    fn device(&mut self, device: &DevItem) -> Result {
        self.volume.add_device(device, self.holder)
    }

    fn chunk(&mut self, start: Logical, chunk: &ChunkItem<'_>) -> Result {
        self.volume.add_chunk(start, chunk)
    }
}

/// Begins the devices' error counters with what was counted before.
fn load_device_stats(volume: &Volume, roots: &Roots) -> Result {
    let Some(tree) = roots.standard().device.as_ref() else {
        return volume.load_stats(|_| Ok(None));
    };
    volume.load_stats(|devid| {
        let key = Key::new(objectid::DEV_STATS, item::PERSISTENT_ITEM, devid.get());
        let found = tree.get(key)?;
        Ok(found.map(|data| parse_dev_stats(&data)))
    })
}

/// Reads the block groups, makes the [`Fs`], and says what is special about it.
fn finish(volume: Arc<Volume>, roots: Arc<Roots>, options: Options) -> Result<Arc<Fs>> {
    let log = volume.log();
    let reserve = global_reserve(&volume, &roots, &options);
    let guess = options.has(Flags::IGNOREBADROOTS);
    let settings = fs::space_settings(&options);
    let space = Space::open(&volume, &roots, guess, reserve, settings).inspect_err(|e| {
        log.error(format_args!(
            "failed to read block groups: {}",
            ErrorName(*e)
        ));
    })?;
    warn_of_raid56(log, &space.summary()?);
    if volume.superblock().log_root().is_some() && !options.has(Flags::NOLOGREPLAY) {
        log.warn(format_args!(
            "the log tree has changes that are not replayed by a read-only mount: files \
             may miss what was last fsynced"
        ));
    }
    let fs = Fs::new(Parts {
        volume,
        roots,
        space,
        options,
    })?;
    fs.subvols().get(TreeId::FS_TREE).inspect_err(|e| {
        fs.log()
            .error(format_args!("failed to read fs tree: {}", ErrorName(*e)));
    })?;
    show::announce(&options, None, &mut ToLog(fs.log()));
    Ok(fs)
}

fn warn_of_raid56(log: &Log, summary: &Summary) {
    let parity = summary.infos.iter().any(|info| {
        info.profiles
            .iter()
            .any(|p| BlockGroupFlags::RAID56_MASK.intersects(p.profile.flag()))
    });
    if parity {
        log.error(format_args!(
            "btrfs RAID5/6 is EXPERIMENTAL and has known data-loss bugs"
        ));
    }
}

/// See [`statfs::global_reserve`]; nothing where nothing can ever be written.
fn global_reserve(volume: &Volume, roots: &Roots, options: &Options) -> u64 {
    if fs::is_rescue(options) {
        return 0;
    }
    space::wanted_reserve(volume, roots, options.has(Flags::FREE_SPACE_TREE))
}
