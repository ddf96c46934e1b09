// SPDX-License-Identifier: GPL-2.0

//! The tree checker: verifies every member of a tree block once, so that nobody else needs to.
//!
//! [`check_block`] runs when a block has been read and its checksum is right. A right checksum
//! proves only that the block is what somebody wrote: memory errors before the checksum was made,
//! bugs, and images made to attack are caught here.
//!
//! The checker looks at one block and nothing else. It knows what the block's parent said about it
//! ([`Expected`]) and what holds for the whole filesystem ([`CheckContext`]). Relations between
//! blocks (an extent referenced but not allocated ...) are beyond it.
//!
//! After a block passed, the layers above rely on these facts:
//!
//! * The header is that of the block that was asked for.
//! * Keys ascend strictly; item data is inside the block, and no two items share bytes.
//! * Items of known types have the length that their structures and counts say.
//! * Names are 1 to 255 bytes long; hashes of names are right.
//! * Numbers that are enums in the format have known values.
//! * Addresses and lengths are aligned, and their sums do not overflow.
//!
//! Items of types this crate does not know pass: compatible extensions bring such. Nothing here is
//! stricter than what every btrfs implementation has always written.
//!
//! Cost: one pass over the block, no allocation, and one CRC-32C per directory entry.

mod chunk;
mod data;
mod extent;
mod inode;
mod leaf;
mod misc;
mod node;
mod root;
mod rule;
mod space;

pub use chunk::check_chunk;
pub use rule::{Field, Rule, Violation};

use crate::crc32c::{crc32c, Crc32c};
use crate::geometry::Geometry;
use crate::header::{Header, HeaderFlags};
use crate::key::{item, Key};
use crate::superblock::Incompat;
use crate::types::{Generation, Logical, TreeId, Uuid, MAX_LEVEL};

/// What holds for every block of a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    /// Sizes.
    pub geometry: Geometry,
    /// Feature bits of the superblock.
    pub incompat: Incompat,
    /// The generation of the superblock. Items may carry the next one: those of the log do.
    pub generation: Generation,
    /// The metadata UUIDs that blocks may have: the filesystem's own, then those of its seeds.
    pub fsids: &'a [Uuid],
    /// Whether the filesystem may be written. Inodes with read-only compatible flags that are not
    /// known are refused then.
    pub writable: bool,
    /// The routine that hashes names.
    pub crc32c: Crc32c,
}

impl<'a> CheckContext<'a> {
    /// A context of a filesystem that is only read, hashing by this crate's own CRC-32C.
    pub fn new(
        geometry: Geometry,
        incompat: Incompat,
        generation: Generation,
        fsids: &'a [Uuid],
    ) -> Self {
        Self {
            geometry,
            incompat,
            generation,
            fsids,
            writable: false,
            crc32c,
        }
    }

    /// The highest generation that may stand in an item.
    #[inline]
    fn max_generation(&self) -> u64 {
        self.generation.next().get()
    }
}

/// What is known about a block before it is read. What is `None` is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The address the block was read from.
    pub logical: Logical,
    /// The level: one less than the parent's, or the root's as its item says.
    pub level: Option<u8>,
    /// The generation in the parent, or of the root item.
    pub generation: Option<Generation>,
    /// The tree that is being searched, see [`check_owner`] for what that says about the block.
    pub owner: Option<TreeId>,
    /// The key in the parent.
    pub first_key: Option<Key>,
}

impl Expected {
    /// Knows nothing but the address.
    pub const fn at(logical: Logical) -> Self {
        Self {
            logical,
            level: None,
            generation: None,
            owner: None,
            first_key: None,
        }
    }
}

/// Verifies a tree block, header and items, except for its checksum.
///
/// # Errors
///
/// The first violation found. The caller adds address and tree to the message: see
/// [`Violation::describe`].
pub fn check_block(
    block: &[u8],
    context: &CheckContext<'_>,
    expected: &Expected,
) -> Result<(), Violation> {
    let header = check_header(block, context, expected).map_err(Violation::of_block)?;
    if header.is_leaf() {
        leaf::check(block, header, context)?;
    } else {
        node::check(block, header, context)?;
    }
    check_first_key(block, header, expected)
}

/// Verifies what the header says about the block as a whole.
fn check_header<'a>(
    block: &'a [u8],
    context: &CheckContext<'_>,
    expected: &Expected,
) -> Result<&'a Header, Rule> {
    let Some(header) = Header::of(block) else {
        return Err(Rule::BlockSize {
            have: block.len(),
            want: context.geometry.nodesize,
        });
    };
    if usize::try_from(context.geometry.nodesize) != Ok(block.len()) {
        return Err(Rule::BlockSize {
            have: block.len(),
            want: context.geometry.nodesize,
        });
    }
    if header.bytenr() != expected.logical {
        return Err(Rule::Bytenr {
            have: header.bytenr(),
            want: expected.logical,
        });
    }
    if !context.fsids.contains(&header.fsid) {
        return Err(Rule::Fsid { have: header.fsid });
    }
    if header.level >= MAX_LEVEL {
        return Err(Rule::Level { have: header.level });
    }
    if let Some(want) = expected.level {
        if header.level != want {
            return Err(Rule::UnexpectedLevel {
                have: header.level,
                want,
            });
        }
    }
    if let Some(want) = expected.generation {
        if header.generation() != want {
            return Err(Rule::BlockGeneration {
                have: header.generation(),
                want,
            });
        }
    }
    if let Some(want) = expected.owner {
        check_owner(header.owner(), want)?;
    }
    if !header.flags().contains(HeaderFlags::WRITTEN) {
        return Err(Rule::NotWritten);
    }
    Ok(header)
}

/// Whether a block with `owner` in its header may be part of `tree`.
///
/// Blocks of subvolumes are shared between snapshots, so any subvolume will do. Log and relocation
/// trees are made of blocks of the subvolume they belong to; nothing can be said about those.
///
/// # Errors
///
/// [`Rule::Owner`].
pub fn check_owner(owner: TreeId, tree: TreeId) -> Result<(), Rule> {
    let fits = match tree {
        TreeId(0) | TreeId::TREE_LOG | TreeId::TREE_RELOC => true,
        tree if tree.is_fstree() => owner.is_fstree(),
        tree => owner == tree,
    };
    if fits {
        Ok(())
    } else {
        Err(Rule::Owner { have: owner, tree })
    }
}

/// Verifies that the block begins with the key that its parent has for it.
fn check_first_key(block: &[u8], header: &Header, expected: &Expected) -> Result<(), Violation> {
    let Some(want) = expected.first_key else {
        return Ok(());
    };
    let first = if header.is_leaf() {
        crate::Leaf::new(block).key(0)
    } else {
        crate::Node::new(block).key(0)
    };
    match first {
        Some(have) if have == want => Ok(()),
        Some(have) => Err(Violation {
            slot: Some(0),
            key: Some(have),
            rule: Rule::FirstKey { want },
        }),
        None => Err(Violation::of_block(Rule::EmptyChild { want })),
    }
}

/// An item under examination, with what precedes it in its leaf.
struct Subject<'a> {
    context: &'a CheckContext<'a>,
    owner: TreeId,
    key: Key,
    data: &'a [u8],
    prev: Option<(Key, &'a [u8])>,
}

impl Subject<'_> {
    /// Requires a multiple of the sector size.
    #[inline]
    fn aligned(&self, field: Field, have: u64) -> Result<(), Rule> {
        if self.context.geometry.is_sector_aligned(have) {
            return Ok(());
        }
        Err(Rule::Unaligned {
            field,
            have,
            align: self.context.geometry.sectorsize,
        })
    }

    /// Requires a range that is not empty and whose end does not overflow; returns the end.
    #[inline]
    fn range_end(&self, field: Field, start: u64, length: u64) -> Result<u64, Rule> {
        if length == 0 {
            return Err(Rule::Zero { field });
        }
        start.checked_add(length).ok_or(Rule::Overflow {
            field,
            start,
            length,
        })
    }

    /// Requires a generation that is not in the future.
    #[inline]
    fn generation(&self, field: Field, have: u64) -> Result<(), Rule> {
        let max = self.context.max_generation();
        if have <= max {
            return Ok(());
        }
        Err(Rule::Generation { field, have, max })
    }

    /// Requires data of exactly `want` bytes.
    #[inline]
    fn size(&self, want: usize) -> Result<(), Rule> {
        if self.data.len() == want {
            return Ok(());
        }
        Err(self.bad_size(want))
    }

    /// Data that is not of `want` bytes.
    #[cold]
    fn bad_size(&self, want: usize) -> Rule {
        Rule::ItemSize {
            have: self.data.len(),
            want,
        }
    }

    /// Requires data of at least `min` bytes.
    #[inline]
    fn size_at_least(&self, min: usize) -> Result<(), Rule> {
        if self.data.len() >= min {
            return Ok(());
        }
        Err(Rule::ItemTooShort {
            have: self.data.len(),
            min,
        })
    }

    /// Requires a key with that objectid.
    #[inline]
    fn objectid(&self, want: u64) -> Result<(), Rule> {
        if self.key.objectid == want {
            return Ok(());
        }
        Err(Rule::Objectid {
            have: self.key.objectid,
            want,
        })
    }

    /// The item before this one in the leaf, if it is of type `item_type`.
    #[inline]
    fn prev_of_type(&self, item_type: u8) -> Option<(Key, &[u8])> {
        self.prev.filter(|(key, _)| key.item_type == item_type)
    }

    /// Verifies the item by the rules of its type.
    fn check(&self) -> Result<(), Rule> {
        match self.key.item_type {
            item::EXTENT_DATA => data::check_file_extent(self),
            item::EXTENT_CSUM => data::check_csum(self),
            item::INODE_ITEM => inode::check_inode_item(self),
            item::INODE_REF => inode::check_inode_ref(self),
            item::INODE_EXTREF => inode::check_inode_extref(self),
            item::DIR_ITEM | item::DIR_INDEX | item::XATTR_ITEM => inode::check_dir_item(self),
            item::EXTENT_ITEM | item::METADATA_ITEM => extent::check_extent_item(self),
            item::TREE_BLOCK_REF | item::SHARED_BLOCK_REF | item::SHARED_DATA_REF => {
                extent::check_keyed_ref(self)
            }
            item::EXTENT_DATA_REF => extent::check_data_ref(self),
            item::ROOT_ITEM => root::check_root_item(self),
            item::ROOT_REF | item::ROOT_BACKREF => root::check_root_ref(self),
            item::BLOCK_GROUP_ITEM => space::check_block_group(self),
            item::FREE_SPACE_INFO => space::check_info(self),
            item::FREE_SPACE_EXTENT => space::check_extent(self),
            item::FREE_SPACE_BITMAP => space::check_bitmap(self),
            item::CHUNK_ITEM => chunk::check_chunk_item(self),
            item::DEV_ITEM => chunk::check_dev_item(self),
            item::DEV_EXTENT => chunk::check_dev_extent(self),
            _ => misc::check(self),
        }
    }
}
