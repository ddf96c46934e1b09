// SPDX-License-Identifier: GPL-2.0

//! The duty to write a byte range of a folio out.
//!
//! C headers: [`include/linux/iomap.h`](srctree/include/linux/iomap.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)
//!
//! # Why this is sound
//!
//! iomap marks a folio as being written back, hands out its dirty ranges, and counts the
//! bytes until all are reported through `iomap_finish_folio_write`. Until then the folio
//! stays in the page cache: truncation, reclaim and eviction of the inode wait for it. So
//! whoever holds a range may look at its bytes, and at the inode, until it reports them.
//! With stable pages (see [`INode::set_stable_writes`](crate::fs::INode::set_stable_writes))
//! the bytes do not change either; without, they may, as they may under any device.

use crate::{bindings, iomap::InodeRef, mem};
use core::{any::TypeId, mem::ManuallyDrop, ptr::NonNull, slice};
use kernel::{page::PAGE_SIZE, prelude::*};

/// A byte range of a folio that is being written back.
///
/// Finish it with [`finish`](Self::finish); dropping it reports `EIO`.
///
/// # Invariants
///
/// `[off, off + len)` lies in `folio`, which is under writeback for `inode`; its bytes are
/// counted in that writeback, and this value is the only one that stands for them. `inode`
/// is one of the [`InodeRef`] type whose id is `kind`. `len` is not 0.
pub struct WritebackRange {
    inode: NonNull<bindings::inode>,
    kind: TypeId,
    folio: NonNull<bindings::folio>,
    off: usize,
    len: usize,
}

// SAFETY: Ending writeback is not tied to the thread that began it.
unsafe impl Send for WritebackRange {}

// SAFETY: Through a shared reference the bytes can only be read.
unsafe impl Sync for WritebackRange {}

impl WritebackRange {
    /// Takes a range over from iomap.
    ///
    /// # Safety
    ///
    /// The caller is in `writeback_range` of iomap for this range of the folio, answers it with
    /// its length, and makes no second value for it. `inode` is that of the folio, and one that
    /// `I` stands for.
    pub(crate) unsafe fn from_iomap<I: InodeRef + 'static>(
        inode: NonNull<bindings::inode>,
        folio: NonNull<bindings::folio>,
        off: usize,
        len: usize,
    ) -> Self {
        // INVARIANT: As the caller promises.
        Self {
            inode,
            kind: TypeId::of::<I>(),
            folio,
            off,
            len,
        }
    }

    /// Length in bytes; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The inode that is written; `None` if it is not one of `I`.
    ///
    /// There may be no other reference to it any more: do not take one.
    pub fn inode<I: InodeRef + 'static>(&self) -> Option<&I> {
        if TypeId::of::<I>() != self.kind {
            return None;
        }
        // SAFETY: By the type invariant it is an inode of `I`, and it cannot go away before the
        // writeback ends, which `self` holds up.
        Some(unsafe { I::from_raw(self.inode) })
    }

    /// The C inode, for the same time.
    pub(crate) fn raw_inode(&self) -> NonNull<bindings::inode> {
        self.inode
    }

    /// Runs `f` on the bytes `[off, off + len)`, in order, in as few pieces as the machine's
    /// memory layout allows. Stops at the first error. `EINVAL` if they are not in the range.
    pub fn for_each(&self, off: usize, len: usize, mut f: impl FnMut(&[u8]) -> Result) -> Result {
        let end = off.checked_add(len).filter(|end| *end <= self.len);
        let end = self.off + end.ok_or(EINVAL)?;
        let mut pos = self.off + off;
        while pos < end {
            // See `FolioRange::for_each_raw`.
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
            // SAFETY: `n` bytes of the folio are mapped there, contiguously: within a page, or
            // in the linear mapping.
            let ret = f(unsafe { slice::from_raw_parts(map.as_ptr().wrapping_add(in_page), n) });
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

    /// Reports that the range is written, or why it is not; then whoever waits for the file's
    /// data sees the error.
    pub fn finish(self, result: Result) {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant; the value ends here.
        unsafe { this.end(result) };
    }

    /// # Safety
    ///
    /// The value is not used again.
    unsafe fn end(&self, result: Result) {
        if let Err(e) = result {
            // SAFETY: The inode is alive, by the type invariant.
            unsafe {
                let mapping = (*self.inode.as_ptr()).i_mapping;
                bindings::kfs_mapping_set_error(mapping, e.to_errno());
            }
        }
        // SAFETY: By the type invariant the bytes are counted in the folio's writeback and stood
        // for by this value alone, which is not used again.
        unsafe {
            bindings::iomap_finish_folio_write(self.inode.as_ptr(), self.folio.as_ptr(), self.len)
        };
    }

    /// Cuts the range in two at `at`, which must be a multiple of the file system's block size.
    ///
    /// Gives the range back where that is not possible: the folio is a single block, or `at` is
    /// not inside of the range.
    pub fn split_at(self, at: usize) -> Result<(Self, Self), Self> {
        // Without a state per block, iomap ends the writeback of the folio with the first report;
        // that is when the answer is 0.
        // SAFETY: By the type invariant the folio is alive and in the page cache.
        let block = unsafe { bindings::kfs_folio_read_granule(self.folio.as_ptr()) };
        if block == 0 || at == 0 || at >= self.len || (self.off + at) % block != 0 {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // INVARIANT: The bytes of `this`, which ends here, are divided between the two.
        Ok((
            Self {
                inode: this.inode,
                kind: this.kind,
                folio: this.folio,
                off: this.off,
                len: at,
            },
            Self {
                inode: this.inode,
                kind: this.kind,
                folio: this.folio,
                off: this.off + at,
                len: this.len - at,
            },
        ))
    }
}

impl Drop for WritebackRange {
    fn drop(&mut self) {
        // SAFETY: The value ends here.
        unsafe { self.end(Err(EIO)) };
    }
}
