// SPDX-License-Identifier: GPL-2.0

//! Feature bits and flags of the superblock, with the names that sysfs and tools use.

use crate::file_extent::Compression;

flags_type! {
    /// Features without which a filesystem must not be mounted at all.
    Incompat: u64 {
        /// References by tree and by parent block: every filesystem of today.
        MIXED_BACKREF = 1 << 0, "mixed_backref";
        /// The default subvolume has been changed.
        DEFAULT_SUBVOL = 1 << 1, "default_subvol";
        /// Block groups hold data and metadata together.
        MIXED_GROUPS = 1 << 2, "mixed_groups";
        /// Data compressed by LZO.
        COMPRESS_LZO = 1 << 3, "compress_lzo";
        /// Data compressed by zstd.
        COMPRESS_ZSTD = 1 << 4, "compress_zstd";
        /// Tree blocks larger than a page.
        BIG_METADATA = 1 << 5, "big_metadata";
        /// Names of inodes in extended references.
        EXTENDED_IREF = 1 << 6, "extended_iref";
        /// RAID5 or RAID6 chunks.
        RAID56 = 1 << 7, "raid56";
        /// Tree blocks have small extent items.
        SKINNY_METADATA = 1 << 8, "skinny_metadata";
        /// Holes in files have no items.
        NO_HOLES = 1 << 9, "no_holes";
        /// The UUID in tree blocks differs from the filesystem's.
        METADATA_UUID = 1 << 10, "metadata_uuid";
        /// RAID1C3 or RAID1C4 chunks.
        RAID1C34 = 1 << 11, "raid1c34";
        /// Writes follow the rules of zoned devices.
        ZONED = 1 << 12, "zoned";
        /// Several extent trees; experimental.
        EXTENT_TREE_V2 = 1 << 13, "extent_tree_v2";
        /// Stripes are looked up in a tree; experimental.
        RAID_STRIPE_TREE = 1 << 14, "raid_stripe_tree";
        /// Simple quotas have been on.
        SIMPLE_QUOTA = 1 << 16, "simple_quota";
        /// Relocation remaps addresses; experimental.
        REMAP_TREE = 1 << 17, "remap_tree";
    }
}

impl Incompat {
    /// The feature of a filesystem that has data compressed this way; zlib needs none.
    pub const fn of_compression(compression: Compression) -> Option<Self> {
        match compression {
            Compression::Lzo => Some(Self::COMPRESS_LZO),
            Compression::Zstd => Some(Self::COMPRESS_ZSTD),
            Compression::None | Compression::Zlib => None,
        }
    }

    /// The features that C btrfs supports without experimental options.
    pub const STABLE: Self = Self::MIXED_BACKREF
        .union(Self::DEFAULT_SUBVOL)
        .union(Self::MIXED_GROUPS)
        .union(Self::COMPRESS_LZO)
        .union(Self::COMPRESS_ZSTD)
        .union(Self::BIG_METADATA)
        .union(Self::EXTENDED_IREF)
        .union(Self::RAID56)
        .union(Self::SKINNY_METADATA)
        .union(Self::NO_HOLES)
        .union(Self::METADATA_UUID)
        .union(Self::RAID1C34)
        .union(Self::ZONED)
        .union(Self::SIMPLE_QUOTA);
}

flags_type! {
    /// Features without which a filesystem may be read, but not written.
    CompatRo: u64 {
        /// There is a free space tree.
        FREE_SPACE_TREE = 1 << 0, "free_space_tree";
        /// The free space tree is complete and right.
        FREE_SPACE_TREE_VALID = 1 << 1, "free_space_tree_valid";
        /// There are files with fs-verity.
        VERITY = 1 << 2, "verity";
        /// Block groups have a tree of their own.
        BLOCK_GROUP_TREE = 1 << 3, "block_group_tree";
    }
}

impl CompatRo {
    /// The features that C btrfs supports.
    pub const STABLE: Self = Self::FREE_SPACE_TREE
        .union(Self::FREE_SPACE_TREE_VALID)
        .union(Self::VERITY)
        .union(Self::BLOCK_GROUP_TREE);
}

flags_type! {
    /// State of the filesystem in the superblock.
    SuperFlags: u64 {
        /// Every superblock has it.
        WRITTEN = 1 << 0, "written";
        /// A block that relocation made; of no meaning in a superblock.
        RELOC = 1 << 1, "reloc";
        /// An error was detected; not written by today's kernels.
        ERROR = 1 << 2, "error";
        /// A seed: read-only, and other filesystems may be based on it.
        SEEDING = 1 << 32, "seeding";
        /// An image without data.
        METADUMP = 1 << 33, "metadump";
        /// An image without data, of another kind.
        METADUMP_V2 = 1 << 34, "metadump_v2";
        /// The UUID is being changed in all blocks.
        CHANGING_FSID = 1 << 35, "changing_fsid";
        /// The UUID is being changed on all devices.
        CHANGING_FSID_V2 = 1 << 36, "changing_fsid_v2";
        /// A tool converts to or from a block group tree.
        CHANGING_BG_TREE = 1 << 38, "changing_bg_tree";
        /// A tool changes the checksums of data.
        CHANGING_DATA_CSUM = 1 << 39, "changing_data_csum";
        /// A tool changes the checksums of metadata.
        CHANGING_META_CSUM = 1 << 40, "changing_meta_csum";
    }
}

impl SuperFlags {
    /// The flags with which a filesystem may be mounted. The rest means that a tool was interrupted
    /// half way, or that the image is not a whole filesystem.
    pub const MOUNTABLE: Self = Self::WRITTEN
        .union(Self::RELOC)
        .union(Self::ERROR)
        .union(Self::SEEDING)
        .union(Self::METADUMP)
        .union(Self::METADUMP_V2);
}
