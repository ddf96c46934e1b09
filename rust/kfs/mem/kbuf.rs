// SPDX-License-Identifier: GPL-2.0

//! Page-aligned contiguous kernel memory.

use core::{
    alloc::Layout,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};
use kernel::{
    alloc::{allocator::KVmalloc, AllocError, Allocator, Flags, NumaNode},
    page::PAGE_SIZE,
    prelude::*,
};

/// An owned buffer of kernel memory, virtually contiguous and aligned to a page.
///
/// Small buffers are physically contiguous too; large ones fall back to `vmalloc`
/// memory when contiguous pages are scarce. It is what tree blocks, compressed
/// extents and bounce buffers live in, and can take part in I/O as a segment of an
/// [`IoBuf`](crate::block::IoBuf).
///
/// # Invariants
///
/// `ptr` is the start of an allocation of the `KVmalloc` allocator with `layout(len)`,
/// and this value owns it.
pub struct KBuf {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: The buffer owns its memory, which is not tied to a thread.
unsafe impl Send for KBuf {}

// SAFETY: Through a shared reference the bytes can only be read.
unsafe impl Sync for KBuf {}

impl KBuf {
    /// Allocates `len` bytes (at least 1, at most 1 GiB).
    ///
    /// The content is arbitrary: whoever shows it to anybody has to fill it first.
    pub fn new(len: usize, flags: Flags) -> Result<Self, AllocError> {
        let layout = Self::layout(len).ok_or(AllocError)?;
        let ptr = KVmalloc::alloc(layout, flags, NumaNode::NO_NODE)?;
        // INVARIANT: Just allocated with this layout.
        Ok(Self {
            ptr: ptr.cast(),
            len,
        })
    }

    /// Allocates `len` bytes of zeroes.
    pub fn zeroed(len: usize, flags: Flags) -> Result<Self, AllocError> {
        Self::new(len, flags | __GFP_ZERO)
    }

    /// Allocates a buffer with the content of `data`.
    pub fn copy_of(data: &[u8], flags: Flags) -> Result<Self, AllocError> {
        let mut buf = Self::new(data.len(), flags)?;
        buf.copy_from_slice(data);
        Ok(buf)
    }

    /// The memory of a buffer of `len` bytes: whole pages, so that no two buffers share one.
    fn layout(len: usize) -> Option<Layout> {
        if len == 0 || len > 1 << 30 {
            return None;
        }
        Layout::from_size_align(len.next_multiple_of(PAGE_SIZE), PAGE_SIZE).ok()
    }

    /// Address of the first byte; the buffer's size is a page-aligned multiple of pages.
    pub(crate) fn as_raw(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for KBuf {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: By the type invariant the memory was allocated by this allocator with this
            // layout, and nobody else owns it.
            unsafe { KVmalloc::free(self.ptr, layout) };
        }
    }
}

impl Deref for KBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariant there are `len` bytes at `ptr`. Bytes that nobody has
        // written yet hold what a foreign allocator left there: arbitrary, but initialised as
        // far as Rust is concerned, which never saw the memory before.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for KBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref`; the exclusive reference to the owner makes this one exclusive.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}
