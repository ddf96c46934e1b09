// SPDX-License-Identifier: GPL-2.0

//! What `statfs(2)` reports.
//!
//! The numbers are an estimate, and on purpose the same one as always: total and
//! used space divided by the copies of the data profile, and as available what the
//! data block groups have left plus what new data chunks could still be made of the
//! devices' unallocated space, found by playing the chunk allocator.

use btrfs_format::profile::{BlockGroupFlags, RaidProfile};
use btrfs_format::types::{TreeId, Uuid, STRIPE_LEN};
use core::cmp::Reverse;
use kernel::prelude::*;

use super::summary::{factor, Summary};

/// Space at the beginning of each device that is never allocated, bytes.
const DEVICE_RESERVED: u64 = 1 << 20;
/// The reserve never gets larger than this, bytes.
const MAX_RESERVE: u64 = 512 << 20;
/// Levels a change may touch at most, and both halves of a split.
const BLOCKS_PER_ITEM: u64 = 8 * 2;
/// Items that deleting a file changes.
const UNLINK_ITEMS: u64 = 6;

/// Space of one device.
#[derive(Clone, Copy)]
pub(crate) struct DeviceSpace {
    /// Size, bytes.
    pub(crate) total: u64,
    /// Bytes in chunks.
    pub(crate) allocated: u64,
}

/// Counts in units of the sector size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
}

/// Metadata space that is held back so that deleting works on a full file system,
/// bytes.
///
/// `used`: bytes of the extent, checksum, free space and block group trees, as far
/// as there are such; `free_space_tree`: the free space tree is kept up to date.
pub(crate) fn global_reserve(nodesize: u32, used: &[u64], free_space_tree: bool) -> u64 {
    let per_item = u64::from(nodesize) * BLOCKS_PER_ITEM;
    let sum = used
        .iter()
        .fold(0u64, |sum, used| sum.saturating_add(*used));
    let trees = u64::try_from(used.len()).unwrap_or(u64::MAX);
    let items = trees.saturating_add(1 + UNLINK_ITEMS);
    let references = UNLINK_ITEMS * if free_space_tree { 2 } else { 1 };
    let least = items.saturating_add(references).saturating_mul(per_item);
    sum.max(least).min(MAX_RESERVE)
}

/// Computes the counts. Of `devices`, `writable` can be written; `total` is the size of all devices by the superblock,
/// `reserve` is [`global_reserve`]; bytes.
pub(crate) fn counts(
    summary: &Summary,
    devices: &mut KVec<DeviceSpace>,
    writable: u64,
    total: u64,
    reserve: u64,
    sectorsize: u32,
) -> Counts {
    let mut copies = 1;
    let mut used = 0u64;
    let mut free_data = 0u64;
    let mut profile = RaidProfile::Single;
    for info in &summary.infos {
        // What is written counts, committed or not.
        let disk_used = info.disk_used.saturating_add(info.disk_reserved);
        used = used.saturating_add(disk_used);
        if info.types.contains(BlockGroupFlags::DATA) {
            let free = info.disk_total.saturating_sub(disk_used);
            free_data = free_data.saturating_add(free.saturating_sub(info.disk_readonly_free));
            copies = data_copies(|profile| info.has(profile));
            profile = info.next_profile(writable);
        }
    }
    let sector = u64::from(sectorsize).max(1);
    let blocks = total / copies / sector;
    let free = blocks
        .saturating_sub(used / copies / sector)
        .saturating_sub(reserve / sector);
    let new_chunks = unallocated(devices, profile);
    let available = (free_data / copies).saturating_add(new_chunks / copies) / sector;
    Counts {
        blocks,
        free,
        available,
    }
}

/// The factor of the last profile in use, in the order in which the format numbers
/// them internally.
fn data_copies(has: impl Fn(RaidProfile) -> bool) -> u64 {
    let last = RaidProfile::BY_INDEX
        .into_iter()
        .rev()
        .find(|profile| has(*profile));
    last.map_or(1, factor)
}

/// Bytes, all copies counted, that data chunks of `profile` could still get.
pub(super) fn unallocated(devices: &mut KVec<DeviceSpace>, profile: RaidProfile) -> u64 {
    let attributes = profile.attributes();
    let smallest = u64::from(attributes.dev_stripes) * STRIPE_LEN;
    // From here on `total` is what a device has to give.
    for device in devices.iter_mut() {
        let left = device.total.saturating_sub(device.allocated);
        let left = left - left % STRIPE_LEN;
        device.total = match left.checked_sub(DEVICE_RESERVED) {
            Some(left) if left > smallest => left,
            _ => 0,
        };
    }
    devices.retain(|device| device.total != 0);
    devices.sort_unstable_by_key(|device| Reverse(device.total));
    let mut count = devices.len();
    let mut stripes = match profile {
        RaidProfile::Raid0 => count.max(1),
        RaidProfile::Raid10 => 4,
        RaidProfile::Raid1 | RaidProfile::Raid1c3 | RaidProfile::Raid1c4 => {
            usize::from(attributes.ncopies)
        }
        _ => 1,
    };
    let mut sum = 0u64;
    while count >= usize::from(attributes.devs_min) && count > 0 {
        stripes = stripes.min(count);
        let Some(smallest_device) = devices.get(count - 1) else {
            break;
        };
        let size = smallest_device.total;
        if size >= smallest {
            sum = sum.saturating_add(size.saturating_mul(stripes as u64));
            for device in devices.iter_mut().take(count).skip(count - stripes) {
                device.total = device.total.saturating_sub(size);
            }
        }
        count -= 1;
    }
    sum
}

/// The file system id: the uuid folded to 64 bits, with the subvolume mixed in so
/// that each looks like a file system of its own. The two words of `f_fsid`.
pub(crate) fn fsid(uuid: Uuid, subvol: TreeId) -> [u32; 2] {
    let word = |at: usize| {
        let mut word = 0u32;
        for byte in uuid.get().iter().skip(at * 4).take(4) {
            word = word << 8 | u32::from(*byte);
        }
        word
    };
    let [high, low] = {
        let [a, b, c, d, e, f, g, h] = subvol.get().to_be_bytes();
        [
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        ]
    };
    [word(0) ^ word(2) ^ high, word(1) ^ word(3) ^ low]
}
