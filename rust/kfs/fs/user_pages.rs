// SPDX-License-Identifier: GPL-2.0

//! Memory of user space that is held until something arrives for it.

use crate::{bindings, block::durable, mem};
use core::{pin::Pin, ptr::NonNull};
use kernel::{
    error::from_err_ptr,
    iov::IovIterDest,
    prelude::*,
    str::CStr,
    sync::static_lock_class,
    workqueue::{impl_has_work, Work, WorkItem},
};

/// Memory that somebody waits for bytes in, to be written from any thread.
///
/// Others may write to it and look at it at any time: nothing is ever read from here.
///
/// # Invariants
///
/// From `kfs_pages_hold`, with `len` bytes of memory.
pub struct UserPages {
    pages: NonNull<bindings::kfs_pages>,
    len: usize,
}

// SAFETY: The pages can be written and let go of by any thread.
unsafe impl Send for UserPages {}
// SAFETY: Writing to them is like another thread of user space writing to them.
unsafe impl Sync for UserPages {}

impl UserPages {
    /// Holds the memory of the next `len` bytes of `to`, which is not advanced.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not there, `ENOMEM`.
    pub fn hold(to: &mut IovIterDest<'_>, len: usize) -> Result<Self> {
        if len == 0 || len > to.len() {
            return Err(EFAULT);
        }
        // SAFETY: A valid iterator, used by this task alone. Memory that is not user space's stays
        // until the request that came with it ends.
        let pages = from_err_ptr(unsafe { bindings::kfs_pages_hold(to.as_raw().cast(), len) })?;
        // INVARIANT: Just made so.
        Ok(Self {
            pages: NonNull::new(pages).ok_or(ENOMEM)?,
            len,
        })
    }

    /// Writes `data` at `off`. `EINVAL` if it does not fit.
    pub fn write(&self, off: usize, data: &[u8]) -> Result {
        self.check(off, data.len())?;
        // SAFETY: By the type invariant; the range is inside, and the data valid.
        unsafe {
            bindings::kfs_pages_write(self.pages.as_ptr(), off, data.as_ptr().cast(), data.len())
        };
        Ok(())
    }

    /// Writes `len` zeroes at `off`. `EINVAL` if they do not fit.
    pub fn zero(&self, off: usize, len: usize) -> Result {
        self.check(off, len)?;
        // SAFETY: As above; without data zeroes are written.
        unsafe { bindings::kfs_pages_write(self.pages.as_ptr(), off, core::ptr::null(), len) };
        Ok(())
    }

    fn check(&self, off: usize, len: usize) -> Result {
        match off.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(EINVAL),
        }
    }
}

impl Drop for UserPages {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this is the last use if it succeeds.
        if unsafe { bindings::kfs_pages_put(self.pages.as_ptr(), false) } {
            return;
        }
        let work = mem::alloc_nofail::<Late>();
        let init = pin_init!(Late {
            pages: self.pages,
            work <- Work::new(WORK_NAME, static_lock_class!()),
        });
        // The initialiser has no step that fails.
        let Ok(work) = work.write_pin_init(init);
        durable(work);
    }
}

/// Name of the lock class.
static WORK_NAME: &CStr = c"btrfs::user_pages";

/// Pages of a file, probably, that were written out meanwhile: they become dirty once more, for
/// which their locks are waited for.
#[pin_data]
struct Late {
    pages: NonNull<bindings::kfs_pages>,
    #[pin]
    work: Work<Late>,
}

// SAFETY: As for `UserPages`.
unsafe impl Send for Late {}

impl_has_work! {
    impl HasWork<Self> for Late { self.work }
}

impl WorkItem for Late {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        // SAFETY: Handed over by `UserPages`; this is the last use.
        unsafe { bindings::kfs_pages_put(this.pages.as_ptr(), true) };
    }
}
