// SPDX-License-Identifier: GPL-2.0

//! The header that every tree block begins with.

use crate::types::{Generation, Logical, TreeId, Uuid, CSUM_AREA};
use zerocopy::little_endian::{U32, U64};

on_disk! {
    /// Header of a leaf or node (`struct btrfs_header`).
    Header [101] {
        /// Checksum of everything behind this area, to the end of the block.
        pub csum: [u8; CSUM_AREA],
        /// The filesystem's metadata UUID.
        pub fsid: Uuid,
        /// The logical address the block was written to.
        pub bytenr: U64,
        /// [`HeaderFlags`], and the back reference revision in the top byte.
        pub flags: U64,
        /// UUID of the chunk tree.
        pub chunk_tree_uuid: Uuid,
        /// Transaction that wrote the block.
        pub generation: U64,
        /// The tree the block was allocated for.
        pub owner: U64,
        /// Items of a leaf, pointers of a node.
        pub nritems: U32,
        /// Distance from the leaves; 0 is a leaf.
        pub level: u8,
    }
}

flags_type! {
    /// Flags of a tree block, without the back reference revision.
    HeaderFlags: u64 {
        /// The block has been written to disk.
        WRITTEN = 1 << 0, "WRITTEN";
        /// The block belongs to a relocation tree.
        RELOC = 1 << 1, "RELOC";
    }
}

/// Where the back reference revision begins in [`Header::flags`].
const BACKREF_REV_SHIFT: u32 = 56;

/// Revision of trees without mixed back references; such filesystems are no longer supported.
pub const BACKREF_REV_OLD: u8 = 0;
/// Revision of trees with mixed back references: all of today's.
pub const BACKREF_REV_MIXED: u8 = 1;

impl Header {
    /// Views the header of a tree block.
    #[inline]
    pub fn of(block: &[u8]) -> Option<&Self> {
        Self::from_prefix(block).map(|(header, _)| header)
    }

    /// The logical address the block was written to.
    #[inline]
    pub fn bytenr(&self) -> Logical {
        self.bytenr.into()
    }

    /// The transaction that wrote the block.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation.into()
    }

    /// The tree the block was allocated for.
    #[inline]
    pub fn owner(&self) -> TreeId {
        self.owner.into()
    }

    /// The flags, without the back reference revision.
    #[inline]
    pub fn flags(&self) -> HeaderFlags {
        HeaderFlags(self.flags.get() & ((1 << BACKREF_REV_SHIFT) - 1))
    }

    /// The back reference revision.
    #[inline]
    pub fn backref_rev(&self) -> u8 {
        self.flags.to_bytes()[7]
    }

    /// Sets flags and back reference revision.
    #[inline]
    pub fn set_flags(&mut self, flags: HeaderFlags, backref_rev: u8) {
        let low = flags.bits() & ((1 << BACKREF_REV_SHIFT) - 1);
        self.flags = U64::new(low | (u64::from(backref_rev) << BACKREF_REV_SHIFT));
    }

    /// Whether the block is a leaf.
    #[inline]
    pub fn is_leaf(&self) -> bool {
        self.level == 0
    }
}
