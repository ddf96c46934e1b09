// SPDX-License-Identifier: GPL-2.0

//! Subvolumes.
//!
//! A subvolume is a tree with files and a device number of its own, by which
//! programs see that they leave one and enter another. Those that were looked at stay
//! in a [`SubvolTable`] until the file system is closed.

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod path;

use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::{new_mutex, Arc, Mutex};
use kfs::fs::{AnonDev, DeviceNumber};

use crate::tree::{Root, Roots, TreeView};

/// A subvolume in use.
pub(crate) struct Subvol {
    root: Arc<Root>,
    dev: AnonDev,
}

impl Subvol {
    /// Its id.
    pub(crate) fn id(&self) -> TreeId {
        self.root.id()
    }

    /// Its tree as of the last commit.
    pub(crate) fn tree(&self) -> &TreeView {
        self.root.tree()
    }

    /// Its root item and what else is known of the tree.
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The device that its files are on as far as `stat` is concerned.
    pub(crate) fn dev(&self) -> DeviceNumber {
        self.dev.number()
    }

    /// Its root directory.
    pub(crate) fn root_dir(&self) -> Ino {
        Ino(self.root.item().root_dirid.get())
    }

    /// Whether nothing in it may be changed.
    pub(crate) fn is_readonly(&self) -> bool {
        self.root.is_readonly()
    }
}

/// The subvolumes that were looked at.
#[pin_data]
pub(crate) struct SubvolTable {
    roots: Arc<Roots>,
    #[pin]
    open: Mutex<RBTree<u64, Arc<Subvol>>>,
}

impl SubvolTable {
    /// An empty table over `roots`.
    pub(crate) fn new(roots: Arc<Roots>) -> impl PinInit<Self> {
        pin_init!(Self {
            roots,
            open <- new_mutex!(RBTree::new(), "btrfs-subvol-table"),
        })
    }

    /// The subvolume `id`. `ENOENT`: there is none, or it was deleted.
    pub(crate) fn get(&self, id: TreeId) -> Result<Arc<Subvol>> {
        if let Some(subvol) = self.open.lock().get(&id.get()) {
            return Ok(subvol.clone());
        }
        if !id.is_fstree() {
            return Err(ENOENT);
        }
        let root = self.roots.get(id)?;
        let dev = AnonDev::new()?;
        let fresh = Arc::new(Subvol { root, dev }, GFP_KERNEL)?;
        let node = RBTreeNode::new(id.get(), fresh.clone(), GFP_KERNEL)?;
        let mut open = self.open.lock();
        if let Some(subvol) = open.get(&id.get()) {
            return Ok(subvol.clone());
        }
        open.insert(node);
        Ok(fresh)
    }
}
