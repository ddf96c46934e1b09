// SPDX-License-Identifier: GPL-2.0

//! From a context to a mounted tree, and back.
//!
//! The key of a mount travels as `fc->s_fs_info` into `sget_fc()`, which either finds
//! a super block of an equal key or makes one that takes the key over.

use super::{
    background,
    context::FsContext,
    errno,
    inode::INode,
    super_block::{FileSystem, New, SuperBlock, SuperInfo, WeakSuper},
    super_ops::SuperOps,
};
use crate::bindings;
use core::{cell::UnsafeCell, ptr};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::aref::ARef,
    types::ScopeGuard,
};

/// The options of a context.
///
/// # Safety
///
/// `fc` must be a context initialised for `T`, used by nobody else for `'a`.
pub(super) unsafe fn options<'a, T: FileSystem>(
    fc: *mut bindings::fs_context,
) -> &'a mut T::Context {
    // SAFETY: The private pointer is a box of that type; the caller guarantees exclusive use.
    unsafe { &mut *(*fc).fs_private.cast::<T::Context>() }
}

/// # Safety
///
/// Called by the VFS with a context of `T`.
pub(super) unsafe extern "C" fn get_tree<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: As of this function.
    errno(unsafe { try_get_tree::<T>(fc) })
}

/// # Safety
///
/// As of [`get_tree`].
unsafe fn try_get_tree<T: FileSystem>(fc: *mut bindings::fs_context) -> Result {
    // SAFETY: The VFS holds the mutex of the context.
    let cx = unsafe { FsContext::from_raw(fc) };
    // SAFETY: As above.
    let options = unsafe { options::<T>(fc) };
    // SAFETY: As above.
    let sb = unsafe { get_super::<T>(fc, options)? };
    // A reference and `s_umount` are held: drop them on errors.
    let active = ScopeGuard::new_with_data(sb, |sb| {
        // SAFETY: We own an active reference, and hold the lock.
        unsafe { bindings::deactivate_locked_super(sb) }
    });
    // SAFETY: `get_super` returns a super block with data.
    let ready = unsafe { SuperBlock::<T>::from_raw(sb) };

    if ready.is_rdonly() && !cx.is_rdonly() {
        T::reconfigure(ready, None, options, cx)?;
        ready.set_rdonly(cx.is_rdonly());
    }
    let Some(path) = T::subtree(ready, options, cx)? else {
        // SAFETY: The root directory of a super block is positive, and one of this file system.
        let root = unsafe { INode::<T>::from_raw((*(*sb).s_root).d_inode) };
        T::attach(ready, root, options, cx)?;
        // SAFETY: The super block has a root.
        unsafe { (*fc).root = bindings::kfs_dget((*sb).s_root) };
        active.dismiss();
        return Ok(());
    };

    // A detached mount of the whole file system, in which the path is walked. The mount
    // keeps the super block active while we let go of it.
    // SAFETY: The super block has a root; `vfs_create_mount` takes references of its own.
    let mnt = unsafe {
        (*fc).root = (*sb).s_root;
        let mnt = from_err_ptr(bindings::vfs_create_mount(fc));
        (*fc).root = ptr::null_mut();
        mnt?
    };
    active.dismiss();
    // SAFETY: We hold the lock and an active reference besides that of the mount.
    unsafe {
        bindings::up_write(&raw mut (*sb).s_umount);
        bindings::deactivate_super(sb);
    }
    // SAFETY: The mount is ours and is consumed. On success the super block is active and
    // locked again on our behalf.
    let root = from_err_ptr(unsafe { bindings::mount_subtree(mnt, path.as_char_ptr()) })?;
    let undo = ScopeGuard::new_with_data(root, |root| {
        // SAFETY: We own both references, and hold the lock.
        unsafe {
            let sb = (*root).d_sb;
            bindings::dput(root);
            bindings::deactivate_locked_super(sb);
        }
    });
    // SAFETY: The root of a mount is positive.
    let (inode, root_sb) = unsafe { ((*root).d_inode, (*root).d_sb) };
    if root_sb != sb {
        // The path led through an automount.
        return Err(EINVAL);
    }
    // SAFETY: The inode is one of this super block, found by a path walk, so initialised.
    let inode = unsafe { INode::<T>::from_raw(inode) };
    T::check_subtree(ready, inode, &path, options, cx)?;
    T::attach(ready, inode, options, cx)?;
    undo.dismiss();
    // SAFETY: The context takes over the reference to the root; with it goes the active
    // reference and the lock.
    unsafe { (*fc).root = root };
    Ok(())
}

/// Finds or makes the super block; returns it active and with `s_umount` held.
///
/// # Safety
///
/// As of [`get_tree`].
unsafe fn get_super<T: FileSystem>(
    fc: *mut bindings::fs_context,
    options: &mut T::Context,
) -> Result<*mut bindings::super_block> {
    // SAFETY: The VFS holds the mutex of the context.
    let cx = unsafe { FsContext::from_raw(fc) };
    let info = KBox::new(
        SuperInfo::<T> {
            key: T::super_key(options, cx)?,
            data: UnsafeCell::new(None),
            weak: WeakSuper::new()?,
            thread: UnsafeCell::new(None),
        },
        GFP_KERNEL,
    )?;
    // SAFETY: The context is ours; it does not own the pointer after this function.
    unsafe { (*fc).s_fs_info = KBox::into_raw(info).cast() };
    // SAFETY: The callbacks fit: `s_fs_info` of the context and of every super block of
    // this type is a `SuperInfo<T>`.
    let sb =
        unsafe { bindings::sget_fc(fc, Some(test_super::<T>), Some(bindings::set_anon_super_fc)) };
    // SAFETY: The context is ours.
    let unused = unsafe { core::mem::replace(&mut (*fc).s_fs_info, ptr::null_mut()) };
    if !unused.is_null() {
        // SAFETY: Not taken over by a super block, so still the box made above.
        drop(unsafe { KBox::from_raw(unused.cast::<SuperInfo<T>>()) });
    }
    let sb = from_err_ptr(sb)?;
    // SAFETY: A valid super block, locked.
    if unsafe { (*sb).s_root.is_null() } {
        // SAFETY: New, so it is ours until the lock is dropped.
        if let Err(e) = unsafe { fill::<T>(sb, options, cx) } {
            // SAFETY: We hold the lock and the only active reference.
            unsafe { bindings::deactivate_locked_super(sb) };
            return Err(e);
        }
    }
    Ok(sb)
}

/// # Safety
///
/// Called by `sget_fc()`, under a spinlock, with a super block and a context of `T`.
unsafe extern "C" fn test_super<T: FileSystem>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: A super block that is not dead has its information; see `kill_sb`.
    let a = unsafe { &(*(*sb).s_fs_info.cast::<SuperInfo<T>>()).key };
    // SAFETY: Set by `get_super`.
    let b = unsafe { &(*(*fc).s_fs_info.cast::<SuperInfo<T>>()).key };
    (a == b).into()
}

/// Opens the file system behind a new super block.
///
/// # Safety
///
/// `sb` must be new and its information that of `T`.
unsafe fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    options: &mut T::Context,
    cx: &FsContext,
) -> Result {
    // SAFETY: New and ours.
    unsafe {
        (*sb).s_op = SuperOps::<T>::TABLE;
        (*sb).s_maxbytes = bindings::MAX_LFS_FILESIZE;
        (*sb).s_time_gran = 1;
        to_result(bindings::super_setup_bdi(sb))?;
        (*sb).s_iflags |= bindings::SB_I_CGROUPWB as c_ulong;
    }
    // SAFETY: New, as the state says.
    let new = unsafe { SuperBlock::<T, New>::from_raw(sb) };
    let data = T::fill_super(new, new.key(), options, cx)?;
    // SAFETY: Nobody else uses the data of a super block without a root.
    unsafe { *(*(*sb).s_fs_info.cast::<SuperInfo<T>>()).data.get() = Some(data) };
    // SAFETY: The data is set.
    let ready = unsafe { SuperBlock::<T>::from_raw(sb) };
    let root = T::root(ready)?;
    // SAFETY: `d_make_root` consumes the reference, also when it fails.
    let root = unsafe { bindings::d_make_root(ARef::into_raw(root).as_ptr().cast()) };
    if root.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: Ours.
    unsafe {
        (*sb).s_root = root;
        (*sb).s_flags |= bindings::SB_ACTIVE;
    }
    // SAFETY: The information of the super block is set, and what it has is this.
    unsafe { (*(*sb).s_fs_info.cast::<SuperInfo<T>>()).weak.open(sb) };
    if T::HAS_BACKGROUND {
        // SAFETY: `kill_sb` drops it before it drops the data.
        let thread = unsafe { background::start(ready)? };
        // SAFETY: Only used here and by `kill_sb`.
        unsafe { *(*(*sb).s_fs_info.cast::<SuperInfo<T>>()).thread.get() = Some(thread) };
    }
    Ok(())
}

/// Closes the file system of `sb` and drops its data, if there is any.
///
/// This happens before the super block is marked dead, since from that moment on the next
/// mount may open the devices, of which it wants to be the only user.
///
/// # Safety
///
/// `sb` must be a super block of `T` that is being shut down and has no inodes any more.
pub(super) unsafe fn close<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: Set when the super block was made, freed later.
    let slot = unsafe { (*(*sb).s_fs_info.cast::<SuperInfo<T>>()).data.get() };
    // SAFETY: Only who shuts the super block down uses the data.
    if unsafe { (*slot).is_none() } {
        return;
    }
    // SAFETY: As above.
    unsafe { (*(*sb).s_fs_info.cast::<SuperInfo<T>>()).weak.close() };
    // SAFETY: The data is set.
    T::put_super(unsafe { SuperBlock::<T>::from_raw(sb) });
    // SAFETY: As above; nobody has a `SuperBlock` of it any more.
    drop(unsafe { (*slot).take() });
}

/// # Safety
///
/// Called by the VFS for the last active reference to a super block of `T`.
pub(super) unsafe extern "C" fn kill_sb<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: Set when the super block was made; freed only below.
    let info = unsafe { (*sb).s_fs_info.cast::<SuperInfo<T>>() };
    // SAFETY: Used by nobody else any more. The thread ends here; it does not wait for `s_umount`.
    drop(unsafe { (*(*info).thread.get()).take() });
    // SAFETY: Valid; a root is there unless the mount failed late, where the VFS does not
    // call `put_super`.
    if unsafe { (*sb).s_root.is_null() } {
        // SAFETY: The last active reference; a failed mount leaves no inodes.
        unsafe { close::<T>(sb) };
    }
    // SAFETY: Made by `set_anon_super_fc`. Afterwards no `test_super` looks at it.
    unsafe { bindings::kill_anon_super(sb) };
    // SAFETY: The pointer came from `KBox::into_raw`; all inodes are gone, so this is the
    // last use.
    unsafe {
        (*sb).s_fs_info = ptr::null_mut();
        drop(KBox::from_raw(info));
    }
}

/// # Safety
///
/// Called by the VFS with a context of `T` for a remount.
pub(super) unsafe extern "C" fn reconfigure<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: The VFS holds the mutex of the context.
    let cx = unsafe { FsContext::from_raw(fc) };
    // SAFETY: A remount has a root, which is positive, of a mounted super block of this type.
    let root = unsafe { INode::<T>::from_raw((*(*fc).root).d_inode) };
    // SAFETY: The VFS holds the mutex of the context.
    let options = unsafe { options::<T>(fc) };
    errno(T::reconfigure(root.super_block(), Some(root), options, cx))
}
