// SPDX-License-Identifier: GPL-2.0

//! What [`SeqFile`] of the kernel crate lacks.

use crate::bindings;
use kernel::{prelude::*, seq_file::SeqFile};

/// Prints `s`, with the bytes of `esc` written as octal escapes, as `/proc/mounts`
/// wants it for blanks and backslashes.
pub fn seq_escape(m: &SeqFile, s: &CStr, esc: &CStr) {
    let m = core::ptr::from_ref(m)
        .cast_mut()
        .cast::<bindings::seq_file>();
    // SAFETY: `SeqFile` is a transparent wrapper of a valid `struct seq_file`, both
    // strings are NUL-terminated.
    unsafe { bindings::kfs_seq_escape(m, s.as_char_ptr(), esc.as_char_ptr()) };
}
