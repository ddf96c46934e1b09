// SPDX-License-Identifier: GPL-2.0

//! What an operation is going to need, and what that costs.
//!
//! Demands of a transaction add up: many changes in few leaves cost hardly more than one. So the
//! transaction keeps the sum, and an operation pays by how much it makes the sum dearer.

use btrfs_format::types::MAX_LEVEL;

use crate::space::Urgency;

/// Bytes of an item's entry in a leaf besides its data.
const ITEM: u64 = 25;

/// Blocks that may take the place of one leaf when items grow in it: of two neighbours that are
/// packed in order the sum exceeds a block; a large item in the middle makes three of one.
const SPLIT: u64 = 3;

/// Nodes that may take the place of one node.
const NODE_SPLIT: u64 = 2;

/// Bytes of a pointer in a node.
const POINTER: u64 = 33;

/// Bytes of a block's header.
const HEADER: u64 = 101;

/// An upper bound of what an operation changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Items put and deleted, and ranges cleared.
    pub(super) edits: u64,
    /// Leaves that these are in, at most.
    pub(super) leaves: u64,
    /// Bytes of the items put.
    pub(super) bytes: u64,
    /// How much it matters.
    pub(super) how: Urgency,
}

impl Demand {
    /// `edits` calls that change a tree, which put `bytes` bytes of data.
    pub(crate) const fn items(edits: u64, bytes: u64) -> Self {
        Self {
            edits,
            leaves: edits,
            bytes,
            how: Urgency::Normal,
        }
    }

    /// What is changed lies together so that it is in at most `leaves` leaves.
    pub(crate) const fn within(self, leaves: u64) -> Self {
        Self { leaves, ..self }
    }

    /// Bytes of tree blocks that a transaction may write for it if it has other changes too: those
    /// pay for the nodes above.
    pub(crate) fn share(self, nodesize: u64) -> u64 {
        let body = nodesize.saturating_sub(HEADER).max(1);
        let bytes = self.bytes.saturating_add(self.edits.saturating_mul(ITEM));
        let grown = bytes.saturating_mul(2).div_ceil(body);
        let leaves = self.leaves.saturating_mul(SPLIT);
        leaves.saturating_add(grown).saturating_mul(nodesize)
    }

    /// It frees space, so it must succeed where there is none.
    pub(crate) const fn deleting(self) -> Self {
        Self {
            how: Urgency::Deleting,
            ..self
        }
    }

    /// It ends what was begun, so it must succeed, and must not wait for a commit.
    pub(crate) const fn completion(self) -> Self {
        Self {
            how: Urgency::Completion,
            ..self
        }
    }
}

/// The demands of a transaction, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Total {
    leaves: u64,
    bytes: u64,
}

impl Total {
    /// The sum with one more.
    pub(super) fn with(self, demand: &Demand) -> Self {
        let entries = demand.edits.saturating_mul(ITEM);
        Self {
            leaves: self.leaves.saturating_add(demand.leaves),
            bytes: self
                .bytes
                .saturating_add(demand.bytes)
                .saturating_add(entries),
        }
    }

    /// Bytes of tree blocks that the commit may write for it, where the trees have `blocks` blocks
    /// of `nodesize` bytes so far.
    pub(super) fn cost(self, nodesize: u64, blocks: u64) -> u64 {
        if self.leaves == 0 {
            return 0;
        }
        let body = nodesize.saturating_sub(HEADER).max(1);
        let pointers = (body / POINTER).max(1);
        let grown = self.bytes.saturating_mul(2).div_ceil(body);
        let touched = self.leaves.min(blocks.max(1));
        let mut level = touched.saturating_mul(SPLIT).saturating_add(grown);
        let mut sum = level;
        for _ in 1..MAX_LEVEL {
            // Nodes above what is touched, and above what is new.
            level = level.div_ceil(pointers).saturating_mul(NODE_SPLIT);
            sum = sum.saturating_add(level);
        }
        sum.saturating_mul(nodesize)
    }
}
