// SPDX-License-Identifier: GPL-2.0

//! The map of extents of a file.
//!
//! C header: [`include/linux/fiemap.h`](srctree/include/linux/fiemap.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;

/// Takes the extents that `FIEMAP` reports.
///
/// # Invariants
///
/// Points to a valid `struct fiemap_extent_info` of the current task.
pub struct FiemapInfo<'a>(*mut bindings::fiemap_extent_info, PhantomData<&'a mut ()>);

impl FiemapInfo<'_> {
    /// # Safety
    ///
    /// `info` must fulfil the invariants of the type for the life of the result.
    pub(super) unsafe fn from_raw(info: *mut bindings::fiemap_extent_info) -> Self {
        Self(info, PhantomData)
    }

    #[allow(dead_code)]
    pub(crate) fn as_raw(&mut self) -> *mut bindings::fiemap_extent_info {
        self.0
    }

    /// Whether the caller wants extents, and not only their number: their flags matter then.
    pub fn wants_extents(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.0).fi_extents_max != 0 }
    }

    /// Whether what is dirty is to be written first (which was done once, without any lock).
    pub fn wants_sync(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.0).fi_flags & bindings::FIEMAP_FLAG_SYNC != 0 }
    }

    /// Reports one extent; all in bytes, `flags` are `FIEMAP_EXTENT_*`.
    ///
    /// Returns whether the caller wants no more: its buffer is full, or this was the last
    /// extent.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub fn emit(&mut self, logical: u64, physical: u64, len: u64, flags: u32) -> Result<bool> {
        // SAFETY: Valid by the type invariant.
        let ret =
            unsafe { bindings::fiemap_fill_next_extent(self.0, logical, physical, len, flags) };
        if ret < 0 {
            return Err(Error::from_errno(ret));
        }
        Ok(ret != 0)
    }
}
