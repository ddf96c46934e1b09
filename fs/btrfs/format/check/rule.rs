// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a tree block, one variant per kind of corruption.

use crate::header::Header;
use crate::key::Key;
use crate::types::{Generation, Logical, TreeId, Uuid};
use core::fmt;

/// A broken rule, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The item or pointer; `None` if the block as a whole is wrong.
    pub slot: Option<u32>,
    /// The key at the slot.
    pub key: Option<Key>,
    /// What is wrong.
    pub rule: Rule,
}

impl Violation {
    /// A violation of the block as a whole.
    pub(super) const fn of_block(rule: Rule) -> Self {
        Self {
            slot: None,
            key: None,
            rule,
        }
    }

    /// The line for the log, with block and tree as `block` names them in its header:
    /// `corrupt leaf: root=5 block=30408704 slot=3 key=(256 1 0), reason`.
    pub fn describe<'a>(&'a self, block: &'a [u8]) -> impl fmt::Display + 'a {
        Description {
            violation: self,
            header: Header::of(block),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(slot) = self.slot {
            write!(f, "slot={slot}")?;
            if let Some(key) = self.key {
                write!(f, " key={key}")?;
            }
            f.write_str(", ")?;
        }
        self.rule.fmt(f)
    }
}

/// See [`Violation::describe`].
struct Description<'a> {
    violation: &'a Violation,
    header: Option<&'a Header>,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(header) = self.header else {
            return write!(f, "corrupt block: {}", self.violation);
        };
        let kind = if header.is_leaf() { "leaf" } else { "node" };
        let separator = if self.violation.slot.is_some() {
            ""
        } else {
            ","
        };
        write!(
            f,
            "corrupt {kind}: root={} block={}{separator} {}",
            header.owner, header.bytenr, self.violation
        )
    }
}

/// Defines [`Field`] with the name of each field in messages.
macro_rules! fields {
    ($( $(#[$meta:meta])* $field:ident = $name:literal, )*) => {
        /// The number that a rule is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $( $(#[$meta])* $field, )*
        }

        impl fmt::Display for Field {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $( Self::$field => $name, )*
                })
            }
        }
    };
}

fields! {
    /// The key's objectid.
    KeyObjectid = "key objectid",
    /// The key's offset.
    KeyOffset = "key offset",
    /// A pointer of a node.
    BlockPtr = "block pointer",
    /// Length of a file extent.
    NumBytes = "file extent num_bytes",
    /// Address of a file extent.
    DiskBytenr = "file extent disk_bytenr",
    /// Size on disk of a file extent.
    DiskNumBytes = "file extent disk_num_bytes",
    /// Position in its extent of a file extent.
    ExtentOffset = "file extent offset",
    /// Decompressed size of a file extent.
    RamBytes = "file extent ram_bytes",
    /// Range of a checksum item.
    CsumRange = "csum range",
    /// Generation of an inode.
    InodeGeneration = "inode generation",
    /// Transid of an inode.
    InodeTransid = "inode transid",
    /// Generation of a root item.
    RootGeneration = "root generation",
    /// Second generation of a root item.
    RootGenerationV2 = "root generation_v2",
    /// Last snapshot of a root item.
    LastSnapshot = "root last_snapshot",
    /// Address of a root.
    RootBytenr = "root bytenr",
    /// Level of a root.
    RootLevel = "root level",
    /// Level at which dropping a root stopped.
    DropLevel = "root drop_level",
    /// Generation of an extent.
    ExtentGeneration = "extent generation",
    /// Level of a tree block's extent.
    ExtentLevel = "extent tree block level",
    /// Range of an extent.
    ExtentRange = "extent range",
    /// Parent block of a reference.
    RefParent = "extent ref parent",
    /// Position in the file of a reference.
    RefOffset = "extent data ref offset",
    /// Count of a reference.
    RefCount = "extent ref count",
    /// Range of a chunk.
    ChunkRange = "chunk range",
    /// Range of a stripe on its device.
    StripeRange = "chunk stripe range",
    /// Range of a device extent.
    DevExtentRange = "dev extent range",
    /// Chunk of a device extent.
    DevExtentChunk = "dev extent chunk offset",
    /// Range of a block group.
    BlockGroupRange = "block group range",
    /// Range of free space.
    FreeSpaceRange = "free space range",
    /// Range of a raid stripe extent.
    RaidStripeRange = "raid stripe range",
    /// Range of a remap item.
    RemapRange = "remap range",
}

/// Defines [`Rule`] with the message of each variant.
macro_rules! rules {
    ($(
        $(#[$meta:meta])*
        $rule:ident $( { $( $(#[$field_meta:meta])* $field:ident: $ty:ty, )* } )? => $text:literal;
    )*) => {
        /// What is wrong with a block. `have` is what it says, `want`, `max` ... what is allowed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $( $(#[$meta])* $rule $( { $( #[allow(missing_docs)] $field: $ty, )* } )?, )*
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$rule $( { $( $field, )* } )? => write!(f, $text), )*
                }
            }
        }
    };
}

rules! {
    // The block as a whole.

    /// The buffer is not a whole block.
    BlockSize { have: usize, want: u32, } => "invalid block size, have {have} expect {want}";
    /// The block was written to another address.
    Bytenr { have: Logical, want: Logical, } => "bad tree block start, have {have} expect {want}";
    /// The block belongs to another filesystem.
    Fsid { have: Uuid, } => "bad fsid {have}";
    /// The level is above all trees.
    Level { have: u8, } => "invalid level {have}";
    /// The level is not that of the parent less one.
    UnexpectedLevel { have: u8, want: u8, } => "level mismatch, have {have} expect {want}";
    /// The parent points to another generation.
    BlockGeneration { have: Generation, want: Generation, }
        => "parent transid verify failed, have {have} expect {want}";
    /// The block belongs to another tree.
    Owner { have: TreeId, tree: TreeId, } => "owner mismatch, have {have} in tree {tree}";
    /// The block does not say that it was written.
    NotWritten => "WRITTEN flag not set";
    /// The first key is not the parent's.
    FirstKey { want: Key, } => "tree first key mismatch, expect {want}";
    /// The block is empty, but has a parent.
    EmptyChild { want: Key, } => "invalid nritems 0, expect first key {want}";
    /// The number of items or pointers is impossible.
    Nritems { have: u32, max: usize, } => "invalid nritems, have {have} expect [1, {max}]";
    /// The tree always has items.
    EmptyRoot { owner: TreeId, } => "root {owner} must never be empty";
    /// No tree has the id 0.
    OwnerZero => "invalid owner 0";

    // Keys and item headers.

    /// Keys do not ascend.
    KeyOrder { prev: Key, } => "bad key order, previous {prev}";
    /// The item's data does not end where the previous item's begins.
    ItemEnd { have: u64, want: u64, } => "unexpected item end, have {have} expect {want}";
    /// The item's data begins within the item headers.
    ItemOverlap { start: u64, min: u64, }
        => "item data overlaps item headers, starts at {start} expect at least {min}";
    /// The item's data is too long or short.
    ItemSize { have: usize, want: usize, } => "invalid item size, have {have} expect {want}";
    /// The item's data is too short.
    ItemTooShort { have: usize, min: usize, }
        => "invalid item size, have {have} expect at least {min}";
    /// The item's data is not a whole number of elements.
    ItemSizeMultiple { have: usize, unit: usize, }
        => "invalid item size, have {have} expect a multiple of {unit}";
    /// The item has no data.
    ItemEmpty => "invalid item size 0";
    /// Items of this type have another objectid.
    Objectid { have: u64, want: u64, } => "invalid key objectid, have {have} expect {want}";
    /// Items of this type have another offset.
    KeyOffset { have: u64, want: u64, } => "invalid key offset, have {have} expect {want}";

    // Numbers of any item.

    /// A number is not a multiple of the sector size.
    Unaligned { field: Field, have: u64, align: u32, }
        => "unaligned {field}, have {have} should be aligned to {align}";
    /// A number may not be zero.
    Zero { field: Field, } => "invalid {field} 0";
    /// A range ends beyond the largest number.
    Overflow { field: Field, start: u64, length: u64, }
        => "{field} overflows, start {start} length {length}";
    /// A number is too large.
    TooLarge { field: Field, have: u64, max: u64, } => "invalid {field}, have {have} max {max}";
    /// A generation of the future.
    Generation { field: Field, have: u64, max: u64, }
        => "invalid {field}, have {have} expect [0, {max}]";
    /// Two ranges share bytes.
    Overlap { field: Field, prev_end: u64, start: u64, }
        => "{field} overlaps the previous one, which ends at {prev_end}, start {start}";

    // Inodes, their names, and directories.

    /// An item of an inode follows an item of another; its inode item is missing.
    PrevObjectid { prev: u64, }
        => "invalid previous key objectid, have {prev} expect that of this key";
    /// No inode has that number.
    InodeNumber { have: u64, } => "invalid inode number {have}";
    /// Bits that are neither type nor permission.
    ModeBits { have: u32, } => "unknown mode bits {have:#x}";
    /// Not a type of file.
    ModeFormat { have: u32, } => "invalid mode, have {have:#o} expect valid S_IF* bits";
    /// A directory has one name.
    DirLinks { have: u32, } => "invalid nlink for directory, have {have} expect at most 1";
    /// Flags that must be known to use the inode.
    InodeFlags { have: u64, } => "unknown incompat inode flags {have:#x}";
    /// Flags that must be known to write the inode.
    InodeRoFlags { have: u64, } => "unknown ro-compat inode flags {have:#x} on writable mount";
    /// No directory has that number.
    ParentInode { have: u64, } => "invalid parent inode number {have}";
    /// A name or its header crosses the end of the item.
    NameOverflow { offset: usize, size: usize, }
        => "entry at {offset} crosses item boundary {size}";
    /// A name is empty or too long.
    NameLength { have: usize, max: usize, } => "invalid name length, have {have} expect [1, {max}]";
    /// A name in a directory contains a slash.
    NameSlash => "name contains a slash";
    /// An entry names nothing that can be named.
    LocationType { have: u8, } => "invalid location key type {have}";
    /// An entry names an impossible subvolume.
    LocationRoot { have: u64, } => "invalid location key root id {have}";
    /// An entry names an impossible inode.
    LocationInode { have: u64, } => "invalid location key objectid {have}";
    /// An entry's location has an offset that it may not have.
    LocationOffset { have: u64, } => "invalid location key offset, have {have} expect 0";
    /// An extended attribute has a location.
    XattrLocation { have: Key, } => "invalid location key for xattr {have}";
    /// Not a type of directory entry.
    DirType { have: u8, } => "invalid dir item type {have}";
    /// An extended attribute among directory entries, or the other way round.
    XattrType { have: u8, } => "dir item type {have} does not fit the key type";
    /// A directory entry has data.
    DirData { have: usize, } => "dir item with data, have {have} expect 0";
    /// The key is not the hash of the name.
    NameHash { have: u64, } => "name hash mismatch with key, have {have:#018x}";

    // File data.

    /// Not a kind of file extent.
    ExtentType { have: u8, } => "invalid type for file extent {have}";
    /// Not a kind of compression.
    Compression { have: u8, } => "invalid compression for file extent {have}";
    /// There is no encryption.
    Encryption { have: u8, } => "invalid encryption for file extent, have {have} expect 0";
    /// There is no other encoding.
    OtherEncoding { have: u16, }
        => "invalid other_encoding for file extent, have {have} expect 0";
    /// Inline data anywhere but at the beginning.
    InlineOffset { have: u64, }
        => "invalid file_offset for inline file extent, have {have} expect 0";
    /// Inline data is not as long as it says.
    InlineSize { have: usize, ram_bytes: u64, }
        => "invalid ram_bytes for uncompressed inline extent, have {have} bytes, says {ram_bytes}";
    /// Preallocated space cannot be compressed; nor what relocation moves.
    CompressionNotAllowed { have: u8, } => "compression {have} not allowed for this file extent";
    /// A file extent uses more than its extent has.
    ExtentBounds { offset: u64, num_bytes: u64, size: u64, }
        => "file extent offset {offset} length {num_bytes} beyond extent of {size} bytes";

    // Roots.

    /// No tree has the id 0.
    RootZero => "invalid root id 0";
    /// Relocation trees belong to subvolumes.
    RelocRoot { have: u64, } => "invalid reloc tree for root {have}";
    /// Not a level.
    RootLevel { field: Field, have: u8, } => "invalid {field} {have}";
    /// Dropping stops above the leaves.
    DropProgress { objectid: u64, }
        => "invalid root drop_level 0 with drop_progress objectid {objectid}";
    /// Flags that are not known.
    RootFlags { have: u64, } => "invalid root flags {have:#x}";

    // Extents.

    /// Small extent items without their feature.
    SkinnyDisabled => "METADATA_ITEM without SKINNY_METADATA feature";
    /// Neither data nor tree block, or both.
    ExtentFlags { have: u64, } => "invalid extent flags {have:#x}";
    /// A tree block of another size.
    TreeBlockLength { have: u64, want: u32, }
        => "invalid extent length, have {have} expect {want}";
    /// Data in an item for tree blocks.
    DataInMetadataItem => "data extent has METADATA_ITEM key";
    /// Full references are for tree blocks.
    DataFullBackref => "data extent has FULL_BACKREF flag";
    /// Not a kind of inline reference.
    InlineRefType { have: u8, } => "unknown inline ref type {have}";
    /// An inline reference crosses the end of the item.
    InlineRefOverflow { kind: u8, rest: usize, }
        => "inline ref of type {kind} overflows extent item, {rest} bytes left";
    /// A reference to data from a tree block's item, or the other way round.
    InlineRefKind { kind: u8, } => "inline ref type {kind} does not fit the extent";
    /// References are sorted by type, then descending.
    InlineRefOrder { kind: u8, prev: u8, } => "inline ref out-of-order, has type {kind} prev {prev}";
    /// More references than are counted.
    InlineRefCount { refs: u64, inline: u64, }
        => "invalid extent refs, have {refs} expect at least inline {inline}";
    /// Data is not referenced by that tree.
    DataRefRoot { have: u64, } => "invalid data ref root {have}";
    /// Data is not referenced by that inode.
    DataRefInode { have: u64, } => "invalid data ref objectid {have}";

    // Chunks and devices.

    /// A chunk without stripes.
    ChunkNoStripes => "invalid chunk num_stripes 0";
    /// Stripes that the profile does not allow.
    ChunkStripes { stripes: u16, sub_stripes: u16, profile: &'static str, }
        => "invalid num_stripes:sub_stripes {stripes}:{sub_stripes} for profile {profile}";
    /// Another sector size than the filesystem's.
    ChunkSectorsize { have: u32, want: u32, }
        => "invalid chunk sectorsize, have {have} expect {want}";
    /// Another stripe length than 64 KiB.
    ChunkStripeLength { have: u64, } => "invalid chunk stripe length {have}";
    /// A chunk whose stripes cannot be counted.
    ChunkTooLong { have: u64, limit: u64, } => "chunk length too large, have {have} limit {limit}";
    /// Bits that are not known.
    ChunkType { have: u64, } => "unrecognized chunk type {have:#x}";
    /// More than one profile.
    ChunkProfile { have: u64, } => "invalid profile flags {have:#x}, expect 0 or 1 bit set";
    /// Holds nothing.
    ChunkNoType { have: u64, } => "missing chunk type flag, have {have:#x}";
    /// Holds the chunk tree and something else.
    ChunkSystemMixed { have: u64, } => "system chunk with other type {have:#x}";
    /// Holds data and metadata without that feature.
    ChunkMixed { have: u64, } => "mixed chunk type in non-mixed mode {have:#x}";
    /// Remap flags without that feature.
    RemapDisabled { have: u64, } => "remap flags {have:#x} without REMAP_TREE feature";
    /// A chunk of the superblock that holds something else than the chunk tree.
    ChunkNotSystem { have: u64, } => "chunk type {have:#x} in system chunk array";
    /// The device in the item is not that of the key.
    DevItemId { key: u64, have: u64, } => "devid mismatch, key {key} item {have}";
    /// More bytes used than there are.
    DevBytesUsed { used: u64, total: u64, } => "invalid bytes used, have {used} of {total}";
    /// A device extent of another tree than the chunk tree.
    DevExtentTree { have: u64, } => "invalid dev extent chunk tree {have}";
    /// A device extent of something else than a chunk.
    DevExtentObjectid { have: u64, } => "invalid dev extent chunk objectid {have}";

    // Block groups and free space.

    /// The objectid of chunks is 256.
    BlockGroupObjectid { have: u64, } => "invalid block group chunk objectid {have}";
    /// More bytes used than there are.
    BlockGroupUsed { used: u64, length: u64, }
        => "invalid block group used, have {used} of {length}";
    /// Types that do not go together.
    BlockGroupType { have: u64, } => "invalid block group type {have:#x}";
    /// More bytes remapped than there are.
    BlockGroupRemap { have: u64, max: u64, } => "invalid block group remap_bytes {have} of {max}";
    /// More ranges than sectors.
    BlockGroupRemapCount { have: u32, max: u64, }
        => "invalid block group identity_remap_count {have} of {max}";
    /// Flags that are not known.
    FreeSpaceFlags { have: u32, } => "unknown flags for free space info {have:#x}";
    /// More ranges than sectors.
    FreeSpaceCount { have: u32, max: u64, } => "free space extent count {have} of {max}";
    /// Free space outside of its block group.
    FreeSpaceOutside { prev: Key, } => "free space is not inside of {prev}";
    /// Bitmaps where the block group has extents, or the other way round.
    FreeSpaceKind { prev: Key, } => "free space type does not fit {prev}";

    // The rest.

    /// Items of the raid stripe tree without that feature.
    RaidStripeDisabled => "RAID_STRIPE item without RAID_STRIPE_TREE feature";
    /// Items of the remap tree without that feature.
    RemapItemDisabled => "remap item without REMAP_TREE feature";
}
