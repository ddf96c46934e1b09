// SPDX-License-Identifier: GPL-2.0

//! What the dropping of a whole subvolume means for references.
//!
//! The cleaner walks down the dropped tree R. At each block it asks [`RefDeltas::dropping`] what
//! becomes of it, before the reference through which it came goes away:
//!
//! * [`Fate::Freed`]: the cleaner drops all children in the same way, then the block itself.
//! * [`Fate::Kept`]: it drops the reference and does not look below.
//! * [`Fate::Given`]: others go on using what R holds below. The cleaner calls
//!   [`RefDeltas::give`] for the children, and for theirs as long as the answer is yes; then it
//!   drops the reference.
//!
//! In every case the last step is [`RefDeltas::drop_ref`].

#![deny(clippy::arithmetic_side_effects)]

use super::{header_of, BlockRefs, Change, Holder, RefDeltas};
use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::{Logical, TreeId};

/// What becomes of a block of a dropped tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody else has it. If it is a leaf, its references to data are gone already.
    Freed {
        /// The block that holds the children: the parent in [`RefDeltas::drop_ref`].
        holder: Option<Logical>,
    },
    /// Other trees have it and are not affected.
    Kept,
    /// Other trees have it, and what is below was held for them by the dropped tree.
    Given,
}

impl RefDeltas {
    /// Says what becomes of a block of `tree`, which is being dropped, and of its children.
    pub fn dropping(
        &mut self,
        extents: &mut dyn Items,
        tree: TreeId,
        block: &[u8],
    ) -> Result<Fate> {
        let header = header_of(block)?;
        let at = header.bytenr();
        let ours = header.owner() == tree;
        match self.refs_of(extents, at)? {
            BlockRefs { count: 1, full } => {
                if !full && !ours {
                    return Err(Error::Corrupt("a tree block's owner does not use it"));
                }
                if header.is_leaf() {
                    let holder = if full {
                        Holder::Block(at)
                    } else {
                        Holder::Tree(tree)
                    };
                    self.children(block, holder, -1)?;
                }
                Ok(Fate::Freed {
                    holder: full.then_some(at),
                })
            }
            BlockRefs { full: false, .. } if ours => {
                self.hand_over(tree, at, block)?;
                Ok(Fate::Given)
            }
            BlockRefs { .. } => Ok(Fate::Kept),
        }
    }

    /// Makes a block below one that was given hold its children, if `tree` does so far.
    ///
    /// Returns whether the same must be asked for the children. Blocks of other owners need not
    /// even be read: the answer is no.
    pub fn give(&mut self, extents: &mut dyn Items, tree: TreeId, block: &[u8]) -> Result<bool> {
        let header = header_of(block)?;
        let at = header.bytenr();
        if header.owner() != tree || self.refs_of(extents, at)?.full {
            return Ok(false);
        }
        self.hand_over(tree, at, block)?;
        Ok(!header.is_leaf())
    }

    /// Drops the reference of a tree, or of the block that holds its children, to a block.
    pub fn drop_ref(&mut self, tree: TreeId, block: Logical, holder: Option<Logical>) -> Result {
        let holder = holder.map_or(Holder::Tree(tree), Holder::Block);
        self.log.add(block, holder.of_block(), -1)
    }

    fn hand_over(&mut self, tree: TreeId, at: Logical, block: &[u8]) -> Result {
        self.children(block, Holder::Block(at), 1)?;
        self.children(block, Holder::Tree(tree), -1)?;
        self.log.add(at, Change::Full, 1)
    }
}
