// SPDX-License-Identifier: GPL-2.0

//! Reading children before they are asked for.
//!
//! Each node remembers which of its children was visited last for the first time. A visit of
//! the following one is taken as a scan, and children ahead are read in the background, twice as
//! many each time. It does not matter who scans: a listing that looks up inode after inode is
//! one search each, but goes along the leaves.

use btrfs_format::types::TreeId;
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use super::block::BlockRef;
use super::cache::TreeCache;

/// Largest number of children of a node that are read ahead.
pub(super) const MAX_WINDOW: usize = 32;

/// Number of children read ahead when a scan seems to begin.
const FIRST_WINDOW: usize = 4;

/// How far behind the last visit the next one may be to look like a scan.
const SCAN_STRIDE: usize = 4;

/// How the children of one node are visited.
///
/// The fields are hints; it does no harm when visits race.
pub(super) struct Readahead {
    /// One more than the slot visited last; 0 before the first visit.
    last: Atomic<usize>,
    /// The first slot that has not been read ahead.
    end: Atomic<usize>,
    /// How many slots were read ahead last time.
    window: Atomic<usize>,
}

impl Readahead {
    pub(super) fn new() -> Self {
        Self {
            last: Atomic::new(0),
            end: Atomic::new(0),
            window: Atomic::new(0),
        }
    }

    /// Notes that the child at `slot` of `node` is wanted, and reads ahead if this is a scan.
    ///
    /// Called only for children that are not linked yet, so not on hot paths.
    pub(super) fn visit(&self, cache: &TreeCache, node: &BlockRef, slot: usize, tree: TreeId) {
        if let Some((from, to)) = self.plan(slot) {
            let mut wanted = KVec::new();
            for expect in (from..to).map_while(|slot| node.expect(slot, Some(tree))) {
                if wanted.push(expect, GFP_NOWAIT | __GFP_NOWARN).is_err() {
                    break;
                }
            }
            cache.prefetch(&mut wanted);
        }
    }

    /// The slots to read ahead after a visit of `slot`.
    fn plan(&self, slot: usize) -> Option<(usize, usize)> {
        let last = self.last.load(Relaxed);
        let end = self.end.load(Relaxed);
        self.last.store(slot + 1, Relaxed);
        // A scan comes from the previous node at slot 0.
        let scan = slot >= last && slot < last + SCAN_STRIDE && (slot == 0 || last > 0);
        if !scan {
            self.window.store(0, Relaxed);
            self.end.store(slot + 1, Relaxed);
            return None;
        }
        let window = self.window.load(Relaxed);
        // Half of the window is still ahead.
        if slot + window / 2 < end {
            return None;
        }
        let window = (window * 2).clamp(FIRST_WINDOW, MAX_WINDOW);
        let from = end.max(slot + 1);
        let to = from + window;
        self.window.store(window, Relaxed);
        self.end.store(to, Relaxed);
        Some((from, to))
    }
}
