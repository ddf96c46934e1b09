// SPDX-License-Identifier: GPL-2.0

//! Changes of the page cache: writes, faults of shared mappings, zeroing.

use super::{InodeRef, IomapWriteOps, Mapping, Purpose};
use crate::{bindings, mem};
use core::{
    ffi::c_int,
    marker::PhantomData,
    ops::Range,
    ptr::{null_mut, NonNull},
};
use kernel::prelude::*;

/// The state of a write, on the stack of the function that drives it; iomap carries its
/// address as its `private` pointer.
struct State<T: IomapWriteOps> {
    mapping: Option<Mapping<T::Private>>,
    /// The range for which there was nothing to be had without waiting.
    refused: Option<Range<u64>>,
}

impl<T: IomapWriteOps> State<T> {
    fn new() -> Self {
        Self {
            mapping: None,
            refused: None,
        }
    }
}

/// How often a fault is tried.
const TRIES: u32 = 8;

/// The tables of callbacks for `T`.
struct Tables<T>(PhantomData<T>);

impl<T: IomapWriteOps> Tables<T> {
    const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(next::<T>),
    };

    const WRITE_OPS: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: None,
        put_folio: None,
        iomap_valid: Some(is_valid::<T>),
        read_folio_range: Some(read_folio_range::<T>),
    };
}

/// Writes from `from` at the position of `iocb`, which is advanced; returns the number of
/// bytes, or an errno.
///
/// # Safety
///
/// Both are valid and used by the current task alone; the file is one of `T`, and its inode
/// is locked.
pub(crate) unsafe fn buffered_write<T: IomapWriteOps>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    let mut state = State::<T>::new();
    // SAFETY: As promised by the caller. The tables are constants, the state lives during the
    // call.
    unsafe {
        bindings::iomap_file_buffered_write(
            iocb,
            from,
            &Tables::<T>::OPS,
            &Tables::<T>::WRITE_OPS,
            (&raw mut state).cast(),
        )
    }
}

/// Makes the page of a shared mapping writable.
///
/// # Safety
///
/// Called from `page_mkwrite` with its argument, for a file of `T`.
pub(crate) unsafe fn page_mkwrite<T: IomapWriteOps>(
    vmf: *mut bindings::vm_fault,
) -> bindings::vm_fault_t {
    let mut ret = 0;
    for _ in 0..TRIES {
        let mut state = State::<T>::new();
        // SAFETY: As in `buffered_write`.
        ret = unsafe {
            bindings::iomap_page_mkwrite(vmf, &Tables::<T>::OPS, (&raw mut state).cast())
        };
        let Some(range) = state.refused.take() else {
            break;
        };
        // SAFETY: Called by the VM with valid arguments; a mapping holds its file.
        let inode = NonNull::new(unsafe { (*bindings::kfs_vmf_file(vmf)).f_inode });
        // SAFETY: The inode of an open file of `T`.
        let inode = inode.map(|inode| unsafe { T::Inode::from_raw(inode) });
        let prepared = inode.ok_or(EIO).and_then(|inode| T::prepare(inode, range));
        if let Err(e) = prepared {
            // The task is told, or it would try for ever.
            // SAFETY: Only translates a number.
            return unsafe { bindings::kfs_vmf_error(e.to_errno()) };
        }
    }
    ret
}

/// Fills `len` bytes from `pos` on with zeroes, through the page cache.
///
/// # Safety
///
/// The inode is one of `T`, its lock and the invalidate lock of its mapping are held.
pub(crate) unsafe fn zero_range<T: IomapWriteOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
) -> Result {
    let mut state = State::<T>::new();
    // SAFETY: As in `buffered_write`.
    kernel::error::to_result(unsafe {
        bindings::iomap_zero_range(
            inode,
            pos,
            len,
            null_mut(),
            &Tables::<T>::OPS,
            &Tables::<T>::WRITE_OPS,
            (&raw mut state).cast(),
        )
    })
}

/// Makes `len` bytes from `pos` on dirty, as they are.
///
/// # Safety
///
/// The inode is one of `T`, and its lock is held for writing.
pub(crate) unsafe fn rewrite<T: IomapWriteOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
) -> Result {
    // SAFETY: As promised by the caller; the tables are constants. The callbacks are without a
    // `State`, which this function of iomap has no place for.
    kernel::error::to_result(unsafe {
        bindings::iomap_file_unshare(inode, pos, len, &Tables::<T>::OPS, &Tables::<T>::WRITE_OPS)
    })
}

/// Finishes the mapping before and gives iomap the one at the iterator's position.
///
/// # Safety
///
/// Called by iomap for an inode of `T`; the iterator's `private` is null or a [`State<T>`] that
/// nobody else accesses.
unsafe extern "C" fn next<T: IomapWriteOps>(
    iter: *const bindings::iomap_iter,
    iomap: *mut bindings::iomap,
    srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes valid pointers.
    if unsafe { (*iomap).length } != 0 {
        // SAFETY: As above; the mapping was made below.
        unsafe { end::<T>(&*iter, iomap) };
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
    let state = NonNull::new(private.cast::<State<T>>());
    // SAFETY: As promised by the caller.
    let mut state = state.map(|state| unsafe { &mut *state.as_ptr() });
    // What the mapping before keeps from changing may be what the next one waits for.
    drop(state.as_mut().and_then(|state| state.mapping.take()));
    let purpose = Purpose::new(flags);
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(inode) };
    // A folio may be locked: reclaim must not come back here for memory.
    let _nofs = mem::NoFs::enter();
    let found = u64::try_from(pos)
        .map_err(Error::from)
        .and_then(|pos| T::reserve(inode, pos, len, purpose))
        .and_then(|mapping| {
            // SAFETY: The structure is iomap's, to be filled in here.
            let iomap = unsafe { &mut *iomap };
            mapping.describe(pos, false, iomap)?;
            if purpose.is_rewrite() {
                // What is not shared, or nowhere, would be left out.
                iomap.flags |= bindings::IOMAP_F_SHARED as u16;
                // SAFETY: The structure is iomap's, to be filled in here; both are different.
                unsafe { *srcmap = *iomap };
            }
            Ok(mapping)
        });
    match found {
        Ok(mapping) => {
            if let Some(state) = state {
                state.mapping = Some(mapping);
            }
            1
        }
        Err(e) => {
            if let (true, Ok(pos), Some(state)) = (e == EAGAIN, u64::try_from(pos), state) {
                state.refused = Some(pos..pos.saturating_add(len));
            }
            e.to_errno()
        }
    }
}

/// Gives back what was reserved for a mapping and is not dirty.
///
/// # Safety
///
/// Called by [`next`] with its arguments.
unsafe fn end<T: IomapWriteOps>(iter: &bindings::iomap_iter, iomap: *mut bindings::iomap) {
    // SAFETY: iomap passes valid pointers.
    let map = unsafe { &*iomap };
    let skipped = [bindings::IOMAP_HOLE, bindings::IOMAP_UNWRITTEN].contains(&u32::from(map.type_));
    let skips = bindings::IOMAP_ZERO | bindings::IOMAP_UNSHARE;
    if iter.flags & bindings::IOMAP_FAULT != 0 || (iter.flags & skips != 0 && skipped) {
        return;
    }
    // SAFETY: The inode is valid.
    let block = 1i64 << unsafe { (*iter.inode).i_blkbits };
    let advanced = iter.pos - iter.iter_start_pos;
    let map_end = map.offset.saturating_add_unsigned(map.length);
    let end = iter.pos.saturating_add_unsigned(iter.len).min(map_end);
    let end = end.saturating_add(block - 1) & !(block - 1);
    let start = if advanced == 0 {
        iter.pos & !(block - 1)
    } else {
        iter.pos.saturating_add(block - 1) & !(block - 1)
    };
    if start >= end {
        return;
    }
    // SAFETY: The inode is valid, and its mapping with it.
    let lock = unsafe { &raw mut (*(*iter.inode).i_mapping).invalidate_lock };
    let held = iter.flags & bindings::IOMAP_ZERO != 0;
    if !held {
        // SAFETY: A valid lock.
        unsafe { bindings::down_write(lock) };
    }
    // SAFETY: The arguments are iomap's; the callback is for an inode of `T`. Who zeroes holds
    // the invalidate lock, in the other case it was taken above.
    unsafe {
        bindings::iomap_write_delalloc_release(
            iter.inode,
            start,
            end,
            iter.flags,
            iomap,
            Some(release::<T>),
        )
    };
    if !held {
        // SAFETY: Taken above.
        unsafe { bindings::up_write(lock) };
    }
}

/// # Safety
///
/// Called by iomap for an inode of `T`.
unsafe extern "C" fn release<T: IomapWriteOps>(
    inode: *mut bindings::inode,
    offset: i64,
    length: i64,
    _iomap: *mut bindings::iomap,
) {
    let (Some(inode), Ok(start), Ok(len)) = (
        NonNull::new(inode),
        u64::try_from(offset),
        u64::try_from(length),
    ) else {
        return;
    };
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    T::release(
        unsafe { T::Inode::from_raw(inode) },
        start..start.saturating_add(len),
    );
}

/// # Safety
///
/// Called by iomap for an inode of `T`, with a mapping that [`next`] made.
unsafe extern "C" fn is_valid<T: IomapWriteOps>(
    inode: *mut bindings::inode,
    iomap: *const bindings::iomap,
) -> bool {
    let Some(inode) = NonNull::new(inode) else {
        return false;
    };
    // SAFETY: iomap passes a valid mapping.
    let map = unsafe { &*iomap };
    let Ok(start) = u64::try_from(map.offset) else {
        return false;
    };
    let range = start..start.saturating_add(map.length);
    // SAFETY: iomap works on an initialised inode of `T`.
    T::is_valid(
        unsafe { T::Inode::from_raw(inode) },
        range,
        map.validity_cookie,
    )
}

/// Reads a part of a folio, and waits for it.
///
/// # Safety
///
/// Called by iomap in a write that a function of this module drives.
unsafe extern "C" fn read_folio_range<T: IomapWriteOps>(
    iter: *const bindings::iomap_iter,
    folio: *mut bindings::folio,
    pos: i64,
    len: usize,
) -> c_int {
    // SAFETY: iomap passes valid pointers.
    let (inode, private) = unsafe { ((*iter).inode, (*iter).private) };
    let (Some(inode), Ok(at)) = (NonNull::new(inode), u64::try_from(pos)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The pointer, or null, that the driving function passed to iomap; iomap does not call
    // this from within another callback, so nobody else accesses the state.
    let state = unsafe { private.cast::<State<T>>().as_ref() };
    // SAFETY: iomap works on an initialised inode of `T`, which its caller holds.
    let inode = unsafe { T::Inode::from_raw(inode) };
    let _nofs = mem::NoFs::enter();
    let looked_up;
    let mapping = match state {
        Some(state) => state.mapping.as_ref().ok_or(EIO),
        None => match T::map(inode, at, len as u64, Purpose::new(0)) {
            Ok(mapping) => {
                looked_up = mapping;
                Ok(&looked_up)
            }
            Err(e) => Err(e),
        },
    };
    // SAFETY: The folio is locked and contains `pos`.
    let mut off = unsafe { bindings::kfs_folio_pos_offset(folio, pos) };
    let read = mapping.and_then(|mapping| T::read_for_write(inode, mapping, at, len));
    let copied = read.and_then(|buf| {
        buf.for_each_slice(0..len, |piece| {
            // SAFETY: The range lies in the folio, which is locked and not up to date there, so
            // that nobody else accesses the bytes.
            unsafe { bindings::kfs_folio_copy_in(folio, off, piece.as_ptr().cast(), piece.len()) };
            off += piece.len();
            Ok(())
        })
    });
    match copied {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}
