// SPDX-License-Identifier: GPL-2.0

//! Keys: what every item of every tree is sorted by.

use crate::types::TreeId;
use core::cmp::Ordering;
use core::fmt;
use zerocopy::little_endian::U64;

/// A key in memory.
///
/// The order is by objectid, then type, then offset: the order of items in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The object the item belongs to: an inode, a tree, an address ...
    pub objectid: u64,
    /// The kind of item, one of [`item`].
    pub item_type: u8,
    /// What tells several items of one kind apart; its meaning depends on the kind.
    pub offset: u64,
}

impl Key {
    /// The lowest key.
    pub const MIN: Self = Self::new(0, 0, 0);
    /// The highest key.
    pub const MAX: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    /// Makes a key of its three parts.
    #[inline]
    pub const fn new(objectid: u64, item_type: u8, offset: u64) -> Self {
        Self {
            objectid,
            item_type,
            offset,
        }
    }

    /// Whether the item is the root of a subvolume.
    pub fn is_subvolume(self) -> bool {
        self.item_type == item::ROOT_ITEM && TreeId(self.objectid).is_fstree()
    }

    /// The lowest key above this one; `None` after [`Key::MAX`].
    #[inline]
    pub const fn next(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_add(1) {
            return Some(Self::new(self.objectid, self.item_type, offset));
        }
        if let Some(item_type) = self.item_type.checked_add(1) {
            return Some(Self::new(self.objectid, item_type, 0));
        }
        match self.objectid.checked_add(1) {
            Some(objectid) => Some(Self::new(objectid, 0, 0)),
            None => None,
        }
    }

    /// The highest key below this one; `None` before [`Key::MIN`].
    #[inline]
    pub const fn prev(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_sub(1) {
            return Some(Self::new(self.objectid, self.item_type, offset));
        }
        if let Some(item_type) = self.item_type.checked_sub(1) {
            return Some(Self::new(self.objectid, item_type, u64::MAX));
        }
        match self.objectid.checked_sub(1) {
            Some(objectid) => Some(Self::new(objectid, u8::MAX, u64::MAX)),
            None => None,
        }
    }
}

impl fmt::Display for Key {
    /// `(objectid type offset)`, the way the C tools and log lines write keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.objectid, self.item_type, self.offset)
    }
}

on_disk! {
    /// A key on disk.
    DiskKey [17] {
        /// See [`Key::objectid`].
        pub objectid: U64,
        /// See [`Key::item_type`].
        pub item_type: u8,
        /// See [`Key::offset`].
        pub offset: U64,
    }
}

impl DiskKey {
    /// Decodes the key.
    #[inline]
    pub const fn get(&self) -> Key {
        Key::new(self.objectid.get(), self.item_type, self.offset.get())
    }

    /// Compares with a key in memory, in tree order.
    ///
    /// Reads only as many parts as decide: binary searches spend their time here.
    #[inline]
    pub fn cmp_key(&self, key: &Key) -> Ordering {
        self.objectid
            .get()
            .cmp(&key.objectid)
            .then_with(|| self.item_type.cmp(&key.item_type))
            .then_with(|| self.offset.get().cmp(&key.offset))
    }
}

impl From<Key> for DiskKey {
    #[inline]
    fn from(key: Key) -> Self {
        Self {
            objectid: U64::new(key.objectid),
            item_type: key.item_type,
            offset: U64::new(key.offset),
        }
    }
}

impl From<DiskKey> for Key {
    #[inline]
    fn from(key: DiskKey) -> Self {
        key.get()
    }
}

/// The kinds of items: values of [`Key::item_type`] (`BTRFS_*_KEY` of `btrfs_tree.h`).
pub mod item {
    /// Attributes of an inode.
    pub const INODE_ITEM: u8 = 1;
    /// Names of an inode in one directory.
    pub const INODE_REF: u8 = 12;
    /// Names of an inode, where [`INODE_REF`] has no room for them.
    pub const INODE_EXTREF: u8 = 13;
    /// Extended attributes, by hash of the name.
    pub const XATTR_ITEM: u8 = 24;
    /// fs-verity descriptor.
    pub const VERITY_DESC: u8 = 36;
    /// fs-verity Merkle tree.
    pub const VERITY_MERKLE: u8 = 37;
    /// An inode or subvolume that is to be deleted.
    pub const ORPHAN_ITEM: u8 = 48;
    /// A range of name hashes that a log holds completely.
    pub const DIR_LOG_ITEM: u8 = 60;
    /// A range of directory indexes that a log holds completely.
    pub const DIR_LOG_INDEX: u8 = 72;
    /// Directory entries, by hash of the name.
    pub const DIR_ITEM: u8 = 84;
    /// Directory entries, by index.
    pub const DIR_INDEX: u8 = 96;
    /// A range of a file's data.
    pub const EXTENT_DATA: u8 = 108;
    /// Checksums of a range of logical addresses.
    pub const EXTENT_CSUM: u8 = 128;
    /// The root of a tree.
    pub const ROOT_ITEM: u8 = 132;
    /// From a subvolume to the directory that names it.
    pub const ROOT_BACKREF: u8 = 144;
    /// From a subvolume to one that a directory of it names.
    pub const ROOT_REF: u8 = 156;
    /// An allocated extent; the offset is its length in bytes.
    pub const EXTENT_ITEM: u8 = 168;
    /// An allocated tree block; the offset is its level.
    pub const METADATA_ITEM: u8 = 169;
    /// Who pays for an extent under simple quotas (inline only).
    pub const EXTENT_OWNER_REF: u8 = 172;
    /// Reference to a tree block by a tree.
    pub const TREE_BLOCK_REF: u8 = 176;
    /// Reference to data by a file.
    pub const EXTENT_DATA_REF: u8 = 178;
    /// Reference to a tree block by a parent block.
    pub const SHARED_BLOCK_REF: u8 = 182;
    /// Reference to data by a leaf.
    pub const SHARED_DATA_REF: u8 = 184;
    /// A block group.
    pub const BLOCK_GROUP_ITEM: u8 = 192;
    /// How the free space of a block group is stored.
    pub const FREE_SPACE_INFO: u8 = 198;
    /// A free range.
    pub const FREE_SPACE_EXTENT: u8 = 199;
    /// A bitmap of free sectors.
    pub const FREE_SPACE_BITMAP: u8 = 200;
    /// An allocated range of a device.
    pub const DEV_EXTENT: u8 = 204;
    /// A device.
    pub const DEV_ITEM: u8 = 216;
    /// A chunk: where a range of logical addresses is stored.
    pub const CHUNK_ITEM: u8 = 228;
    /// Raid stripe extent.
    pub const RAID_STRIPE: u8 = 230;
    /// A range that keeps its address when its block group is remapped.
    pub const IDENTITY_REMAP: u8 = 234;
    /// A range that was moved.
    pub const REMAP: u8 = 235;
    /// From where a range was moved.
    pub const REMAP_BACKREF: u8 = 236;
    /// State of quotas.
    pub const QGROUP_STATUS: u8 = 240;
    /// Usage of a quota group.
    pub const QGROUP_INFO: u8 = 242;
    /// Limits of a quota group.
    pub const QGROUP_LIMIT: u8 = 244;
    /// Parent and child of quota groups.
    pub const QGROUP_RELATION: u8 = 246;
    /// Old name of [`TEMPORARY_ITEM`].
    pub const BALANCE_ITEM: u8 = 248;
    /// State that goes away: a paused balance.
    pub const TEMPORARY_ITEM: u8 = 248;
    /// Old name of [`PERSISTENT_ITEM`].
    pub const DEV_STATS: u8 = 249;
    /// State that stays: error counters of devices.
    pub const PERSISTENT_ITEM: u8 = 249;
    /// State of a device replace.
    pub const DEV_REPLACE: u8 = 250;
    /// Subvolume by its UUID.
    pub const UUID_SUBVOL: u8 = 251;
    /// Received subvolume by the UUID of its source.
    pub const UUID_RECEIVED_SUBVOL: u8 = 252;
    /// A string for debugging.
    pub const STRING_ITEM: u8 = 253;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_neighbours() {
        let key = Key::new(5, u8::MAX, u64::MAX);
        assert_eq!(key.next(), Some(Key::new(6, 0, 0)));
        assert_eq!(Key::new(6, 0, 0).prev(), Some(key));
        assert_eq!(Key::new(5, 1, u64::MAX).next(), Some(Key::new(5, 2, 0)));
        assert_eq!(Key::MAX.next(), None);
        assert_eq!(Key::MIN.prev(), None);
        assert!(Key::new(1, 2, 0) > Key::new(1, 1, 9));
        assert!(Key::new(2, 0, 0) > Key::new(1, 9, 9));
    }

    #[test]
    fn codec() {
        let key = Key::new(0x0102_0304_0506_0708, 9, 10);
        let disk = DiskKey::from(key);
        assert_eq!(disk.to_disk()[..9], [8, 7, 6, 5, 4, 3, 2, 1, 9]);
        assert_eq!(disk.get(), key);
        assert_eq!(disk.cmp_key(&key), Ordering::Equal);
        assert_eq!(disk.cmp_key(&Key::new(key.objectid, 9, 11)), Ordering::Less);
    }
}
