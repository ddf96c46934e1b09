// SPDX-License-Identifier: GPL-2.0

//! Directory entries and extended attributes: both are "dir items".

use crate::crc32c::{crc32c, Crc32c};
use crate::inode::mode;
use crate::key::{DiskKey, Key};
use crate::types::Generation;
use zerocopy::little_endian::{U16, U64};

on_disk! {
    /// Fixed part of an entry (`struct btrfs_dir_item`).
    DirItemHeader [30] {
        /// The inode or subvolume that is named; zero in an extended attribute.
        pub location: DiskKey,
        /// The transaction that made the entry.
        pub transid: U64,
        /// Length of the data behind the name, in bytes: the value of an extended attribute.
        pub data_len: U16,
        /// Length of the name that follows, in bytes.
        pub name_len: U16,
        /// [`FileType`], and [`FileType::ENCRYPTED`].
        pub file_type: u8,
    }
}

/// One directory entry or extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirItem<'a> {
    /// The inode (`INODE_ITEM` key) or subvolume (`ROOT_ITEM` key) that is named.
    pub location: Key,
    /// The transaction that made the entry.
    pub transid: Generation,
    /// The raw type byte, see [`Self::kind`].
    pub file_type: u8,
    /// The name, without terminator.
    pub name: &'a [u8],
    /// The value of an extended attribute; empty in a directory entry.
    pub data: &'a [u8],
}

impl DirItem<'_> {
    /// The type of what is named; `None` if it is none this format knows.
    #[inline]
    pub const fn kind(&self) -> Option<FileType> {
        FileType::from_raw(self.file_type & !FileType::ENCRYPTED)
    }
}

/// The entries of a `DIR_ITEM`, `DIR_INDEX` or `XATTR_ITEM` item.
///
/// Several stand in one item where their names have the same hash. Ends before the first entry
/// that does not fit; [`Self::rest`] is then not empty.
#[derive(Clone, Debug)]
pub struct DirItems<'a> {
    rest: &'a [u8],
}

impl<'a> DirItems<'a> {
    /// Iterates over the data of an item.
    #[inline]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// What has not been decoded: nothing after a well-formed item.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The entry of that name.
    #[inline]
    pub fn find_name(mut self, name: &[u8]) -> Option<DirItem<'a>> {
        self.find(|entry| entry.name == name)
    }
}

impl<'a> Iterator for DirItems<'a> {
    type Item = DirItem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = DirItemHeader::from_prefix(self.rest)?;
        let (name, rest) = rest.split_at_checked(usize::from(header.name_len.get()))?;
        let (data, rest) = rest.split_at_checked(usize::from(header.data_len.get()))?;
        self.rest = rest;
        Some(DirItem {
            location: header.location.get(),
            transid: header.transid.into(),
            file_type: header.file_type,
            name,
            data,
        })
    }
}

/// What a directory entry names (`BTRFS_FT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FileType {
    /// Not known; not valid on disk.
    Unknown = 0,
    /// Regular file.
    Regular = 1,
    /// Directory or subvolume.
    Dir = 2,
    /// Character device.
    CharDev = 3,
    /// Block device.
    BlockDev = 4,
    /// Named pipe.
    Fifo = 5,
    /// Socket.
    Socket = 6,
    /// Symbolic link.
    Symlink = 7,
    /// Extended attribute.
    Xattr = 8,
}

impl FileType {
    /// Bit of the type byte that marks an encrypted name.
    pub const ENCRYPTED: u8 = 0x80;
    /// The lowest value above all types.
    pub const MAX: u8 = 9;

    /// Decodes the byte on disk.
    #[inline]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Unknown,
            1 => Self::Regular,
            2 => Self::Dir,
            3 => Self::CharDev,
            4 => Self::BlockDev,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            8 => Self::Xattr,
            _ => return None,
        })
    }

    /// The byte on disk.
    #[inline]
    pub const fn raw(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Regular => 1,
            Self::Dir => 2,
            Self::CharDev => 3,
            Self::BlockDev => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
            Self::Xattr => 8,
        }
    }

    /// The type of an inode of that `st_mode`.
    #[inline]
    pub const fn from_mode(mode: u32) -> Self {
        match mode & mode::FORMAT {
            mode::REG => Self::Regular,
            mode::DIR => Self::Dir,
            mode::CHR => Self::CharDev,
            mode::BLK => Self::BlockDev,
            mode::FIFO => Self::Fifo,
            mode::SOCK => Self::Socket,
            mode::LNK => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// The type as `readdir` reports it (`DT_*`: the type bits of `st_mode`, shifted).
    #[inline]
    pub const fn dt(self) -> u8 {
        match self {
            Self::Unknown | Self::Xattr => 0,
            Self::Fifo => 1,
            Self::CharDev => 2,
            Self::Dir => 4,
            Self::BlockDev => 6,
            Self::Regular => 8,
            Self::Symlink => 10,
            Self::Socket => 12,
        }
    }
}

/// The first `DIR_INDEX` offset that names something; 0 and 1 stand for `.` and `..`.
pub const DIR_START_INDEX: u64 = 2;

/// The seed of [`name_hash`].
const NAME_HASH_SEED: u32 = !1;

/// The key offset of the `DIR_ITEM` or `XATTR_ITEM` that holds `name`.
#[inline]
pub fn name_hash(name: &[u8]) -> u64 {
    name_hash_with(crc32c, name)
}

/// [`name_hash`] by another CRC-32C routine.
#[inline]
pub fn name_hash_with(crc32c: Crc32c, name: &[u8]) -> u64 {
    u64::from(crc32c(NAME_HASH_SEED, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_default() {
        // The root tree directory's entry "default" has this key on every filesystem.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
