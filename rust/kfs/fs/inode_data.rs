// SPDX-License-Identifier: GPL-2.0

//! Locks, size and page cache of regular files.

use super::{
    inode::{INode, SharedLock},
    super_block::FileSystem,
};
use crate::{
    bindings,
    iomap::{rewrite, zero_range, IomapWriteOps},
};
use core::ops::Range;
use kernel::{error::to_result, page::PAGE_SHIFT, prelude::*};

/// The inode lock, held for writing.
pub struct ExclusiveLock<'a, T: FileSystem>(&'a INode<T>);

impl<T: FileSystem> Drop for ExclusiveLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this guard.
        unsafe { bindings::up_write(&raw mut (*self.0.as_raw()).i_rwsem) };
    }
}

/// The invalidate lock of the inode's page cache, held for writing: no page comes into the
/// cache, and none of a mapping becomes writable.
pub struct InvalidateLock<'a, T: FileSystem>(&'a INode<T>);

impl<T: FileSystem> Drop for InvalidateLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held by this guard.
        unsafe { bindings::up_write(&raw mut (*self.0.mapping()).invalidate_lock) };
    }
}

/// Direct I/O under way: truncation waits for it.
pub struct DirectIo<'a, T: FileSystem>(&'a INode<T>);

impl<T: FileSystem> Drop for DirectIo<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Counted by this guard.
        unsafe { bindings::kfs_inode_dio_end(self.0.as_raw()) };
    }
}

/// The last byte of a range that is not empty, as C functions want it.
fn last(range: &Range<u64>) -> Result<(i64, i64)> {
    let start = i64::try_from(range.start)?;
    let end = i64::try_from(range.end.min(i64::MAX as u64))?;
    if end <= start {
        return Err(EINVAL);
    }
    Ok((start, end - 1))
}

impl<T: FileSystem> INode<T> {
    pub(crate) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: Valid by the type invariant; constant.
        unsafe { (*self.as_raw()).i_mapping }
    }

    /// Takes the inode lock for writing.
    pub fn lock_exclusive(&self) -> ExclusiveLock<'_, T> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::down_write(&raw mut (*self.as_raw()).i_rwsem) };
        ExclusiveLock(self)
    }

    /// Takes the inode lock for writing if nobody has it.
    pub fn try_lock_exclusive(&self) -> Option<ExclusiveLock<'_, T>> {
        // SAFETY: Valid by the type invariant.
        let got = unsafe { bindings::down_write_trylock(&raw mut (*self.as_raw()).i_rwsem) };
        // Lazily: a guard that is made and dropped would release the lock of whoever has it.
        (got != 0).then(|| ExclusiveLock(self))
    }

    /// Takes the inode lock for reading if nobody has it for writing.
    pub fn try_lock_shared(&self) -> Option<SharedLock<'_, T>> {
        // SAFETY: Valid by the type invariant.
        let got = unsafe { bindings::down_read_trylock(&raw mut (*self.as_raw()).i_rwsem) };
        (got != 0).then(|| SharedLock::held(self))
    }

    /// Takes the invalidate lock for writing. The inode lock comes first.
    pub fn lock_invalidate(&self) -> InvalidateLock<'_, T> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::down_write(&raw mut (*self.mapping()).invalidate_lock) };
        InvalidateLock(self)
    }

    /// Announces direct I/O. The inode lock is held.
    pub fn begin_direct_io(&self) -> DirectIo<'_, T> {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_inode_dio_begin(self.as_raw()) };
        DirectIo(self)
    }

    /// Waits until no direct I/O is under way. Holding the inode lock for writing keeps new
    /// one out.
    pub fn wait_for_direct_io(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::inode_dio_wait(self.as_raw()) };
    }

    /// Whether direct I/O is announced.
    pub fn has_direct_io(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { !bindings::inode_dio_finished(self.as_raw()) }
    }

    /// Sets the size in bytes. The inode lock is held for writing.
    pub fn set_size(&self, size: i64) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_i_size_write(self.as_raw(), size) };
    }

    /// Sets the number of bytes that `stat` says are allocated.
    pub fn set_bytes(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_inode_set_bytes(self.as_raw(), bytes) };
    }

    /// Whether the current task may make the file `size` bytes long.
    pub fn check_new_size(&self, size: i64) -> Result {
        // SAFETY: Valid by the type invariant.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_raw(), size) })
    }

    /// Whether the kernel swaps to the file.
    pub fn is_swapfile(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_inode_is_swapfile(self.as_raw()) }
    }

    /// Folios do not change while they are being written.
    pub fn set_stable_writes(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_mapping_set_stable_writes(self.mapping()) };
    }

    /// Writes the dirty folios of a range of bytes, and waits for all that is being written there.
    pub fn write_and_wait(&self, range: Range<u64>) -> Result {
        if range.is_empty() {
            return Ok(());
        }
        let (first, last) = last(&range)?;
        // SAFETY: Valid by the type invariant.
        to_result(unsafe { bindings::filemap_write_and_wait_range(self.mapping(), first, last) })
    }

    /// Starts writing all dirty folios.
    pub fn start_writeback(&self) -> Result {
        // SAFETY: Valid by the type invariant.
        to_result(unsafe { bindings::filemap_flush(self.mapping()) })
    }

    /// Whether the page cache has something of a range of bytes.
    pub fn has_pages(&self, range: Range<u64>) -> bool {
        let Ok((first, last)) = last(&range) else {
            return false;
        };
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::filemap_range_has_page(self.mapping(), first, last) }
    }

    /// Takes the folios of a range of bytes that are not dirty from the page cache. `EBUSY` if
    /// there are others.
    pub fn invalidate_pages(&self, range: Range<u64>) -> Result {
        let (first, last) = last(&range)?;
        let index = |pos: i64| usize::try_from(pos).unwrap_or(0) >> PAGE_SHIFT;
        // SAFETY: Valid by the type invariant.
        to_result(unsafe {
            bindings::invalidate_inode_pages2_range(self.mapping(), index(first), index(last))
        })
    }

    /// Takes the folios of a range of whole blocks from the page cache, dirty ones too, and
    /// zeroes what lies in others. Waits for those that are being written.
    pub fn truncate_pages(&self, range: Range<u64>) {
        if let Ok((first, last)) = last(&range) {
            // SAFETY: Valid by the type invariant.
            unsafe { bindings::truncate_pagecache_range(self.as_raw(), first, last) };
        }
    }

    /// Takes what is behind `size` from the page cache, after the size was set to it.
    pub fn truncate_cache(&self, size: i64) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::truncate_pagecache(self.as_raw(), size) };
    }

    /// Sees to it that the page with the old end of the file is asked for again before it is
    /// changed through a mapping, after the size rose from `from` to `to`.
    pub fn size_extended(&self, from: i64, to: i64) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::pagecache_isize_extended(self.as_raw(), from, to) };
    }

    /// Makes `fsync` fail once for everyone who has the file open.
    pub fn set_write_error(&self, error: Error) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_mapping_set_error(self.mapping(), error.to_errno()) };
    }

    /// Makes a range of bytes dirty, as they are, but for holes.
    pub fn rewrite<D>(&self, range: Range<u64>, _lock: &ExclusiveLock<'_, T>) -> Result
    where
        D: IomapWriteOps<Inode = INode<T>>,
    {
        let (first, last) = last(&range)?;
        // SAFETY: Valid by the type invariant; the guard proves the lock.
        unsafe { rewrite::<D>(self.as_raw(), first, last - first + 1) }
    }

    /// Begins to read a range of bytes into the page cache, in as large pieces as are good for the
    /// device.
    pub fn read_ahead(&self, range: Range<u64>) {
        let Ok((first, last)) = last(&range) else {
            return;
        };
        let index = |pos: i64| usize::try_from(pos).unwrap_or(0) >> PAGE_SHIFT;
        let (first, last) = (index(first), index(last));
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::kfs_read_ahead(self.mapping(), first, last - first + 1) };
    }

    /// Fills a range of bytes with zeroes, through the page cache; what is zero anyway is
    /// left alone. The inode lock is held for writing.
    pub fn zero_range<D>(&self, range: Range<u64>, _lock: &InvalidateLock<'_, T>) -> Result
    where
        D: IomapWriteOps<Inode = INode<T>>,
    {
        if range.is_empty() {
            return Ok(());
        }
        let pos = i64::try_from(range.start)?;
        let len = i64::try_from(range.end - range.start)?;
        // SAFETY: Valid by the type invariant; the guard proves one lock, the caller has the other.
        unsafe { zero_range::<D>(self.as_raw(), pos, len) }
    }
}
