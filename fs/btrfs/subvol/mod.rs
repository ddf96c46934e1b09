// SPDX-License-Identifier: GPL-2.0

//! Subvolumes.
//!
//! A subvolume is a tree with files and a device number of its own, by which
//! programs see that they leave one and enter another. Those that were looked at stay
//! in a [`SubvolTable`] until the file system is closed.
//!
//! # Life of a subvolume
//!
//! *Made* ([`create`]): its items are in an overlay, and its root item leads nowhere, until the next
//! commit. *Deleted* ([`delete`]): it has no name, its root item no references, and an orphan item
//! says that it is to be dropped; whoever has files of it open goes on reading. *Dropped*: when the
//! last of its inodes has left memory, commits take its tree apart. One that was deleted before a
//! crash is dropped after the next mount for writing.
//!
//! Names of subvolumes change under the inode lock of the directory, as those of files do, and below
//! it under a semaphore of all subvolumes ([`SubvolTable::keep`]): no directory shows whether there are
//! others in one that is to be deleted. The mutexes here are leaf locks, but that finding the first
//! unused number, and passing options on ([`options`]), read the tree of roots.

#![forbid(unsafe_code)]

pub(crate) mod create;
pub(crate) mod defrag;
pub(crate) mod delete;
mod options;
pub(crate) mod path;
pub(crate) mod settings;
pub(crate) mod uuid_scan;
pub(crate) mod uuids;

use btrfs_format::key::Key;
use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    new_mutex, new_spinlock, Arc, Mutex, SpinLock,
};
use kfs::fs::{AnonDev, DeviceNumber};
use kfs::new_rwsem;
use kfs::sync::{ReadGuard, RwSemaphore, WriteGuard};

use options::Stated;

use crate::tree::{LiveTree, Roots};
use crate::txn::Txn;

/// A subvolume in use.
#[pin_data]
pub(crate) struct Subvol {
    used: Used,
    dev: AnonDev,
    root_dir: Ino,
    /// The inode number to give out next, once that is known.
    #[pin]
    next_ino: Mutex<Option<Ino>>,
    /// Orphans of earlier mounts have been looked for.
    cleaned: Atomic<bool>,
    #[pin]
    stated: SpinLock<Stated>,
}

impl Subvol {
    fn new(tree: Arc<LiveTree>, txn: Arc<Txn>) -> Result<Arc<Self>> {
        let root_dir = Ino(tree.item().root_dirid.get());
        let init = try_pin_init!(Self {
            used: Used { tree, txn },
            dev: AnonDev::new()?,
            root_dir,
            next_ino <- new_mutex!(None, "btrfs-next-ino"),
            cleaned: Atomic::new(false),
            stated <- new_spinlock!(Stated::NOTHING, "btrfs-subvol-options"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Its id.
    pub(crate) fn id(&self) -> TreeId {
        self.used.tree.id()
    }

    /// Its tree.
    pub(crate) fn tree(&self) -> &Arc<LiveTree> {
        &self.used.tree
    }

    /// The device that its files are on as far as `stat` is concerned.
    pub(crate) fn dev(&self) -> DeviceNumber {
        self.dev.number()
    }

    /// Its root directory.
    pub(crate) fn root_dir(&self) -> Ino {
        self.root_dir
    }

    /// Whether the caller is the first one to look for orphans of earlier mounts.
    pub(crate) fn begin_cleanup(&self) -> bool {
        !self.cleaned.xchg(true, Relaxed)
    }

    /// Notes that there are no orphans of earlier mounts.
    pub(crate) fn set_cleaned(&self) {
        self.cleaned.store(true, Relaxed);
    }

    /// Whether nothing in it may be changed.
    pub(crate) fn is_readonly(&self) -> bool {
        self.used.tree.is_readonly()
    }

    /// A number for a new inode, which no inode had since the subvolume was opened.
    ///
    /// The first call searches the tree. `ENOSPC`: all numbers were given out.
    pub(crate) fn alloc_ino(&self) -> Result<Ino> {
        let mut next = self.next_ino.lock();
        let ino = match *next {
            Some(ino) => ino,
            None => self.first_unused()?,
        };
        if ino > Ino::LAST_FREE {
            return Err(ENOSPC);
        }
        *next = Some(Ino(ino.get().saturating_add(1)));
        Ok(ino)
    }

    /// The number behind that of the last inode in the tree.
    fn first_unused(&self) -> Result<Ino> {
        let end = Key::new(Ino::LAST_FREE.get(), u8::MAX, u64::MAX);
        let last = self.used.tree.seek_at_or_before(end)?.key();
        let last = last
            .map_or(0, |key| key.objectid)
            .max(Ino::FIRST_FREE.get());
        Ok(Ino(last.saturating_add(1)))
    }
}

/// The tree of a subvolume that is in use. When that of a deleted one is not any more, it is
/// dropped.
struct Used {
    tree: Arc<LiveTree>,
    txn: Arc<Txn>,
}

impl Drop for Used {
    fn drop(&mut self) {
        if self.tree.is_dead() {
            // Without memory to remember it, it waits for the next mount.
            let _ = self.txn.drop_tree(self.tree.clone());
        }
    }
}

/// The subvolumes that were looked at.
#[pin_data]
pub(crate) struct SubvolTable {
    roots: Arc<Roots>,
    txn: Arc<Txn>,
    /// The id to give out next, once that is known.
    #[pin]
    next_id: Mutex<Option<TreeId>>,
    /// Those that were deleted by earlier mounts have been looked for.
    resumed: Atomic<bool>,
    /// Held while options are passed on.
    #[pin]
    settling: Mutex<()>,
    #[pin]
    open: Mutex<RBTree<u64, Arc<Subvol>>>,
    /// See [`Self::keep`] and [`Self::change`].
    #[pin]
    names: RwSemaphore<()>,
}

impl SubvolTable {
    /// An empty table over `roots`.
    pub(crate) fn new(roots: Arc<Roots>, txn: Arc<Txn>) -> impl PinInit<Self> {
        pin_init!(Self {
            roots,
            txn,
            next_id <- new_mutex!(None, "btrfs-next-subvol"),
            resumed: Atomic::new(false),
            settling <- new_mutex!((), "btrfs-subvol-settle"),
            open <- new_mutex!(RBTree::new(), "btrfs-subvol-table"),
            names <- new_rwsem!((), "btrfs-subvol-names"),
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
        let fresh = Subvol::new(self.roots.get(id)?, self.txn.clone())?;
        fresh.inherit(self.options_above(id));
        let node = RBTreeNode::new(id.get(), fresh.clone(), GFP_KERNEL)?;
        let mut open = self.open.lock();
        if let Some(subvol) = open.get(&id.get()) {
            return Ok(subvol.clone());
        }
        open.insert(node);
        Ok(fresh)
    }

    /// Held while something in a subvolume gets the name of another one: until then none is deleted.
    pub(crate) fn keep(&self) -> ReadGuard<'_, ()> {
        self.names.read()
    }

    /// Held while a subvolume is deleted, or what its root item says is changed.
    pub(crate) fn change(&self) -> WriteGuard<'_, ()> {
        self.names.write()
    }

    /// Whether the caller is the first one to look for subvolumes that earlier mounts deleted.
    pub(super) fn begin_resume(&self) -> bool {
        !self.resumed.xchg(true, Relaxed)
    }

    /// An id for a new subvolume, which none had since the file system was mounted.
    ///
    /// The first call searches the tree of roots. `ENOSPC`: all ids were given out.
    pub(crate) fn alloc_id(&self) -> Result<TreeId> {
        // The upper 16 bits are for quota groups.
        const LAST: u64 = (1 << 48) - 1;
        let mut next = self.next_id.lock();
        let id = match *next {
            Some(id) => id,
            None => {
                let end = Key::new(TreeId::LAST_FREE.get(), u8::MAX, u64::MAX);
                let last = self.roots.tree().seek_at_or_before(end)?.key();
                let last = last.map_or(0, |key| key.objectid);
                TreeId(last.max(TreeId::FIRST_FREE.get() - 1).saturating_add(1))
            }
        };
        if id.get() > LAST {
            return Err(ENOSPC);
        }
        *next = Some(TreeId(id.get().saturating_add(1)));
        Ok(id)
    }

    /// Forgets the subvolume `id`: those who use it go on, nobody else finds it.
    pub(crate) fn forget(&self, id: TreeId) {
        let known = self.open.lock().remove(&id.get());
        drop(known);
        self.roots.forget(id);
    }
}
