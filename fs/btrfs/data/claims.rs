// SPDX-License-Identifier: GPL-2.0

//! Ranges of a file that direct writes, and encoded ones, have for themselves.
//!
//! A direct write goes past the page cache, and may go where the data is: preallocated space, for
//! which it makes checksums. If a mapping made a page of the same sectors dirty meanwhile, that would
//! be written to the same place, and which of both is on disk in the end need not be what the
//! checksum says. So the range is *claimed* while nothing of it is dirty or in flight, and nothing
//! of it becomes dirty until the write is over.
//!
//! Claims do not overlap: one that would waits for the other.

use core::ops::Range;
use kernel::prelude::*;
use kernel::rbtree::RBTree;

/// The claims of one file: where each begins, and ends. Letting go of one needs no memory.
pub(super) struct Claims(RBTree<u64, u64>);

impl Claims {
    pub(super) fn new() -> Self {
        Self(RBTree::new())
    }

    /// Whether some of `range` is claimed.
    pub(super) fn overlap(&self, range: &Range<u64>) -> bool {
        // Of those that begin before its end the last one ends last.
        let last = match self.0.cursor_lower_bound(&range.end) {
            Some(cursor) => cursor.peek_prev().map(|(_, end)| *end),
            None => self.0.cursor_back().map(|cursor| *cursor.current().1),
        };
        last.is_some_and(|end| end > range.start)
    }

    /// Claims `range`, of which nothing is claimed. `ENOMEM`.
    pub(super) fn add(&mut self, range: &Range<u64>) -> Result {
        self.0
            .try_create_and_insert(range.start, range.end, GFP_KERNEL)?;
        Ok(())
    }

    /// Lets go of the claim that begins at `start`.
    pub(super) fn remove(&mut self, start: u64) {
        drop(self.0.remove_node(&start));
    }
}
