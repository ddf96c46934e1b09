// SPDX-License-Identifier: GPL-2.0

//! Views of nodes: sorted pointers to the blocks one level below.

use crate::header::Header;
use crate::key::{DiskKey, Key};
use crate::types::{Generation, Logical};
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

on_disk! {
    /// A pointer in a node (`struct btrfs_key_ptr`).
    KeyPtr [33] {
        /// The first key below the child.
        pub key: DiskKey,
        /// The child's logical address.
        pub blockptr: U64,
        /// The transaction that wrote the child.
        pub generation: U64,
    }
}

/// A pointer to a child, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildPtr {
    /// The first key below the child.
    pub key: Key,
    /// The child's logical address.
    pub logical: Logical,
    /// The transaction that wrote the child; the child's header must say the same.
    pub generation: Generation,
}

impl From<&KeyPtr> for ChildPtr {
    #[inline]
    fn from(ptr: &KeyPtr) -> Self {
        Self {
            key: ptr.key.get(),
            logical: ptr.blockptr.into(),
            generation: ptr.generation.into(),
        }
    }
}

impl From<ChildPtr> for KeyPtr {
    #[inline]
    fn from(child: ChildPtr) -> Self {
        Self {
            key: child.key.into(),
            blockptr: child.logical.into(),
            generation: child.generation.into(),
        }
    }
}

/// A node. As safe on unchecked bytes as [`Leaf`](crate::leaf::Leaf) is.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    block: &'a [u8],
    ptrs: &'a [KeyPtr],
}

impl<'a> Node<'a> {
    /// Views `block`, a whole tree block.
    ///
    /// As many pointers are visible as the header says, but no more than fit the block.
    #[inline]
    pub fn new(block: &'a [u8]) -> Self {
        let ptrs = match Header::from_prefix(block) {
            Some((header, body)) => ptr_array(body, header.nritems.get()),
            None => &[],
        };
        Self { block, ptrs }
    }

    /// The header; `None` only if the block is shorter than one.
    #[inline]
    pub fn header(&self) -> Option<&'a Header> {
        Header::of(self.block)
    }

    /// The level; 0 if the block is too short to have a header.
    #[inline]
    pub fn level(&self) -> u8 {
        self.header().map_or(0, |header| header.level)
    }

    /// Number of pointers.
    #[inline]
    pub fn nritems(&self) -> usize {
        self.ptrs.len()
    }

    /// The pointers.
    #[inline]
    pub fn ptrs(&self) -> &'a [KeyPtr] {
        self.ptrs
    }

    /// The key at `slot`.
    #[inline]
    pub fn key(&self, slot: usize) -> Option<Key> {
        self.ptrs.get(slot).map(|ptr| ptr.key.get())
    }

    /// The pointer at `slot`.
    #[inline]
    pub fn child(&self, slot: usize) -> Option<ChildPtr> {
        self.ptrs.get(slot).map(ChildPtr::from)
    }

    /// The slot of the child to descend into for `key`: the last one that begins at or before it.
    ///
    /// The first slot if all begin behind `key`; then the subtree's lowest item is above `key`.
    #[inline]
    pub fn search(&self, key: &Key) -> usize {
        match self.ptrs.binary_search_by(|ptr| ptr.key.cmp_key(key)) {
            Ok(slot) => slot,
            Err(slot) => slot.saturating_sub(1),
        }
    }
}

/// The first `count` pointers of a block's body, or as many as it has room for.
#[inline]
fn ptr_array(body: &[u8], count: u32) -> &[KeyPtr] {
    let room = body.len() / KeyPtr::SIZE;
    let count = usize::try_from(count).unwrap_or(room).min(room);
    match <[KeyPtr]>::ref_from_prefix_with_elems(body, count) {
        Ok((ptrs, _)) => ptrs,
        Err(_) => &[],
    }
}
