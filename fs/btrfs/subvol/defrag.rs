// SPDX-License-Identifier: GPL-2.0

//! Defragmenting the tree of a subvolume: its leaves come to lie one behind the other.
//!
//! A commit writes what it copies of a tree in the order of keys, to where there is space. So all that
//! has to be done is to have leaves copied that are far from both of their neighbours; what is in
//! them stays. Leaves that a snapshot shares are not shared any more then, as with any other change.

use btrfs_format::key::Key;
use btrfs_format::types::Logical;
use kernel::{prelude::*, sync::Arc};
use kfs::task;

use crate::mount::Fs;
use crate::tree::LiveTree;
use crate::txn::Demand;

/// Between blocks that are read in one go there are less bytes than this.
const FAR: u64 = 32 << 10;

/// So many leaves are looked at in one go.
const WINDOW: usize = 64;

/// Leaves that are to be copied, by their first keys.
struct Window {
    scattered: KVec<Key>,
    /// Where to go on.
    next: Option<Key>,
    /// Where the last leaf is.
    last: Option<Logical>,
}

impl Window {
    /// That from `key` on, which is behind the leaf at `before`.
    fn new(tree: &LiveTree, nodesize: u64, key: Key, before: Option<Logical>) -> Result<Self> {
        let mut window = Self {
            scattered: KVec::new(),
            next: None,
            last: before,
        };
        let mut cursor = tree.view().seek(key)?;
        for _ in 0..WINDOW {
            let Some(first) = cursor.key() else {
                window.next = None;
                break;
            };
            let at = cursor.leaf().logical();
            window.next = cursor.leaf_end();
            let mut behind = None;
            if let Some(end) = window.next {
                cursor.seek(end)?;
                behind = cursor.key().map(|_| cursor.leaf().logical());
            }
            let is_far = |other: Logical| {
                let gap = other.get().abs_diff(at.get()).saturating_sub(nodesize);
                gap >= FAR
            };
            let mut beside = [window.last, behind].into_iter().flatten().peekable();
            if beside.peek().is_some() && beside.all(is_far) {
                window.scattered.push(first, GFP_KERNEL)?;
            }
            window.last = Some(at);
            if window.next.is_none() {
                break;
            }
        }
        Ok(window)
    }
}

/// Defragments `tree` as it is on disk now. The next commit writes what changes.
///
/// `EAGAIN`: a signal ended it early.
pub(crate) fn defrag(fs: &Fs, tree: &Arc<LiveTree>) -> Result {
    let nodesize = u64::from(fs.volume().geometry().nodesize);
    let (mut next, mut last) = (Some(Key::MIN), None);
    while let Some(key) = next {
        let window = Window::new(tree, nodesize, key, last)?;
        (next, last) = (window.next, window.last);
        if !window.scattered.is_empty() {
            // What is put was there before: nothing grows by it.
            let demand = Demand::items(u64::try_from(window.scattered.len())?, 0);
            let mut handle = fs.txn().start(demand)?;
            for key in window.scattered.iter() {
                tree.renew(&mut handle, *key)?;
            }
        }
        task::cond_resched();
        if task::is_interrupted() {
            return Err(EAGAIN);
        }
    }
    Ok(())
}
