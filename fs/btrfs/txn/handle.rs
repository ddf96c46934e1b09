// SPDX-License-Identifier: GPL-2.0

//! The right to change trees.

use btrfs_format::types::{Generation, Logical};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::mem::{NoFs, GFP_NOFAIL};
use kfs::sync::ReadGuard;

use super::born::Born;
use super::{Gate, Txn};
use crate::tree::{EditContext, LiveTree};

/// One operation under way.
///
/// As long as it lives, the transaction cannot be frozen: all that is changed through it becomes
/// durable together. It waits for nothing that itself may need a handle or a commit, and a task
/// has at most one.
pub(crate) struct Handle<'a> {
    txn: &'a Txn,
    gate: ReadGuard<'a, Gate>,
    /// Bytes that the overlays grew by.
    charged: usize,
    /// Reclaim must not come back with another operation.
    _nofs: NoFs,
}

impl<'a> Handle<'a> {
    pub(super) fn new(txn: &'a Txn, gate: ReadGuard<'a, Gate>) -> Self {
        Self {
            txn,
            gate,
            charged: 0,
            _nofs: NoFs::enter(),
        }
    }

    /// The transaction that the operation is part of.
    pub(crate) fn transid(&self) -> Generation {
        self.gate.transid
    }

    /// Tells of a data extent that was allocated and is on disk now: `len` bytes at `at`, with the
    /// checksums of its sectors. To be called before, under the same handle, an item refers to it.
    ///
    /// What no item refers to when the transaction is committed is free again.
    pub(crate) fn born(&mut self, at: Logical, len: u64, csums: Option<KVVec<u8>>) -> Result {
        let size = csums.as_ref().map_or(0, |csums| csums.len());
        self.charge(size);
        let born = Born { len, csums };
        self.txn.open.lock().born.insert(at, born)
    }

    /// Tells of the checksums of the `len` bytes at `at`, where an extent was born without any, now or
    /// in an earlier transaction, and data was written since. To be called before an item says so.
    pub(crate) fn add_csums(&mut self, at: Logical, len: u64, csums: KVVec<u8>) -> Result {
        self.charge(csums.len());
        self.txn.open.lock().born.insert_sums(at, len, csums)
    }

    /// Makes the commit write the superblock even if no tree changes.
    pub(crate) fn touch_superblock(&mut self) {
        self.txn.open.lock().forced = true;
    }
}

impl EditContext for Handle<'_> {
    fn transid(&self) -> Generation {
        self.gate.transid
    }

    fn note_dirty(&mut self, tree: &Arc<LiveTree>) -> Result {
        let mut open = self.txn.open.lock();
        if !open.dirty.iter().any(|known| Arc::ptr_eq(known, tree)) {
            open.dirty.push(tree.clone(), GFP_NOFAIL)?;
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) {
        self.charged = self.charged.saturating_add(bytes);
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        self.txn.charge(self.charged);
    }
}
