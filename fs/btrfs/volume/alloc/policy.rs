// SPDX-License-Identifier: GPL-2.0

//! How large a new chunk is, and on how many devices: pure arithmetic.
//!
//! The numbers are those of the C module, so that file systems look alike whoever wrote them.

use btrfs_format::{
    chunk::{ChunkHeader, Stripe},
    key::{DiskKey, Key},
    profile::{BlockGroupFlags, RaidProfile},
    superblock::SYS_CHUNK_ARRAY_SIZE,
    types::STRIPE_LEN,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Stripes are no longer than this, bytes.
const MOST_STRIPE: u64 = GIB;
/// The unit to which stripes of chunks that would be too large are rounded up, bytes.
const STRIPE_UNIT: u64 = 16 * MIB;
/// File systems of more bytes have larger chunks for metadata.
const LARGE: u64 = 50 * GIB;

/// The bounds of a new chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    profile: RaidProfile,
    /// Most bytes of the chunk.
    most: u64,
    /// The hole that is looked for on each device, in bytes.
    pub(super) want: u64,
    /// The smallest hole that is of use, in bytes.
    pub(super) least: u64,
    most_devices: u64,
}

/// What a new chunk is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// How many devices, those with the largest holes.
    pub(super) devices: usize,
    /// Stripes on each of them.
    pub(super) dev_stripes: u16,
    /// Stripes on all of them.
    pub(super) num_stripes: u16,
    /// Length of each stripe in bytes.
    pub(super) stripe_len: u64,
    /// Length of the chunk in bytes.
    pub(super) len: u64,
}

/// The bounds of a chunk with these types and this profile; `None` if the flags make no sense.
///
/// `writable`: bytes of all devices that can be written.
pub(super) fn limits(flags: BlockGroupFlags, writable: u64, nodesize: u32) -> Option<Limits> {
    let profile = flags.profile()?;
    let numbers = profile.attributes();
    let system = flags.contains(BlockGroupFlags::SYSTEM);
    let most = if flags.contains(BlockGroupFlags::DATA) {
        10 * GIB
    } else if system {
        32 * MIB
    } else if !flags.contains(BlockGroupFlags::METADATA) {
        return None;
    } else if writable > LARGE {
        GIB
    } else {
        256 * MIB
    };
    let dev_stripes = u64::from(numbers.dev_stripes);
    let item = u64::from(nodesize).checked_sub(101 + 25)?;
    let mut most_devices = stripes_in(item, 1)?;
    if let Some(max) = numbers.devs_max {
        most_devices = u64::from(max);
    }
    if system {
        let array = u64::try_from(SYS_CHUNK_ARRAY_SIZE).ok()?;
        most_devices = most_devices.min(stripes_in(array, 2)?);
    }
    Some(Limits {
        profile,
        // Not more than a tenth of everything.
        most: most.min(writable.checked_div(10)?),
        want: most.min(MOST_STRIPE).checked_mul(dev_stripes)?,
        least: STRIPE_LEN.checked_mul(dev_stripes)?,
        most_devices,
    })
}

/// How many stripes the last of `chunks` chunks in `room` bytes may have, the others having one;
/// each has a key, where there is more than one.
fn stripes_in(room: u64, chunks: u64) -> Option<u64> {
    let stripe = u64::try_from(Stripe::SIZE).ok()?;
    let header = u64::try_from(ChunkHeader::SIZE).ok()?.checked_add(stripe)?;
    let key = match chunks {
        1 => 0,
        _ => u64::try_from(DiskKey::from(Key::default()).to_disk().len()).ok()?,
    };
    let fixed = header.checked_add(key)?.checked_mul(chunks)?;
    room.checked_sub(fixed)?.checked_div(stripe)?.checked_add(1)
}

/// Decides the size of a chunk. `holes` are the lengths of the devices' holes, largest first and
/// none below [`Limits::least`]. `None` if there are not enough of them.
pub(super) fn size(limits: &Limits, holes: &[u64]) -> Option<Size> {
    let numbers = limits.profile.attributes();
    let dev_stripes = u64::from(numbers.dev_stripes);
    let count = u64::try_from(holes.len()).ok()?;
    let increment = u64::from(numbers.devs_increment);
    let count = count.checked_sub(count.checked_rem(increment)?)?;
    if count < u64::from(numbers.devs_min) {
        return None;
    }
    let most = limits.most_devices;
    let devices = usize::try_from(count.min(most)).ok()?;
    let num_stripes = u64::try_from(devices).ok()?.checked_mul(dev_stripes)?;
    let num_stripes = u16::try_from(num_stripes).ok()?;
    let data = u64::from(limits.profile.data_stripes(num_stripes));
    let last = holes.get(devices.checked_sub(1)?)?;
    let mut stripe = last.checked_div(dev_stripes)?;
    if stripe.checked_mul(data)? > limits.most {
        let wanted = limits.most.checked_div(data)?;
        stripe = stripe.min(wanted.checked_next_multiple_of(STRIPE_UNIT)?);
    }
    stripe = stripe.min(MOST_STRIPE);
    stripe = stripe.checked_sub(stripe.checked_rem(STRIPE_LEN)?)?;
    if stripe == 0 {
        return None;
    }
    Some(Size {
        devices,
        dev_stripes: numbers.dev_stripes,
        num_stripes,
        stripe_len: stripe,
        len: stripe.checked_mul(data)?,
    })
}

#[cfg(CONFIG_KUNIT)]
#[kernel::prelude::kunit_tests(btrfs_chunk_policy)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    const DATA: BlockGroupFlags = BlockGroupFlags::DATA;
    const METADATA: BlockGroupFlags = BlockGroupFlags::METADATA;
    const SYSTEM: BlockGroupFlags = BlockGroupFlags::SYSTEM;

    /// Devices, stripes, MiB of a stripe, MiB of the chunk on empty devices of that many MiB.
    fn plan(flags: BlockGroupFlags, sizes: &[u64]) -> Option<(usize, u16, u64, u64)> {
        let writable: u64 = sizes.iter().sum();
        let limits = limits(flags, writable * MIB, 16384)?;
        let mut holes = [0; 8];
        for (hole, size) in holes.iter_mut().zip(sizes) {
            *hole = ((size - 1) * MIB).min(limits.want);
        }
        let size = size(&limits, holes.get(..sizes.len())?)?;
        let (stripe, len) = (size.stripe_len / MIB, size.len / MIB);
        Some((size.devices, size.num_stripes, stripe, len))
    }

    /// Chunks on devices that are empty but for what is never allocated.
    #[test]
    fn sizes() -> Result {
        assert_eq!(plan(DATA, &[1024]), Some((1, 1, 112, 112)));
        assert_eq!(plan(DATA, &[10240]), Some((1, 1, 1024, 1024)));
        assert_eq!(plan(DATA, &[102_400]), Some((1, 1, 1024, 1024)));
        assert_eq!(plan(METADATA, &[1024]), Some((1, 1, 112, 112)));
        assert_eq!(plan(METADATA, &[51200]), Some((1, 1, 256, 256)));
        assert_eq!(plan(METADATA, &[51201]), Some((1, 1, 1024, 1024)));
        let dup = BlockGroupFlags::DUP;
        assert_eq!(plan(METADATA | dup, &[10240]), Some((1, 2, 256, 256)));
        assert_eq!(plan(SYSTEM | dup, &[10240]), Some((1, 2, 32, 32)));
        let raid0 = BlockGroupFlags::RAID0;
        assert_eq!(
            plan(DATA | raid0, &[20480, 20480, 20480]),
            Some((3, 3, 1024, 3072))
        );
        assert_eq!(
            plan(DATA | raid0, &[1024, 1024, 1024]),
            Some((3, 3, 112, 336))
        );
        let raid1 = BlockGroupFlags::RAID1;
        assert_eq!(
            plan(DATA | raid1, &[2048, 2048, 2048]),
            Some((2, 2, 624, 624))
        );
        let raid10 = BlockGroupFlags::RAID10;
        assert_eq!(plan(DATA | raid10, &[4096; 5]), Some((4, 4, 1024, 2048)));
        let c3 = BlockGroupFlags::RAID1C3;
        assert_eq!(plan(METADATA | c3, &[4096; 4]), Some((3, 3, 256, 256)));
        Ok(())
    }

    /// What the C module made on new file systems, with `fallocate` and `balance -m`.
    #[test]
    fn measured() -> Result {
        assert_eq!(plan(DATA, &[1024]), Some((1, 1, 112, 112)));
        assert_eq!(plan(METADATA, &[1024]), Some((1, 1, 112, 112)));
        assert_eq!(plan(SYSTEM, &[1024]), Some((1, 1, 32, 32)));
        let raid0 = DATA | BlockGroupFlags::RAID0;
        assert_eq!(plan(raid0, &[3072, 2048, 1024]), Some((3, 3, 208, 624)));
        let raid1 = BlockGroupFlags::RAID1;
        let sizes = [3072, 2048, 1024];
        assert_eq!(plan(DATA | raid1, &sizes), Some((2, 2, 624, 624)));
        assert_eq!(plan(METADATA | raid1, &sizes), Some((2, 2, 256, 256)));
        assert_eq!(plan(SYSTEM | raid1, &sizes), Some((2, 2, 32, 32)));
        let raid10 = DATA | BlockGroupFlags::RAID10;
        assert_eq!(
            plan(raid10, &[3072, 3072, 2048, 1024]),
            Some((4, 4, 464, 928))
        );
        Ok(())
    }

    #[test]
    fn too_few() -> Result {
        assert_eq!(plan(DATA | BlockGroupFlags::RAID1, &[1024]), None);
        assert_eq!(plan(DATA | BlockGroupFlags::RAID1C4, &[1024; 3]), None);
        assert_eq!(plan(DATA, &[]), None);
        let limits = limits(DATA, 1 << 40, 16384).ok_or(EINVAL)?;
        // A small hole is better than nothing, down to one unit of striping.
        assert_eq!(
            size(&limits, &[STRIPE_LEN]).map(|s| s.len),
            Some(STRIPE_LEN)
        );
        assert_eq!(
            size(&limits, &[STRIPE_LEN + 4096]).map(|s| s.len),
            Some(STRIPE_LEN)
        );
        Ok(())
    }

    #[test]
    fn bounds() -> Result {
        let flags = SYSTEM | BlockGroupFlags::RAID0;
        let system = limits(flags, 1 << 40, 16384).ok_or(EINVAL)?;
        assert_eq!((system.most, system.most_devices), (32 * MIB, 58));
        let data = limits(DATA | BlockGroupFlags::RAID0, 1 << 40, 16384).ok_or(EINVAL)?;
        assert_eq!((data.want, data.most_devices), (GIB, 506));
        let dup = limits(METADATA | BlockGroupFlags::DUP, 1 << 40, 16384).ok_or(EINVAL)?;
        assert_eq!((dup.want, dup.least), (2 * GIB, 2 * STRIPE_LEN));
        assert!(limits(BlockGroupFlags::DUP, 1 << 40, 16384).is_none());
        assert!(limits(DATA | BlockGroupFlags::DUP | flags, 1 << 40, 16384).is_none());
        Ok(())
    }
}
