// SPDX-License-Identifier: GPL-2.0

//! Shared ownership that readers may follow under RCU.
//!
//! An [`RcuArc`] is a reference count like [`kernel::sync::Arc`], whose last owner frees the
//! value after a grace period. An [`RcuSlot`] is a place that holds one such pointer or none.
//! Readers that hold an RCU [`Guard`] follow slot after slot without writing to memory that
//! others read; only what they want to keep longer than the guard gets its count raised.
//!
//! ```ignore
//! let guard = rcu::read_lock();
//! let found = slot.load(&guard).and_then(|block| block.upgrade());
//! ```
//!
//! Values are dropped in softirq context: their `Drop` must not sleep. Code of a module that
//! may still have values in flight when it is unloaded calls [`barrier`] first.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::{marker::PhantomData, mem::ManuallyDrop, ops::Deref, ptr, ptr::NonNull};
use kernel::{
    alloc::{AllocError, Flags},
    bindings,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
    types::Opaque,
};

pub use kernel::sync::rcu::{read_lock, Guard};

/// Waits until every value whose last owner is gone has been dropped.
///
/// Sleeps for a grace period and longer.
pub fn barrier() {
    kernel::sync::rcu::rcu_barrier();
}

/// Waits, when dropped, until all values are gone that nobody owns any more.
///
/// For the state of a module, so that no value is dropped after its code has left memory. A
/// value may own others, whose time begins when it is dropped; chains of up to [`Self::DEPTH`]
/// are waited for.
pub struct Settle(());

impl Settle {
    /// Longest chain of values that own each other.
    pub const DEPTH: usize = 10;

    /// To be kept until the module goes.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        for _ in 0..Self::DEPTH {
            barrier();
        }
    }
}

struct Inner<T> {
    /// Owners: [`RcuArc`]s, and [`RcuSlot`]s that hold a pointer. Never rises again from 0.
    refs: Atomic<usize>,
    /// Links the value into RCU's list once `refs` is 0; unused before.
    head: Opaque<bindings::callback_head>,
    value: T,
}

/// A counted pointer to a value that outlives its last owner by an RCU grace period.
///
/// # Invariants
///
/// `ptr` comes from `KBox::into_raw` and is valid; this object owns one count of `refs`.
pub struct RcuArc<T: Send + Sync + 'static> {
    ptr: NonNull<Inner<T>>,
}

// SAFETY: Sending an owner shares `T` between threads and may drop it on another one, which
// `T: Send + Sync` allows.
unsafe impl<T: Send + Sync + 'static> Send for RcuArc<T> {}

// SAFETY: A shared owner gives out `&T` and new owners, which `T: Send + Sync` allows.
unsafe impl<T: Send + Sync + 'static> Sync for RcuArc<T> {}

impl<T: Send + Sync + 'static> RcuArc<T> {
    /// Moves `value` to the heap, with one owner.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        let inner = KBox::new(
            Inner {
                refs: Atomic::new(1),
                head: Opaque::uninit(),
                value,
            },
            flags,
        )?;
        // SAFETY: `KBox::into_raw` never returns null.
        let ptr = unsafe { NonNull::new_unchecked(KBox::into_raw(inner)) };
        // INVARIANT: `ptr` is from `KBox::into_raw`, and `refs` was set to this one owner.
        Ok(Self { ptr })
    }

    /// Whether both point to the same value.
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        a.ptr == b.ptr
    }

    /// Number of owners at some moment; only a hint while others can make more.
    pub fn count(this: &Self) -> usize {
        this.inner().refs.load(Relaxed)
    }

    /// Views the value as a reader does.
    pub fn as_rcu(&self) -> RcuRef<'_, T> {
        // INVARIANT: `self` keeps the value alive for the lifetime.
        RcuRef {
            ptr: self.ptr,
            _life: PhantomData,
        }
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type invariants, `ptr` is valid while `self` owns a count.
        unsafe { self.ptr.as_ref() }
    }

    /// Gives up the owner without lowering the count.
    fn into_ptr(self) -> *mut Inner<T> {
        ManuallyDrop::new(self).ptr.as_ptr()
    }

    /// Takes over an owner from [`Self::into_ptr`].
    ///
    /// # Safety
    ///
    /// `ptr` is null or from [`Self::into_ptr`], each call of which is undone at most once.
    unsafe fn from_ptr(ptr: *mut Inner<T>) -> Option<Self> {
        // INVARIANT: The count that `into_ptr` left behind belongs to this object now.
        NonNull::new(ptr).map(|ptr| Self { ptr })
    }
}

impl<T: Send + Sync + 'static> Deref for RcuArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: Send + Sync + 'static> Clone for RcuArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        // `self` is an owner, so the count is not 0. It cannot overflow: each owner takes
        // memory of its own, or is leaked a word at a time.
        self.inner().refs.add(1usize, Relaxed);
        // INVARIANT: The count was just raised for this object.
        Self { ptr: self.ptr }
    }
}

impl<T: Send + Sync + 'static> Drop for RcuArc<T> {
    fn drop(&mut self) {
        let inner = self.inner();
        if inner.refs.fetch_sub(1usize, Full) != 1 {
            return;
        }
        // SAFETY: The count fell to 0 and never rises again, so `head` is handed over only
        // once; the value is freed no sooner than `free` runs.
        unsafe { bindings::call_rcu(inner.head.get(), Some(free::<T>)) };
    }
}

/// Drops a value a grace period after its last owner is gone.
///
/// # Safety
///
/// Called by RCU only, for a `head` passed to `call_rcu` by [`RcuArc`]'s `drop`.
unsafe extern "C" fn free<T>(head: *mut bindings::callback_head) {
    let head = Opaque::cast_from(head);
    // SAFETY: By the safety requirements, `head` is that field of an `Inner<T>`.
    let inner = unsafe { kernel::container_of!(head, Inner<T>, head) };
    // SAFETY: The pointer is from `KBox::into_raw`, no owner is left and all readers that
    // could have seen it have left their critical sections.
    drop(unsafe { KBox::from_raw(inner.cast_mut()) });
}

/// A value seen under RCU, or through an owner that lives for `'g`.
///
/// # Invariants
///
/// The value behind `ptr` is not freed during `'g`.
pub struct RcuRef<'g, T: Send + Sync + 'static> {
    ptr: NonNull<Inner<T>>,
    _life: PhantomData<&'g T>,
}

impl<T: Send + Sync + 'static> Clone for RcuRef<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for RcuRef<'_, T> {}

impl<'g, T: Send + Sync + 'static> RcuRef<'g, T> {
    /// The value, for as long as the guard or owner behind this reference lives.
    #[inline]
    pub fn get(self) -> &'g T {
        // SAFETY: By the type invariants, the value lives for `'g`.
        unsafe { &(*self.ptr.as_ptr()).value }
    }

    /// Becomes an owner, unless the last one is gone already.
    #[inline]
    pub fn upgrade(self) -> Option<RcuArc<T>> {
        // SAFETY: By the type invariants, the memory is valid for `'g`.
        let refs = unsafe { &(*self.ptr.as_ptr()).refs };
        let mut old = refs.load(Relaxed);
        while old != 0 {
            match refs.cmpxchg(old, old.wrapping_add(1), Full) {
                // INVARIANT: The count was raised for this object, and it was not 0.
                Ok(_) => return Some(RcuArc { ptr: self.ptr }),
                Err(now) => old = now,
            }
        }
        None
    }
}

impl<T: Send + Sync + 'static> Deref for RcuRef<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.get()
    }
}

/// A place for one [`RcuArc`] or none.
///
/// # Invariants
///
/// The pointer is null or from `RcuArc::into_ptr`, whose count this slot owns.
pub struct RcuSlot<T: Send + Sync + 'static> {
    ptr: Atomic<*mut Inner<T>>,
    _owns: PhantomData<RcuArc<T>>,
}

// SAFETY: The slot is an owner of `T` that can be changed through a shared reference, which
// `T: Send + Sync` allows.
unsafe impl<T: Send + Sync + 'static> Send for RcuSlot<T> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync + 'static> Sync for RcuSlot<T> {}

impl<T: Send + Sync + 'static> RcuSlot<T> {
    /// An empty slot.
    pub fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            ptr: Atomic::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// What the slot holds, valid while `guard` is held.
    #[inline]
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        let ptr = NonNull::new(self.ptr.load(Acquire))?;
        // INVARIANT: The slot owned the value when the pointer was read, so the value was not
        // handed to `call_rcu` before `guard` was taken, and cannot be freed while it is held.
        Some(RcuRef {
            ptr,
            _life: PhantomData,
        })
    }

    /// Whether the slot holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ptr.load(Relaxed).is_null()
    }

    /// Fills an empty slot. A slot that is full stays as it is, and `value` is given back.
    pub fn fill(&self, value: RcuArc<T>) -> Result<(), RcuArc<T>> {
        let new = value.into_ptr();
        match self.ptr.cmpxchg(ptr::null_mut(), new, Full) {
            // INVARIANT: The slot took over the count.
            Ok(_) => Ok(()),
            // SAFETY: `new` is from `into_ptr` above and was not stored.
            Err(_) => unsafe { RcuArc::from_ptr(new) }.map_or(Ok(()), Err),
        }
    }

    /// Puts `value` into the slot and returns what was there before.
    pub fn replace(&self, value: Option<RcuArc<T>>) -> Option<RcuArc<T>> {
        let new = value.map_or(ptr::null_mut(), RcuArc::into_ptr);
        let old = self.ptr.xchg(new, Full);
        // SAFETY: By the type invariants, `old` is null or from `into_ptr`, and the slot no
        // longer owns it.
        unsafe { RcuArc::from_ptr(old) }
    }
}

impl<T: Send + Sync + 'static> Default for RcuSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Drop for RcuSlot<T> {
    fn drop(&mut self) {
        drop(self.replace(None));
    }
}
