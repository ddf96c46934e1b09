// SPDX-License-Identifier: GPL-2.0

//! Memory of inodes: the C inode, the key and the private data are one object of a
//! slab cache.

use super::{registration::TypeSlot, super_block::FileSystem, types::mode};
use crate::bindings;
use core::{cell::UnsafeCell, marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{prelude::*, types::Opaque};

/// An inode as it lies in memory.
///
/// # Invariants
///
/// `data` is valid while `initialised` is true. `key` is valid once the inode has been
/// hashed, until its memory is freed, which is an RCU grace period after the inode was
/// unhashed.
#[repr(C)]
pub(super) struct InodeObject<T: FileSystem> {
    /// First, so that a pointer to the inode is one to the object.
    inode: Opaque<bindings::inode>,
    /// Changed only while the inode is new or dead.
    initialised: UnsafeCell<bool>,
    key: UnsafeCell<MaybeUninit<T::InodeKey>>,
    data: UnsafeCell<MaybeUninit<T::InodeData>>,
}

impl<T: FileSystem> InodeObject<T> {
    /// # Safety
    ///
    /// `inode` must be an inode of `T`.
    pub(super) unsafe fn is_initialised(inode: *const bindings::inode) -> bool {
        // SAFETY: The inode is the first member of an object.
        unsafe { *(*inode.cast::<Self>()).initialised.get() }
    }

    /// Records that the data has been written.
    ///
    /// # Safety
    ///
    /// `inode` must be a new inode of `T` with valid data.
    pub(super) unsafe fn set_initialised(inode: *mut bindings::inode) {
        // SAFETY: The inode is the first member of an object, which only its creator uses.
        unsafe { *(*inode.cast::<Self>()).initialised.get() = true };
    }

    /// Drops the data, if there is any.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T` that nobody else uses, now or later.
    pub(super) unsafe fn destroy_data(inode: *mut bindings::inode) {
        // SAFETY: An inode of `T`.
        if unsafe { Self::is_initialised(inode) } {
            // SAFETY: The data is valid by the type invariant and is not used any more.
            unsafe {
                *(*inode.cast::<Self>()).initialised.get() = false;
                ptr::drop_in_place(Self::data(inode));
            }
        }
    }

    /// Where the data is.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T`.
    pub(super) unsafe fn data(inode: *const bindings::inode) -> *mut T::InodeData {
        // SAFETY: The inode is the first member of an object.
        unsafe { (*inode.cast::<Self>()).data.get().cast() }
    }

    /// Where the key is.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T`.
    pub(super) unsafe fn key(inode: *const bindings::inode) -> *mut T::InodeKey {
        // SAFETY: The inode is the first member of an object.
        unsafe { (*inode.cast::<Self>()).key.get().cast() }
    }
}

/// Owns the slab cache of the inodes of `T`.
pub(super) struct InodeCache<T: FileSystem> {
    ptr: ptr::NonNull<bindings::kmem_cache>,
    _p: PhantomData<T>,
}

// SAFETY: Slab caches may be used by any task.
unsafe impl<T: FileSystem> Send for InodeCache<T> {}
// SAFETY: As above.
unsafe impl<T: FileSystem> Sync for InodeCache<T> {}

impl<T: FileSystem> InodeCache<T> {
    pub(super) fn new() -> Result<Self> {
        let size = c_uint::try_from(size_of::<InodeObject<T>>())?;
        let mut args = bindings::kmem_cache_args {
            align: c_uint::try_from(align_of::<InodeObject<T>>())?,
            ctor: Some(init_once),
            ..Default::default()
        };
        let flags = bindings::SLAB_ACCOUNT | bindings::SLAB_RECLAIM_ACCOUNT;
        // SAFETY: The arguments are valid during the call; the name is a constant.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(c"btrfs_inode".as_char_ptr(), size, &mut args, flags)
        };
        Ok(Self {
            ptr: ptr::NonNull::new(cache).ok_or(ENOMEM)?,
            _p: PhantomData,
        })
    }

    pub(super) fn as_raw(&self) -> *mut bindings::kmem_cache {
        self.ptr.as_ptr()
    }

    /// Waits until inodes that are on their way have been freed.
    pub(super) fn drain(&self) {
        // SAFETY: No preconditions besides process context.
        unsafe { bindings::rcu_barrier() };
    }
}

impl<T: FileSystem> Drop for InodeCache<T> {
    fn drop(&mut self) {
        self.drain();
        // SAFETY: Every object has been freed: there is no super block left.
        unsafe { bindings::kmem_cache_destroy(self.as_raw()) };
    }
}

/// # Safety
///
/// Called by the slab allocator with the memory of an object.
unsafe extern "C" fn init_once(object: *mut c_void) {
    // SAFETY: The inode is the first member.
    unsafe { bindings::inode_init_once(object.cast()) };
}

/// # Safety
///
/// Called by the VFS with a super block of `T`.
pub(super) unsafe extern "C" fn alloc_inode<T: FileSystem>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    // SAFETY: Super blocks of `T` are of a type registered with `Registration`.
    let cache = unsafe { TypeSlot::cache_of(sb) };
    // SAFETY: Both are valid.
    let inode = unsafe { bindings::kfs_alloc_inode_sb(sb, cache, bindings::GFP_KERNEL) };
    if !inode.is_null() {
        // SAFETY: The memory is an object, and ours.
        unsafe { *(*inode.cast::<InodeObject<T>>()).initialised.get() = false };
    }
    inode
}

/// # Safety
///
/// Called by the VFS, in process context, with an inode of `T` that nobody uses.
pub(super) unsafe extern "C" fn destroy_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: As of this function.
    unsafe { InodeObject::<T>::destroy_data(inode) };
}

/// # Safety
///
/// Called by the VFS after a grace period for an inode that came from `alloc_inode`.
pub(super) unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
    // SAFETY: The inode is still valid memory.
    let (mode, link) = unsafe { ((*inode).i_mode, (*inode).__bindgen_anon_5.i_link) };
    if mode & mode::S_IFMT == mode::S_IFLNK && !link.is_null() {
        // SAFETY: The link of a symlink is memory from kmalloc that the inode owns.
        unsafe { kernel::bindings::kfree(link.cast()) };
    }
    // The super block, through which the cache could be found, may be gone already; kfree
    // finds the cache by itself.
    // SAFETY: The object came from a slab cache, and is not used any more.
    unsafe { kernel::bindings::kfree(inode.cast()) };
}
