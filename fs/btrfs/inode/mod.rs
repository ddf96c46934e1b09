// SPDX-License-Identifier: GPL-2.0

//! Inodes: what the trees say about a file.
//!
//! An inode in memory is identified by its subvolume and its number ([`InodeKey`]).
//! An entry of a directory that leads to a subvolume which hangs elsewhere, as
//! snapshots have them, is an empty directory that exists in memory only, a *stub*.
//!
//! # Changing an inode
//!
//! Attributes change in the VFS's inode, and in [`Inode`], under the inode lock; [`store`] puts them
//! into the tree under the handle of the operation that changed them. Only times may be ahead of
//! the tree (`lazytime`), until the VFS has the inode written. Locks: handle, then
//! the inode's `storing`, then the shard of an overlay.
//!
//! A file without names leaves its tree when it leaves memory ([`orphan`]). So the last reference to an
//! inode is never dropped by who has a handle: removing it begins an operation.

#![forbid(unsafe_code)]

pub(crate) mod attributes;
pub(crate) mod facts;
pub(crate) mod load;
pub(crate) mod orphan;
pub(crate) mod store;
pub(crate) mod verity;

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::{Generation, Ino, TreeId};
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    new_mutex, Arc, Mutex,
};

use crate::data::extent::{Extent, Extents};
use crate::data::state::FileState;
use crate::mount::Fs;
use crate::subvol::Subvol;
use crate::tree::LiveTree;
use facts::Time;

/// What identifies an inode in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InodeKey {
    /// A file of a subvolume.
    File {
        /// The subvolume.
        tree: TreeId,
        /// The file.
        ino: Ino,
    },
    /// The stub for subvolume `child` in a directory.
    Stub {
        /// The directory's subvolume.
        tree: TreeId,
        /// The directory.
        dir: Ino,
        /// What the entry leads to.
        child: TreeId,
    },
}

impl kfs::fs::InodeKey for InodeKey {
    fn ino(&self) -> u64 {
        match self {
            InodeKey::File { ino, .. } => ino.get(),
            InodeKey::Stub { .. } => Ino::EMPTY_SUBVOL_DIR.get(),
        }
    }

    fn hash(&self) -> u64 {
        // Numbers repeat in every subvolume: spread those of different ones.
        let (tree, low) = match self {
            InodeKey::File { tree, ino } => (tree, ino.get()),
            InodeKey::Stub { tree, dir, child } => (tree, dir.get() ^ child.get().rotate_left(32)),
        };
        low ^ tree.get().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What the file system keeps for each inode in memory, besides what the VFS keeps: owner, mode,
/// links, times and the version are in the VFS's inode, and so is the size.
#[pin_data]
pub(crate) struct Inode {
    fs: Arc<Fs>,
    subvol: Arc<Subvol>,
    ino: Ino,
    /// It exists in memory only.
    stub: bool,
    /// The transaction that made it.
    generation: Generation,
    otime: Time,
    /// [`InodeFlags`]. Changed under the inode lock, or by [`Self::change_flags`].
    flags: Atomic<u64>,
    /// There may be extended attributes of any kind.
    has_xattrs: Atomic<bool>,
    /// Of directories: the index of the next entry; 0 if not known. Changed under the inode lock.
    next_index: Atomic<u64>,
    /// Of regular files.
    file: Option<Pin<KBox<FileState>>>,
    /// Held from reading the attributes until they are in the tree, so that the last one to
    /// store them stores the newest.
    #[pin]
    storing: Mutex<()>,
}

/// The parts that an [`Inode`] is made of.
pub(crate) struct Parts {
    pub(crate) fs: Arc<Fs>,
    pub(crate) subvol: Arc<Subvol>,
    pub(crate) ino: Ino,
    pub(crate) stub: bool,
    pub(crate) generation: Generation,
    pub(crate) otime: Time,
    pub(crate) flags: InodeFlags,
    pub(crate) has_xattrs: bool,
    pub(crate) next_index: u64,
    pub(crate) file: Option<Pin<KBox<FileState>>>,
}

impl Inode {
    /// Puts the parts together.
    pub(crate) fn new(parts: Parts) -> impl PinInit<Self> {
        pin_init!(Self {
            fs: parts.fs,
            subvol: parts.subvol,
            ino: parts.ino,
            stub: parts.stub,
            generation: parts.generation,
            otime: parts.otime,
            flags: Atomic::new(parts.flags.0),
            has_xattrs: Atomic::new(parts.has_xattrs),
            next_index: Atomic::new(parts.next_index),
            file: parts.file,
            storing <- new_mutex!((), "btrfs-inode"),
        })
    }

    /// The file system.
    pub(crate) fn fs(&self) -> &Arc<Fs> {
        &self.fs
    }

    /// The subvolume.
    pub(crate) fn subvol(&self) -> &Arc<Subvol> {
        &self.subvol
    }

    /// The tree it is in.
    pub(crate) fn tree(&self) -> &Arc<LiveTree> {
        self.subvol.tree()
    }

    /// Its number.
    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }

    /// Whether it exists in memory only.
    pub(crate) fn is_stub(&self) -> bool {
        self.stub
    }

    /// Whether it is the root directory of its subvolume.
    pub(crate) fn is_subvol_root(&self) -> bool {
        !self.stub && self.ino == self.subvol.root_dir()
    }

    /// Whether there may be extended attributes.
    pub(crate) fn may_have_xattrs(&self) -> bool {
        self.has_xattrs.load(Relaxed)
    }

    /// Notes that there are extended attributes.
    pub(crate) fn note_xattrs(&self) {
        self.has_xattrs.store(true, Relaxed);
    }

    /// The flags of the format.
    pub(crate) fn flags(&self) -> InodeFlags {
        InodeFlags(self.flags.load(Relaxed))
    }

    /// Sets and clears flags; others may be changed at the same time.
    pub(crate) fn change_flags(&self, set: InodeFlags, clear: InodeFlags) {
        let mut old = self.flags.load(Relaxed);
        loop {
            let new = (old & !clear.0) | set.0;
            match self.flags.cmpxchg(old, new, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Gives out an index for an entry of this directory; `first` finds the first one. The inode
    /// lock is held.
    pub(crate) fn next_index(&self, first: impl FnOnce() -> Result<u64>) -> Result<u64> {
        let index = match self.next_index.load(Relaxed) {
            0 => first()?,
            index => index,
        };
        if index == u64::MAX {
            return Err(ENOSPC);
        }
        self.next_index.store(index.saturating_add(1), Relaxed);
        Ok(index)
    }

    /// When it was created.
    pub(crate) fn otime(&self) -> Time {
        self.otime
    }

    /// The state of its data. `EINVAL` unless it is a regular file.
    pub(crate) fn file(&self) -> Result<&FileState> {
        self.file.as_deref().ok_or(EINVAL)
    }

    /// The extent that covers offset `pos`.
    pub(crate) fn extent_at(&self, pos: u64) -> Result<Extent> {
        let file = self.file()?;
        let version = match file.find(pos) {
            Ok(extent) => return Ok(extent),
            Err(version) => version,
        };
        let (extent, mut walk) = file.look(|| {
            let mut walk = self.extents_from(pos)?;
            let extent = walk.next()?.filter(|extent| extent.covers(pos));
            Ok((extent.ok_or(EUCLEAN)?, walk))
        })?;
        file.remember(version, extent, &mut walk);
        Ok(extent)
    }

    /// Walks the extents from the one on that covers `pos`.
    pub(crate) fn extents_from(&self, pos: u64) -> Result<Extents> {
        Extents::new(self.tree(), self.ino, self.fs.sector_size(), pos)
    }
}
