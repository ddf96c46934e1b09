// SPDX-License-Identifier: GPL-2.0

//! Allocated extents and who references them.

use crate::crc32c::{crc32c, Crc32c};
use crate::key::{item, DiskKey, Key};
use crate::types::{Generation, Ino, Logical, TreeId};
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes;

on_disk! {
    /// Fixed part of `EXTENT_ITEM` and `METADATA_ITEM` items (`struct btrfs_extent_item`).
    ExtentItem [24] {
        /// Number of references, those in items of their own included.
        pub refs: U64,
        /// The transaction that allocated the extent.
        pub generation: U64,
        /// [`ExtentFlags`].
        pub flags: U64,
    }
}

impl ExtentItem {
    /// The flags.
    #[inline]
    pub fn flags(&self) -> ExtentFlags {
        ExtentFlags(self.flags.get())
    }

    /// The transaction that allocated the extent.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation.into()
    }
}

flags_type! {
    /// What an extent holds.
    ExtentFlags: u64 {
        /// File data.
        DATA = 1 << 0, "DATA";
        /// A tree block.
        TREE_BLOCK = 1 << 1, "TREE_BLOCK";
        /// What the tree block points to is referenced by the block, not by its tree.
        FULL_BACKREF = 1 << 8, "FULL_BACKREF";
    }
}

on_disk! {
    /// Describes a tree block that has an `EXTENT_ITEM` (`struct btrfs_tree_block_info`).
    TreeBlockInfo [18] {
        /// The first key of the block.
        pub key: DiskKey,
        /// The level of the block.
        pub level: u8,
    }
}

on_disk! {
    /// A reference to data by a file (`struct btrfs_extent_data_ref`).
    ExtentDataRef [28] {
        /// The tree of the file.
        pub root: U64,
        /// The file.
        pub objectid: U64,
        /// Position in the file minus position in the extent, in bytes, modulo 2^64.
        pub offset: U64,
        /// How often.
        pub count: U32,
    }
}

on_disk! {
    /// How often a leaf references data (`struct btrfs_shared_data_ref`).
    SharedDataRef [4] {
        /// How often.
        pub count: U32,
    }
}

on_disk! {
    /// Fixed part of an inline reference (`struct btrfs_extent_inline_ref`).
    ///
    /// With [`item::EXTENT_DATA_REF`] an [`ExtentDataRef`] takes the place of `offset`.
    InlineRefHeader [9] {
        /// The kind of reference, a value of [`item`].
        pub kind: u8,
        /// A tree or a parent block.
        pub offset: U64,
    }
}

/// A reference to an extent, from an inline reference or an item of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentRef {
    /// A tree references a tree block.
    TreeBlock {
        /// The tree.
        root: TreeId,
    },
    /// A parent block references a tree block.
    SharedBlock {
        /// The parent block.
        parent: Logical,
    },
    /// A file references data.
    Data {
        /// The tree of the file.
        root: TreeId,
        /// The file.
        ino: Ino,
        /// Position in the file minus position in the extent, modulo 2^64.
        offset: u64,
        /// How often.
        count: u32,
    },
    /// A leaf references data.
    SharedData {
        /// The leaf.
        parent: Logical,
        /// How often.
        count: u32,
    },
    /// The tree that pays for the data under simple quotas. Not a reference that keeps it alive.
    Owner {
        /// The tree.
        root: TreeId,
    },
}

impl ExtentRef {
    /// The value of [`item`] for this kind.
    #[inline]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::TreeBlock { .. } => item::TREE_BLOCK_REF,
            Self::SharedBlock { .. } => item::SHARED_BLOCK_REF,
            Self::Data { .. } => item::EXTENT_DATA_REF,
            Self::SharedData { .. } => item::SHARED_DATA_REF,
            Self::Owner { .. } => item::EXTENT_OWNER_REF,
        }
    }

    /// How many references this is.
    #[inline]
    pub const fn count(&self) -> u32 {
        match self {
            Self::TreeBlock { .. } | Self::SharedBlock { .. } => 1,
            Self::Data { count, .. } | Self::SharedData { count, .. } => *count,
            Self::Owner { .. } => 0,
        }
    }

    /// The number that inline references of one kind are sorted by, descending.
    #[inline]
    pub fn sequence(&self, crc32c: Crc32c) -> u64 {
        match *self {
            Self::TreeBlock { root } | Self::Owner { root } => root.get(),
            Self::SharedBlock { parent } | Self::SharedData { parent, .. } => parent.get(),
            Self::Data {
                root, ino, offset, ..
            } => data_ref_hash_with(crc32c, root, ino, offset),
        }
    }

    /// The size of an inline reference of that kind in bytes; `None` for an unknown kind.
    #[inline]
    pub const fn inline_size(kind: u8) -> Option<usize> {
        Some(match kind {
            item::TREE_BLOCK_REF | item::SHARED_BLOCK_REF | item::EXTENT_OWNER_REF => {
                InlineRefHeader::SIZE
            }
            item::EXTENT_DATA_REF => 1 + ExtentDataRef::SIZE,
            item::SHARED_DATA_REF => InlineRefHeader::SIZE + SharedDataRef::SIZE,
            _ => return None,
        })
    }

    /// Decodes an inline reference at the beginning of `data` and returns what follows it.
    #[inline]
    pub fn parse_inline(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&kind, body) = data.split_first()?;
        if kind == item::EXTENT_DATA_REF {
            let (data_ref, rest) = ExtentDataRef::from_prefix(body)?;
            return Some((Self::from(data_ref), rest));
        }
        let (offset, rest) = U64::read_from_prefix(body).ok()?;
        Some(match kind {
            item::TREE_BLOCK_REF => (
                Self::TreeBlock {
                    root: offset.into(),
                },
                rest,
            ),
            item::SHARED_BLOCK_REF => (
                Self::SharedBlock {
                    parent: offset.into(),
                },
                rest,
            ),
            item::EXTENT_OWNER_REF => (
                Self::Owner {
                    root: offset.into(),
                },
                rest,
            ),
            item::SHARED_DATA_REF => {
                let (shared, rest) = SharedDataRef::from_prefix(rest)?;
                let parent = offset.into();
                let count = shared.count.get();
                (Self::SharedData { parent, count }, rest)
            }
            _ => return None,
        })
    }

    /// Decodes a reference that has an item of its own.
    ///
    /// `None` if the key is not that of a reference, or the data is too short for its kind.
    #[inline]
    pub fn parse_keyed(key: &Key, data: &[u8]) -> Option<Self> {
        Some(match key.item_type {
            item::TREE_BLOCK_REF => Self::TreeBlock {
                root: TreeId(key.offset),
            },
            item::SHARED_BLOCK_REF => Self::SharedBlock {
                parent: Logical(key.offset),
            },
            item::EXTENT_DATA_REF => Self::from(ExtentDataRef::from_prefix(data)?.0),
            item::SHARED_DATA_REF => Self::SharedData {
                parent: Logical(key.offset),
                count: SharedDataRef::from_prefix(data)?.0.count.get(),
            },
            _ => return None,
        })
    }
}

impl From<&ExtentDataRef> for ExtentRef {
    #[inline]
    fn from(data_ref: &ExtentDataRef) -> Self {
        Self::Data {
            root: data_ref.root.into(),
            ino: data_ref.objectid.into(),
            offset: data_ref.offset.get(),
            count: data_ref.count.get(),
        }
    }
}

/// The inline references of an extent, in the order of the item.
///
/// Ends before the first one that is of an unknown kind or does not fit; [`Self::rest`] is then
/// not empty.
#[derive(Clone, Debug)]
pub struct InlineRefs<'a> {
    rest: &'a [u8],
}

impl<'a> InlineRefs<'a> {
    /// What has not been decoded: nothing after a well-formed item.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl Iterator for InlineRefs<'_> {
    type Item = ExtentRef;

    #[inline]
    fn next(&mut self) -> Option<ExtentRef> {
        let (reference, rest) = ExtentRef::parse_inline(self.rest)?;
        self.rest = rest;
        Some(reference)
    }
}

/// An `EXTENT_ITEM` or `METADATA_ITEM` item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentRecord<'a> {
    /// The fixed part.
    pub item: &'a ExtentItem,
    /// Describes the tree block, where the item is an `EXTENT_ITEM` of one.
    pub tree_block: Option<&'a TreeBlockInfo>,
    refs: &'a [u8],
}

impl<'a> ExtentRecord<'a> {
    /// Decodes an item of that key; `None` if it is too short.
    #[inline]
    pub fn parse(key: &Key, data: &'a [u8]) -> Option<Self> {
        let (extent, rest) = ExtentItem::from_prefix(data)?;
        if key.item_type == item::EXTENT_ITEM && extent.flags().contains(ExtentFlags::TREE_BLOCK) {
            let (info, rest) = TreeBlockInfo::from_prefix(rest)?;
            return Some(Self {
                item: extent,
                tree_block: Some(info),
                refs: rest,
            });
        }
        Some(Self {
            item: extent,
            tree_block: None,
            refs: rest,
        })
    }

    /// The references that stand in the item.
    #[inline]
    pub fn inline_refs(&self) -> InlineRefs<'a> {
        InlineRefs { rest: self.refs }
    }
}

/// The references of an `EXTENT_DATA_REF` item: several only in very old filesystems.
pub fn extent_data_refs(data: &[u8]) -> &[ExtentDataRef] {
    let count = data.len() / ExtentDataRef::SIZE;
    match <[ExtentDataRef]>::ref_from_prefix_with_elems(data, count) {
        Ok((refs, _)) => refs,
        Err(_) => &[],
    }
}

/// The key offset of the `EXTENT_DATA_REF` item of a reference by a file.
///
/// Collisions are resolved by counting the offset up.
#[inline]
pub fn data_ref_hash(root: TreeId, ino: Ino, offset: u64) -> u64 {
    data_ref_hash_with(crc32c, root, ino, offset)
}

/// [`data_ref_hash`] by another CRC-32C routine.
#[inline]
pub fn data_ref_hash_with(crc32c: Crc32c, root: TreeId, ino: Ino, offset: u64) -> u64 {
    let high = crc32c(!0, &root.get().to_le_bytes());
    let low = crc32c(!0, &ino.get().to_le_bytes());
    let low = crc32c(low, &offset.to_le_bytes());
    // 31, not 32: a slip of long ago that became the format.
    (u64::from(high) << 31) ^ u64::from(low)
}
