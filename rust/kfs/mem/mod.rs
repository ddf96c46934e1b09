// SPDX-License-Identifier: GPL-2.0

//! Memory: page-aligned buffers, allocation scopes, reclaim.
//!
//! Everything that reclaim may wait for (reads that hold a folio lock, completions)
//! runs inside a [`NoFs`] scope; inside of it `GFP_KERNEL` means `GFP_NOFS`, so that
//! code below needs no allocation flags of its own.

mod kbuf;
mod nofs;
mod shrinker;

pub use kbuf::KBuf;
pub use nofs::NoFs;
pub use shrinker::{Shrink, Shrinker};

use crate::bindings;
use core::{mem::MaybeUninit, ptr::NonNull};
use kernel::{
    alloc::Flags,
    prelude::*,
    time::{delay::fsleep, Delta},
};

/// The allocation sleeps until there is memory; it does not enter a file system to get some.
///
/// For what cannot be taken back any more, and for writing dirty data: small objects, of at most
/// two pages where they are physically contiguous ([`KVVec`] and [`KBuf`] are not when they are
/// larger). A commit, the edits under a transaction handle, and the end of a write allocate
/// with it.
// SAFETY: `Flags` consists of one `u32`, which is all of its size (else this does not compile), and
// any combination of `GFP` bits is a valid value of it.
pub const GFP_NOFAIL: Flags =
    unsafe { core::mem::transmute::<u32, Flags>(bindings::GFP_NOFS | bindings::__GFP_NOFAIL) };

/// Runs `f` until it does not fail for memory.
///
/// For reading on behalf of what must not fail: `f` leaves things as they were when it returns
/// `ENOMEM`.
pub fn until_memory<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(error) if error == ENOMEM => fsleep(Delta::from_millis(2)),
            result => return result,
        }
    }
}

/// Allocates room for a `T` and never fails.
///
/// For small objects (at most a page) of paths that have no way to report a failure.
/// May sleep until memory is there; does not enter a file system to get it.
pub(crate) fn alloc_nofail<T>() -> KBox<MaybeUninit<T>> {
    const {
        assert!(size_of::<T>() > 0 && size_of::<T>() <= 4096);
        assert!(align_of::<T>() <= kernel::bindings::ARCH_KMALLOC_MINALIGN);
    }
    // SAFETY: The function has no requirements beyond being in a context that may sleep,
    // which is no matter of memory safety.
    let ptr = unsafe { bindings::kfs_alloc_nofail(size_of::<T>()) };
    match NonNull::new(ptr.cast::<MaybeUninit<T>>()) {
        // SAFETY: The pointer is from `kmalloc`, whose memory is what a `KBox` owns and frees
        // with `kfree`, is as large as `T`, is aligned by the assertion above, and nobody else
        // has it.
        Some(ptr) => unsafe { KBox::from_raw(ptr.as_ptr()) },
        // `__GFP_NOFAIL` loops in the allocator instead.
        None => unreachable!(),
    }
}

/// A page mapped into the kernel by this task, for as long as the value lives.
///
/// Without high memory that is just the page's address, and the pages that follow it
/// in physical memory follow in the mapping too.
pub(crate) struct LocalMap {
    addr: *mut u8,
}

impl LocalMap {
    /// Maps `page`.
    ///
    /// # Safety
    ///
    /// `page` is valid as long as the mapping is in use.
    pub(crate) unsafe fn new(page: *mut bindings::page) -> Self {
        Self {
            // SAFETY: The page is valid, as the caller promises.
            addr: unsafe { bindings::kfs_kmap_local(page) }.cast(),
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.addr
    }
}

impl Drop for LocalMap {
    fn drop(&mut self) {
        // SAFETY: `addr` is a mapping made in `new`. Mappings end in the reverse order of their
        // start because the values are local variables of this crate; the raw pointer makes the
        // type `!Send`.
        unsafe { bindings::kfs_kunmap_local(self.addr.cast()) };
    }
}

/// The machine's memory in bytes.
pub fn total_ram() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { bindings::kfs_total_ram() }
}
