// SPDX-License-Identifier: GPL-2.0

//! The context of a mount or remount.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use super::super_block::SbFlags;
use crate::bindings;
use kernel::{fmt, prelude::*, types::Opaque};

/// What a context is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new mount.
    Mount,
    /// A mount made by the kernel below another one.
    Submount,
    /// Changing the options of a mounted file system.
    Reconfigure,
}

/// A mount or remount under way: its flags, its source, and the log that the caller
/// reads (`fsopen`) or that goes to the kernel log (`mount(2)`).
///
/// # Invariants
///
/// Points to a valid `struct fs_context` whose `uapi_mutex` is held, or which only
/// its creator knows.
#[repr(transparent)]
pub struct FsContext(Opaque<bindings::fs_context>);

impl FsContext {
    /// # Safety
    ///
    /// `fc` must be valid and not used by another task for `'a`.
    pub(crate) unsafe fn from_raw<'a>(fc: *mut bindings::fs_context) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's duty.
        unsafe { &*fc.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::fs_context {
        self.0.get()
    }

    /// What this context is for.
    pub fn purpose(&self) -> Purpose {
        // SAFETY: Valid by the type invariant.
        match unsafe { bindings::fs_context::purpose_raw(self.as_raw()) } {
            bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE => Purpose::Reconfigure,
            bindings::fs_context_purpose_FS_CONTEXT_FOR_SUBMOUNT => Purpose::Submount,
            _ => Purpose::Mount,
        }
    }

    /// The source of the mount, for example the path of a device.
    pub fn source(&self) -> Option<&CStr> {
        // SAFETY: Valid by the type invariant.
        let source = unsafe { (*self.as_raw()).source };
        if source.is_null() {
            return None;
        }
        // SAFETY: The source is a NUL-terminated string, and is not changed while a
        // callback of the file system runs.
        Some(unsafe { CStr::from_char_ptr(source) })
    }

    /// The flags that the super block shall have.
    pub fn sb_flags(&self) -> SbFlags {
        // SAFETY: Valid by the type invariant.
        SbFlags::from_raw(unsafe { (*self.as_raw()).sb_flags }.into())
    }

    /// Sets or clears flags of the super block.
    pub fn set_sb_flags(&self, flags: SbFlags, on: bool) {
        let bits = flags.low();
        // SAFETY: Valid, and not used by another task, by the type invariant.
        let slot = unsafe { &mut (*self.as_raw()).sb_flags };
        *slot = if on { *slot | bits } else { *slot & !bits };
    }

    /// The flags that a reconfiguration changes.
    pub fn sb_flags_mask(&self) -> SbFlags {
        // SAFETY: Valid by the type invariant.
        SbFlags::from_raw(unsafe { (*self.as_raw()).sb_flags_mask }.into())
    }

    /// Adds to the flags that a reconfiguration changes.
    pub fn add_sb_flags_mask(&self, flags: SbFlags) {
        // SAFETY: Valid, and not used by another task, by the type invariant.
        unsafe { (*self.as_raw()).sb_flags_mask |= flags.low() };
    }

    /// Whether the mount is to be read-only.
    pub fn is_rdonly(&self) -> bool {
        self.sb_flags().contains(SbFlags::RDONLY)
    }

    /// Whether who mounts reads the log (`fsopen(2)`); else it goes to the kernel log.
    pub fn has_reader(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        !unsafe { (*self.as_raw()).log.log }.is_null()
    }

    fn log(&self, level: u8, args: fmt::Arguments<'_>) {
        // SAFETY: Valid by the type invariant. `%pA` prints the `Arguments` that its
        // parameter points to. The log may be null.
        unsafe {
            bindings::logfc(
                (*self.as_raw()).log.log,
                (*self.as_raw()).log.prefix,
                level,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&args).cast::<c_void>(),
            )
        }
    }

    /// Logs an error.
    pub fn error(&self, args: fmt::Arguments<'_>) {
        self.log(b'e', args);
    }

    /// Logs an error and returns `EINVAL`.
    pub fn invalid(&self, args: fmt::Arguments<'_>) -> Error {
        self.log(b'e', args);
        EINVAL
    }

    /// Logs a warning.
    pub fn warn(&self, args: fmt::Arguments<'_>) {
        self.log(b'w', args);
    }

    /// Logs a note.
    pub fn info(&self, args: fmt::Arguments<'_>) {
        self.log(b'i', args);
    }
}
