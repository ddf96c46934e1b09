// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    inode_cache::InodeObject,
    super_block::{FileSystem, SuperBlock},
    types::{mode, DeviceNumber, Timespec},
};
use crate::bindings;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    sync::aref::{ARef, AlwaysRefCounted},
    types::Opaque,
};

/// An initialised inode of the file system `T`, reference-counted.
///
/// # Invariants
///
/// Points to the inode of an `InodeObject<T>` that is initialised, of a super block
/// that has its data.
#[repr(transparent)]
pub struct INode<T: FileSystem>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: References may be dropped by any task; the data may be used from all.
unsafe impl<T: FileSystem> Send for INode<T> {}
// SAFETY: What shared references allow are reads of fields that are constant or may be
// read at any time, calls that synchronise by themselves, and the data, which is `Sync`.
unsafe impl<T: FileSystem> Sync for INode<T> {}

// SAFETY: Inodes are always reference-counted, by `i_count`.
unsafe impl<T: FileSystem> AlwaysRefCounted for INode<T> {
    fn inc_ref(&self) {
        // SAFETY: A shared reference exists, so the count is not zero.
        unsafe { bindings::ihold(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

impl<T: FileSystem> INode<T> {
    /// # Safety
    ///
    /// `inode` must fulfil the invariants of the type for `'a`.
    pub(crate) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*inode.cast() }
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `inode` must fulfil the invariants of the type, and the caller give up a reference.
    pub(crate) unsafe fn aref_from_raw(inode: NonNull<bindings::inode>) -> ARef<Self> {
        // SAFETY: By the requirements of this function.
        unsafe { ARef::from_raw(inode.cast()) }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The data that the file system attached.
    pub fn data(&self) -> &T::InodeData {
        // SAFETY: Initialised, by the type invariant.
        unsafe { &*InodeObject::<T>::data(self.as_raw()) }
    }

    /// What identifies the inode.
    pub fn key(&self) -> T::InodeKey {
        // SAFETY: An initialised inode has been hashed.
        unsafe { *InodeObject::<T>::key(self.as_raw()) }
    }

    /// The super block.
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariant.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: Valid by the type invariant; constant.
        unsafe { (*self.as_raw()).i_ino }
    }

    /// The type and the permission bits, see [`mode`].
    pub fn mode(&self) -> u16 {
        // SAFETY: Valid by the type invariant; C code reads it without a lock, too.
        unsafe { core::ptr::read_volatile(&raw const (*self.as_raw()).i_mode) }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode() & mode::S_IFMT == mode::S_IFDIR
    }

    /// Whether this is a regular file.
    pub fn is_reg(&self) -> bool {
        self.mode() & mode::S_IFMT == mode::S_IFREG
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode() & mode::S_IFMT == mode::S_IFLNK
    }

    /// The size in bytes.
    pub fn size(&self) -> i64 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_size_read(self.as_raw()) }
    }

    /// The number of links.
    pub fn nlink(&self) -> u32 {
        // SAFETY: Valid by the type invariant; C code reads it without a lock, too.
        unsafe { core::ptr::read_volatile(&raw const (*self.as_raw()).__bindgen_anon_1.i_nlink) }
    }

    /// The owner, in the user namespace of the super block.
    pub fn uid(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_uid_read(self.as_raw()) }
    }

    /// The group, in the user namespace of the super block.
    pub fn gid(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_gid_read(self.as_raw()) }
    }

    /// The generation number, for file handles.
    pub fn generation(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.as_raw()).i_generation }
    }

    /// The device that a device node stands for.
    pub fn rdev(&self) -> DeviceNumber {
        // SAFETY: Valid by the type invariant; constant.
        DeviceNumber::from_raw(unsafe { (*self.as_raw()).i_rdev })
    }

    /// Access, modification, and change time.
    pub fn times(&self) -> (Timespec, Timespec, Timespec) {
        let mut a = bindings::timespec64::default();
        let mut m = bindings::timespec64::default();
        let mut c = bindings::timespec64::default();
        // SAFETY: All are valid.
        unsafe { bindings::kfs_inode_get_times(self.as_raw(), &mut a, &mut m, &mut c) };
        (
            Timespec::from_c(&a),
            Timespec::from_c(&m),
            Timespec::from_c(&c),
        )
    }

    /// Takes the inode lock for reading.
    pub fn lock_shared(&self) -> SharedLock<'_, T> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::down_read(&raw mut (*self.as_raw()).i_rwsem) };
        SharedLock(self)
    }
}

/// The inode lock, held for reading.
pub struct SharedLock<'a, T: FileSystem>(&'a INode<T>);

impl<'a, T: FileSystem> SharedLock<'a, T> {
    /// For a lock that was just taken.
    pub(super) fn held(inode: &'a INode<T>) -> Self {
        Self(inode)
    }
}

impl<T: FileSystem> Drop for SharedLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this guard.
        unsafe { bindings::up_read(&raw mut (*self.0.as_raw()).i_rwsem) };
    }
}
