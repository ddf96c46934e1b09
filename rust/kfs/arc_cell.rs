// SPDX-License-Identifier: GPL-2.0

//! A place for a shared value that is replaced as a whole.
//!
//! Unlike those of [`rcu`](crate::rcu), values are dropped by whoever replaces them, in
//! process context: they may own what has to be closed or waited for.

use core::{marker::PhantomData, ptr::null_mut};
use kernel::sync::{
    atomic::{ordering, Atomic},
    rcu, Arc, ArcBorrow,
};

/// A cell for an [`Arc`] that readers look into without a lock, and that is empty at first.
///
/// Replacing the value waits for an RCU grace period, so it belongs where it is rare and
/// where sleeping is allowed.
///
/// # Invariants
///
/// The pointer is null or comes from [`Arc::into_raw`], and the cell owns that reference.
/// Once the pointer has been replaced, the reference is given up only after a grace period.
pub struct ArcCell<T: Send + Sync + 'static> {
    value: Atomic<*mut T>,
    _owns: PhantomData<Arc<T>>,
}

// SAFETY: The cell is an owner of a `T` that it shares and drops on any thread.
unsafe impl<T: Send + Sync + 'static> Send for ArcCell<T> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync + 'static> Sync for ArcCell<T> {}

impl<T: Send + Sync + 'static> ArcCell<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            value: Atomic::new(null_mut()),
            _owns: PhantomData,
        }
    }

    /// Runs `f` on the value, if there is one. `f` must not sleep.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _guard = rcu::read_lock();
        let value = self.value.load(ordering::Acquire);
        // SAFETY: By the type invariant the pointer is null or one to a value that is not
        // dropped before this read-side section ends.
        unsafe { value.as_ref() }.map(f)
    }

    /// Takes a reference to the value.
    pub fn load(&self) -> Option<Arc<T>> {
        let _guard = rcu::read_lock();
        let value = self.value.load(ordering::Acquire);
        if value.is_null() {
            return None;
        }
        // SAFETY: By the type invariant the pointer comes from `Arc::into_raw`, and its
        // reference is not given up before this read-side section ends; nobody has a mutable
        // reference to a shared value.
        let borrow = unsafe { ArcBorrow::from_raw(value.cast_const()) };
        Some(borrow.into())
    }

    /// Puts another value in and drops the reference to the old one. Sleeps.
    pub fn replace(&self, value: Option<Arc<T>>) {
        let new = match value {
            Some(value) => Arc::into_raw(value).cast_mut(),
            None => null_mut(),
        };
        // INVARIANT: The new pointer is null or comes from `into_raw`.
        let old = self.value.xchg(new, ordering::Full);
        if !old.is_null() {
            rcu::synchronize_rcu();
            // SAFETY: The pointer came from `into_raw`, the cell owned the reference, and all
            // readers that may have seen it are gone.
            drop(unsafe { Arc::from_raw(old) });
        }
    }
}

impl<T: Send + Sync + 'static> Default for ArcCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Drop for ArcCell<T> {
    fn drop(&mut self) {
        let old = self.value.load(ordering::Relaxed);
        if !old.is_null() {
            // SAFETY: The pointer came from `into_raw`, the cell owned the reference, and nobody
            // can be reading a cell that is being dropped.
            drop(unsafe { Arc::from_raw(old) });
        }
    }
}
