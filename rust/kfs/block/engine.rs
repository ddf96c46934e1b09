// SPDX-License-Identifier: GPL-2.0

//! Where the completions of requests run, and what is computed for them.
//!
//! There are several queues, so that nobody waits for what is queued behind him. Completions that wait
//! for nothing but memory and further I/O ([`Lane::Prompt`]) get through whatever the others do:
//! those of a commit are among them. Completions that may wait for a commit, as those of data
//! writes that end in a transaction, have a queue of their own ([`Lane::Patient`]). With one queue,
//! all workers, or the rescuer where memory is short, could wait for a commit whose writes end
//! behind them. Making a direct write durable waits for completions of either kind, and nobody waits for
//! it but the writer. What several processors compute together ([`parallel`](crate::parallel)) waits for
//! memory, and nobody waits for it before it runs; its queue has no high priority.

use crate::bindings;
use core::ptr::null_mut;
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{ordering, Atomic},
        rcu,
    },
    workqueue::{self, Queue, RawWorkItem},
};

/// What a completion may wait for, which says where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Memory, and I/O.
    Prompt,
    /// Whatever those of the other kind do.
    Patient,
}

/// The work queues of the module's completions, and of what is computed, or null.
static PROMPT: Atomic<*mut bindings::workqueue_struct> = Atomic::new(null_mut());
static PATIENT: Atomic<*mut bindings::workqueue_struct> = Atomic::new(null_mut());
static DURABLE: Atomic<*mut bindings::workqueue_struct> = Atomic::new(null_mut());
static COMPUTE: Atomic<*mut bindings::workqueue_struct> = Atomic::new(null_mut());

/// How many patient completions may be waiting at a time.
pub(super) const WAITING: i32 = 64;

/// A work queue that completions are put into.
struct Completions {
    slot: &'static Atomic<*mut bindings::workqueue_struct>,
    wq: *mut bindings::workqueue_struct,
}

/// The module's I/O machinery: created once when the module is loaded, dropped when it
/// goes, at which point all completions have run.
///
/// The queues are not bound to CPUs, so that checksums of several requests are verified on
/// several of them, and have a rescuer, because reclaim waits for reads and writes. The prompt one
/// has a high priority, because readers do too.
pub struct Engine {
    // In this order: what is durable waits for what is patient, and that may do I/O.
    _durable: Completions,
    _patient: Completions,
    _prompt: Completions,
    _compute: Completions,
}

// SAFETY: Work queues can be destroyed from any thread.
unsafe impl Send for Completions {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl Sync for Completions {}

impl Engine {
    /// Creates the queues. `EBUSY` if there are some already.
    pub fn new() -> Result<Self> {
        Ok(Self {
            _compute: Completions::new(&COMPUTE, c"btrfs-compute", false, 0)?,
            _prompt: Completions::new(&PROMPT, c"btrfs-endio", true, 0)?,
            _patient: Completions::new(&PATIENT, c"btrfs-ordered", false, WAITING)?,
            _durable: Completions::new(&DURABLE, c"btrfs-dsync", false, 0)?,
        })
    }
}

impl Completions {
    fn new(
        slot: &'static Atomic<*mut bindings::workqueue_struct>,
        name: &CStr,
        urgent: bool,
        most: i32,
    ) -> Result<Self> {
        // SAFETY: The name is a C string.
        let wq = unsafe { bindings::kfs_io_workqueue(name.as_char_ptr(), urgent, most) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        let queue = Self { slot, wq };
        match slot.cmpxchg(null_mut(), wq, ordering::Full) {
            Ok(_) => Ok(queue),
            // Dropping `queue` leaves the other one's entry alone.
            Err(_) => Err(EBUSY),
        }
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let _ = self.slot.cmpxchg(self.wq, null_mut(), ordering::Full);
        // Whoever saw the queue before has put its work in, see `enqueue`.
        rcu::synchronize_rcu();
        // SAFETY: Created in `new` and owned, and nobody can find it any more; this waits for
        // what is queued.
        unsafe { bindings::kfs_destroy_workqueue(self.wq) };
    }
}

/// Puts a completion into the module's queue for its kind, or the system's as long as there is
/// none. In any context.
pub(super) fn complete<W>(work: W, lane: Lane) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    let slot = match lane {
        Lane::Prompt => &PROMPT,
        Lane::Patient => &PATIENT,
    };
    enqueue(work, slot)
}

/// Puts what is to be computed into its queue.
pub(crate) fn compute<W>(work: W) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    enqueue(work, &COMPUTE)
}

/// Puts what makes a write durable into its queue.
pub(crate) fn durable<W>(work: W) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    enqueue(work, &DURABLE)
}

fn enqueue<W>(work: W, slot: &Atomic<*mut bindings::workqueue_struct>) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    // While it is held, the queue that is found is not destroyed.
    let _guard = rcu::read_lock();
    let wq = slot.load(ordering::Acquire);
    if wq.is_null() {
        return workqueue::system_unbound().enqueue(work);
    }
    // SAFETY: `drop` takes the queue out of the static first, and then waits for all RCU
    // readers before it destroys it.
    unsafe { Queue::from_raw(wq.cast()) }.enqueue(work)
}
