// SPDX-License-Identifier: GPL-2.0

//! Reads of the page cache.

use super::{
    swap::swap_activate, writeback::writepages, InodeRef, IomapOps, IomapWriteOps, Mapping,
    Purpose, ReadHint,
};
use crate::{bindings, mem, pagecache::FolioRange};
use core::{ffi::c_int, marker::PhantomData, ptr::NonNull};
use kernel::prelude::*;

/// Reads of at most so many pages are waited for by the one who asked for them.
const WAIT_PAGES: u32 = 1;

/// The state of a read, on the stack of the function that drives it; iomap carries its
/// address as its `private` pointer.
pub(super) struct State<T: IomapOps> {
    mapping: Option<Mapping<T::Private>>,
    ctx: T::ReadContext,
    hint: ReadHint,
}

/// The tables of callbacks for `T`.
pub(super) struct Tables<T>(PhantomData<T>);

impl<T: IomapOps> Tables<T> {
    pub(super) const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(iomap_next::<T>),
    };

    const READ_OPS: bindings::iomap_read_ops = bindings::iomap_read_ops {
        read_folio_range: Some(read_folio_range::<T>),
        submit_read: None,
        bio_set: core::ptr::null_mut(),
    };
}

/// The address space operations of files whose data `T` has.
pub(crate) const fn address_space_operations<T: IomapWriteOps>(
) -> bindings::address_space_operations {
    let mut ops: bindings::address_space_operations = pin_init::zeroed();
    ops.read_folio = Some(read_folio::<T>);
    ops.readahead = Some(readahead::<T>);
    ops.writepages = Some(writepages::<T>);
    ops.dirty_folio = Some(bindings::iomap_dirty_folio);
    ops.is_partially_uptodate = Some(bindings::iomap_is_partially_uptodate);
    ops.release_folio = Some(bindings::iomap_release_folio);
    ops.invalidate_folio = Some(bindings::iomap_invalidate_folio);
    ops.error_remove_folio = Some(bindings::generic_error_remove_folio);
    ops.swap_activate = Some(swap_activate::<T>);
    #[cfg(CONFIG_MIGRATION)]
    {
        ops.migrate_folio = Some(bindings::filemap_migrate_folio);
    }
    ops
}

/// Gives iomap the mapping at the iterator's position.
///
/// # Safety
///
/// Called by iomap for an inode of `T`; the iterator's `private` is null or a
/// [`State<T>`] that nobody else accesses.
unsafe extern "C" fn iomap_next<T: IomapOps>(
    iter: *const bindings::iomap_iter,
    iomap: *mut bindings::iomap,
    srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes valid pointers.
    if unsafe { (*iomap).length } != 0 {
        // SAFETY: iomap's own, passed on.
        let ret = unsafe { bindings::iomap_iter_continue(iter, iomap, srcmap, 0) };
        if ret <= 0 {
            return ret;
        }
    }
    // SAFETY: As above.
    let (inode, pos, len, flags, private) = unsafe {
        let iter = &*iter;
        (iter.inode, iter.pos, iter.len, iter.flags, iter.private)
    };
    let Some(inode) = NonNull::new(inode) else {
        return EINVAL.to_errno();
    };
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(inode) };
    let purpose = Purpose::new(flags);
    let found = u64::try_from(pos)
        .map_err(Error::from)
        .and_then(|pos| T::map(inode, pos, len, purpose))
        .and_then(|mapping| {
            // SAFETY: The structure is iomap's, to be filled in here.
            mapping.describe(pos, purpose.is_report(), unsafe { &mut *iomap })?;
            Ok(mapping)
        });
    match found {
        Ok(mapping) => {
            if let Some(state) = NonNull::new(private.cast::<State<T>>()) {
                // SAFETY: As promised by the caller.
                unsafe { (*state.as_ptr()).mapping = Some(mapping) };
            }
            1
        }
        Err(e) => e.to_errno(),
    }
}

/// Hands a range of a folio to the file system.
///
/// # Safety
///
/// Called by iomap in a read that [`read_folio`] or [`readahead`] drives.
unsafe extern "C" fn read_folio_range<T: IomapOps>(
    iter: *const bindings::iomap_iter,
    ctx: *mut bindings::iomap_read_folio_ctx,
    len: usize,
) -> c_int {
    // SAFETY: iomap passes valid pointers.
    let (inode, pos, private, folio) = unsafe {
        let iter = &*iter;
        (iter.inode, iter.pos, iter.private, (*ctx).cur_folio)
    };
    let (Some(inode), Some(folio)) = (NonNull::new(inode), NonNull::new(folio)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The pointer that the driving function passed to iomap; iomap does not call this
    // from within another callback, so nobody else accesses the state.
    let state = unsafe { &mut *private.cast::<State<T>>() };
    let (Some(mapping), Ok(at)) = (&state.mapping, u64::try_from(pos)) else {
        return EIO.to_errno();
    };
    if len == 0 {
        return 0;
    }
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(inode) };
    // SAFETY: The folio is locked and contains `pos`.
    let off = unsafe { bindings::kfs_folio_pos_offset(folio.as_ptr(), pos) };
    // SAFETY: This is iomap's request to read the range, which is answered with success below.
    let range = unsafe { FolioRange::from_iomap(folio, off, len) };
    T::read(inode, &mut state.ctx, state.hint, mapping, at, range);
    0
}

/// Drives a read: sets the state up, lets iomap run, submits what is left.
///
/// # Safety
///
/// `inode` is an initialised inode of `T` that the caller holds; `run` does nothing with its
/// argument but to pass it to iomap as `private`.
unsafe fn drive<T: IomapOps>(
    inode: NonNull<bindings::inode>,
    hint: ReadHint,
    run: impl FnOnce(*mut State<T>),
) {
    let mut state = State::<T> {
        mapping: None,
        ctx: T::ReadContext::default(),
        hint,
    };
    run(&mut state);
    drop(state.mapping.take());
    // SAFETY: As promised by the caller.
    T::submit(unsafe { T::Inode::from_raw(inode) }, state.ctx, hint);
}

/// Reads one folio, which somebody waits for.
///
/// # Safety
///
/// Called by the page cache for a locked folio of an inode of `T`.
unsafe extern "C" fn read_folio<T: IomapOps>(
    _file: *mut bindings::file,
    folio: *mut bindings::folio,
) -> c_int {
    // The folio is locked: reclaim must not come back here for memory.
    let _nofs = mem::NoFs::enter();
    let hint = ReadHint {
        wait: true,
        readahead: false,
    };
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &Tables::<T>::READ_OPS,
        cur_folio: folio,
        ..Default::default()
    };
    // SAFETY: The page cache passes a locked folio of an inode of `T`.
    let Some(inode) = NonNull::new(unsafe { bindings::kfs_folio_inode(folio) }) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The one who reads the file holds the inode. The tables are constants, the context
    // lives during the call.
    unsafe {
        drive::<T>(inode, hint, |state| {
            bindings::iomap_read_folio(&Tables::<T>::OPS, &mut ctx, state.cast())
        })
    };
    0
}

/// Reads the folios of a window.
///
/// # Safety
///
/// Called by the page cache for a window in an inode of `T`.
unsafe extern "C" fn readahead<T: IomapOps>(rac: *mut bindings::readahead_control) {
    let _nofs = mem::NoFs::enter();
    // SAFETY: The page cache passes a valid control structure.
    let pages = unsafe { bindings::kfs_readahead_pages(rac) };
    let hint = ReadHint {
        wait: pages <= WAIT_PAGES,
        readahead: pages > WAIT_PAGES,
    };
    let mut ctx = bindings::iomap_read_folio_ctx {
        ops: &Tables::<T>::READ_OPS,
        rac,
        ..Default::default()
    };
    // SAFETY: As above; its mapping is that of an inode of `T`.
    let Some(inode) = NonNull::new(unsafe { (*(*rac).mapping).host }) else {
        return;
    };
    // SAFETY: The one who reads the file holds the inode. The tables are constants, the context
    // lives during the call.
    unsafe {
        drive::<T>(inode, hint, |state| {
            bindings::iomap_readahead(&Tables::<T>::OPS, &mut ctx, state.cast())
        })
    };
}
