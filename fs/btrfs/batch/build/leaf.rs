// SPDX-License-Identifier: GPL-2.0

//! Leaves.

use super::Full;
use btrfs_format::header::Header;
use btrfs_format::leaf::{Item, Leaf};
use btrfs_format::Key;
use core::ops::Range;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

/// Fills a buffer with a leaf.
pub struct LeafBuilder<'a> {
    block: &'a mut [u8],
    count: usize,
    /// Where the item headers end, in bytes from the front of the block.
    headers_end: usize,
    /// Where the data begins.
    data_start: usize,
}

impl<'a> LeafBuilder<'a> {
    /// Begins a leaf in `block`, whatever is in there.
    pub fn new(block: &'a mut [u8]) -> Self {
        let data_start = block.len();
        Self {
            block,
            count: 0,
            headers_end: Header::SIZE,
            data_start,
        }
    }

    /// Number of items so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no item yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes left for item headers and data.
    #[inline]
    pub fn room(&self) -> usize {
        self.data_start.saturating_sub(self.headers_end)
    }

    /// Appends an item; its key must be above the last one.
    #[inline]
    pub fn push(&mut self, key: Key, data: &[u8]) -> Result<(), Full> {
        if self.room() < Item::SIZE.saturating_add(data.len()) {
            return Err(Full);
        }
        let start = self.data_start - data.len();
        let item = Item {
            key: key.into(),
            offset: body_offset(start),
            size: U32::new(u32::try_from(data.len()).map_err(|_| Full)?),
        };
        let headers_end = self.headers_end + Item::SIZE;
        let header = self.block.get_mut(self.headers_end..headers_end);
        header.ok_or(Full)?.copy_from_slice(item.to_disk());
        let place = self.block.get_mut(start..self.data_start);
        place.ok_or(Full)?.copy_from_slice(data);
        self.headers_end = headers_end;
        self.data_start = start;
        self.count += 1;
        Ok(())
    }

    /// Appends items of a leaf, which must have passed the checker, by two copies.
    pub fn push_range(&mut self, leaf: &Leaf<'_>, slots: Range<usize>) -> Result<(), Full> {
        let items = leaf.items().get(slots.clone()).ok_or(Full)?;
        let Some(data) = data_range(leaf, &slots) else {
            return Ok(());
        };
        let data = leaf.block().get(data).ok_or(Full)?;
        let headers = items.len().saturating_mul(Item::SIZE);
        if self.room() < headers.saturating_add(data.len()) {
            return Err(Full);
        }
        let start = self.data_start - data.len();
        let place = self.block.get_mut(start..self.data_start);
        place.ok_or(Full)?.copy_from_slice(data);

        let headers_end = self.headers_end + headers;
        let place = self.block.get_mut(self.headers_end..headers_end);
        let place = <[Item]>::mut_from_bytes(place.ok_or(Full)?).map_err(|_| Full)?;
        place.copy_from_slice(items);
        // All moved by the same distance; the difference wraps where they moved down.
        let last = items.last().map_or(0, |item| item.offset.get());
        let shift = body_offset(start).get().wrapping_sub(last);
        if shift != 0 {
            for item in place {
                item.offset = U32::new(item.offset.get().wrapping_add(shift));
            }
        }
        self.headers_end = headers_end;
        self.data_start = start;
        self.count += items.len();
        Ok(())
    }

    /// Completes the leaf. The header's number of items is filled in.
    pub fn finish(self, header: Header) {
        super::finish(
            self.block,
            header,
            self.count,
            self.headers_end,
            self.data_start,
        );
    }
}

/// A position in the block as item headers say it: from the end of the block's header.
#[inline]
fn body_offset(at: usize) -> U32 {
    U32::new(u32::try_from(at.saturating_sub(Header::SIZE)).unwrap_or(u32::MAX))
}

/// Where the data of `slots` lies in a leaf: without gaps, from the last one's start to the
/// first one's end. `None` for no slots.
#[inline]
pub(crate) fn data_range(leaf: &Leaf<'_>, slots: &Range<usize>) -> Option<Range<usize>> {
    let last = slots
        .end
        .checked_sub(1)
        .filter(|last| *last >= slots.start)?;
    let start = leaf.item_range(last)?.start;
    let end = leaf.item_range(slots.start)?.end;
    Some(start..end.max(start))
}
