// SPDX-License-Identifier: GPL-2.0

//! From an extent back to what refers to it.
//!
//! The extent tree says of each extent who refers to it: files or leaves to data, trees or parent
//! blocks to a tree block. A block that is shared between trees has references of only some of
//! them: the others reach it through a block above, which is shared in turn. So the way from data
//! to all files that show it leads to the leaves with the file extent items ([`leaves`]), and from
//! each leaf up to the roots of all trees it is part of ([`trees`]).
//!
//! # Invariants
//!
//! * Going up, each step ends one level higher, and a block is visited once. So a search ends,
//!   whatever the extent tree says.
//! * Works on committed trees as they are, without locks.
//!
//! # Bounds
//!
//! Memory grows with the number of leaves that refer to one extent, and with that of the blocks
//! above one leaf.

#![forbid(unsafe_code)]

mod extent;
mod leaves;
mod trees;

use btrfs_format::types::{Ino, Logical, TreeId};
use kernel::prelude::*;
use kfs::task::{cond_resched, is_killed};

use crate::tree::{Roots, TreeView};

/// A place in a file that shows a byte of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) ino: Ino,
    /// The byte in the file.
    pub(crate) offset: u64,
}

/// Answers questions about references.
pub(crate) struct Backrefs<'a> {
    roots: &'a Roots,
    extents: TreeView,
}

impl<'a> Backrefs<'a> {
    /// `EUCLEAN` if there is no extent tree (`rescue=ignorebadroots`).
    pub(crate) fn new(roots: &'a Roots) -> Result<Self> {
        let extents = roots.standard().extent.as_ref().ok_or(EUCLEAN)?.view();
        Ok(Self { roots, extents })
    }

    /// Gives all places in files that show the byte at `logical` to `f`, with their subvolume;
    /// those that show any byte of its extent if `whole_extent`.
    ///
    /// `ENOENT` if the byte is not in an extent of data. Otherwise fails as reading trees does.
    pub(crate) fn places(
        &self,
        logical: Logical,
        whole_extent: bool,
        mut f: impl FnMut(TreeId, Place),
    ) -> Result {
        let extent = self.data_extent(logical)?;
        let wanted = match whole_extent {
            true => None,
            false => logical.checked_sub(extent.start),
        };
        for leaf in &self.leaves(&extent, wanted)? {
            for tree in &self.trees(&leaf.block)? {
                for place in &leaf.places {
                    f(*tree, *place);
                }
            }
        }
        Ok(())
    }
}

/// Between two steps of something long. `EINTR` if nobody waits for it any more.
pub(crate) fn pause() -> Result {
    cond_resched();
    if is_killed() {
        return Err(EINTR);
    }
    Ok(())
}
