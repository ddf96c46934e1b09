// SPDX-License-Identifier: GPL-2.0

//! File attributes of `lsattr`.
//!
//! C header: [`include/linux/fileattr.h`](srctree/include/linux/fileattr.h)

use crate::bindings;
use kernel::types::Opaque;

/// What `FS_IOC_GETFLAGS` and `FS_IOC_FSGETXATTR` report.
#[repr(transparent)]
pub struct FileAttr(Opaque<bindings::file_kattr>);

impl FileAttr {
    /// # Safety
    ///
    /// `attr` must be valid, and used by the caller alone, for `'a`.
    pub(super) unsafe fn from_raw<'a>(attr: *mut bindings::file_kattr) -> &'a mut Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &mut *attr.cast() }
    }

    /// Sets the flags, `FS_*_FL` of the UAPI. The extended ones follow from them.
    pub fn set_flags(&mut self, flags: u32) {
        // SAFETY: Valid by construction.
        unsafe { bindings::fileattr_fill_flags(self.0.get(), flags) };
    }
    /// The flags, `FS_*_FL` of the UAPI, whichever way they were given.
    pub fn flags(&self) -> u32 {
        // SAFETY: Valid by construction.
        unsafe { (*self.0.get()).flags }
    }

    /// Whether they were given as flags, by `FS_IOC_SETFLAGS`; else by `FS_IOC_FSSETXATTR`, which
    /// knows fewer of them.
    pub fn has_flags(&self) -> bool {
        // SAFETY: Valid by construction.
        unsafe { (*self.0.get()).flags_valid() }
    }

    /// Whether there are attributes that the flags do not tell of: a project, hints for extents,
    /// or other flags of `FS_IOC_FSSETXATTR`.
    pub fn has_extended(&self) -> bool {
        // SAFETY: Valid by construction.
        unsafe { bindings::kfs_fileattr_has_fsx(self.0.get()) }
    }
}
