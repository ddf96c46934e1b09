// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::bindings;
use core::{
    ffi::{c_int, c_void},
    ptr::NonNull,
};
use kernel::{error::from_err_ptr, prelude::*, str::CStr, time::Jiffies, types::NotThreadSafe};

/// A thread of the kernel that is stopped, and waited for, when this is dropped.
///
/// # Invariants
///
/// `task` is a thread made by [`KThread::spawn`] that `kthread_stop` has not been called for; so its
/// task exists: the function of the thread does not return before that call. `data` is the box
/// that the thread takes when it runs for the first time, and `forget` drops such a box.
pub struct KThread {
    task: NonNull<bindings::task_struct>,
    data: *mut c_void,
    forget: unsafe fn(*mut c_void),
}

// SAFETY: A thread may be stopped by any other; the box is `Send`.
unsafe impl Send for KThread {}
// SAFETY: Nothing can be done through a shared reference.
unsafe impl Sync for KThread {}

/// Tells a thread whether it is asked to end; only the thread itself has one.
pub struct Stop(NotThreadSafe);

impl Stop {
    /// Whether the thread is asked to end. Whoever asks wakes the thread.
    pub fn requested(&self) -> bool {
        // SAFETY: Called in a thread made by `kthread_create`, because only such have a `Stop`.
        unsafe { bindings::kthread_should_stop() }
    }

    /// Sleeps for a time, or until the thread is asked to end.
    pub fn sleep(&self, time: Jiffies) {
        // SAFETY: As above; the thread holds nothing that must not sleep, or the scheduler reports
        // that.
        unsafe { bindings::kfs_kthread_sleep(time) };
    }
}

impl KThread {
    /// Starts a thread called `name` that runs `f`.
    ///
    /// `f` should return when [`Stop::requested`] says so; if it returns earlier, the thread
    /// sleeps until then.
    pub fn spawn<F: FnOnce(&Stop) + Send + 'static>(name: &CStr, f: F) -> Result<Self> {
        let data: *mut c_void = KBox::into_raw(KBox::new(f, GFP_KERNEL)?).cast();
        // SAFETY: The function gets the box it wants; the name is copied.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<F>),
                data,
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        });
        let task = match task {
            Ok(task) => NonNull::new(task).ok_or(ENOMEM)?,
            Err(e) => {
                // SAFETY: There is no thread, so the box is still ours.
                unsafe { forget::<F>(data) };
                return Err(e);
            }
        };
        // SAFETY: The new thread sleeps until it is woken for the first time.
        unsafe { bindings::wake_up_process(task.as_ptr()) };
        // INVARIANT: Just made.
        Ok(Self {
            task,
            data,
            forget: forget::<F>,
        })
    }
}

impl Drop for KThread {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the task exists.
        let result = unsafe { bindings::kthread_stop(self.task.as_ptr()) };
        if result != 0 {
            // SAFETY: The thread was stopped before it ran, so it did not take the box.
            unsafe { (self.forget)(self.data) };
        }
    }
}

/// # Safety
///
/// `data` is a box of an `F` that the caller gives up.
unsafe fn forget<F>(data: *mut c_void) {
    // SAFETY: By the requirement of this function.
    drop(unsafe { KBox::<F>::from_raw(data.cast()) });
}

/// # Safety
///
/// Called by the kernel as the function of a new thread, with a box of an `F`.
unsafe extern "C" fn run<F: FnOnce(&Stop)>(data: *mut c_void) -> c_int {
    // SAFETY: By the requirement of this function; called once.
    let f = KBox::into_inner(unsafe { KBox::<F>::from_raw(data.cast()) });
    f(&Stop(NotThreadSafe));
    // The task must exist until somebody asks it to end.
    // SAFETY: Called in a kernel thread.
    unsafe { bindings::kfs_kthread_wait_stop() };
    0
}
