// SPDX-License-Identifier: GPL-2.0

//! Numbers of the format that look alike and must not be mixed up.

use core::fmt;

id_type! {
    /// An address in the filesystem's logical space, in bytes. Chunks map it to devices.
    Logical
}

id_type! {
    /// A byte offset on one device.
    Physical
}

id_type! {
    /// The number of a transaction ("transid", "generation").
    Generation
}

id_type! {
    /// The id of a tree: the objectid of its root item, and the owner in its blocks.
    TreeId
}

id_type! {
    /// The number of an inode within its subvolume.
    Ino
}

id_type! {
    /// The id of a device of the filesystem.
    DevId
}

impl Logical {
    /// The address `bytes` further on, unless that overflows.
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The distance from `start` to here in bytes, unless `start` lies behind.
    #[inline]
    pub const fn checked_sub(self, start: Self) -> Option<u64> {
        self.0.checked_sub(start.0)
    }
}

impl Physical {
    /// The offset `bytes` further on, unless that overflows.
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl Generation {
    /// The generation after this one (saturating: the last one has no successor).
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl TreeId {
    /// The roots of all other trees.
    pub const ROOT_TREE: Self = Self(1);
    /// Extents in use and their references.
    pub const EXTENT_TREE: Self = Self(2);
    /// Logical to physical mapping; its blocks live in system chunks.
    pub const CHUNK_TREE: Self = Self(3);
    /// What is allocated on each device.
    pub const DEV_TREE: Self = Self(4);
    /// The top-level subvolume.
    pub const FS_TREE: Self = Self(5);
    /// Not a tree: the directory inside the root tree that names the default subvolume.
    pub const ROOT_TREE_DIR: Self = Self(6);
    /// Checksums of data.
    pub const CSUM_TREE: Self = Self(7);
    /// Quota groups.
    pub const QUOTA_TREE: Self = Self(8);
    /// Subvolumes by UUID.
    pub const UUID_TREE: Self = Self(9);
    /// Free space of block groups.
    pub const FREE_SPACE_TREE: Self = Self(10);
    /// Block group items, where they are not in the extent tree.
    pub const BLOCK_GROUP_TREE: Self = Self(11);
    /// Raid stripe tree.
    pub const RAID_STRIPE_TREE: Self = Self(12);
    /// Remap tree.
    pub const REMAP_TREE: Self = Self(13);
    /// The fsync log (one tree per subvolume, and a root of them under this id).
    pub const TREE_LOG: Self = Self(6u64.wrapping_neg());
    /// Trees that relocation works on.
    pub const TREE_RELOC: Self = Self(8u64.wrapping_neg());
    /// Holds the data that relocation is moving.
    pub const DATA_RELOC: Self = Self(9u64.wrapping_neg());
    /// The lowest id of a subvolume other than [`Self::FS_TREE`].
    pub const FIRST_FREE: Self = Self(256);
    /// The highest id of a subvolume.
    pub const LAST_FREE: Self = Self(256u64.wrapping_neg());

    /// Whether this is a subvolume: a tree that holds files.
    ///
    /// Ids use 48 bits; those above are the level of quota groups and the internal trees.
    #[inline]
    pub const fn is_fstree(self) -> bool {
        self.0 == Self::FS_TREE.0 || (self.0 >= Self::FIRST_FREE.0 && self.0 >> 48 == 0)
    }
}

impl Ino {
    /// The lowest number of a file; the root directory of every subvolume has it.
    pub const FIRST_FREE: Self = Self(256);
    /// The highest number of a file.
    pub const LAST_FREE: Self = Self(256u64.wrapping_neg());
    /// The root directory of a subvolume.
    pub const ROOT_DIR: Self = Self(256);
    /// Stands for a subvolume's directory where the snapshot does not contain the subvolume.
    pub const EMPTY_SUBVOL_DIR: Self = Self(2);

    /// Whether a file may have this number.
    #[inline]
    pub const fn is_file(self) -> bool {
        self.0 >= Self::FIRST_FREE.0 && self.0 <= Self::LAST_FREE.0
    }
}

impl DevId {
    /// The target of a running replace.
    pub const REPLACE: Self = Self(0);
}

/// Objectids that stand for something other than an inode, a tree or an address.
pub mod objectid {
    /// Device items in the chunk tree.
    pub const DEV_ITEMS: u64 = 1;
    /// Device statistics in the device tree.
    pub const DEV_STATS: u64 = 0;
    /// The objectid of every chunk item.
    pub const FIRST_CHUNK_TREE: u64 = 256;
    /// The balance item in the root tree.
    pub const BALANCE: u64 = 4u64.wrapping_neg();
    /// Orphan items: inodes to delete, subvolumes to drop.
    pub const ORPHAN: u64 = 5u64.wrapping_neg();
    /// The root of the log trees in a log root.
    pub const TREE_LOG: u64 = 6u64.wrapping_neg();
    /// Extents pinned while the log is replayed.
    pub const TREE_LOG_FIXUP: u64 = 7u64.wrapping_neg();
    /// All checksum items.
    pub const EXTENT_CSUM: u64 = 10u64.wrapping_neg();
    /// Free space caches of version 1 in the root tree.
    pub const FREE_SPACE: u64 = 11u64.wrapping_neg();
    /// The inode number cache.
    pub const FREE_INO: u64 = 12u64.wrapping_neg();
    /// A log item that stands for several objectids.
    pub const MULTIPLE: u64 = 255u64.wrapping_neg();
}

/// A UUID as its 16 bytes stand on disk.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    zerocopy_derive::FromBytes,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::Immutable,
    zerocopy_derive::KnownLayout,
    zerocopy_derive::Unaligned,
)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The UUID of all zeroes: none.
    pub const NIL: Self = Self([0; 16]);

    /// Wraps the bytes.
    #[inline]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[inline]
    pub const fn get(self) -> [u8; 16] {
        self.0
    }

    /// Whether all bytes are zero.
    #[inline]
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Number of levels a tree may have; the root's level is below this.
pub const MAX_LEVEL: u8 = 8;
/// Longest file name, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest name of an extended attribute, prefix included, in bytes (`XATTR_NAME_MAX`).
pub const XATTR_NAME_MAX: usize = 255;
/// Size of the area that holds a checksum in headers and the superblock, in bytes.
pub const CSUM_AREA: usize = 32;
/// Largest tree block, in bytes.
pub const MAX_NODESIZE: u32 = 65536;
/// Unit of striping over devices, in bytes.
pub const STRIPE_LEN: u64 = 65536;
/// Most hard links an inode may have.
pub const LINK_MAX: u32 = 65535;
