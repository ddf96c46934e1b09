// SPDX-License-Identifier: GPL-2.0

//! Inode items, and the references that name inodes.

use crate::crc32c::{crc32c, Crc32c};
use crate::types::{Generation, Ino};
use zerocopy::little_endian::{U16, U32, U64};

on_disk! {
    /// A point in time (`struct btrfs_timespec`).
    Timespec [12] {
        /// Seconds since 1970 UTC, as two's complement.
        pub sec: U64,
        /// Nanoseconds within the second.
        pub nsec: U32,
    }
}

impl Timespec {
    /// Makes a time of signed seconds and nanoseconds.
    #[inline]
    pub const fn new(sec: i64, nsec: u32) -> Self {
        Self {
            sec: U64::from_bytes(sec.to_le_bytes()),
            nsec: U32::new(nsec),
        }
    }

    /// Seconds since 1970 UTC.
    #[inline]
    pub const fn seconds(&self) -> i64 {
        i64::from_le_bytes(self.sec.to_bytes())
    }

    /// Nanoseconds within the second. Not checked to be below 1,000,000,000, just as in C.
    #[inline]
    pub const fn nanoseconds(&self) -> u32 {
        self.nsec.get()
    }
}

on_disk! {
    /// Attributes of an inode (`struct btrfs_inode_item`).
    InodeItem [160] {
        /// The transaction that created the inode; the generation of NFS handles.
        pub generation: U64,
        /// The transaction that changed the inode last.
        pub transid: U64,
        /// Size in bytes; of a directory: twice the sum of its names' lengths.
        pub size: U64,
        /// Bytes used on disk, compressed extents with their full size.
        pub nbytes: U64,
        /// A hint for allocation; of free space inodes: bits of its own meaning.
        pub block_group: U64,
        /// Number of names; of a directory always 1.
        pub nlink: U32,
        /// Owner.
        pub uid: U32,
        /// Group.
        pub gid: U32,
        /// Type and permissions, as `st_mode`.
        pub mode: U32,
        /// Device number of a device node, in the kernel's new encoding.
        pub rdev: U64,
        /// [`InodeFlags`].
        pub flags: U64,
        /// Counts changes (`i_version`).
        pub sequence: U64,
        /// Not used.
        pub reserved: [U64; 4],
        /// Time of the last access.
        pub atime: Timespec,
        /// Time of the last change of attributes.
        pub ctime: Timespec,
        /// Time of the last change of data.
        pub mtime: Timespec,
        /// Time of creation.
        pub otime: Timespec,
    }
}

impl InodeItem {
    /// The transaction that created the inode.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation.into()
    }

    /// The transaction that changed the inode last.
    #[inline]
    pub fn transid(&self) -> Generation {
        self.transid.into()
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> InodeFlags {
        InodeFlags(self.flags.get())
    }

    /// The file type bits of the mode.
    #[inline]
    pub fn format(&self) -> u32 {
        self.mode.get() & mode::FORMAT
    }

    /// Whether this is a directory.
    #[inline]
    pub fn is_dir(&self) -> bool {
        self.format() == mode::DIR
    }
}

flags_type! {
    /// Flags of an inode.
    ///
    /// The upper 32 bits are read-only compatible: who does not know one may read the inode.
    InodeFlags: u64 {
        /// Data has no checksums.
        NODATASUM = 1 << 0, "NODATASUM";
        /// Data is overwritten in place.
        NODATACOW = 1 << 1, "NODATACOW";
        /// The inode may not be changed.
        READONLY = 1 << 2, "READONLY";
        /// Data is not to be compressed.
        NOCOMPRESS = 1 << 3, "NOCOMPRESS";
        /// The file has, or had, preallocated extents.
        PREALLOC = 1 << 4, "PREALLOC";
        /// `chattr +S`.
        SYNC = 1 << 5, "SYNC";
        /// `chattr +i`.
        IMMUTABLE = 1 << 6, "IMMUTABLE";
        /// `chattr +a`.
        APPEND = 1 << 7, "APPEND";
        /// `chattr +d`.
        NODUMP = 1 << 8, "NODUMP";
        /// `chattr +A`.
        NOATIME = 1 << 9, "NOATIME";
        /// `chattr +D`.
        DIRSYNC = 1 << 10, "DIRSYNC";
        /// Data is to be compressed.
        COMPRESS = 1 << 11, "COMPRESS";
        /// Set in the inode of a root item when its flags became meaningful.
        ROOT_ITEM_INIT = 1 << 31, "ROOT_ITEM_INIT";
        /// fs-verity is on.
        RO_VERITY = 1 << 32, "RO_VERITY";
    }
}

impl InodeFlags {
    /// The bits that everybody must know to use the inode at all.
    pub const INCOMPAT: Self = Self(0xffff_ffff);
}

/// File types and permissions in [`InodeItem::mode`]: those of `st_mode`.
pub mod mode {
    /// Mask of the file type.
    pub const FORMAT: u32 = 0o170_000;
    /// Socket.
    pub const SOCK: u32 = 0o140_000;
    /// Symbolic link.
    pub const LNK: u32 = 0o120_000;
    /// Regular file.
    pub const REG: u32 = 0o100_000;
    /// Block device.
    pub const BLK: u32 = 0o060_000;
    /// Directory.
    pub const DIR: u32 = 0o040_000;
    /// Character device.
    pub const CHR: u32 = 0o020_000;
    /// Named pipe.
    pub const FIFO: u32 = 0o010_000;
    /// Set-user-id, set-group-id, sticky and the nine permissions.
    pub const PERMISSIONS: u32 = 0o7_777;
}

on_disk! {
    /// Fixed part of a name in an [`INODE_REF`](crate::key::item::INODE_REF) item.
    InodeRefHeader [10] {
        /// The index in the directory.
        pub index: U64,
        /// Length of the name that follows, in bytes.
        pub name_len: U16,
    }
}

/// One name of an inode, in the directory that the item's key offset names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeRef<'a> {
    /// The index in the directory: the offset of the entry's `DIR_INDEX` key.
    pub index: u64,
    /// The name, without terminator.
    pub name: &'a [u8],
}

/// The names in an `INODE_REF` item, in the order of the item.
///
/// Ends before the first entry that does not fit; [`Self::rest`] is then not empty.
#[derive(Clone, Debug)]
pub struct InodeRefs<'a> {
    rest: &'a [u8],
}

impl<'a> InodeRefs<'a> {
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
}

impl<'a> Iterator for InodeRefs<'a> {
    type Item = InodeRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = InodeRefHeader::from_prefix(self.rest)?;
        let (name, rest) = rest.split_at_checked(usize::from(header.name_len.get()))?;
        self.rest = rest;
        Some(InodeRef {
            index: header.index.get(),
            name,
        })
    }
}

on_disk! {
    /// Fixed part of a name in an [`INODE_EXTREF`](crate::key::item::INODE_EXTREF) item.
    InodeExtrefHeader [18] {
        /// The directory.
        pub parent: U64,
        /// The index in the directory.
        pub index: U64,
        /// Length of the name that follows, in bytes.
        pub name_len: U16,
    }
}

/// One name of an inode, with its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeExtref<'a> {
    /// The directory.
    pub parent: Ino,
    /// The index in the directory: the offset of the entry's `DIR_INDEX` key.
    pub index: u64,
    /// The name, without terminator.
    pub name: &'a [u8],
}

/// The names in an `INODE_EXTREF` item. Ends as [`InodeRefs`] does.
#[derive(Clone, Debug)]
pub struct InodeExtrefs<'a> {
    rest: &'a [u8],
}

impl<'a> InodeExtrefs<'a> {
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
}

impl<'a> Iterator for InodeExtrefs<'a> {
    type Item = InodeExtref<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = InodeExtrefHeader::from_prefix(self.rest)?;
        let (name, rest) = rest.split_at_checked(usize::from(header.name_len.get()))?;
        self.rest = rest;
        Some(InodeExtref {
            parent: header.parent.into(),
            index: header.index.get(),
            name,
        })
    }
}

/// The key offset of the `INODE_EXTREF` item that holds `name` in directory `parent`.
#[inline]
pub fn extref_hash(parent: Ino, name: &[u8]) -> u64 {
    extref_hash_with(crc32c, parent, name)
}

/// [`extref_hash`] by another CRC-32C routine.
#[inline]
pub fn extref_hash_with(crc32c: Crc32c, parent: Ino, name: &[u8]) -> u64 {
    // The seed is the lower half of the number, a truncation that is part of the format.
    let [a, b, c, d, ..] = parent.get().to_le_bytes();
    u64::from(crc32c(u32::from_le_bytes([a, b, c, d]), name))
}

on_disk! {
    /// The range a log holds completely, from the key's offset (`struct btrfs_dir_log_item`).
    DirLogItem [8] {
        /// The last hash or index of the range.
        pub end: U64,
    }
}
