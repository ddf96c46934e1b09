// SPDX-License-Identifier: GPL-2.0

//! Requests to read or write a file, and requests that end later.
//!
//! A [`Kiocb`] is a request while the call that made it lasts. Whoever made it may be content with
//! hearing later that it ended: then it can be detached, and a [`Detached`] is owned by whoever
//! does the work, in whatever thread. Ending it is the last use of it.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{file::File, inode::INode, inode_data::ExclusiveLock, super_block::FileSystem};
use crate::{
    bindings,
    block::durable,
    iomap::{buffered_write, IomapWriteOps},
    mem,
};
use core::{marker::PhantomData, mem::ManuallyDrop, pin::Pin, ptr::NonNull};
use kernel::{
    error::to_result,
    iov::IovIterSource,
    prelude::*,
    str::CStr,
    sync::static_lock_class,
    workqueue::{impl_has_work, Work, WorkItem},
};

/// A read or write under way.
///
/// # Invariants
///
/// Points to a valid `struct kiocb` of a file of `T`, used by the current task alone.
pub struct Kiocb<'a, T: FileSystem>(*mut bindings::kiocb, PhantomData<&'a mut T>);

impl<'a, T: FileSystem> Kiocb<'a, T> {
    /// # Safety
    ///
    /// `iocb` must fulfil the invariants of the type for `'a`, and its file must stay open as long,
    /// even if the request ends before.
    pub(super) unsafe fn from_raw(iocb: *mut bindings::kiocb) -> Self {
        Self(iocb, PhantomData)
    }

    /// The file.
    pub fn file(&self) -> &'a File<T> {
        // SAFETY: By the type invariant.
        unsafe { File::from_raw((*self.0).ki_filp) }
    }

    /// The position in the file, in bytes.
    pub fn pos(&self) -> i64 {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_pos }
    }

    /// Whether the caller does not want to wait (`EAGAIN` then).
    pub fn nowait(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_flags & bindings::IOCB_NOWAIT != 0 }
    }

    /// Whether the caller waits for the end of the request.
    pub fn is_sync(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_complete.is_none() }
    }

    /// Takes the request over: it ends some time later, whatever the caller does meanwhile. Gives
    /// it back if the caller waits for it.
    pub fn detach(self) -> Result<(Detached<T>, Queued), Self> {
        match NonNull::new(self.0) {
            // INVARIANT: The request is used here alone, and `self` is gone. Its file stays open
            // until it ends.
            Some(iocb) if !self.is_sync() => Ok((
                Detached {
                    iocb,
                    direct: false,
                    _p: PhantomData,
                },
                Queued(()),
            )),
            _ => Err(self),
        }
    }

    fn has(&self, flag: i32) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_flags & flag != 0 }
    }

    /// Whether the page cache is to be avoided.
    pub fn is_direct(&self) -> bool {
        self.has(bindings::IOCB_DIRECT)
    }

    /// Checks and shortens what is to be written: limits, append mode (which sets the
    /// position). Returns the number of bytes left. The inode lock is held for writing.
    pub fn check_write(&mut self, from: &mut IovIterSource<'_>) -> Result<usize> {
        // SAFETY: By the type invariant; the iterator is used by this task alone.
        length(unsafe { bindings::generic_write_checks(self.0, from.as_raw().cast()) })
    }

    /// Drops set-id bits and security attributes, and sets the times, as a write does. The
    /// inode lock is held for writing.
    pub fn modified(&mut self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::kiocb_modified(self.0) })
    }

    /// Moves the position on.
    pub fn advance(&mut self, bytes: usize) -> Result {
        let bytes = i64::try_from(bytes)?;
        // SAFETY: By the type invariant.
        unsafe { (*self.0).ki_pos += bytes };
        Ok(())
    }

    /// Writes to the page cache and moves the position on; returns the number of bytes.
    pub fn write_buffered<D>(
        &mut self,
        from: &mut IovIterSource<'_>,
        _lock: &ExclusiveLock<'_, T>,
    ) -> Result<usize>
    where
        D: IomapWriteOps<Inode = INode<T>>,
    {
        // SAFETY: By the type invariant; the iterator is used by this task alone.
        length(unsafe { buffered_write::<D>(self.0, from.as_raw().cast()) })
    }

    /// Ends a direct write of `direct` bytes whose rest was written to the page cache, with
    /// the result `buffered`: the rest is written out and taken from the cache. Returns what
    /// was written altogether.
    pub fn end_direct_write(
        &mut self,
        from: &mut IovIterSource<'_>,
        direct: usize,
        buffered: Result<usize>,
    ) -> Result<usize> {
        let buffered = match buffered {
            Ok(n) => n as isize,
            Err(e) => e.to_errno() as isize,
        };
        // SAFETY: By the type invariant; the position is behind what was written buffered.
        length(unsafe {
            bindings::direct_write_fallback(self.0, from.as_raw().cast(), direct as isize, buffered)
        })
    }
}

/// What became of a request.
pub enum Outcome {
    /// It is done, or cannot be done any further: so many bytes.
    Done(usize),
    /// It ends later.
    Queued(Queued),
}

/// Says that a request was detached.
pub struct Queued(());

/// A request that its maker does not wait for. If it is dropped, it ends with `EIO`.
///
/// # Invariants
///
/// Points to a `struct kiocb` of a file of `T` with a `ki_complete` that was not called yet; nobody
/// else uses it. If `direct`, it is counted as direct I/O on its inode.
pub struct Detached<T: FileSystem> {
    iocb: NonNull<bindings::kiocb>,
    direct: bool,
    _p: PhantomData<T>,
}

// SAFETY: A request can be ended by any thread.
unsafe impl<T: FileSystem> Send for Detached<T> {}
// SAFETY: Through a shared reference only its file is looked at.
unsafe impl<T: FileSystem> Sync for Detached<T> {}

impl<T: FileSystem> Detached<T> {
    /// The file.
    pub fn file(&self) -> &File<T> {
        // SAFETY: By the type invariant; a request holds its file until it ends.
        unsafe { File::from_raw((*self.iocb.as_ptr()).ki_filp) }
    }

    /// Counts it as direct I/O until it ends: truncation waits for it. The inode lock is held.
    pub fn begin_direct_io(&mut self) {
        if !self.direct {
            // SAFETY: The inode of an open file.
            unsafe { bindings::kfs_inode_dio_begin(self.file().inode().as_raw()) };
            self.direct = true;
        }
    }

    fn end_direct_io(&mut self) {
        if core::mem::take(&mut self.direct) {
            // SAFETY: Counted by `begin_direct_io`.
            unsafe { bindings::kfs_inode_dio_end(self.file().inode().as_raw()) };
        }
    }

    /// Ends it. In process context.
    pub fn end(self, result: Result<usize>) {
        let mut this = ManuallyDrop::new(self);
        this.end_direct_io();
        let done = result.and_then(|n| Ok(isize::try_from(n)?));
        // SAFETY: By the type invariant; `self` is not used any more.
        unsafe {
            match done {
                Ok(n) => {
                    (*this.iocb.as_ptr()).ki_pos += n as i64;
                    complete(this.iocb, n);
                }
                Err(e) => complete(this.iocb, e.to_errno() as isize),
            }
        }
    }

    /// As [`Self::end`], for a write, of which all is written: what `O_SYNC` wants comes before,
    /// on a work queue, because it waits for completions of others.
    pub fn end_write(mut self, result: Result<usize>) {
        self.end_direct_io();
        let bytes = match result {
            Ok(bytes) if bytes > 0 => bytes,
            // Nothing to be made durable.
            result => return self.end(result),
        };
        // SAFETY: By the type invariant.
        if !unsafe { bindings::kfs_iocb_is_dsync(self.iocb.as_ptr()) } {
            return self.end(Ok(bytes));
        }
        let work = mem::alloc_nofail::<SyncedWrite<T>>();
        let init = pin_init!(SyncedWrite {
            request: Some(self),
            bytes,
            work <- Work::new(WORK_NAME, static_lock_class!()),
        });
        // The initialiser has no step that fails.
        let Ok(work) = work.write_pin_init(init);
        durable(work);
    }
}

impl<T: FileSystem> Drop for Detached<T> {
    fn drop(&mut self) {
        self.end_direct_io();
        // SAFETY: By the type invariant; this is the last use.
        unsafe { complete(self.iocb, EIO.to_errno() as isize) };
    }
}

/// Tells the maker of a request that it ended.
///
/// # Safety
///
/// It is one of a [`Detached`], which is not used any more.
unsafe fn complete(iocb: NonNull<bindings::kiocb>, result: isize) {
    // SAFETY: As promised by the caller.
    if let Some(complete) = unsafe { (*iocb.as_ptr()).ki_complete } {
        // SAFETY: Called once, with the request that it belongs to.
        unsafe { complete(iocb.as_ptr(), result as c_long) };
    }
}

/// Name of the lock class; in a static for the same reason as that of requests.
static WORK_NAME: &CStr = c"btrfs::dsync";

/// A write that is to be made durable.
#[pin_data]
struct SyncedWrite<T: FileSystem + 'static> {
    request: Option<Detached<T>>,
    bytes: usize,
    #[pin]
    work: Work<SyncedWrite<T>>,
}

impl_has_work! {
    impl{T: FileSystem + 'static} HasWork<Self> for SyncedWrite<T> { self.work }
}

impl<T: FileSystem + 'static> WorkItem for SyncedWrite<T> {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>) {
        let bytes = this.bytes;
        let Some(request) = this.as_mut().project().request.take() else {
            return;
        };
        let request = ManuallyDrop::new(request);
        let iocb = request.iocb;
        // SAFETY: By the type invariant of the request; the position is behind what was written as
        // the function wants it. Completing it is the last use.
        unsafe {
            (*iocb.as_ptr()).ki_pos += bytes as i64;
            let result = bindings::kfs_generic_write_sync(iocb.as_ptr(), bytes as isize);
            complete(iocb, result);
        }
    }
}

/// A length or an errno.
pub(super) fn length(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| i32::try_from(ret).map_or(EIO, Error::from_errno))
}
