// SPDX-License-Identifier: GPL-2.0

//! What has been changed in a tree and is not in its blocks yet.
//!
//! Operations do not touch tree blocks. Each puts its items into the [`Overlay`] of the tree, and
//! a commit applies all of them at once. A tree has at most two overlays: the *open* one, which
//! belongs to the transaction that takes changes, and the *frozen* one, which belongs to the
//! transaction that is being committed. [`LiveTree`](super::live::LiveTree) shows both on top of
//! the committed tree.
//!
//! * An [`ItemBuf`] holds the data of an item, an [`Edit`](item::Edit) is what becomes of a key.
//! * A [`Shard`] has all changes of one objectid.
//! * An [`Overlay`] finds shards, and tells readers when something changed.
//!
//! # Invariants
//!
//! * A shard is in *normal form*: an edit that deletes or renews is neither in a cleared range nor in
//!   a complete shard, where it would say nothing. Cleared ranges are disjoint, do not touch each
//!   other, and a complete shard has none.
//! * A shard answers for a key with one look: an edit says what there is; else a cleared range,
//!   or that the shard is complete, says that there is nothing; else older stages are asked.
//! * A frozen overlay does not change: the gate keeps operations out while it is frozen.
//!
//! # Locks
//!
//! Leaf locks, never two at a time: the spinlock around an overlay's list of shards, under which
//! nothing is allocated, and one mutex per shard. Memory that a change needs is allocated before
//! the shard is locked.
//!
//! # Bounds
//!
//! [`Overlay::bytes`] counts what an overlay takes. Holding that below a limit is up to the
//! transaction, which is told of every byte by [`EditContext::charge`].

mod changes;
mod item;
mod list;
mod shard;

pub(crate) use changes::Collected;
pub(crate) use item::ItemBuf;
pub(crate) use list::Overlay;
pub(super) use shard::{Direction, Probe, What};

use btrfs_format::types::Generation;
use kernel::{prelude::*, sync::Arc};

use super::live::LiveTree;

/// The operation that changes a tree: a handle of the transaction.
pub(crate) trait EditContext {
    /// The transaction that the operation is part of. It cannot be frozen while this exists.
    fn transid(&self) -> Generation;

    /// Tells the transaction that it has changes of `tree`. Called before the first one, perhaps
    /// more than once.
    fn note_dirty(&mut self, tree: &Arc<LiveTree>) -> Result;

    /// Tells the transaction that its overlays grew by `bytes`.
    fn charge(&mut self, bytes: usize);
}
