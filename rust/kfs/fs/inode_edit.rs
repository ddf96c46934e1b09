// SPDX-License-Identifier: GPL-2.0

//! Changing the attributes of an inode.
//!
//! All of these may be called at any time as far as memory is concerned. Whether a change is
//! lost to another one is decided by the inode lock: the VFS holds it around the operations
//! that change names and attributes, and a file system takes it where the VFS does not.

use super::{
    inode::INode,
    new_inode::InodeFlags,
    super_block::FileSystem,
    types::{mode, Timespec},
};
use crate::bindings;

impl<T: FileSystem> INode<T> {
    /// Sets the number of links.
    pub fn set_nlink(&self, nlink: u32) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::set_nlink(self.as_raw(), nlink) };
    }

    /// Adds a link.
    pub fn inc_nlink(&self) {
        if self.nlink() == 0 {
            // `inc_nlink` complains about this, unless the inode may be linked again.
            return self.set_nlink(1);
        }
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::inc_nlink(self.as_raw()) };
    }

    /// Takes a link away, if there is one.
    pub fn drop_nlink(&self) {
        if self.nlink() != 0 {
            // SAFETY: Valid by the type invariant.
            unsafe { bindings::drop_nlink(self.as_raw()) };
        }
    }

    /// Sets the number of links to 0.
    pub fn clear_nlink(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::clear_nlink(self.as_raw()) };
    }

    /// Bytes in use on disk, as `stat` shows them.
    pub fn bytes(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        let bytes = unsafe { bindings::kfs_inode_get_bytes(self.as_raw()) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Adds to the bytes in use on disk.
    pub fn add_bytes(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: Valid by the type invariant; takes a lock of its own.
        unsafe { bindings::kfs_inode_add_bytes(self.as_raw(), bytes) };
    }

    /// Takes from the bytes in use on disk.
    pub fn sub_bytes(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: Valid by the type invariant; takes a lock of its own.
        unsafe { bindings::kfs_inode_sub_bytes(self.as_raw(), bytes) };
    }

    /// Sets the permission bits, with set-id and sticky bits; the type stays.
    pub fn set_perm(&self, perm: u16) {
        let mode = (self.mode() & mode::S_IFMT) | (perm & !mode::S_IFMT);
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_inode_set_mode(self.as_raw(), mode) };
    }

    /// Sets the change time to now and returns it.
    pub fn touch_ctime(&self) -> Timespec {
        // SAFETY: Valid by the type invariant.
        Timespec::from_c(&unsafe { bindings::inode_set_ctime_current(self.as_raw()) })
    }

    /// Sets modification and change time to now and returns it.
    pub fn touch(&self) -> Timespec {
        let mut now = bindings::timespec64::default();
        // SAFETY: Both are valid.
        unsafe { bindings::kfs_inode_touch(self.as_raw(), &mut now) };
        Timespec::from_c(&now)
    }

    /// Sets the modification time.
    pub fn set_mtime(&self, time: Timespec) {
        // SAFETY: Both are valid.
        unsafe { bindings::kfs_inode_set_mtime(self.as_raw(), &time.to_c()) };
    }

    /// Sets the access time.
    pub fn set_atime(&self, time: Timespec) {
        // SAFETY: Both are valid.
        unsafe { bindings::kfs_inode_set_atime(self.as_raw(), &time.to_c()) };
    }

    /// The version counter as it is to be stored.
    pub fn version(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_inode_peek_iversion(self.as_raw()) }
    }

    /// Counts a change.
    pub fn inc_version(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_iversion_inc(self.as_raw()) };
    }

    /// Sets these flags and clears the others.
    pub fn set_vfs_flags(&self, flags: InodeFlags) {
        // SAFETY: Valid by the type invariant.
        unsafe { flags.write_to(self.as_raw()) };
    }

    /// Nothing can be made in this directory any more.
    pub fn set_dead(&self) {
        // SAFETY: Valid by the type invariant; the bits are exchanged atomically.
        unsafe { bindings::kfs_inode_set_flags(self.as_raw(), bindings::S_DEAD, bindings::S_DEAD) };
    }

    /// Has the inode written back some time: `write_inode` is called.
    pub fn mark_dirty(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_mark_inode_dirty(self.as_raw()) };
    }
}
