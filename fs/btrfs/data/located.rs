// SPDX-License-Identifier: GPL-2.0

//! Extents that stay where they are while they are read.
//!
//! An extent that a file lets go of may be written again as soon as the transaction in which it
//! did so is durable and nobody has a view of the trees before. So whoever reads data takes the
//! views first, then looks the extent up, and keeps the views until the data is there.

use core::ops::Deref;
use kernel::prelude::*;

use super::extent::Extent;
use crate::inode::Inode;
use crate::tree::TreeView;

/// The trees as they were before an extent was looked up.
#[derive(Clone)]
pub(crate) struct Views {
    _tree: TreeView,
    csum: Option<TreeView>,
}

impl Views {
    /// The trees that a file and its checksums are in, as they are now.
    pub(crate) fn of(inode: &Inode) -> Self {
        let csum = inode.fs().roots().standard().csum.as_ref();
        Self {
            _tree: inode.tree().view(),
            csum: csum.map(|tree| tree.view()),
        }
    }

    /// The checksums of committed data.
    pub(crate) fn csum(&self) -> Option<&TreeView> {
        self.csum.as_ref()
    }
}

/// An extent of a file, which can be read as long as this exists.
#[derive(Clone)]
pub(crate) struct Located {
    extent: Extent,
    views: Views,
}

impl Located {
    /// What keeps it readable.
    pub(crate) fn views(&self) -> &Views {
        &self.views
    }
}

impl Deref for Located {
    type Target = Extent;

    fn deref(&self) -> &Extent {
        &self.extent
    }
}

impl Inode {
    /// The extent that covers offset `pos`, for reading it.
    pub(crate) fn locate(&self, pos: u64) -> Result<Located> {
        let views = Views::of(self);
        let extent = self.extent_at(pos)?;
        Ok(Located { extent, views })
    }

    /// As [`Self::locate`], if that is known without looking into the trees.
    pub(crate) fn locate_known(&self, pos: u64) -> Option<Located> {
        let views = Views::of(self);
        let extent = self.file().ok()?.find(pos).ok()?;
        Some(Located { extent, views })
    }
}
