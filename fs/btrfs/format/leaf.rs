// SPDX-License-Identifier: GPL-2.0

//! Views of leaves: sorted items, and their data from the block's end towards the front.

use crate::header::Header;
use crate::key::{DiskKey, Key};
use core::ops::Range;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

on_disk! {
    /// An item header in a leaf (`struct btrfs_item`).
    Item [25] {
        /// What the item is.
        pub key: DiskKey,
        /// Where its data begins, in bytes behind the block's header.
        pub offset: U32,
        /// Length of its data in bytes.
        pub size: U32,
    }
}

impl Item {
    /// The range of the data in the block, unless it overflows.
    #[inline]
    pub fn range(&self) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset.get())
            .ok()?
            .checked_add(Header::SIZE)?;
        let end = start.checked_add(usize::try_from(self.size.get()).ok()?)?;
        Some(start..end)
    }
}

/// A leaf.
///
/// Every accessor is safe on any bytes: a block that has not been checked yields `None` where its
/// fields point outside, never a panic. Making a view costs a few instructions.
#[derive(Clone, Copy)]
pub struct Leaf<'a> {
    block: &'a [u8],
    items: &'a [Item],
}

impl<'a> Leaf<'a> {
    /// Views `block`, a whole tree block.
    ///
    /// As many items are visible as the header says, but no more than fit the block.
    #[inline]
    pub fn new(block: &'a [u8]) -> Self {
        let items = match Header::from_prefix(block) {
            Some((header, body)) => item_array(body, header.nritems.get()),
            None => &[],
        };
        Self { block, items }
    }

    /// The header; `None` only if the block is shorter than one.
    #[inline]
    pub fn header(&self) -> Option<&'a Header> {
        Header::of(self.block)
    }

    /// The whole block.
    #[inline]
    pub fn block(&self) -> &'a [u8] {
        self.block
    }

    /// Number of items.
    #[inline]
    pub fn nritems(&self) -> usize {
        self.items.len()
    }

    /// The item headers.
    #[inline]
    pub fn items(&self) -> &'a [Item] {
        self.items
    }

    /// The key at `slot`.
    #[inline]
    pub fn key(&self, slot: usize) -> Option<Key> {
        self.items.get(slot).map(|item| item.key.get())
    }

    /// Where the data of `slot` lies in the block.
    #[inline]
    pub fn item_range(&self, slot: usize) -> Option<Range<usize>> {
        self.items.get(slot)?.range()
    }

    /// The data of `slot`.
    #[inline]
    pub fn item(&self, slot: usize) -> Option<&'a [u8]> {
        self.block.get(self.item_range(slot)?)
    }

    /// Key and data of `slot`.
    #[inline]
    pub fn entry(&self, slot: usize) -> Option<(Key, &'a [u8])> {
        let item = self.items.get(slot)?;
        Some((item.key.get(), self.block.get(item.range()?)?))
    }

    /// All keys with their data, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &'a [u8])> + 'a {
        let block = self.block;
        self.items
            .iter()
            .map_while(move |item| Some((item.key.get(), block.get(item.range()?)?)))
    }

    /// Finds `key`: `Ok` with its slot, or `Err` with the slot it would be inserted at.
    #[inline]
    pub fn search(&self, key: &Key) -> Result<usize, usize> {
        self.items.binary_search_by(|item| item.key.cmp_key(key))
    }
}

/// The first `count` items of a block's body, or as many as it has room for.
#[inline]
fn item_array(body: &[u8], count: u32) -> &[Item] {
    let room = body.len() / Item::SIZE;
    let count = usize::try_from(count).unwrap_or(room).min(room);
    match <[Item]>::ref_from_prefix_with_elems(body, count) {
        Ok((items, _)) => items,
        Err(_) => &[],
    }
}
