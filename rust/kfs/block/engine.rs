// SPDX-License-Identifier: GPL-2.0

//! Where the completions of requests run.

use crate::bindings;
use core::ptr::null_mut;
use kernel::{
    prelude::*,
    sync::{
        atomic::{ordering, Atomic},
        rcu,
    },
    workqueue::{self, Queue, RawWorkItem},
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
        // Whoever saw the queue before has put its work in, see `complete`.
        rcu::synchronize_rcu();
        // SAFETY: Created in `new` and owned, and nobody can find it any more; this waits for
        // what is queued.
        unsafe { bindings::kfs_destroy_workqueue(self.wq) };
    }
}

/// Puts a completion into the module's queue, or the system's as long as there is none. In any
/// context.
pub(super) fn complete<W>(work: W) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    // While it is held, the queue that is found is not destroyed.
    let _guard = rcu::read_lock();
    let wq = COMPLETIONS.load(ordering::Acquire);
    if wq.is_null() {
        return workqueue::system_unbound().enqueue(work);
    }
    // SAFETY: `drop` takes the queue out of the static first, and then waits for all RCU
    // readers before it destroys it.
    unsafe { Queue::from_raw(wq.cast()) }.enqueue(work)
}
