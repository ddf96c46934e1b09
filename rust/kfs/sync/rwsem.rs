// SPDX-License-Identifier: GPL-2.0

//! Sleeping reader/writer locks.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    pin::Pin,
};
use kernel::{
    error::to_result,
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

/// Creates a [`RwSemaphore`] initialiser with a lock class of its own.
///
/// The name is what lockdep calls the class.
#[macro_export]
macro_rules! new_rwsem {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::RwSemaphore::new(
            $inner,
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}

/// A value that many may read or one may change; waiters sleep.
///
/// Wraps the kernel's `struct rw_semaphore`. Not recursive, not even for readers.
///
/// # Examples
///
/// ```ignore
/// #[pin_data]
/// struct Devices {
///     #[pin]
///     list: RwSemaphore<KVec<Arc<Device>>>,
/// }
/// let init = pin_init!(Devices { list <- new_rwsem!(KVec::new(), "btrfs_devices") });
/// ```
#[pin_data]
pub struct RwSemaphore<T: ?Sized> {
    #[pin]
    sem: Opaque<bindings::rw_semaphore>,
    #[pin]
    _pin: PhantomPinned,
    data: UnsafeCell<T>,
}

// SAFETY: It can move to another thread if what it protects can.
unsafe impl<T: ?Sized + Send> Send for RwSemaphore<T> {}

// SAFETY: Writers get `&mut T` from any thread (`Send`), readers share `&T` (`Sync`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwSemaphore<T> {}

impl<T> RwSemaphore<T> {
    /// Initialiser of an unlocked semaphore; see [`new_rwsem!`](crate::new_rwsem).
    pub fn new(
        value: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure runs; name and class live for ever.
            sem <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_rwsem(slot, name.as_char_ptr(), key.as_ptr().cast())
            }),
            _pin: PhantomPinned,
            data: UnsafeCell::new(value),
        })
    }
}

impl<T: ?Sized> RwSemaphore<T> {
    /// Waits until no writer is in, and shares the value.
    pub fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: Initialised by the constructor and pinned since.
        unsafe { bindings::down_read(self.sem.get()) };
        ReadGuard {
            lock: self,
            _task: NotThreadSafe,
        }
    }

    /// Shares the value if that needs no waiting.
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: As in `read`.
        let locked = unsafe { bindings::down_read_trylock(self.sem.get()) } != 0;
        locked.then(|| ReadGuard {
            lock: self,
            _task: NotThreadSafe,
        })
    }

    /// Waits until nobody else is in, and gives the value to change.
    pub fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: As in `read`.
        unsafe { bindings::down_write(self.sem.get()) };
        WriteGuard {
            lock: self,
            _task: NotThreadSafe,
        }
    }

    /// As [`Self::write`]; `EINTR` if the task is killed meanwhile.
    pub fn write_killable(&self) -> Result<WriteGuard<'_, T>> {
        // SAFETY: As in `read`.
        to_result(unsafe { bindings::down_write_killable(self.sem.get()) })?;
        Ok(WriteGuard {
            lock: self,
            _task: NotThreadSafe,
        })
    }

    /// Gives the value to change if that needs no waiting.
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        // SAFETY: As in `read`.
        let locked = unsafe { bindings::down_write_trylock(self.sem.get()) } != 0;
        locked.then(|| WriteGuard {
            lock: self,
            _task: NotThreadSafe,
        })
    }
}

/// Shared access to the value of a [`RwSemaphore`]; ends when dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwSemaphore<T>,
    _task: NotThreadSafe,
}

// SAFETY: A shared guard gives `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for ReadGuard<'_, T> {}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The semaphore is held for reading, so nobody has exclusive access.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that this task holds the semaphore for reading.
        unsafe { bindings::up_read(self.lock.sem.get()) };
    }
}

/// Exclusive access to the value of a [`RwSemaphore`]; ends when dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwSemaphore<T>,
    _task: NotThreadSafe,
}

// SAFETY: A shared guard gives `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for WriteGuard<'_, T> {}

impl<'a, T: ?Sized> WriteGuard<'a, T> {
    /// Lets readers in without letting another writer in between.
    pub fn downgrade(self) -> ReadGuard<'a, T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: The guard is the proof that this task holds the semaphore for writing.
        unsafe { bindings::downgrade_write(this.lock.sem.get()) };
        ReadGuard {
            lock: this.lock,
            _task: NotThreadSafe,
        }
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The semaphore is held for writing, so nobody else has access.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard is the proof that this task holds the semaphore for writing.
        unsafe { bindings::up_write(self.lock.sem.get()) };
    }
}
