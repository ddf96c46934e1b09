// SPDX-License-Identifier: GPL-2.0

//! What a batch is, and where the blocks of its tree come from and go to.

use crate::error::Result;
use btrfs_format::{Generation, Geometry, Key, Logical, TreeId, Uuid};
use core::ops::{Deref, DerefMut};

/// One change of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key of the item.
    pub key: Key,
    /// What becomes of it.
    pub edit: Edit<'a>,
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It has this data afterwards, whether it was there or not.
    Put(&'a [u8]),
    /// The same, and its leaf is copied also where the item has this data already.
    Renew(&'a [u8]),
    /// It is not there afterwards; it need not have been.
    Delete,
}

impl<'a> Edit<'a> {
    /// What the item has afterwards.
    pub(crate) fn data(self) -> Option<&'a [u8]> {
        match self {
            Edit::Put(data) | Edit::Renew(data) => Some(data),
            Edit::Delete => None,
        }
    }
}

/// Where the root of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPtr {
    /// Its address.
    pub logical: Logical,
    /// The transaction that wrote it.
    pub generation: Generation,
    /// Its level; the height of the tree less one.
    pub level: u8,
}

/// What whoever points at a block knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPtr {
    /// Its address.
    pub logical: Logical,
    /// The transaction that wrote it.
    pub generation: Generation,
    /// Its level.
    pub level: u8,
    /// Its first key; `None` for a root.
    pub first: Option<Key>,
}

/// What holds for all blocks that one transaction writes.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// Sizes.
    pub geometry: Geometry,
    /// The transaction: the generation of new blocks.
    pub transid: Generation,
    /// The metadata UUID, for headers.
    pub fsid: Uuid,
    /// The UUID of the chunk tree, for headers.
    pub chunk_tree_uuid: Uuid,
}

/// Where the blocks of a tree come from and go to.
///
/// A *work block* has the transaction's generation: it was made by an [`apply`](crate::apply()) of
/// this transaction and is rewritten at its address. Any other block is *committed* and never
/// changes; a tree that changes goes on with a work block instead of it.
///
/// The order of calls, on which references to extents and blocks rely: [`copied`](Self::copied) of
/// a node comes before that of its children, and that of a leaf before its items are reported.
/// Each block that a tree uses from now on was announced by [`place`](Self::place), each one that
/// it no longer uses by `copied`, [`removed`](Self::removed) or [`drop_block`](Self::drop_block); so
/// those four keep the count of references to blocks.
pub trait Store {
    /// A block's bytes as they are now. Cheap to hold; later writes to the address do not show.
    type Block: Deref<Target = [u8]>;

    /// Memory for one block.
    type Buf: DerefMut<Target = [u8]>;

    /// Returns a block of the tree, committed or work, verified.
    fn read(&mut self, tree: TreeId, at: &BlockPtr) -> Result<Self::Block>;

    /// Begins to read committed blocks that [`read`](Self::read) will be asked for, in that order.
    /// Only a hint: errors are reported when the block is read.
    fn prefetch(&mut self, _tree: TreeId, _blocks: &[BlockPtr]) {}

    /// Returns a committed or work block that could be merged with a small neighbour, if that is
    /// cheap: it is in memory, and no other tree shares it. `None` is always right.
    fn spare(&mut self, _tree: TreeId, _at: &BlockPtr) -> Result<Option<Self::Block>> {
        Ok(None)
    }

    /// Allocates memory of nodesize bytes. What is in it does not matter.
    fn buffer(&mut self) -> Result<Self::Buf>;

    /// Allocates the address of a new work block of the tree.
    fn place(&mut self, tree: TreeId, level: u8) -> Result<Logical>;

    /// Takes the contents of a work block: a new one, or one that is rewritten.
    ///
    /// It is complete but for the checksum.
    fn write(&mut self, tree: TreeId, at: Logical, level: u8, block: Self::Buf) -> Result;

    /// The tree stops using a committed block.
    ///
    /// All that is in it is taken to be still in the tree, in work blocks; what is not is reported
    /// afterwards: items by [`item`](Self::item), children by `copied` and `drop_block`.
    fn copied(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> Result;

    /// The tree stops using a committed block and all that is in it and below it.
    ///
    /// Returns whether that must be reported too: items by [`item`](Self::item), children by
    /// `removed` and `drop_block`. If other trees go on using the block it need not even be read.
    fn removed(&mut self, tree: TreeId, old: &[u8], is_root: bool) -> Result<bool> {
        self.copied(tree, old, is_root).map(|()| true)
    }

    /// The tree stops using a work block; what is in it is in others now, or reported as gone.
    fn drop_block(&mut self, tree: TreeId, old: &[u8]) -> Result;

    /// An item came (`old` is `None`), went (`new` is `None`) or has other data than before.
    fn item(&mut self, tree: TreeId, key: &Key, old: Option<&[u8]>, new: Option<&[u8]>) -> Result;
}
