// SPDX-License-Identifier: GPL-2.0

//! The changes of one operation, collected before the first one is made.
//!
//! An operation on names reads several items, and changes some of them more than once: a rename
//! within a directory takes a name out of an item and puts another into the same. So it first
//! collects what the items will be, looking at its own changes before the tree, and may fail
//! at any point of that without consequence. Then all changes are made at once.

#![forbid(unsafe_code)]

use btrfs_format::key::Key;
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::mount::Fs;
use crate::tree::LiveTree;
use crate::txn::Handle;

struct Change {
    tree: Arc<LiveTree>,
    key: Key,
    /// `None`: the item goes.
    data: Option<KVec<u8>>,
}

/// Changes that were not made yet.
pub(crate) struct Edits(KVec<Change>);

impl Edits {
    /// No changes.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    /// The item with this key as it will be.
    pub(crate) fn get(&self, tree: &Arc<LiveTree>, key: Key) -> Result<Option<KVec<u8>>> {
        for change in self.0.iter() {
            if change.key == key && Arc::ptr_eq(&change.tree, tree) {
                return change.data.as_deref().map(copy).transpose();
            }
        }
        tree.get(key)?.as_deref().map(copy).transpose()
    }

    fn change(&mut self, tree: &Arc<LiveTree>, key: Key, data: Option<KVec<u8>>) -> Result {
        for change in self.0.iter_mut() {
            if change.key == key && Arc::ptr_eq(&change.tree, tree) {
                change.data = data;
                return Ok(());
            }
        }
        let tree = tree.clone();
        Ok(self.0.push(Change { tree, key, data }, GFP_KERNEL)?)
    }

    /// Puts an item, in place of the one that is there.
    pub(crate) fn put(&mut self, tree: &Arc<LiveTree>, key: Key, data: KVec<u8>) -> Result {
        self.change(tree, key, Some(data))
    }

    /// Deletes an item.
    pub(crate) fn delete(&mut self, tree: &Arc<LiveTree>, key: Key) -> Result {
        self.change(tree, key, None)
    }

    /// Puts an item, or deletes it if nothing is left of it.
    pub(crate) fn put_or_delete(
        &mut self,
        tree: &Arc<LiveTree>,
        key: Key,
        data: KVec<u8>,
    ) -> Result {
        let data = (!data.is_empty()).then_some(data);
        self.change(tree, key, data)
    }

    /// Makes all changes. When this fails some are made and others not: see [`complete`].
    pub(crate) fn apply(self, handle: &mut Handle<'_>) -> Result {
        for change in self.0.iter() {
            match &change.data {
                Some(data) => change.tree.put(handle, change.key, data)?,
                None => change.tree.delete(handle, change.key)?,
            }
        }
        Ok(())
    }
}

/// Makes changes that belong together, and ends the operation.
///
/// If `make` fails half of them may have been made. There is no way back then: the transaction is
/// aborted.
pub(crate) fn complete<R>(
    fs: &Fs,
    handle: Handle<'_>,
    what: &str,
    make: impl FnOnce(&mut Handle<'_>) -> Result<R>,
) -> Result<R> {
    let mut handle = handle;
    let made = make(&mut handle);
    end(fs, handle, (), what, made)
}

/// Ends an operation of which `made` is the result, and lets go of `lock`, which was taken under
/// its handle. If it failed, half of it may have been done: see [`complete`].
pub(crate) fn end<R>(
    fs: &Fs,
    handle: Handle<'_>,
    lock: impl Sized,
    what: &str,
    made: Result<R>,
) -> Result<R> {
    // Aborting waits for all handles, and those for the lock.
    drop(lock);
    drop(handle);
    made.inspect_err(|e| fs.txn().abort(what, *e))
}

/// A copy of `bytes`.
pub(crate) fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len(), GFP_KERNEL)?;
    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
}
