// SPDX-License-Identifier: GPL-2.0

//! Block groups: what is used of a chunk.

use crate::profile::BlockGroupFlags;
use zerocopy::little_endian::{U32, U64};

on_disk! {
    /// A block group (`struct btrfs_block_group_item`).
    ///
    /// The key is (logical address, `BLOCK_GROUP_ITEM`, length in bytes).
    BlockGroupItem [24] {
        /// Bytes in use.
        pub used: U64,
        /// The objectid of the chunk's key: 256; with extent tree v2 the id of a global root.
        pub chunk_objectid: U64,
        /// [`BlockGroupFlags`].
        pub flags: U64,
    }
}

on_disk! {
    /// A block group of a filesystem with a remap tree.
    BlockGroupItemV2 [36] {
        /// The part that all block groups have.
        pub base: BlockGroupItem,
        /// Bytes that were moved into this block group.
        pub remap_bytes: U64,
        /// Number of ranges that keep their address.
        pub identity_remap_count: U32,
    }
}

impl BlockGroupItem {
    /// Decodes an item of either size.
    #[inline]
    pub fn parse(data: &[u8]) -> Option<&Self> {
        Self::from_prefix(data).map(|(item, _)| item)
    }

    /// Types and profile.
    #[inline]
    pub fn flags(&self) -> BlockGroupFlags {
        BlockGroupFlags(self.flags.get())
    }
}
