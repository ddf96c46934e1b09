// SPDX-License-Identifier: GPL-2.0

//! Checksum types, and the items that hold the checksums of data.

use crate::types::Logical;

/// How blocks and data are checksummed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum CsumType {
    /// CRC-32C, 4 bytes little-endian.
    #[default]
    Crc32c = 0,
    /// xxHash64, 8 bytes little-endian.
    Xxhash = 1,
    /// SHA-256, 32 bytes.
    Sha256 = 2,
    /// BLAKE2b-256, 32 bytes.
    Blake2 = 3,
}

impl CsumType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::Crc32c, Self::Xxhash, Self::Sha256, Self::Blake2];

    /// Decodes the number in the superblock.
    #[inline]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            0 => Self::Crc32c,
            1 => Self::Xxhash,
            2 => Self::Sha256,
            3 => Self::Blake2,
            _ => return None,
        })
    }

    /// The number in the superblock.
    #[inline]
    pub const fn raw(self) -> u16 {
        match self {
            Self::Crc32c => 0,
            Self::Xxhash => 1,
            Self::Sha256 => 2,
            Self::Blake2 => 3,
        }
    }

    /// Length of a checksum in bytes.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Xxhash => 8,
            Self::Sha256 | Self::Blake2 => 32,
        }
    }

    /// The name in tools and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::Xxhash => "xxhash64",
            Self::Sha256 => "sha256",
            Self::Blake2 => "blake2b",
        }
    }
}

/// Checksums of consecutive sectors: an `EXTENT_CSUM` item.
///
/// The key is (-10, `EXTENT_CSUM`, logical address of the first sector).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsumItem<'a> {
    start: Logical,
    sectorsize: u32,
    csum_size: usize,
    data: &'a [u8],
}

impl<'a> CsumItem<'a> {
    /// Views an item whose key has the offset `start`. `sectorsize` is in bytes.
    #[inline]
    pub const fn new(start: Logical, data: &'a [u8], csum: CsumType, sectorsize: u32) -> Self {
        Self {
            start,
            sectorsize,
            csum_size: csum.size(),
            data,
        }
    }

    /// The logical address of the first sector.
    #[inline]
    pub const fn start(&self) -> Logical {
        self.start
    }

    /// Number of sectors.
    #[inline]
    pub fn count(&self) -> usize {
        self.data.len().checked_div(self.csum_size).unwrap_or(0)
    }

    /// The address behind the last sector; `None` on overflow.
    #[inline]
    pub fn end(&self) -> Option<Logical> {
        let count = u64::try_from(self.count()).ok()?;
        let bytes = count.checked_mul(u64::from(self.sectorsize))?;
        self.start.checked_add(bytes)
    }

    /// The checksums of the sectors from that of `logical` on, one after the other.
    ///
    /// Empty if the sector is not in the item.
    #[inline]
    pub fn from(&self, logical: Logical) -> &'a [u8] {
        self.position(logical)
            .and_then(|position| self.data.get(position..))
            .unwrap_or(&[])
    }

    fn position(&self, logical: Logical) -> Option<usize> {
        let distance = logical.checked_sub(self.start)?;
        let sector = distance.checked_div(u64::from(self.sectorsize))?;
        usize::try_from(sector).ok()?.checked_mul(self.csum_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup() {
        let data = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
        let item = CsumItem::new(Logical(8192), &data, CsumType::Crc32c, 4096);
        assert_eq!(item.count(), 3);
        assert_eq!(item.end(), Some(Logical(20480)));
        assert_eq!(item.from(Logical(12288)), &data[4..]);
        assert_eq!(item.from(Logical(20480)), &[]);
        assert_eq!(item.from(Logical(4096)), &[]);
        assert_eq!(item.from(Logical(u64::MAX)), &[]);
    }
}
