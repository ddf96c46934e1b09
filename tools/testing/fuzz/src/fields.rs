// SPDX-License-Identifier: GPL-2.0

//! Where the fields of superblock, headers and items lie: (offset, size) pairs.
//!
//! Mutating a field as a whole finds more than flipping bytes: lengths, counts, types and pointers
//! are where wrong values hurt.

use btrfs_format::key::item;

/// Offset and size of a field, in bytes.
pub type Field = (usize, usize);

/// The superblock, checksum and system chunk array aside.
pub const SUPER: &[Field] = &[
    (32, 16),
    (48, 8),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 8),
    (104, 8),
    (112, 8),
    (120, 8),
    (128, 8),
    (136, 8),
    (144, 4),
    (148, 4),
    (152, 4),
    (156, 4),
    (160, 4),
    (164, 8),
    (172, 8),
    (180, 8),
    (188, 8),
    (196, 2),
    (198, 1),
    (199, 1),
    (200, 1),
    (201, 8),
    (209, 8),
    (217, 8),
    (225, 4),
    (229, 4),
    (233, 4),
    (237, 8),
    (245, 8),
    (253, 8),
    (261, 4),
    (265, 1),
    (266, 1),
    (267, 16),
    (283, 16),
    (299, 8),
    (555, 8),
    (563, 8),
    (571, 16),
    (587, 8),
];

/// Where the system chunk array begins and a chunk's fields in it, the key included.
pub const SYS_CHUNKS: usize = 811;
/// Fields of an entry of the array, from its key on.
pub const SYS_CHUNK: &[Field] = &[
    (0, 8),
    (8, 1),
    (9, 8),
    (17, 8),
    (25, 8),
    (33, 8),
    (41, 8),
    (49, 4),
    (53, 4),
    (57, 4),
    (61, 2),
    (63, 2),
    (65, 8),
    (73, 8),
    (81, 16),
];

/// The header of a tree block, checksum aside.
pub const HEADER: &[Field] = &[
    (32, 16),
    (48, 8),
    (56, 7),
    (63, 1),
    (64, 16),
    (80, 8),
    (88, 8),
    (96, 4),
    (100, 1),
];

/// An item header: key, offset and size of the data.
pub const ITEM: &[Field] = &[(0, 8), (8, 1), (9, 8), (17, 4), (21, 4)];

/// A pointer in a node: key, block, generation.
pub const POINTER: &[Field] = &[(0, 8), (8, 1), (9, 8), (17, 8), (25, 8)];

const INODE: &[Field] = &[
    (0, 8),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 4),
    (52, 4),
    (56, 8),
    (64, 8),
    (72, 8),
    (112, 8),
    (120, 4),
    (124, 8),
    (132, 4),
    (136, 8),
    (144, 4),
    (148, 8),
    (156, 4),
];
const INODE_REF: &[Field] = &[(0, 8), (8, 2), (10, 1)];
const INODE_EXTREF: &[Field] = &[(0, 8), (8, 8), (16, 2), (18, 1)];
const DIR: &[Field] = &[
    (0, 8),
    (8, 1),
    (9, 8),
    (17, 8),
    (25, 2),
    (27, 2),
    (29, 1),
    (30, 1),
];
const FILE_EXTENT: &[Field] = &[
    (0, 8),
    (8, 8),
    (16, 1),
    (17, 1),
    (18, 2),
    (20, 1),
    (21, 8),
    (29, 8),
    (37, 8),
    (45, 8),
];
const ROOT: &[Field] = &[
    (0, 8),
    (16, 8),
    (40, 4),
    (52, 4),
    (160, 8),
    (168, 8),
    (176, 8),
    (184, 8),
    (192, 8),
    (200, 8),
    (208, 8),
    (216, 4),
    (220, 8),
    (228, 1),
    (229, 8),
    (237, 1),
    (238, 1),
    (239, 8),
    (247, 16),
    (263, 16),
    (279, 16),
    (295, 8),
    (303, 8),
    (311, 8),
    (319, 8),
    (327, 8),
    (335, 4),
];
const ROOT_REF: &[Field] = &[(0, 8), (8, 8), (16, 2), (18, 1)];
const EXTENT: &[Field] = &[
    (0, 8),
    (8, 8),
    (16, 8),
    (24, 1),
    (25, 8),
    (33, 8),
    (41, 8),
    (49, 4),
    (53, 1),
    (54, 8),
    (62, 8),
    (70, 8),
    (78, 4),
];
const BLOCK_GROUP: &[Field] = &[(0, 8), (8, 8), (16, 8)];
const FREE_SPACE_INFO: &[Field] = &[(0, 4), (4, 4)];
const DEV_EXTENT: &[Field] = &[(0, 8), (8, 8), (16, 8), (24, 8), (32, 16)];
const DEV: &[Field] = &[
    (0, 8),
    (8, 8),
    (16, 8),
    (24, 4),
    (28, 4),
    (32, 4),
    (36, 8),
    (44, 8),
    (52, 8),
    (60, 4),
    (64, 1),
    (65, 1),
    (66, 16),
    (82, 16),
];
const CHUNK: &[Field] = &[
    (0, 8),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 4),
    (36, 4),
    (40, 4),
    (44, 2),
    (46, 2),
    (48, 8),
    (56, 8),
    (64, 16),
    (80, 8),
    (88, 8),
];
const WORDS: &[Field] = &[(0, 8), (8, 8), (16, 8), (24, 8), (32, 8)];

/// Fields of an item's data; empty for types without structure.
pub fn of(item_type: u8) -> &'static [Field] {
    match item_type {
        item::INODE_ITEM => INODE,
        item::INODE_REF => INODE_REF,
        item::INODE_EXTREF => INODE_EXTREF,
        item::XATTR_ITEM | item::DIR_ITEM | item::DIR_INDEX => DIR,
        item::EXTENT_DATA => FILE_EXTENT,
        item::ROOT_ITEM => ROOT,
        item::ROOT_REF | item::ROOT_BACKREF => ROOT_REF,
        item::EXTENT_ITEM | item::METADATA_ITEM => EXTENT,
        item::BLOCK_GROUP_ITEM => BLOCK_GROUP,
        item::FREE_SPACE_INFO => FREE_SPACE_INFO,
        item::DEV_EXTENT => DEV_EXTENT,
        item::DEV_ITEM => DEV,
        item::CHUNK_ITEM => CHUNK,
        item::QGROUP_STATUS | item::QGROUP_INFO | item::QGROUP_LIMIT | item::DEV_STATS => WORDS,
        _ => &[],
    }
}
