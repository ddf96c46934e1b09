// SPDX-License-Identifier: GPL-2.0

//! fs-verity: the descriptor and Merkle tree of a file.
//!
//! Items (inode, `VERITY_DESC`, 0) hold a [`VerityDescriptorItem`], items (inode, `VERITY_DESC`,
//! 1 + n) the descriptor from byte n on, items (inode, `VERITY_MERKLE`, n) the Merkle tree from
//! byte n on. Both in pieces of at most [`PIECE`] bytes.

use zerocopy::little_endian::U64;

on_disk! {
    /// Describes the descriptor (`struct btrfs_verity_descriptor_item`).
    VerityDescriptorItem [25] {
        /// Size of the descriptor, in bytes.
        pub size: U64,
        /// Not used.
        pub reserved: [U64; 2],
        /// Not used.
        pub encryption: u8,
    }
}

/// Largest item of descriptor or Merkle tree, in bytes.
pub const PIECE: usize = 2048;
