// SPDX-License-Identifier: GPL-2.0

//! The trees: a cache of verified, immutable tree blocks, searching in it, and the changes above
//! it that are not committed yet.
//!
//! * [`TreeBlock`] is a leaf or node in memory. It is made only from bytes that passed the tree
//!   checker, and never changes: code that holds one trusts it.
//! * [`TreeCache`] keeps blocks by address and generation, reads missing ones (once, whoever
//!   else asks meanwhile waits for that read), and gives memory back on demand.
//! * [`TreeView`] is a tree as some transaction left it. Searching takes no lock: nodes point
//!   at those of their children that are cached, and a search follows these links under RCU.
//! * [`Cursor`] walks the items of a view in key order, forwards or backwards.
//! * [`LiveTree`] is a tree as it is now, with the changes of its [`Overlay`]s; [`LiveCursor`]
//!   walks it. Who must see what an operation just did looks here, who needs one consistent state
//!   takes a view.
//! * [`Roots`] finds trees by their id.
//!
//! # Invariants
//!
//! * A block in the cache has the address and the generation it is filed under.
//! * A link from a node leads to a block one level lower, with the first key, the generation and
//!   an owner that the node and the view demand. So a search ends after at most
//!   [`MAX_LEVEL`](btrfs_format::types::MAX_LEVEL) steps, whatever is on disk.
//! * The stages of a live tree are replaced together: no reader sees a change twice, or misses it,
//!   because a commit is published meanwhile.
//! * A cursor that moves forwards visits leaves with strictly rising first keys, so it ends too.
//!
//! # Locks
//!
//! The lock of a cache shard is a leaf lock, a spinlock; nothing is allocated or read under it. So
//! is the one of a live tree's state. Those of overlays are described there.
//!
//! # Bounds
//!
//! Cached blocks take at most the bytes given to [`TreeCache::new`]; beyond it, a read evicts as
//! much as it adds. Blocks that a cursor, an item or a root holds on to live on until they are
//! given back. Readahead is at most [`readahead::MAX_WINDOW`] blocks ahead per node.

#![forbid(unsafe_code)]

mod batch;
mod block;
mod cache;
mod csums;
mod cursor;
mod index;
mod live;
#[cfg(CONFIG_KUNIT = "y")]
mod live_tests;
mod merge;
mod overlay;
mod readahead;
mod roots;
mod stages;
mod table;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;
mod verify;
mod view;

pub(crate) use batch::Batch;
pub(crate) use block::{BlockRef, Expect};
pub(crate) use cache::{BlockSource, Severity, TreeCache};
pub(crate) use cursor::Cursor;
pub(crate) use live::{LiveTree, Place};
pub(crate) use merge::LiveCursor;
pub(crate) use overlay::{Collected, EditContext, Overlay};
pub(crate) use roots::{RootOptions, Roots};
pub(crate) use stages::{read_block_groups, read_chunk_tree, ChunkVisitor};
pub(crate) use verify::Verifier;
pub(crate) use view::{Epoch, TreeView};
