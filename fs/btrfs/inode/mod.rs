// SPDX-License-Identifier: GPL-2.0

//! Inodes: what the trees say about a file.
//!
//! An inode in memory is identified by its subvolume and its number ([`InodeKey`]).
//! An entry of a directory that leads to a subvolume which hangs elsewhere, as
//! snapshots have them, is an empty directory that exists in memory only, a *stub*.

#![forbid(unsafe_code)]
#![allow(dead_code)]

pub(crate) mod facts;
pub(crate) mod load;

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::{Ino, TreeId};
use kernel::prelude::*;
use kernel::sync::Arc;

use crate::data::extent::{Extent, Extents};
use crate::data::state::FileState;
use crate::mount::Fs;
use crate::subvol::Subvol;
use crate::tree::LiveTree;
use facts::{Facts, Time};

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

/// What the file system keeps for each inode in memory.
pub(crate) struct Inode {
    fs: Arc<Fs>,
    subvol: Arc<Subvol>,
    ino: Ino,
    /// `None` for a stub.
    facts: Option<Facts>,
    otime: Time,
    /// Of regular files.
    file: Option<Pin<KBox<FileState>>>,
}

impl Inode {
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
        self.facts.is_none()
    }

    /// What the tree says about it; nothing of a stub.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The flags of the format.
    pub(crate) fn flags(&self) -> InodeFlags {
        self.facts.as_ref().map_or(InodeFlags(0), Facts::flags)
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
        let mut walk = self.extents_from(pos)?;
        let extent = walk
            .next()?
            .filter(|extent| extent.covers(pos))
            .ok_or(EUCLEAN)?;
        file.remember(version, extent, &mut walk);
        Ok(extent)
    }

    /// Walks the extents from the one on that covers `pos`.
    pub(crate) fn extents_from(&self, pos: u64) -> Result<Extents> {
        Extents::new(self.tree(), self.ino, self.fs.sector_size(), pos)
    }
}
