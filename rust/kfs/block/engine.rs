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
//!
//! A file system has queues of its own ([`Workers`]), of as many workers each as it is told: one is
//! enough for all that the lanes promise. Where it has none, or none any more, the module's do.

use crate::bindings;
use core::ptr::null_mut;
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{ordering, Atomic},
        rcu, Arc,
    },
    workqueue::{self, Queue, RawWorkItem},
};

/// What is done on a queue, and may be waited for there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Completions that wait for memory, and I/O.
    Prompt,
    /// Completions that wait for whatever those of the other kind do.
    Patient,
    /// What makes a write durable.
    Durable,
    /// What is computed.
    Compute,
}

/// How many patient completions may be waiting at a time where no file system says.
pub(super) const WAITING: i32 = 64;

/// The queues that there are, by lane; or null.
pub struct Lanes([Atomic<*mut bindings::workqueue_struct>; 4]);

/// Those of the module.
static MODULE: Lanes = Lanes::new();

impl Lanes {
    /// No queues.
    pub const fn new() -> Self {
        Self([const { Atomic::new(null_mut()) }; 4])
    }

    fn slot(&self, lane: Lane) -> &Atomic<*mut bindings::workqueue_struct> {
        let [prompt, patient, durable, compute] = &self.0;
        match lane {
            Lane::Prompt => prompt,
            Lane::Patient => patient,
            Lane::Durable => durable,
            Lane::Compute => compute,
        }
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}

/// Something that has [`Lanes`] for its queues.
trait Place: core::ops::Deref<Target = Lanes> {}

impl Place for &'static Lanes {}

impl Place for Arc<Lanes> {}

/// A work queue, and the lane that leads to it.
struct Owned<L: Place> {
    lanes: L,
    lane: Lane,
    wq: *mut bindings::workqueue_struct,
}

// SAFETY: Work queues can be used and destroyed from any thread, and lanes as well.
unsafe impl<L: Place> Send for Owned<L> {}

// SAFETY: As above.
unsafe impl<L: Place> Sync for Owned<L> {}

impl<L: Place> Owned<L> {
    /// Creates a queue of at most `most` workers at a time, 0 for the kernel's choice. `EBUSY` if the
    /// lane has one.
    fn new(lanes: L, lane: Lane, name: &CStr, most: i32) -> Result<Self> {
        // Readers have a high priority too.
        let urgent = lane == Lane::Prompt;
        // SAFETY: The name is a C string.
        let wq = unsafe { bindings::kfs_io_workqueue(name.as_char_ptr(), urgent, most) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        let queue = Self { lanes, lane, wq };
        let slot = queue.lanes.slot(lane);
        match slot.cmpxchg(null_mut(), wq, ordering::Full) {
            Ok(_) => Ok(queue),
            // Dropping `queue` leaves the other one's entry alone.
            Err(_) => Err(EBUSY),
        }
    }
}

impl<L: Place> Drop for Owned<L> {
    fn drop(&mut self) {
        let slot = self.lanes.slot(self.lane);
        let _ = slot.cmpxchg(self.wq, null_mut(), ordering::Full);
        // Whoever saw the queue before has put its work in, see `enqueue`.
        rcu::synchronize_rcu();
        // SAFETY: Created in `new` and owned, and nobody can find it any more; this waits for
        // what is queued.
        unsafe { bindings::kfs_destroy_workqueue(self.wq) };
    }
}

/// The module's I/O machinery: created once when the module is loaded, dropped when it
/// goes, at which point all completions have run.
///
/// The queues are not bound to CPUs, so that checksums of several requests are verified on
/// several of them, and have a rescuer, because reclaim waits for reads and writes.
pub struct Engine {
    // In this order: what is durable waits for what is patient, and that may do I/O.
    _durable: Owned<&'static Lanes>,
    _patient: Owned<&'static Lanes>,
    _prompt: Owned<&'static Lanes>,
    _compute: Owned<&'static Lanes>,
}

impl Engine {
    /// Creates the queues. `EBUSY` if there are some already.
    pub fn new() -> Result<Self> {
        Ok(Self {
            _compute: Owned::new(&MODULE, Lane::Compute, c"btrfs-compute", 0)?,
            _prompt: Owned::new(&MODULE, Lane::Prompt, c"btrfs-endio", 0)?,
            _patient: Owned::new(&MODULE, Lane::Patient, c"btrfs-ordered", WAITING)?,
            _durable: Owned::new(&MODULE, Lane::Durable, c"btrfs-dsync", 0)?,
        })
    }
}

/// The queues of a file system.
///
/// Must not be dropped on one of them: that waits for what is queued.
pub struct Workers {
    // In this order: see `Engine`.
    patient: Owned<Arc<Lanes>>,
    prompt: Owned<Arc<Lanes>>,
    compute: Owned<Arc<Lanes>>,
}

impl Workers {
    /// Creates queues of at most `most` workers each, which `lanes` leads to. `EBUSY` if it leads to
    /// others.
    pub fn new(lanes: &Arc<Lanes>, most: u32) -> Result<Self> {
        let most = within(most);
        Ok(Self {
            compute: Owned::new(lanes.clone(), Lane::Compute, c"btrfs-compute", most)?,
            prompt: Owned::new(lanes.clone(), Lane::Prompt, c"btrfs-endio", most)?,
            patient: Owned::new(lanes.clone(), Lane::Patient, c"btrfs-ordered", most)?,
        })
    }

    /// Lets each queue have at most `most` workers from now on.
    pub fn resize(&self, most: u32) {
        for queue in [&self.patient, &self.prompt, &self.compute] {
            // SAFETY: The queue is there as long as `self`.
            unsafe { bindings::kfs_resize_workqueue(queue.wq, within(most)) };
        }
    }
}

/// Zero would be the kernel's choice; what is too much, the helpers cut.
fn within(most: u32) -> i32 {
    i32::try_from(most.max(1)).unwrap_or(i32::MAX)
}

/// Puts a completion into its queue: the module's if there are no lanes.
pub(super) fn complete<W>(work: W, lanes: Option<&Lanes>, lane: Lane) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    enqueue(work, lanes.unwrap_or(&MODULE), lane)
}

/// Puts what makes a write durable into its queue.
pub(crate) fn durable<W>(work: W) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    enqueue(work, &MODULE, Lane::Durable)
}

/// Puts work into the queue that `lanes` has for its kind, else the module's, or the system's as long
/// as there is none. In any context.
pub(crate) fn enqueue<W>(work: W, lanes: &Lanes, lane: Lane) -> W::EnqueueOutput
where
    W: RawWorkItem<0> + Send + 'static,
{
    // While it is held, the queue that is found is not destroyed.
    let _guard = rcu::read_lock();
    let mut wq = lanes.slot(lane).load(ordering::Acquire);
    if wq.is_null() {
        wq = MODULE.slot(lane).load(ordering::Acquire);
    }
    if wq.is_null() {
        return workqueue::system_unbound().enqueue(work);
    }
    // SAFETY: `drop` takes the queue out of its lane first, and then waits for all RCU
    // readers before it destroys it.
    unsafe { Queue::from_raw(wq.cast()) }.enqueue(work)
}
