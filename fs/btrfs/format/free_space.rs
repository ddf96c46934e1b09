// SPDX-License-Identifier: GPL-2.0

//! Free space: the tree (version 2) and the cache files (version 1).

use crate::key::DiskKey;
use zerocopy::little_endian::{U32, U64};

on_disk! {
    /// How the free space of a block group is stored (`struct btrfs_free_space_info`).
    ///
    /// The key is (logical address, `FREE_SPACE_INFO`, length) of the block group. Items with keys
    /// (logical address, `FREE_SPACE_EXTENT` or `FREE_SPACE_BITMAP`, length in bytes) follow.
    FreeSpaceInfo [8] {
        /// Number of free ranges.
        pub extent_count: U32,
        /// [`FreeSpaceFlags`].
        pub flags: U32,
    }
}

impl FreeSpaceInfo {
    /// The flags.
    #[inline]
    pub fn flags(&self) -> FreeSpaceFlags {
        FreeSpaceFlags(self.flags.get())
    }

    /// Whether bitmap items follow, not extent items.
    #[inline]
    pub fn uses_bitmaps(&self) -> bool {
        self.flags().contains(FreeSpaceFlags::USING_BITMAPS)
    }
}

flags_type! {
    /// Flags of the free space of a block group.
    FreeSpaceFlags: u32 {
        /// Free space is stored in bitmaps.
        USING_BITMAPS = 1 << 0, "USING_BITMAPS";
    }
}

/// Bits of a full bitmap item divided by eight: its size in bytes.
pub const BITMAP_SIZE: usize = 256;

on_disk! {
    /// Describes a cache file (`struct btrfs_free_space_header`).
    ///
    /// The key is (-11, 0, logical address of the block group), in the root tree.
    FreeSpaceHeader [41] {
        /// The inode of the file.
        pub location: DiskKey,
        /// The transaction that wrote the file.
        pub generation: U64,
        /// Number of entries.
        pub num_entries: U64,
        /// Number of bitmaps.
        pub num_bitmaps: U64,
    }
}

on_disk! {
    /// An entry of a cache file (`struct btrfs_free_space_entry`).
    FreeSpaceEntry [17] {
        /// The logical address.
        pub offset: U64,
        /// Free bytes.
        pub bytes: U64,
        /// 1: a range; 2: a bitmap.
        pub kind: u8,
    }
}
