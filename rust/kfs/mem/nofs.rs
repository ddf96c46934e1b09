// SPDX-License-Identifier: GPL-2.0

//! Allocation scopes.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;
use kernel::types::NotThreadSafe;

/// While it lives, no allocation of this task enters a file system to reclaim memory.
///
/// Scopes nest; they must end in the reverse order of their start, which local
/// variables do.
///
/// # Examples
///
/// ```ignore
/// let _nofs = NoFs::enter();
/// let buf = KBuf::new(16384, GFP_KERNEL)?; // really GFP_NOFS
/// ```
#[must_use = "the scope ends when the value is dropped"]
pub struct NoFs {
    old: u32,
    _task: NotThreadSafe,
}

impl NoFs {
    /// Begins a scope.
    pub fn enter() -> Self {
        Self {
            // SAFETY: Sets a flag of the current task; always allowed.
            old: unsafe { bindings::kfs_memalloc_nofs_save() },
            _task: NotThreadSafe,
        }
    }
}

impl Drop for NoFs {
    fn drop(&mut self) {
        // SAFETY: `old` is what `memalloc_nofs_save` returned in this very task: the type is
        // neither `Send` nor constructible otherwise.
        unsafe { bindings::kfs_memalloc_nofs_restore(self.old) };
    }
}
