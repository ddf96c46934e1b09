// SPDX-License-Identifier: GPL-2.0

//! References to extents: what a commit changes about them, and the extent tree's items.
//!
//! Every data extent and tree block has an item that counts its references and says who holds
//! them. Trees do not change it one reference at a time: while they are applied, [`RefDeltas`] adds
//! up what came and went, and [`apply_refs`] writes the sums once.
//!
//! A reference names either the tree that holds it (*implicit*: every block of the tree that may
//! lead there is meant), or the block that holds it (*shared*). A block holds its children by
//! implicit references of its owner until the owner lets go of it while other trees still use it:
//! then its children get shared references, and its own item the flag `FULL_BACKREF`, for good.
//!
//! | who stops using block b, as tree R | what it means for b's children | |
//! | --- | --- | --- |
//! | nobody else has b | the copy inherits implicit references; shared ones become implicit | [`copy`] |
//! | others have b, R is its owner | shared references for b, the copy inherits the implicit ones | |
//! | others have b, R is not its owner | implicit references of R for the copy | |
//! | R is being dropped | the same for what only R has; all else stays as it is | [`RefDeltas::removed`] |
//!
//! Invariants:
//!
//! * What is known about an extent is its item in the extent tree *plus* the deltas that have not
//!   been applied. Both count in every look-up: a parent was copied before its child.
//! * An extent of this commit is announced ([`RefDeltas::new_block`], [`RefDeltas::born`]) before
//!   [`apply_refs`]; one that has no reference by then is never written, and reported as released.
//! * A sum below zero, a reference to nothing, and an item that contradicts itself are corruption.
//!   The commit is then aborted; nothing of it has been written.
//!
//! Bounds: 48 bytes per delta; they live as long as the commit.

#![deny(clippy::arithmetic_side_effects)]

pub mod apply;
pub mod copy;
mod item;
mod keyed;
mod log;

pub use apply::{apply_refs, Extent, ExtentChanges, ExtentKind, ExtentRules};
pub use copy::Sharing;

use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::extent::{ExtentFlags, ExtentRecord};
use btrfs_format::file_extent::FileExtent;
use btrfs_format::{item as item_type, Header, Ino, Key, Leaf, Logical, Node, TreeId};
use log::Log;

/// What may change about an extent. The order is that of work: what an extent is comes first, then
/// its references in the order of the extent tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// It is a tree block that this commit allocated.
    NewBlock {
        level: u8,
        key_type: u8,
        owner: TreeId,
        key_objectid: u64,
        key_offset: u64,
    },
    /// It is data that was written since the last commit.
    Born { len: u64 },
    /// It is a block that holds its children by shared references from now on.
    Full,
    /// A tree's reference to a block.
    TreeBlock { root: TreeId },
    /// A file's reference to data.
    Data { root: TreeId, ino: Ino, offset: u64 },
    /// A block's reference to a block.
    SharedBlock { parent: Logical },
    /// A leaf's reference to data.
    SharedData { parent: Logical },
}

/// Whoever holds a block's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Its tree.
    Tree(TreeId),
    /// The block itself.
    Block(Logical),
}

impl Holder {
    /// The reference to a block.
    fn of_block(self) -> Change {
        match self {
            Self::Tree(root) => Change::TreeBlock { root },
            Self::Block(parent) => Change::SharedBlock { parent },
        }
    }

    /// The reference to data by a file extent.
    fn of_data(self, ino: Ino, offset: u64) -> Change {
        match self {
            Self::Tree(root) => Change::Data { root, ino, offset },
            Self::Block(parent) => Change::SharedData { parent },
        }
    }
}

/// What is known about a committed block: its item and what has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRefs {
    /// The number of references.
    pub count: u64,
    /// Whether its children are held by it and not by its owner.
    pub full: bool,
}

/// All changes of references of a commit that have not been written to the extent tree.
#[derive(Debug, Default)]
pub struct RefDeltas {
    log: Log,
}

impl RefDeltas {
    /// No changes.
    pub fn new() -> Self {
        Self { log: Log::new() }
    }

    /// Number of changes, at most.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether [`apply_refs`] would have nothing to do.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The commit allocated a block for a tree: `Store::place`.
    ///
    /// `first` is the block's first key as far as it is known. It is written only where blocks have
    /// old-style items, and nobody relies on it.
    pub fn new_block(&mut self, at: Logical, level: u8, first: Key, owner: TreeId) -> Result {
        let change = Change::NewBlock {
            level,
            key_type: first.item_type,
            owner,
            key_objectid: first.objectid,
            key_offset: first.offset,
        };
        self.log.add(at, change, 1)?;
        self.log.add(at, Change::TreeBlock { root: owner }, 1)
    }

    /// A tree no longer uses a work block, or its last block: `Store::drop_block`.
    pub fn drop_block(&mut self, tree: TreeId, at: Logical) -> Result {
        self.log.add(at, Change::TreeBlock { root: tree }, -1)
    }

    /// `len` bytes of data were written at `at`, and file extents may refer to them.
    pub fn born(&mut self, at: Logical, len: u64) -> Result {
        self.log.add(at, Change::Born { len }, 1)
    }

    /// An item of a leaf came, went or changed: `Store::item`. Only file extents matter.
    pub fn item(
        &mut self,
        tree: TreeId,
        key: &Key,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result {
        if key.item_type != item_type::EXTENT_DATA {
            return Ok(());
        }
        let old = data_ref(key, old)?;
        let new = data_ref(key, new)?;
        if old == new {
            return Ok(());
        }
        for (data, delta) in [(old, -1), (new, 1)] {
            if let Some(data) = data {
                let change = Holder::Tree(tree).of_data(data.ino, data.offset);
                self.log.add(data.extent, change, delta)?;
            }
        }
        Ok(())
    }

    /// How many references a block has, and how it holds its children.
    ///
    /// # Errors
    ///
    /// `Corrupt` if there is no such block.
    pub fn refs_of(&self, extents: &mut dyn Items, block: Logical) -> Result<BlockRefs> {
        let mut count = 0i64;
        let mut full = false;
        if let Some((key, data)) = find_extent(extents, block)? {
            let record = ExtentRecord::parse(&key, data)
                .ok_or(Error::Corrupt("an extent item is too short"))?;
            let flags = record.item.flags();
            if !flags.contains(ExtentFlags::TREE_BLOCK) {
                return Err(Error::Corrupt("a tree block's extent item says data"));
            }
            full = flags.contains(ExtentFlags::FULL_BACKREF);
            count = i64::try_from(record.item.refs.get())
                .map_err(|_| Error::Corrupt("an extent item counts too many references"))?;
        }
        self.log.of_extent(block, |entry| match entry.change {
            Change::Full => full = true,
            Change::TreeBlock { .. } | Change::SharedBlock { .. } => {
                count = count.saturating_add(entry.delta);
            }
            _ => {}
        });
        match u64::try_from(count) {
            Ok(count @ 1..) => Ok(BlockRefs { count, full }),
            _ => Err(Error::Corrupt("a tree block in use has no reference")),
        }
    }

    /// Changes the references to all children of a block that its holder has.
    fn children(&mut self, block: &[u8], holder: Holder, delta: i64) -> Result {
        let header = header_of(block)?;
        if header.is_leaf() {
            for (key, data) in Leaf::new(block).iter() {
                if key.item_type != item_type::EXTENT_DATA {
                    continue;
                }
                if let Some(data) = data_ref(&key, Some(data))? {
                    let change = holder.of_data(data.ino, data.offset);
                    self.log.add(data.extent, change, delta)?;
                }
            }
            return Ok(());
        }
        for child in Node::new(block).ptrs() {
            self.log
                .add(child.blockptr.into(), holder.of_block(), delta)?;
        }
        Ok(())
    }
}

/// The header of a block that has been verified.
fn header_of(block: &[u8]) -> Result<&Header> {
    Header::of(block).ok_or(Error::Corrupt("a tree block is too short"))
}

/// The item of an extent: skinny or not, block or data.
fn find_extent(extents: &mut dyn Items, start: Logical) -> Result<Option<(Key, &[u8])>> {
    let first = Key::new(start.get(), item_type::EXTENT_ITEM, 0);
    let found = extents.at_or_after(&first)?;
    Ok(found.filter(|(key, _)| {
        key.objectid == start.get() && key.item_type <= item_type::METADATA_ITEM
    }))
}

/// What a file extent refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DataRef {
    extent: Logical,
    ino: Ino,
    offset: u64,
}

/// Decodes a file extent; `None` if there is none, or it is inline or a hole.
fn data_ref(key: &Key, data: Option<&[u8]>) -> Result<Option<DataRef>> {
    let Some(data) = data else { return Ok(None) };
    match FileExtent::parse(data).ok_or(Error::Corrupt("a file extent is too short"))? {
        FileExtent::Regular(extent) | FileExtent::Prealloc(extent) if !extent.is_hole() => {
            Ok(Some(DataRef {
                extent: extent.disk_bytenr,
                ino: Ino(key.objectid),
                offset: key.offset.wrapping_sub(extent.offset),
            }))
        }
        _ => Ok(None),
    }
}
