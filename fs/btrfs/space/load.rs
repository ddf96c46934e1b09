// SPDX-License-Identifier: GPL-2.0

//! Reading the block groups when a file system is opened.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::superblock::{mirror_offset, Incompat};
use btrfs_format::types::{Logical, STRIPE_LEN};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::GFP_NOFAIL;

use super::extent_map::Extent;
use super::group::{BlockGroup, Parts};
use super::info::{Info, FROM_THE_START};
use super::summary::{self, kinds, tally};
use super::table::GroupTable;
use super::Range;
use crate::tree::{self, Roots};
use crate::volume::{Chunk, Volume};

/// Number of copies of the superblock on a device.
const COPIES: usize = 3;

/// What [`Space`](super::Space) begins with.
pub(super) struct Found {
    pub(super) infos: KVec<Arc<Info>>,
    pub(super) table: Arc<GroupTable>,
}

/// Reads all block groups and adds them up.
///
/// `guess`: where they cannot be read, take the chunks for full block groups. Otherwise
/// `EUCLEAN` if a chunk has no block group, or one of another type.
pub(super) fn find(volume: &Volume, roots: &Roots, guess: bool) -> Result<Found> {
    let table = volume.chunks().table().ok_or(EINVAL)?;
    let mut chunks = KVVec::new();
    for chunk in table.iter() {
        chunks.push((chunk.start(), chunk.len()), GFP_KERNEL)?;
    }
    let mut groups = KVVec::with_capacity(chunks.len(), GFP_KERNEL)?;
    let result = read(volume, roots, &chunks, &mut groups);
    if let Err(e) = result {
        if !guess {
            return Err(e);
        }
        groups.clear();
        for chunk in table.iter() {
            let group = describe(chunk, chunk.len(), chunk.flags())?;
            groups.push(group, GFP_KERNEL)?;
        }
    }
    assemble(volume, &groups)
}

/// Makes block groups in memory, and the sums over them.
fn assemble(volume: &Volume, groups: &[summary::BlockGroup]) -> Result<Found> {
    let devices = writable_devices(volume)?;
    let mixed = volume
        .superblock()
        .incompat()
        .contains(Incompat::MIXED_GROUPS);
    let mut infos = KVec::new();
    for &types in kinds(mixed) {
        let counters = tally(groups, types, devices);
        let info = Arc::pin_init(Info::new(types, counters), GFP_KERNEL)?;
        infos.push(info, GFP_KERNEL)?;
    }
    let mut list = KVVec::with_capacity(groups.len(), GFP_KERNEL)?;
    for group in groups {
        let types = group.flags.types();
        let info = infos.iter().find(|info| info.types == types);
        let next = info.ok_or(EUCLEAN)?.counters().next_profile(devices);
        let chunk = volume.chunks().get(group.start).ok_or(EUCLEAN)?;
        let parts = Parts {
            start: group.start,
            len: group.length,
            used: group.used,
            flags: group.flags,
            excluded: excluded(&chunk)?,
            retired: group.is_retired(next),
            born: FROM_THE_START,
        };
        list.push(
            Arc::pin_init(BlockGroup::new(parts), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
    }
    Ok(Found {
        infos,
        table: GroupTable::new(list)?,
    })
}

/// Number of devices that can be written.
pub(super) fn writable_devices(volume: &Volume) -> Result<u64> {
    let devices = volume.devices()?;
    let writable = devices.iter().filter(|device| device.is_writable()).count();
    Ok(u64::try_from(writable)?)
}

fn read(
    volume: &Volume,
    roots: &Roots,
    chunks: &[(Logical, u64)],
    groups: &mut KVVec<summary::BlockGroup>,
) -> Result {
    let tree = roots.block_group().ok_or(ENOENT)?;
    tree::read_block_groups(&tree.view(), chunks, |start, len, found| {
        let chunk = volume.chunks().get(start).ok_or(EUCLEAN)?;
        let Some(found) = found else {
            volume.log().error(format_args!(
                "chunk start={start} len={len} doesn't have corresponding block group"
            ));
            return Err(EUCLEAN);
        };
        let mask = BlockGroupFlags::TYPE_MASK.union(BlockGroupFlags::PROFILE_MASK);
        let (have, want) = (
            found.flags.intersection(mask),
            chunk.flags().intersection(mask),
        );
        if have != want {
            volume.log().error(format_args!(
                "block group start={start} len={len} flags={:#x} doesn't match with chunk \
                 start={start} len={len} flags={:#x}",
                have, want
            ));
            return Err(EUCLEAN);
        }
        groups.push(describe(&chunk, found.used, found.flags)?, GFP_KERNEL)?;
        Ok(())
    })
}

fn describe(chunk: &Chunk, used: u64, flags: BlockGroupFlags) -> Result<summary::BlockGroup> {
    let excluded = excluded(chunk)?;
    Ok(summary::BlockGroup {
        start: chunk.start(),
        length: chunk.len(),
        used,
        flags,
        reserved: excluded.iter().fold(0, |sum, e| sum + e.len),
        unwritable: is_unwritable(chunk),
    })
}

/// Whether a chunk is on a device that is there and cannot be written.
pub(super) fn is_unwritable(chunk: &Chunk) -> bool {
    let mut stripes = chunk.stripes().iter();
    stripes.any(|stripe| !stripe.device.is_missing() && !stripe.device.is_writable())
}

/// The addresses in a block group that are not used because superblocks are there, in units of
/// whole stripes; disjoint.
///
/// The format's rule: with parity, the whole row of stripes is left out.
pub(super) fn excluded(chunk: &Chunk) -> Result<KVec<Extent>> {
    let start = chunk.start().get();
    let end = start.saturating_add(chunk.len());
    let mut ranges: KVec<Extent> = KVec::new();
    let mut add = |at: u64, len: u64| -> Result {
        let len = len.min(end.saturating_sub(at));
        let range = Extent { start: at, len };
        if len > 0 && !ranges.contains(&range) {
            ranges.push(range, GFP_NOFAIL)?;
        }
        Ok(())
    };
    // Logical addresses below the first superblock are never used either.
    let first = mirror_offset(0).unwrap_or(0);
    add(start, first.saturating_sub(start))?;
    let shape = chunk.shape();
    let stripes = u64::from(shape.num_stripes);
    let sub_stripes = u64::from(shape.profile.attributes().sub_stripes).max(1);
    for copy in (0..COPIES).filter_map(mirror_offset) {
        for (number, stripe) in (0..).zip(chunk.stripes()) {
            let offset = copy.checked_sub(stripe.physical.get());
            let Some(offset) = offset.filter(|offset| *offset < chunk.stripe_len()) else {
                continue;
            };
            let (unit, within) = (offset / STRIPE_LEN, offset % STRIPE_LEN);
            let (unit, len) = match shape.profile {
                RaidProfile::Raid0 | RaidProfile::Raid10 => {
                    let row = unit.saturating_mul(stripes);
                    (row.saturating_add(number) / sub_stripes, STRIPE_LEN)
                }
                profile => {
                    let width = match profile {
                        RaidProfile::Raid5 | RaidProfile::Raid6 => {
                            u64::from(profile.data_stripes(shape.num_stripes))
                        }
                        _ => 1,
                    };
                    (unit, width.saturating_mul(STRIPE_LEN))
                }
            };
            let step = match shape.profile {
                RaidProfile::Raid0 | RaidProfile::Raid10 => STRIPE_LEN,
                _ => len,
            };
            let at = unit.saturating_mul(step).saturating_add(within);
            add(start.saturating_add(at), len)?;
        }
    }
    Ok(ranges)
}

/// What of a new chunk is free: all but the places of superblocks. In order, disjoint.
pub(super) fn free_ranges(chunk: &Chunk) -> Result<KVec<Range>> {
    let mut taken = excluded(chunk)?;
    taken.sort_unstable_by_key(|range| range.start);
    let mut ranges = KVec::new();
    let mut at = chunk.start().get();
    let end = at.saturating_add(chunk.len());
    let last = Extent { start: end, len: 0 };
    for range in Iterator::chain(taken.iter(), [&last]) {
        let len = range.start.saturating_sub(at);
        let logical = Logical(at);
        if len > 0 {
            ranges.push(Range { logical, len }, GFP_NOFAIL)?;
        }
        at = at.max(range.end());
    }
    Ok(ranges)
}
