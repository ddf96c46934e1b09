// SPDX-License-Identifier: GPL-2.0

//! A balance that was running or paused when the filesystem was unmounted.

use crate::profile::BlockGroupFlags;
use zerocopy::little_endian::{U32, U64};

on_disk! {
    /// Filters and target for one type of chunks (`struct btrfs_disk_balance_args`).
    BalanceArgs [136] {
        /// Only these profiles, single as [`BlockGroupFlags::AVAIL_SINGLE`].
        pub profiles: U64,
        /// Only chunks of at least this usage in percent.
        pub usage_min: U32,
        /// Only chunks of at most this usage in percent.
        pub usage_max: U32,
        /// Only chunks on this device.
        pub devid: U64,
        /// Only chunks with a stripe behind this offset on a device ...
        pub pstart: U64,
        /// ... and before this one.
        pub pend: U64,
        /// Only chunks with addresses behind this one ...
        pub vstart: U64,
        /// ... and before this one.
        pub vend: U64,
        /// The profile to convert to, single as [`BlockGroupFlags::AVAIL_SINGLE`].
        pub target: U64,
        /// Which of the filters hold (`BTRFS_BALANCE_ARGS_*`).
        pub flags: U64,
        /// Fewest chunks.
        pub limit_min: U32,
        /// Most chunks.
        pub limit_max: U32,
        /// Only chunks of at least this many stripes.
        pub stripes_min: U32,
        /// Only chunks of at most this many stripes.
        pub stripes_max: U32,
        /// Not used.
        pub unused: [U64; 6],
    }
}

impl BalanceArgs {
    /// The profile to convert to.
    #[inline]
    pub fn target(&self) -> BlockGroupFlags {
        BlockGroupFlags(self.target.get())
    }

    /// The usage filter as one number in percent: a union with the range in the format.
    #[inline]
    pub fn usage(&self) -> u64 {
        u64::from(self.usage_min.get()) | (u64::from(self.usage_max.get()) << 32)
    }

    /// The limit filter as one number: a union with the range in the format.
    #[inline]
    pub fn limit(&self) -> u64 {
        u64::from(self.limit_min.get()) | (u64::from(self.limit_max.get()) << 32)
    }
}

on_disk! {
    /// A balance (`struct btrfs_balance_item`).
    ///
    /// The key is (-4, `TEMPORARY_ITEM`, 0), in the root tree.
    BalanceItem [448] {
        /// Which types of chunks, and how (`BTRFS_BALANCE_*`).
        pub flags: U64,
        /// For data chunks.
        pub data: BalanceArgs,
        /// For metadata chunks.
        pub meta: BalanceArgs,
        /// For system chunks.
        pub sys: BalanceArgs,
        /// Not used.
        pub unused: [U64; 4],
    }
}
