// SPDX-License-Identifier: GPL-2.0

//! The right to fill a byte range of a folio.
//!
//! C headers: [`include/linux/iomap.h`](srctree/include/linux/iomap.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)
//!
//! # Why this is sound
//!
//! iomap hands out each range of a locked folio that is not up to date exactly once
//! per read (`read_folio_range`), and counts the handed out bytes as pending. Until
//! they are all reported through `iomap_finish_folio_read`, the folio stays locked and
//! therefore in the page cache: truncation, migration, reclaim and other readers wait
//! for the lock. Nobody reads the bytes meanwhile, because neither the folio nor the
//! blocks of the range are up to date, which is also why user space does not have them
//! mapped. So whoever holds the range is the only one to touch its bytes, and may do
//! so until it reports them; then the folio can go away at any moment. Reporting
//! consumes the value, and dropping the value reports an error.

use crate::{bindings, mem};
use core::{mem::ManuallyDrop, ptr::NonNull, slice};
use kernel::{page::PAGE_SIZE, prelude::*};

/// A byte range of a locked page-cache folio whose read is under way.
///
/// Finish it with [`finish`](Self::finish); dropping it fails the read with `EIO`.
///
/// # Invariants
///
/// `[off, off + len)` lies in `folio`, which is locked for a read of iomap. The bytes of
/// the range are counted as pending in that read, and this value is the only one that
/// stands for them: nobody else accesses them. `len` is not 0.
pub struct FolioRange {
    folio: NonNull<bindings::folio>,
    off: usize,
    len: usize,
}

// SAFETY: Filling a folio and ending its read are not tied to the thread that began it.
unsafe impl Send for FolioRange {}

// SAFETY: Through a shared reference the bytes can only be read.
unsafe impl Sync for FolioRange {}

impl FolioRange {
    /// Takes a range over from iomap.
    ///
    /// # Safety
    ///
    /// The caller is in `read_folio_range` of iomap for this range of the folio, answers it
    /// with success, and makes no second value for it.
    pub(crate) unsafe fn from_iomap(
        folio: NonNull<bindings::folio>,
        off: usize,
        len: usize,
    ) -> Self {
        // INVARIANT: As the caller promises.
        Self { folio, off, len }
    }

    /// Length in bytes; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `data` to `off` bytes into the range. `EINVAL` if it does not fit.
    pub fn write_at(&mut self, off: usize, data: &[u8]) -> Result {
        let mut rest = data;
        self.for_each_mut(off, data.len(), |chunk| {
            // `for_each_mut` visits exactly `data.len()` bytes.
            if let Some((head, tail)) = rest.split_at_checked(chunk.len()) {
                chunk.copy_from_slice(head);
                rest = tail;
            }
        })
    }

    /// Fills `len` bytes from `off` on with zeroes. `EINVAL` if it does not fit.
    pub fn zero(&mut self, off: usize, len: usize) -> Result {
        self.for_each_mut(off, len, |chunk| chunk.fill(0))
    }

    /// Runs `f` on the bytes `[off, off + len)`, in order, in as few pieces as the
    /// machine's memory layout allows (one, unless it has high memory).
    pub fn for_each_mut(&mut self, off: usize, len: usize, mut f: impl FnMut(&mut [u8])) -> Result {
        self.for_each_raw(off, len, |ptr, n| {
            // SAFETY: By `for_each_raw` there are `n` mapped bytes of the range at `ptr`; by the
            // type invariant nobody else accesses them, and `self` is borrowed exclusively.
            f(unsafe { slice::from_raw_parts_mut(ptr, n) });
            Ok(())
        })
    }

    /// Like [`for_each_mut`](Self::for_each_mut), but only to look. Stops at the first error.
    pub fn for_each(&self, off: usize, len: usize, mut f: impl FnMut(&[u8]) -> Result) -> Result {
        self.for_each_raw(off, len, |ptr, n| {
            // SAFETY: By `for_each_raw` there are `n` mapped bytes of the range at `ptr`; by the
            // type invariant nobody else accesses them, and through `self`, which is borrowed
            // shared, nobody writes them.
            f(unsafe { slice::from_raw_parts(ptr, n) })
        })
    }

    /// Maps the bytes `[off, off + len)` piecewise for `f`.
    fn for_each_raw(
        &self,
        off: usize,
        len: usize,
        mut f: impl FnMut(*mut u8, usize) -> Result,
    ) -> Result {
        let end = off.checked_add(len).filter(|end| *end <= self.len);
        let end = self.off + end.ok_or(EINVAL)?;
        let mut pos = self.off + off;
        while pos < end {
            // Pages of high memory are mapped one by one, and with the debug option all of them;
            // else they are always mapped, in order.
            let in_page = pos % PAGE_SIZE;
            let n = if cfg!(any(CONFIG_HIGHMEM, CONFIG_DEBUG_KMAP_LOCAL_FORCE_MAP)) {
                (end - pos).min(PAGE_SIZE - in_page)
            } else {
                end - pos
            };
            // SAFETY: By the type invariant `pos` lies in the folio, which is alive.
            let page = unsafe { bindings::kfs_folio_page(self.folio.as_ptr(), pos / PAGE_SIZE) };
            // SAFETY: The page belongs to the folio, which stays while `self` is borrowed.
            let map = unsafe { mem::LocalMap::new(page) };
            let ret = f(map.as_ptr().wrapping_add(in_page), n);
            drop(map);
            ret?;
            pos += n;
        }
        Ok(())
    }

    /// Describes the range for a bio.
    pub(crate) fn bio_vec(&self) -> Result<bindings::bio_vec> {
        // SAFETY: By the type invariant the range begins in the folio, which is alive.
        let page = unsafe { bindings::kfs_folio_page(self.folio.as_ptr(), self.off / PAGE_SIZE) };
        Ok(bindings::bio_vec {
            bv_page: page,
            bv_len: self.len.try_into()?,
            bv_offset: (self.off % PAGE_SIZE).try_into()?,
        })
    }

    /// Reports that the whole range is filled, or why it is not. What fs-verity does not vouch for,
    /// although it should, is `EIO`.
    pub fn finish(self, result: Result) {
        let this = ManuallyDrop::new(self);
        let result = result.and_then(|()| {
            // SAFETY: By the type invariant the folio is locked, and the range, which lies in it, is
            // filled.
            match unsafe {
                bindings::kfs_folio_is_verified(this.folio.as_ptr(), this.off, this.len)
            } {
                true => Ok(()),
                false => Err(EIO),
            }
        });
        let error = result.err().map_or(0, Error::to_errno);
        // SAFETY: By the type invariant the bytes are pending in a read of the locked folio and
        // stood for by this value alone, which ends here.
        unsafe {
            bindings::iomap_finish_folio_read(this.folio.as_ptr(), this.off, this.len, error)
        };
    }

    /// Cuts the range in two at `at`, so that the parts can be finished with different
    /// results. `at` must be a multiple of the file system's block size.
    ///
    /// Gives the range back where that is not possible: the folio is a single block, or
    /// `at` is not inside of the range.
    pub fn split_at(self, at: usize) -> Result<(Self, Self), Self> {
        // Without a state per block, iomap ends the read of the folio with the first report; that
        // is when the answer is 0.
        // SAFETY: By the type invariant the folio is alive and in the page cache.
        let block = unsafe { bindings::kfs_folio_read_granule(self.folio.as_ptr()) };
        if block == 0 || at == 0 || at >= self.len || (self.off + at) % block != 0 {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // INVARIANT: The bytes of `this`, which ends here, are divided between the two.
        Ok((
            Self {
                folio: this.folio,
                off: this.off,
                len: at,
            },
            Self {
                folio: this.folio,
                off: this.off + at,
                len: this.len - at,
            },
        ))
    }
}

impl Drop for FolioRange {
    fn drop(&mut self) {
        // SAFETY: As in `finish`.
        unsafe {
            bindings::iomap_finish_folio_read(
                self.folio.as_ptr(),
                self.off,
                self.len,
                EIO.to_errno(),
            )
        };
    }
}
