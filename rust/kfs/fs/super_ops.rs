// SPDX-License-Identifier: GPL-2.0

//! The operation table of super blocks.

use super::{
    errno,
    inode::INode,
    inode_cache::{self, InodeObject},
    mount,
    super_block::{FileSystem, SuperBlock},
};
use crate::{bindings, block::DevNum};
use core::marker::PhantomData;
use kernel::{prelude::*, seq_file::SeqFile};

pub(super) struct SuperOps<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> SuperOps<T> {
    pub(super) const TABLE: &'static bindings::super_operations = &bindings::super_operations {
        alloc_inode: Some(inode_cache::alloc_inode::<T>),
        destroy_inode: Some(inode_cache::destroy_inode::<T>),
        free_inode: Some(inode_cache::free_inode),
        write_inode: if T::HAS_WRITE_INODE {
            Some(Self::write_inode)
        } else {
            None
        },
        shutdown: if T::HAS_SHUTDOWN {
            Some(Self::shutdown)
        } else {
            None
        },
        remove_bdev: if T::HAS_DEVICE_GONE {
            Some(Self::remove_bdev)
        } else {
            None
        },
        drop_inode: if T::HAS_DROP_INODE {
            Some(Self::drop_inode)
        } else {
            None
        },
        evict_inode: Some(Self::evict_inode),
        put_super: Some(Self::put_super),
        sync_fs: if T::HAS_SYNC_FS {
            Some(Self::sync_fs)
        } else {
            None
        },
        freeze_fs: if T::HAS_FREEZE {
            Some(Self::freeze_fs)
        } else {
            None
        },
        unfreeze_fs: if T::HAS_UNFREEZE {
            Some(Self::unfreeze_fs)
        } else {
            None
        },
        statfs: Some(Self::statfs),
        show_options: if T::HAS_SHOW_OPTIONS {
            Some(Self::show_options)
        } else {
            None
        },
        show_devname: if T::HAS_SHOW_DEVNAME {
            Some(Self::show_devname)
        } else {
            None
        },
        show_stats: if T::HAS_SHOW_STATS {
            Some(Self::show_stats)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn drop_inode(inode: *mut bindings::inode) -> c_int {
        // SAFETY: Called by the VFS with an inode of this file system, whose memory is an
        // `InodeObject`.
        let initialised = unsafe { InodeObject::<T>::is_initialised(inode) };
        // SAFETY: Valid; this is what `inode_generic_drop` asks.
        let generic =
            unsafe { (*inode).__bindgen_anon_1.i_nlink == 0 || (*inode).i_hash.pprev.is_null() };
        if generic || !initialised {
            return generic.into();
        }
        // SAFETY: Initialised, as just checked.
        T::drop_inode(unsafe { INode::<T>::from_raw(inode) }).into()
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        wbc: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: Its memory is an `InodeObject`.
        if !unsafe { InodeObject::<T>::is_initialised(inode) } {
            return 0;
        }
        // SAFETY: Valid during the call.
        let sync = unsafe { bindings::kfs_wbc_is_sync(wbc) } != 0;
        // SAFETY: Initialised, as just checked.
        errno(T::write_inode(unsafe { INode::<T>::from_raw(inode) }, sync))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: Called by the VFS for a mounted super block.
        T::shutdown(unsafe { SuperBlock::<T>::from_raw(sb) });
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn remove_bdev(
        sb: *mut bindings::super_block,
        bdev: *mut bindings::block_device,
    ) -> c_int {
        // SAFETY: Valid during the call; the number never changes.
        let dev = DevNum::from_raw(unsafe { (*bdev).bd_dev });
        // SAFETY: Called by the VFS for a mounted super block.
        errno(T::device_gone(
            unsafe { SuperBlock::<T>::from_raw(sb) },
            dev,
        ))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: Its memory is an `InodeObject`.
        if T::HAS_LEAVE && unsafe { InodeObject::<T>::is_initialised(inode) } {
            // SAFETY: Initialised, as just checked.
            T::leave(unsafe { INode::<T>::from_raw(inode) });
        }
        // SAFETY: Called by the VFS with an inode that nobody uses any more.
        unsafe { bindings::truncate_inode_pages_final(&raw mut (*inode).i_data) };
        // SAFETY: Its memory is an `InodeObject`.
        if T::HAS_EVICT && unsafe { InodeObject::<T>::is_initialised(inode) } {
            // SAFETY: Initialised, as just checked.
            T::evict(unsafe { INode::<T>::from_raw(inode) });
        }
        // SAFETY: As above.
        unsafe { bindings::clear_inode(inode) };
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: Called by the VFS during shutdown, after all inodes were evicted.
        unsafe { mount::close::<T>(sb) };
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        // SAFETY: Called by the VFS for a mounted super block.
        errno(T::sync_fs(
            unsafe { SuperBlock::<T>::from_raw(sb) },
            wait != 0,
        ))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: Called by the VFS for a mounted super block.
        errno(T::freeze(unsafe { SuperBlock::<T>::from_raw(sb) }))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: Called by the VFS for a mounted super block.
        errno(T::unfreeze(unsafe { SuperBlock::<T>::from_raw(sb) }))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buf: *mut bindings::kstatfs,
    ) -> c_int {
        // SAFETY: Called by the VFS with a positive dentry of a mounted super block.
        let inode = unsafe { INode::<T>::from_raw((*dentry).d_inode) };
        match T::statfs(inode) {
            Ok(st) => {
                // SAFETY: The buffer is valid and ours.
                st.write_to(unsafe { &mut *buf });
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn show_options(
        m: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: Called by the VFS with the root of a mount of a mounted super block.
        let sb = unsafe { SuperBlock::<T>::from_raw((*root).d_sb) };
        // SAFETY: As above; the root of a mount is positive.
        let inode = unsafe { INode::<T>::from_raw((*root).d_inode) };
        // SAFETY: The seq file is valid and used by this task only.
        errno(T::show_options(sb, inode, unsafe {
            SeqFile::from_raw(m.cast())
        }))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn show_devname(
        m: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: Called by the VFS with the root of a mount of a mounted super block.
        let sb = unsafe { SuperBlock::<T>::from_raw((*root).d_sb) };
        // SAFETY: The seq file is valid and used by this task only.
        errno(T::show_devname(sb, unsafe { SeqFile::from_raw(m.cast()) }))
    }

    /// # Safety
    ///
    /// Called by the VFS with an object of a super block of `T`.
    unsafe extern "C" fn show_stats(
        m: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: Called by the VFS with the root of a mount of a mounted super block.
        let sb = unsafe { SuperBlock::<T>::from_raw((*root).d_sb) };
        // SAFETY: The seq file is valid and used by this task only.
        errno(T::show_stats(sb, unsafe { SeqFile::from_raw(m.cast()) }))
    }
}
