// SPDX-License-Identifier: GPL-2.0

//! What the copying of a block means for references.

#![deny(clippy::arithmetic_side_effects)]

use super::{header_of, BlockRefs, Change, Holder, RefDeltas};
use crate::error::{Error, Result};
use crate::items::Items;
use btrfs_format::header::HeaderFlags;
use btrfs_format::{Generation, Header, TreeId};

/// A tree, and what decides whether its blocks may be shared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The tree.
    pub tree: TreeId,
    /// Whether snapshots of the tree can exist: subvolumes, and nothing else.
    pub shareable: bool,
    /// The transaction of the tree's last snapshot.
    pub last_snapshot: Generation,
}

impl Sharing {
    /// A tree whose blocks are its own.
    pub const fn none(tree: TreeId) -> Self {
        Self {
            tree,
            shareable: false,
            last_snapshot: Generation(0),
        }
    }

    /// A tree as its root item describes it.
    pub const fn of(tree: TreeId, last_snapshot: Generation) -> Self {
        Self {
            tree,
            shareable: tree.is_fstree(),
            last_snapshot,
        }
    }

    /// Whether other trees may use a block of this one. Roots are never shared: a snapshot begins
    /// with a copy of the root.
    fn may_share(&self, header: &Header, is_root: bool) -> bool {
        self.shareable
            && !is_root
            && (header.generation() <= self.last_snapshot
                || header.flags().contains(HeaderFlags::RELOC))
    }
}

impl RefDeltas {
    /// A tree goes on with a copy of a committed block: `Store::copied`.
    ///
    /// Called before any edit of the copy is reported, and for parents before children. The copy's
    /// own reference comes from [`Self::new_block`].
    ///
    /// # Errors
    ///
    /// `Corrupt` if the extent tree does not know the block, or says what cannot be.
    pub fn copied(
        &mut self,
        extents: &mut dyn Items,
        sharing: &Sharing,
        old: &[u8],
        is_root: bool,
    ) -> Result {
        let header = header_of(old)?;
        let block = header.bytenr();
        let tree = sharing.tree;
        if sharing.may_share(header, is_root) {
            let ours = header.owner() == tree;
            match self.refs_of(extents, block)? {
                BlockRefs {
                    count: 1,
                    full: true,
                } => {
                    self.children(old, Holder::Tree(tree), 1)?;
                    self.children(old, Holder::Block(block), -1)?;
                }
                // The copy inherits the references.
                BlockRefs { count: 1, .. } if ours => {}
                // The owner would have made it hold its children before it let go.
                BlockRefs { count: 1, .. } => {
                    return Err(Error::Corrupt("a tree block's owner does not use it"));
                }
                BlockRefs { full: false, .. } if ours => {
                    self.children(old, Holder::Block(block), 1)?;
                    self.log.add(block, Change::Full, 1)?;
                }
                BlockRefs { .. } => self.children(old, Holder::Tree(tree), 1)?,
            }
        }
        // The parent is of this commit, or was given such references when it was copied.
        self.log.add(block, Change::TreeBlock { root: tree }, -1)
    }

    /// A tree stops using a committed block and all below it: `Store::removed`.
    ///
    /// Returns whether items and children must be reported, each in the same way. If not, other
    /// trees go on using the block, and what is below it is theirs already.
    ///
    /// # Errors
    ///
    /// As [`Self::copied`].
    pub fn removed(
        &mut self,
        extents: &mut dyn Items,
        sharing: &Sharing,
        old: &[u8],
        is_root: bool,
    ) -> Result<bool> {
        if !is_root && self.outlives(extents, sharing, old)? {
            self.drop_block(sharing.tree, header_of(old)?.bytenr())?;
            return Ok(false);
        }
        self.copied(extents, sharing, old, is_root).map(|()| true)
    }

    /// Whether other trees use a block, and hold what is below it without this one. It is no root.
    ///
    /// A node of `tree` that holds its children already need not be the last one that has to do so: what
    /// is below may still be held by `tree`. That is how it is where another driver balanced the file
    /// system (it moves nodes, and leaves what is below as it is), or was dropping the tree.
    ///
    /// # Errors
    ///
    /// As [`Self::copied`].
    pub fn outlives(
        &mut self,
        extents: &mut dyn Items,
        sharing: &Sharing,
        block: &[u8],
    ) -> Result<bool> {
        let header = header_of(block)?;
        if !sharing.may_share(header, false) {
            return Ok(false);
        }
        let refs = self.refs_of(extents, header.bytenr())?;
        let holds = header.owner() == sharing.tree && !(refs.full && header.is_leaf());
        Ok(refs.count > 1 && !holds)
    }

    /// A new tree begins with a copy of another one's root: a snapshot.
    ///
    /// `root` is the root block, committed or work, that was copied. The copy's own reference
    /// comes from [`Self::new_block`].
    pub fn snapshot(&mut self, tree: TreeId, root: &[u8]) -> Result {
        self.children(root, Holder::Tree(tree), 1)
    }
}
