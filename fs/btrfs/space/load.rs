// SPDX-License-Identifier: GPL-2.0

//! Reading the block groups when a file system is opened.

use btrfs_format::profile::BlockGroupFlags;
use btrfs_format::superblock::{mirror_offset, Incompat};
use btrfs_format::types::Logical;
use kernel::prelude::*;

use super::summary::{BlockGroup, Summary};
use crate::tree::{self, Roots};
use crate::volume::{Chunk, Volume};

/// Size of a stripe, which is what a copy of the superblock takes from a block group.
const STRIPE: u64 = 64 << 10;

/// Number of copies of the superblock on a device.
const COPIES: usize = 3;

/// Reads all block groups and adds them up.
///
/// `guess`: where they cannot be read, take the chunks for full block groups. Otherwise
/// `EUCLEAN` if a chunk has no block group, or one of another type.
pub(crate) fn summary(volume: &Volume, roots: &Roots, guess: bool) -> Result<Summary> {
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
            let group = describe(chunk, chunk.len(), chunk.flags());
            groups.push(group, GFP_KERNEL)?;
        }
    }
    let incompat = volume.superblock().incompat();
    let devices = volume.devices()?;
    let writable = devices.iter().filter(|device| device.is_writable()).count();
    Summary::new(
        &groups,
        incompat.contains(Incompat::MIXED_GROUPS),
        u64::try_from(writable)?,
    )
}

fn read(
    volume: &Volume,
    roots: &Roots,
    chunks: &[(Logical, u64)],
    groups: &mut KVVec<BlockGroup>,
) -> Result {
    let tree = roots.block_group().ok_or(ENOENT)?;
    tree::read_block_groups(tree.tree(), chunks, |start, len, found| {
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
        groups.push(describe(&chunk, found.used, found.flags), GFP_KERNEL)?;
        Ok(())
    })
}

fn describe(chunk: &Chunk, used: u64, flags: BlockGroupFlags) -> BlockGroup {
    BlockGroup {
        start: chunk.start(),
        length: chunk.len(),
        used,
        flags,
        reserved: reserved(chunk),
        unwritable: chunk
            .stripes()
            .iter()
            .any(|stripe| !stripe.device.is_missing() && !stripe.device.is_writable()),
    }
}

/// Bytes of a block group that are not used because superblocks are there, in units of
/// whole stripes.
fn reserved(chunk: &Chunk) -> u64 {
    let mut bytes = 0;
    for copy in (0..COPIES).filter_map(mirror_offset) {
        for stripe in chunk.stripes() {
            let start = stripe.physical.get();
            if start <= copy && copy - start < chunk.stripe_len() {
                bytes += STRIPE;
            }
        }
    }
    bytes
}
