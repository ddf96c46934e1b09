// SPDX-License-Identifier: GPL-2.0

//! Writeback: from dirty folios to what the file system writes.
//!
//! The cgroup that made folios dirty pays for writing them, whoever does it: requests that write from
//! folios say so by themselves ([`Io`](crate::block::Io)), what is made of them is submitted by the thread
//! that writes back.

use super::{InodeRef, IomapWriteOps, WriteHint};
use crate::{bindings, mem, pagecache::WritebackRange};
use core::{ffi::c_int, marker::PhantomData, ptr::NonNull};
use kernel::prelude::*;

/// A writeback under way. iomap knows the first field only.
#[repr(C)]
struct Run<T: IomapWriteOps> {
    iomap: bindings::iomap_writepage_ctx,
    ctx: Option<T::WriteContext>,
    hint: WriteHint,
}

struct Tables<T>(PhantomData<T>);

impl<T: IomapWriteOps> Tables<T> {
    const OPS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(writeback_range::<T>),
        writeback_submit: Some(writeback_submit::<T>),
    };
}

/// Writes dirty folios of a file.
///
/// # Safety
///
/// Called by the VM for the mapping of an inode of `T`.
pub(super) unsafe extern "C" fn writepages<T: IomapWriteOps>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // Folios are locked: reclaim must not come back here for memory.
    let _nofs = mem::NoFs::enter();
    // SAFETY: The VM passes valid pointers.
    let (inode, mode) = unsafe { ((*mapping).host, (*wbc).sync_mode) };
    let mut run = Run::<T> {
        iomap: bindings::iomap_writepage_ctx {
            inode,
            wbc,
            ops: &Tables::<T>::OPS,
            ..Default::default()
        },
        ctx: Some(T::WriteContext::default()),
        hint: WriteHint {
            wait: mode == bindings::writeback_sync_modes_WB_SYNC_ALL,
        },
    };
    let run = &raw mut run;
    // SAFETY: Not null, so that iomap submits in any case; it does not look behind the pointer.
    // The structure lives during the call, and all callbacks come from within it.
    unsafe {
        (*run).iomap.wb_ctx = run.cast();
        bindings::kfs_wbc_begin(wbc);
        let ret = bindings::iomap_writepages(run.cast());
        bindings::kfs_wbc_end(wbc);
        ret
    }
}

/// Takes a dirty range of a folio.
///
/// # Safety
///
/// Called by iomap in a writeback that [`writepages`] drives.
unsafe extern "C" fn writeback_range<T: IomapWriteOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    _end_pos: u64,
) -> isize {
    // SAFETY: The structure of which iomap's is the first field; callbacks do not nest.
    let run = unsafe { &mut *wpc.cast::<Run<T>>() };
    let (Some(raw), Some(folio)) = (NonNull::new(run.iomap.inode), NonNull::new(folio)) else {
        return EINVAL.to_errno() as isize;
    };
    let (Some(ctx), Ok(at)) = (&mut run.ctx, i64::try_from(pos)) else {
        return EIO.to_errno() as isize;
    };
    // What counts as written must not be a hole.
    run.iomap.iomap.type_ = bindings::IOMAP_MAPPED as u16;
    // SAFETY: The structure has the control that `writepages` was called with; the folio is locked.
    unsafe { bindings::kfs_wbc_account(run.iomap.wbc, folio.as_ptr(), len as usize) };
    // SAFETY: The folio is locked and contains the position.
    let off = unsafe { bindings::kfs_folio_pos_offset(folio.as_ptr(), at) };
    // SAFETY: This is iomap's request to write the range, which is answered with success below;
    // the inode is the folio's.
    let range = unsafe { WritebackRange::from_iomap::<T::Inode>(raw, folio, off, len as usize) };
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(raw) };
    T::writeback(inode, ctx, run.hint, pos, range);
    len as isize
}

/// Starts what was collected.
///
/// # Safety
///
/// Called by iomap at the end of a writeback that [`writepages`] drives.
unsafe extern "C" fn writeback_submit<T: IomapWriteOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: As in `writeback_range`.
    let run = unsafe { &mut *wpc.cast::<Run<T>>() };
    let (Some(inode), Some(ctx)) = (NonNull::new(run.iomap.inode), run.ctx.take()) else {
        return error;
    };
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(inode) };
    match T::submit_writeback(inode, ctx, run.hint) {
        Err(e) if error == 0 => e.to_errno(),
        _ => error,
    }
}
