// SPDX-License-Identifier: GPL-2.0

//! Files that the kernel swaps to.
//!
//! The kernel is told once where on a device the file is, and from then on reads and writes there
//! without the file system. The VFS keeps the file from being changed meanwhile.

use super::{InodeRef, IomapWriteOps};
use crate::{bindings, block::BlockDevice};
use core::{ffi::c_int, ptr::NonNull};
use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};

/// Where a file is that can be swapped to.
pub struct SwapFile {
    /// The device, which stays open as long as the file is.
    pub device: Arc<BlockDevice>,
    /// Its ranges, in the order of the file and without gaps.
    pub extents: KVec<SwapExtent>,
}

/// A range of a device.
pub struct SwapExtent {
    /// First byte.
    pub physical: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Tells the kernel where the file is.
///
/// # Safety
///
/// Called by `swapon` with its arguments, for a file of `T`.
pub(super) unsafe extern "C" fn swap_activate<T: IomapWriteOps>(
    sis: *mut bindings::swap_info_struct,
    file: *mut bindings::file,
    span: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: An open file.
    let Some(inode) = NonNull::new(unsafe { (*file).f_inode }) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The inode of an open file of `T`.
    let inode = unsafe { T::Inode::from_raw(inode) };
    // SAFETY: As the caller promises; what is described by `T` is on its device.
    match T::swap_file(inode).and_then(|map| unsafe { describe(sis, &map, span) }) {
        Ok(extents) => extents,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// `sis` and `span` are those of `swapon`, and nobody else uses them.
unsafe fn describe(
    sis: *mut bindings::swap_info_struct,
    map: &SwapFile,
    span: *mut bindings::sector_t,
) -> Result<c_int> {
    let page = PAGE_SIZE as u64;
    // SAFETY: Valid, by the requirements.
    let most = u64::from(unsafe { (*sis).max });
    let (mut pages, mut count) = (0u64, 0);
    let (mut lowest, mut highest) = (u64::MAX, 0u64);
    for extent in map.extents.iter() {
        let first = extent.physical.div_ceil(page);
        let end = extent.physical.saturating_add(extent.len) / page;
        let now = end.saturating_sub(first).min(most.saturating_sub(pages));
        if now == 0 {
            continue;
        }
        // The first page is the header.
        lowest = lowest.min(first + u64::from(pages == 0));
        highest = highest.max(first + now - 1);
        let (at, len) = (usize::try_from(pages)?, usize::try_from(now)?);
        // SAFETY: Valid, by the requirements.
        let added = unsafe { bindings::add_swap_extent(sis, at, len, first) };
        kernel::error::to_result(added.min(0))?;
        count += added;
        pages += now;
    }
    let max = u32::try_from(pages)?;
    let used = max.checked_sub(1).ok_or(EINVAL)?;
    // SAFETY: Valid, by the requirements. The device stays open as long as the file, which `swapon`
    // holds until it is over.
    unsafe {
        (*sis).bdev = map.device.as_raw();
        (*sis).max = max;
        (*sis).pages = used;
        *span = highest.saturating_sub(lowest) + 1;
    }
    Ok(count)
}
