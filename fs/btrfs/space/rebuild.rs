// SPDX-License-Identifier: GPL-2.0

//! What the free space tree should say, by the extent tree.

use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kfs::mem::{until_memory, GFP_NOFAIL};

use super::{fill, Range, Space};
use btrfs_format::types::Logical;

impl Space {
    /// Whether what the free space tree says of groups that are looked at from now on counts.
    pub(crate) fn trust_free_space(&self, yes: bool) {
        self.trusts_free_space.store(yes, Relaxed);
    }

    /// Calls `each` for each block group, with the ranges of it that were free at the last commit, in
    /// order. For commits: does not fail for memory. The places of superblocks are among them: that is how the tree has it.
    pub(crate) fn committed_free(&self, mut each: impl FnMut(Range, &[Range]) -> Result) -> Result {
        let extents = self.roots.standard().extent.as_ref().ok_or(ENOENT)?;
        let view = extents.view();
        let mut ranges = KVVec::new();
        for group in self.table()?.iter() {
            let map = until_memory(|| fill::gaps(&view, group, self.nodesize))?;
            ranges.clear();
            let mut at = group.start().get();
            while let Some(free) = map.next(at) {
                let logical = Logical(free.start);
                let len = free.end().saturating_sub(free.start);
                ranges.push(Range { logical, len }, GFP_NOFAIL)?;
                at = free.end();
            }
            let whole = Range {
                logical: group.start(),
                len: group.len(),
            };
            each(whole, &ranges)?;
        }
        Ok(())
    }
}
