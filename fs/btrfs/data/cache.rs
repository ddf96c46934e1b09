// SPDX-License-Identifier: GPL-2.0

//! The extents of one inode that were looked up last.
//!
//! Reads of 4 KiB all over a file would search its tree once each. Most files
//! have few extents, so a look-up keeps those that come along with the item it
//! found, from the same leaf.
//!
//! Bound: [`LIMIT`] extents of 64 bytes per inode; when they do not fit, the cache
//! starts anew. It goes with the inode.

use core::ops::Range;
use kernel::prelude::*;

use super::extent::{Extent, Extents};

/// Largest number of extents kept per inode.
const LIMIT: usize = 64;

/// Extents in the order of the file, without overlaps.
#[derive(Default)]
pub(crate) struct ExtentCache {
    extents: KVec<Extent>,
}

impl ExtentCache {
    /// An empty cache.
    pub(crate) const fn new() -> Self {
        Self {
            extents: KVec::new(),
        }
    }

    /// The extent at `pos`, if it is known.
    pub(crate) fn find(&self, pos: u64) -> Option<Extent> {
        let behind = self.extents.partition_point(|extent| extent.start <= pos);
        let extent = self.extents.get(behind.checked_sub(1)?)?;
        extent.covers(pos).then_some(*extent)
    }

    /// Takes the extent that `found` returned and those which follow it in the leaf.
    ///
    /// Errors of later items are left for whoever asks for them. Without memory the
    /// cache stays smaller.
    pub(crate) fn fill(&mut self, found: Extent, walk: &mut Extents) {
        if !self.insert(found) {
            self.extents.clear();
            if !self.insert(found) {
                return;
            }
        }
        while walk.is_cheap() {
            match walk.next() {
                Ok(Some(extent)) if self.insert(extent) => {}
                _ => return,
            }
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.extents.clear();
    }

    /// Forgets the extents that have a part in `range`.
    pub(crate) fn forget(&mut self, range: &Range<u64>) {
        self.extents
            .retain(|extent| extent.end <= range.start || range.end <= extent.start);
    }

    /// Returns false when there is no room.
    fn insert(&mut self, extent: Extent) -> bool {
        let at = self.extents.partition_point(|e| e.start < extent.start);
        match self.extents.get(at) {
            Some(known) if known.start < extent.end => return true,
            _ => {}
        }
        if self.extents.len() >= LIMIT {
            return false;
        }
        self.extents.push(extent, GFP_NOWAIT).is_ok() && {
            // Most come in order and stay where they are.
            if let Some(tail) = self.extents.get_mut(at..) {
                tail.rotate_right(1);
            }
            true
        }
    }
}
