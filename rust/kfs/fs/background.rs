// SPDX-License-Identifier: GPL-2.0

//! Work in the background of a mounted file system.
//!
//! A file system that has [`FileSystem::background`] gets a thread for it, from when its root is there
//! until its last mount is gone: the thread ends before inodes are evicted, so it may use them.
//!
//! What it does in one go it does while it has a [`Held`]: then nobody unmounts, remounts or freezes
//! the file system. It never waits for one, since whoever unmounts waits for the thread.

use super::super_block::{FileSystem, SbFlags, SuperBlock};
use crate::{bindings, kthread::KThread};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{prelude::*, types::NotThreadSafe};

/// A super block for its thread.
///
/// # Invariants
///
/// The super block is one of `T` with data, and stays so until the thread that has this has ended.
struct Target<T: FileSystem>(NonNull<bindings::super_block>, PhantomData<T>);

// SAFETY: A `SuperBlock` may be used from any thread.
unsafe impl<T: FileSystem> Send for Target<T> {}

/// Starts the thread of `sb`.
///
/// # Safety
///
/// The thread is dropped before the data of the super block is.
pub(super) unsafe fn start<T: FileSystem>(sb: &SuperBlock<T>) -> Result<KThread> {
    let raw = NonNull::new(sb.as_raw()).ok_or(EINVAL)?;
    // INVARIANT: As promised by the caller.
    let target = Target::<T>(raw, PhantomData);
    KThread::spawn(T::THREAD, move |stop| {
        let target = target;
        // SAFETY: By the invariant.
        T::background(unsafe { SuperBlock::from_raw(target.0.as_ptr()) }, stop);
    })
}

/// Keeps a file system mounted, as it is (writable or not), and from being frozen.
#[must_use = "the file system may be unmounted when this is dropped"]
pub struct Held<'a, T: FileSystem> {
    sb: &'a SuperBlock<T>,
    _task: NotThreadSafe,
}

impl<T: FileSystem> SuperBlock<T> {
    /// Keeps the file system as it is for a while, unless it is being mounted, remounted, unmounted
    /// or frozen, or all of it is being written out.
    ///
    /// No lock of the file system's may be held.
    pub fn try_hold(&self) -> Option<Held<'_, T>> {
        let sb = self.as_raw();
        // SAFETY: Valid by the type invariant.
        if unsafe { bindings::down_read_trylock(&raw mut (*sb).s_umount) } == 0 {
            return None;
        }
        // SAFETY: Valid; the lock keeps it from being shut down.
        let usable = self.flags().contains(SbFlags::ACTIVE)
            && unsafe { bindings::kfs_sb_start_write_trylock(sb) };
        if !usable {
            // SAFETY: Taken above.
            unsafe { bindings::up_read(&raw mut (*sb).s_umount) };
            return None;
        }
        Some(Held {
            sb: self,
            _task: NotThreadSafe,
        })
    }
}

impl<T: FileSystem> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Begun, and locked, when this was made, by the same task.
        unsafe {
            bindings::kfs_sb_end_write(self.sb.as_raw());
            bindings::up_read(&raw mut (*self.sb.as_raw()).s_umount);
        }
    }
}
