// SPDX-License-Identifier: GPL-2.0

//! The sizes of a filesystem that its structures depend on.

use crate::csum::CsumType;
use crate::header::Header;
use crate::leaf::Item;
use crate::node::KeyPtr;
use crate::superblock::Superblock;

/// Sizes of a filesystem; fixed for its life. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Unit of data: a power of two, 4096 in most filesystems.
    pub sectorsize: u32,
    /// Size of a tree block: a power of two, at least `sectorsize`, at most 65536.
    pub nodesize: u32,
    /// How blocks and data are checksummed.
    pub csum_type: CsumType,
    /// Length of a checksum.
    pub csum_size: u32,
}

impl Geometry {
    /// The sizes of a filesystem; `None` if the superblock has not been validated and is wrong.
    pub fn of(superblock: &Superblock) -> Option<Self> {
        let sectorsize = superblock.sectorsize.get();
        let nodesize = superblock.nodesize.get();
        if !sectorsize.is_power_of_two() || !nodesize.is_power_of_two() {
            return None;
        }
        Self::new(sectorsize, nodesize, superblock.csum_type()?)
    }

    /// Puts sizes together; `None` if a tree block would not even hold a header.
    pub fn new(sectorsize: u32, nodesize: u32, csum_type: CsumType) -> Option<Self> {
        if sectorsize == 0 || nodesize < sectorsize || usize_of(nodesize) <= Header::SIZE {
            return None;
        }
        Some(Self {
            sectorsize,
            nodesize,
            csum_type,
            csum_size: u32::try_from(csum_type.size()).ok()?,
        })
    }

    /// Binary logarithm of the sector size.
    #[inline]
    pub const fn sectorsize_bits(&self) -> u32 {
        self.sectorsize.trailing_zeros()
    }

    /// Bytes of a tree block behind its header: room for items, or pointers.
    #[inline]
    pub fn body_size(&self) -> usize {
        usize_of(self.nodesize).saturating_sub(Header::SIZE)
    }

    /// Most pointers of a node.
    #[inline]
    pub fn max_node_ptrs(&self) -> usize {
        self.body_size() / KeyPtr::SIZE
    }

    /// Longest data of an item, when it is alone in its leaf.
    #[inline]
    pub fn max_item_size(&self) -> usize {
        self.body_size().saturating_sub(Item::SIZE)
    }

    /// Longest name and value of an extended attribute together, when alone in its leaf.
    #[inline]
    pub fn max_xattr_size(&self) -> usize {
        self.max_item_size()
            .saturating_sub(crate::dir::DirItemHeader::SIZE)
    }

    /// Whether `bytes` is a multiple of the sector size.
    #[inline]
    pub const fn is_sector_aligned(&self, bytes: u64) -> bool {
        // A power of two; and if it were not, nothing worse than a wrong answer.
        let [a, b, c, d] = self.sectorsize.to_le_bytes();
        let size = u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0]);
        bytes & size.wrapping_sub(1) == 0
    }
}

/// A `u32` as `usize`, which is never narrower in the kernel.
#[inline]
fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
