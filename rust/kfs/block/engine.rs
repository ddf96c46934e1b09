// SPDX-License-Identifier: GPL-2.0

//! Where the completions of requests run.

use crate::bindings;
use core::ptr::null_mut;
use kernel::{
    prelude::*,
    sync::atomic::{ordering, Atomic},
    workqueue::{self, Queue},
};

/// The work queue of the module's completions, or null.
static COMPLETIONS: Atomic<*mut bindings::workqueue_struct> = Atomic::new(null_mut());

/// The module's I/O machinery: created once when the module is loaded, dropped when it
/// goes, at which point all completions have run.
///
/// The queue is not bound to CPUs, so that checksums of several requests are verified on
/// several of them, has a rescuer, because reclaim waits for reads, and a high priority,
/// because readers do too.
pub struct Engine {
    wq: *mut bindings::workqueue_struct,
}

// SAFETY: Work queues can be destroyed from any thread.
unsafe impl Send for Engine {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl Sync for Engine {}

impl Engine {
    /// Creates the queue. `EBUSY` if there is one already.
    pub fn new() -> Result<Self> {
        // SAFETY: The name is a C string.
        let wq = unsafe { bindings::kfs_io_workqueue(c"btrfs-endio".as_char_ptr(), true) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        let engine = Self { wq };
        match COMPLETIONS.cmpxchg(null_mut(), wq, ordering::Full) {
            Ok(_) => Ok(engine),
            // Dropping `engine` leaves the other one's entry alone.
            Err(_) => Err(EBUSY),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = COMPLETIONS.cmpxchg(self.wq, null_mut(), ordering::Full);
        // SAFETY: Created in `new` and owned; this waits for what is queued.
        unsafe { bindings::kfs_destroy_workqueue(self.wq) };
    }
}

/// The queue for completions: the module's, or the system's as long as there is none.
///
/// Requests are in flight only while file systems are mounted, and the module cannot go
/// before them: so the queue does not go either while somebody uses the reference.
pub(super) fn completions() -> &'static Queue {
    let wq = COMPLETIONS.load(ordering::Acquire);
    if wq.is_null() {
        return workqueue::system_unbound();
    }
    // SAFETY: A live queue, see above.
    unsafe { Queue::from_raw(wq.cast()) }
}
