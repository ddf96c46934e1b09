// SPDX-License-Identifier: GPL-2.0

//! Shrinkers: caches that give memory back when the system runs short.
//!
//! C header: [`include/linux/shrinker.h`](srctree/include/linux/shrinker.h)

use crate::bindings;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{ffi::c_ulong, prelude::*, str::CStr, sync::Arc};

/// What the C callbacks return for "nothing there" and "no progress"; macros with casts in C.
const SHRINK_EMPTY: c_ulong = c_ulong::MAX - 1;
const SHRINK_STOP: c_ulong = c_ulong::MAX;

/// A cache that can be made smaller.
///
/// Both functions run in the context of whoever allocates memory, possibly deep in a
/// file system: they may take only locks under which nobody allocates with reclaim.
pub trait Shrink: Send + Sync + 'static {
    /// How many objects could be freed now. Cheap, and may be approximate.
    fn count(&self) -> usize;

    /// Looks at up to `nr` objects and frees what it can; returns how many it freed,
    /// or `None` when it cannot make progress in this context.
    ///
    /// `may_enter_fs` is false when the allocation came from inside of a file system
    /// (`GFP_NOFS`).
    fn scan(&self, nr: usize, may_enter_fs: bool) -> Option<usize>;
}

/// Registration of a [`Shrink`] cache with memory reclaim.
///
/// # Invariants
///
/// `ptr` is a shrinker made by `shrinker_alloc` and registered, whose `private_data` is a
/// pointer from `Arc::<T>::into_raw` that this value owns.
pub struct Shrinker<T: Shrink> {
    ptr: NonNull<bindings::shrinker>,
    _cache: PhantomData<Arc<T>>,
}

// SAFETY: A registration can be ended from any thread, and `Arc<T>` is `Send` as `T` is
// `Send` and `Sync`.
unsafe impl<T: Shrink> Send for Shrinker<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Shrink> Sync for Shrinker<T> {}

impl<T: Shrink> Shrinker<T> {
    /// Registers `cache` under `name` (as debugfs shows it), with reclaim's default
    /// cost per object.
    pub fn register(name: &'static CStr, cache: Arc<T>) -> Result<Self> {
        // SAFETY: The format takes one C string, which is what is passed.
        let ptr =
            unsafe { bindings::shrinker_alloc(0, c"%s".as_char_ptr().cast(), name.as_char_ptr()) };
        let ptr = NonNull::new(ptr).ok_or(ENOMEM)?;
        let shrinker = ptr.as_ptr();
        // SAFETY: Freshly allocated and not registered, so nobody else looks at it.
        unsafe {
            (*shrinker).count_objects = Some(Self::count_objects);
            (*shrinker).scan_objects = Some(Self::scan_objects);
            (*shrinker).private_data = Arc::into_raw(cache).cast_mut().cast();
        }
        // SAFETY: Allocated by `shrinker_alloc` and completely set up.
        unsafe { bindings::shrinker_register(shrinker) };
        // INVARIANT: See above.
        Ok(Self {
            ptr,
            _cache: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by reclaim for a shrinker that [`register`](Self::register) made.
    unsafe extern "C" fn count_objects(
        shrinker: *mut bindings::shrinker,
        _sc: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: Reclaim calls this only between registration and the end of `shrinker_free`,
        // while `private_data` is the `Arc<T>` of the registration.
        let cache = unsafe { &*(*shrinker).private_data.cast::<T>() };
        match cache.count() {
            0 => SHRINK_EMPTY,
            n => n,
        }
    }

    /// # Safety
    ///
    /// As for `count_objects`.
    unsafe extern "C" fn scan_objects(
        shrinker: *mut bindings::shrinker,
        sc: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: As in `count_objects`.
        let cache = unsafe { &*(*shrinker).private_data.cast::<T>() };
        // SAFETY: Reclaim passes its own valid control structure.
        let (nr, gfp) = unsafe { ((*sc).nr_to_scan, (*sc).gfp_mask) };
        cache
            .scan(nr, gfp & bindings::__GFP_FS != 0)
            .unwrap_or(SHRINK_STOP)
    }
}

impl<T: Shrink> Drop for Shrinker<T> {
    fn drop(&mut self) {
        let shrinker = self.ptr.as_ptr();
        // SAFETY: By the type invariant the shrinker is valid.
        let cache = unsafe { (*shrinker).private_data }.cast_const().cast::<T>();
        // SAFETY: By the type invariant it is registered; this waits for running calls.
        unsafe { bindings::shrinker_free(shrinker) };
        // SAFETY: By the type invariant this came from `Arc::into_raw`, and no call uses it
        // any more.
        drop(unsafe { Arc::from_raw(cache) });
    }
}
