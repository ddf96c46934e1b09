// SPDX-License-Identifier: GPL-2.0

//! The arguments of operations that change attributes.

use super::{inode::INode, super_block::FileSystem, types::Timespec};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{error::to_result, prelude::*};

/// A change of attributes that the VFS and [`setattr_prepare`] allowed.
///
/// [`setattr_prepare`]: srctree/fs/attr.c
///
/// # Invariants
///
/// All point to valid objects; the dentry is positive, its inode one of `T` and locked.
pub struct SetAttr<'a, T: FileSystem> {
    pub(super) idmap: *mut bindings::mnt_idmap,
    pub(super) dentry: *mut bindings::dentry,
    pub(super) attr: *mut bindings::iattr,
    pub(super) _p: PhantomData<&'a T>,
}

impl<T: FileSystem> SetAttr<'_, T> {
    fn inode(&self) -> &INode<T> {
        // SAFETY: By the type invariant.
        unsafe { INode::from_raw((*self.dentry).d_inode) }
    }

    fn has(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.attr).ia_valid & bit != 0 }
    }

    /// The size to set.
    pub fn size(&self) -> Option<i64> {
        // SAFETY: By the type invariant.
        self.has(bindings::ATTR_SIZE)
            .then(|| unsafe { (*self.attr).ia_size })
    }

    /// The modification time to set.
    pub fn mtime(&self) -> Option<Timespec> {
        // SAFETY: By the type invariant.
        self.has(bindings::ATTR_MTIME)
            .then(|| Timespec::from_c(unsafe { &(*self.attr).ia_mtime }))
    }

    /// Whether the size is set by a path, or while opening; then times change only with the
    /// size.
    pub fn keeps_times(&self) -> bool {
        !self.has(bindings::ATTR_MTIME | bindings::ATTR_CTIME)
    }

    /// Whether the permissions change.
    pub fn changes_mode(&self) -> bool {
        self.has(bindings::ATTR_MODE)
    }

    /// Whether anything changes.
    pub fn is_empty(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.attr).ia_valid == 0 }
    }

    /// Sets all of it in memory, but for the size.
    pub fn apply(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::setattr_copy(self.idmap, self.inode().as_raw(), self.attr) };
    }

    /// Makes the access ACL follow the permissions, which have been set.
    ///
    /// Calls back to `set_acl`, so no part of an operation may be open.
    pub fn chmod_acl(&self) -> Result {
        let mode = self.inode().mode();
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::kfs_posix_acl_chmod(self.idmap, self.dentry, mode) })
    }
}
