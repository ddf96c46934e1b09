// SPDX-License-Identifier: GPL-2.0

//! Nodes.

use super::Full;
use btrfs_format::header::Header;
use btrfs_format::node::{ChildPtr, KeyPtr, Node};
use core::ops::Range;
use zerocopy::IntoBytes;

/// Fills a buffer with a node.
pub struct NodeBuilder<'a> {
    block: &'a mut [u8],
    count: usize,
    /// Where the pointers end, in bytes from the front of the block.
    end: usize,
}

impl<'a> NodeBuilder<'a> {
    /// Begins a node in `block`, whatever is in there.
    pub fn new(block: &'a mut [u8]) -> Self {
        Self {
            block,
            count: 0,
            end: Header::SIZE,
        }
    }

    /// Number of pointers so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no pointer yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a pointer; its key must be above the last one.
    #[inline]
    pub fn push(&mut self, child: ChildPtr) -> Result<(), Full> {
        self.append(KeyPtr::from(child).to_disk(), 1)
    }

    /// Appends pointers of a node.
    pub fn push_range(&mut self, node: &Node<'_>, slots: Range<usize>) -> Result<(), Full> {
        let ptrs = node.ptrs().get(slots).ok_or(Full)?;
        self.append(ptrs.as_bytes(), ptrs.len())
    }

    fn append(&mut self, bytes: &[u8], count: usize) -> Result<(), Full> {
        let end = self.end.checked_add(bytes.len()).ok_or(Full)?;
        let place = self.block.get_mut(self.end..end).ok_or(Full)?;
        place.copy_from_slice(bytes);
        self.end = end;
        self.count += count;
        Ok(())
    }

    /// Completes the node. The header's number of pointers is filled in.
    pub fn finish(self, header: Header) {
        let gap_end = self.block.len();
        super::finish(self.block, header, self.count, self.end, gap_end);
    }
}
