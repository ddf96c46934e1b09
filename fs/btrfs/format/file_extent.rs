// SPDX-License-Identifier: GPL-2.0

//! Ranges of file data: `EXTENT_DATA` items.

use crate::types::{Generation, Logical};
use zerocopy::little_endian::{U16, U64};

on_disk! {
    /// The part that all kinds of file extents have.
    FileExtentHeader [21] {
        /// The transaction that allocated the extent.
        pub generation: U64,
        /// Size of the whole extent when decompressed, in bytes.
        pub ram_bytes: U64,
        /// [`Compression`].
        pub compression: u8,
        /// Always 0.
        pub encryption: u8,
        /// Always 0.
        pub other_encoding: U16,
        /// [`file_extent_type`].
        pub kind: u8,
    }
}

on_disk! {
    /// What follows the header unless the extent is inline.
    FileExtentDisk [32] {
        /// The logical address of the extent; 0 is a hole.
        pub disk_bytenr: U64,
        /// The size of the extent on disk, in bytes.
        pub disk_num_bytes: U64,
        /// Where in the decompressed extent the file's range begins, in bytes.
        pub offset: U64,
        /// The length of the file's range, in bytes.
        pub num_bytes: U64,
    }
}

on_disk! {
    /// A regular or preallocated extent (`struct btrfs_file_extent_item`).
    FileExtentItem [53] {
        /// The part that inline extents have too.
        pub header: FileExtentHeader,
        /// Where the data is.
        pub disk: FileExtentDisk,
    }
}

/// Values of [`FileExtentHeader::kind`].
pub mod file_extent_type {
    /// The data follows the header.
    pub const INLINE: u8 = 0;
    /// An extent on disk, or a hole.
    pub const REGULAR: u8 = 1;
    /// An extent that has been allocated but not written: reads as zeroes.
    pub const PREALLOC: u8 = 2;
    /// The lowest value above all kinds.
    pub const COUNT: u8 = 3;
}

/// How data is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// One zlib stream.
    Zlib = 1,
    /// LZO segments with lengths, see the data path.
    Lzo = 2,
    /// One zstd frame.
    Zstd = 3,
}

impl Compression {
    /// The lowest value above all kinds.
    pub const COUNT: u8 = 4;

    /// Decodes the byte on disk.
    #[inline]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::None,
            1 => Self::Zlib,
            2 => Self::Lzo,
            3 => Self::Zstd,
            _ => return None,
        })
    }

    /// The byte on disk.
    #[inline]
    pub const fn raw(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zlib => 1,
            Self::Lzo => 2,
            Self::Zstd => 3,
        }
    }

    /// The name in mount options and properties.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Zstd => "zstd",
        }
    }
}

/// The file's range within an extent on disk. All sizes and offsets are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskExtent {
    /// The transaction that allocated the extent.
    pub generation: Generation,
    /// Size of the whole extent when decompressed.
    pub ram_bytes: u64,
    /// How the extent is compressed, as a whole.
    pub compression: Compression,
    /// The extent's logical address; 0 is a hole, see [`Self::is_hole`].
    pub disk_bytenr: Logical,
    /// The extent's size on disk.
    pub disk_num_bytes: u64,
    /// Where in the decompressed extent the file's range begins.
    pub offset: u64,
    /// The length of the file's range.
    pub num_bytes: u64,
}

impl DiskExtent {
    /// Whether this is a hole: nothing on disk, reads as zeroes.
    #[inline]
    pub const fn is_hole(&self) -> bool {
        self.disk_bytenr.get() == 0
    }

    /// The logical address of the range's first byte; `None` in a hole or a compressed extent.
    #[inline]
    pub fn data_start(&self) -> Option<Logical> {
        if self.is_hole() || self.compression != Compression::None {
            return None;
        }
        self.disk_bytenr.checked_add(self.offset)
    }

    fn item(&self, kind: u8) -> FileExtentItem {
        FileExtentItem {
            header: FileExtentHeader {
                generation: self.generation.into(),
                ram_bytes: U64::new(self.ram_bytes),
                compression: self.compression.raw(),
                encryption: 0,
                other_encoding: U16::new(0),
                kind,
            },
            disk: FileExtentDisk {
                disk_bytenr: self.disk_bytenr.into(),
                disk_num_bytes: U64::new(self.disk_num_bytes),
                offset: U64::new(self.offset),
                num_bytes: U64::new(self.num_bytes),
            },
        }
    }

    /// The item of this as a regular extent.
    pub fn regular_item(&self) -> FileExtentItem {
        self.item(file_extent_type::REGULAR)
    }

    /// The item of this as a preallocated extent.
    pub fn prealloc_item(&self) -> FileExtentItem {
        self.item(file_extent_type::PREALLOC)
    }
}

/// A range of a file, from the key's offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileExtent<'a> {
    /// The data is in the item.
    Inline {
        /// The transaction that wrote it.
        generation: Generation,
        /// Size of the data when decompressed, in bytes.
        ram_bytes: u64,
        /// How the data is compressed.
        compression: Compression,
        /// The data as it stands in the item.
        data: &'a [u8],
    },
    /// The data is on disk, or it is a hole.
    Regular(DiskExtent),
    /// Space is allocated, but holds no data: reads as zeroes.
    Prealloc(DiskExtent),
}

impl<'a> FileExtent<'a> {
    /// Decodes an item.
    ///
    /// `None` if it is too short, is of an unknown kind, or is compressed in an unknown way.
    #[inline]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (header, rest) = FileExtentHeader::from_prefix(data)?;
        let compression = Compression::from_raw(header.compression)?;
        if header.kind == file_extent_type::INLINE {
            return Some(Self::Inline {
                generation: header.generation.into(),
                ram_bytes: header.ram_bytes.get(),
                compression,
                data: rest,
            });
        }
        let (disk, _) = FileExtentDisk::from_prefix(rest)?;
        let extent = DiskExtent {
            generation: header.generation.into(),
            ram_bytes: header.ram_bytes.get(),
            compression,
            disk_bytenr: disk.disk_bytenr.into(),
            disk_num_bytes: disk.disk_num_bytes.get(),
            offset: disk.offset.get(),
            num_bytes: disk.num_bytes.get(),
        };
        match header.kind {
            file_extent_type::REGULAR => Some(Self::Regular(extent)),
            file_extent_type::PREALLOC => Some(Self::Prealloc(extent)),
            _ => None,
        }
    }

    /// The length of the file's range in bytes; of an inline extent: of its decompressed data.
    #[inline]
    pub const fn num_bytes(&self) -> u64 {
        match self {
            Self::Inline { ram_bytes, .. } => *ram_bytes,
            Self::Regular(extent) | Self::Prealloc(extent) => extent.num_bytes,
        }
    }

    /// The transaction that allocated the extent.
    #[inline]
    pub const fn generation(&self) -> Generation {
        match self {
            Self::Inline { generation, .. } => *generation,
            Self::Regular(extent) | Self::Prealloc(extent) => extent.generation,
        }
    }

    /// How the data is compressed.
    #[inline]
    pub const fn compression(&self) -> Compression {
        match self {
            Self::Inline { compression, .. } => *compression,
            Self::Regular(extent) | Self::Prealloc(extent) => extent.compression,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let extent = DiskExtent {
            generation: Generation(9),
            ram_bytes: 131_072,
            compression: Compression::Zstd,
            disk_bytenr: Logical(1 << 30),
            disk_num_bytes: 8192,
            offset: 4096,
            num_bytes: 65536,
        };
        let item = extent.regular_item();
        assert_eq!(
            FileExtent::parse(item.to_disk()),
            Some(FileExtent::Regular(extent))
        );
        assert_eq!(
            FileExtent::parse(extent.prealloc_item().to_disk()),
            Some(FileExtent::Prealloc(extent))
        );
        assert_eq!(FileExtent::parse(&item.to_disk()[..52]), None);
        assert_eq!(extent.data_start(), None);
    }
}
