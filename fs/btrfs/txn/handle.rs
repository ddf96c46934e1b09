// SPDX-License-Identifier: GPL-2.0

//! The right to change trees.

use btrfs_format::types::Generation;
use kernel::prelude::*;
use kernel::sync::{Arc, Mutex};
use kfs::mem::NoFs;

use crate::tree::{EditContext, LiveTree};

/// The trees that a transaction has changes of.
pub(super) type DirtyTrees = Mutex<KVVec<Arc<LiveTree>>>;

/// One operation under way.
pub(crate) struct Handle<'a> {
    transid: Generation,
    dirty: &'a DirtyTrees,
    /// Bytes that the overlays grew by.
    charged: usize,
    /// Reclaim must not come back with another operation.
    _nofs: NoFs,
}

impl<'a> Handle<'a> {
    pub(super) fn new(transid: Generation, dirty: &'a DirtyTrees) -> Self {
        Self {
            transid,
            dirty,
            charged: 0,
            _nofs: NoFs::enter(),
        }
    }

    /// The transaction that the operation is part of.
    pub(crate) fn transid(&self) -> Generation {
        self.transid
    }
}

impl EditContext for Handle<'_> {
    fn transid(&self) -> Generation {
        self.transid
    }

    fn note_dirty(&mut self, tree: &Arc<LiveTree>) -> Result {
        let mut dirty = self.dirty.lock();
        if !dirty.iter().any(|known| Arc::ptr_eq(known, tree)) {
            dirty.push(tree.clone(), GFP_KERNEL)?;
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) {
        self.charged = self.charged.saturating_add(bytes);
    }
}
