// SPDX-License-Identifier: GPL-2.0

//! Loops of which several processors take a share.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! The caller takes turns like everybody else, and waits only for turns that somebody is at: what
//! no other processor has time for, it does itself. So nothing can get stuck here, and where there
//! is no memory for helpers it is an ordinary loop.
//!
//! # Why this is sound
//!
//! The loop's body is on the stack of the caller. A helper gets at it only by taking a turn, and the
//! caller waits until all turns are over. A helper that comes late finds no turn left, and does not
//! look at the body; what it does look at is counted.

use crate::{
    bindings,
    block::{self, Lane, Lanes},
    mem,
};
use core::{ptr::from_ref, slice};
use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::{
        atomic::{ordering, Atomic},
        Arc, Completion,
    },
    workqueue::{Work, WorkItem},
};

/// Processors that help, at most.
const HELPERS: usize = 15;

/// A loop under way.
#[pin_data]
struct Loop {
    /// Calls the body.
    call: unsafe fn(*const (), usize),
    body: *const (),
    turns: usize,
    /// The next turn that nobody has taken.
    next: Atomic<usize>,
    /// Turns that are not over.
    left: Atomic<usize>,
    #[pin]
    done: Completion,
}

// SAFETY: The body may be called by any thread ([`for_each`] wants it to be `Sync`), and the rest
// is made for that.
unsafe impl Send for Loop {}

// SAFETY: As above.
unsafe impl Sync for Loop {}

impl Loop {
    /// Takes turns until none is left.
    fn help(&self) {
        loop {
            let turn = self.next.fetch_add(1, ordering::Relaxed);
            if turn >= self.turns {
                return;
            }
            // SAFETY: The turn is this thread's, and not over: the caller of `for_each` waits, and
            // with it the body stays.
            unsafe { (self.call)(self.body, turn) };
            if self.left.fetch_sub(1, ordering::Full) == 1 {
                self.done.complete_all();
            }
        }
    }
}

/// A processor that takes part.
#[pin_data]
struct Helper {
    shared: Arc<Loop>,
    #[pin]
    work: Work<Helper>,
}

impl_has_work! {
    impl HasWork<Self> for Helper { self.work }
}

impl Helper {
    /// Lets another processor help. Not generic, as lockdep wants one name for one class.
    fn start(shared: Arc<Loop>, lanes: &Lanes) -> Result {
        let helper = pin_init!(Self {
            shared,
            work <- new_work!("kfs::parallel"),
        });
        block::enqueue(KBox::pin_init(helper, GFP_KERNEL)?, lanes, Lane::Compute);
        Ok(())
    }
}

impl WorkItem for Helper {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        // The caller may be in the middle of writing back.
        let _nofs = mem::NoFs::enter();
        this.shared.help();
    }
}

/// # Safety
///
/// `body` points to an `F` that stays during the call.
unsafe fn call<F: Fn(usize)>(body: *const (), turn: usize) {
    // SAFETY: As the caller promises.
    unsafe { (*body.cast::<F>())(turn) }
}

/// Calls `body` with each number below `turns`, in any order, on as many processors as there are to be
/// had, and as these queues have workers; returns when all calls have.
///
/// Sleeps. A turn should take longer than waking a processor, some ten microseconds.
pub fn for_each<F: Fn(usize) + Sync>(lanes: &Lanes, turns: usize, body: F) {
    // SAFETY: The function has no requirements.
    let processors = unsafe { bindings::kfs_online_cpus() } as usize;
    let helpers = HELPERS
        .min(processors.saturating_sub(1))
        .min(turns.saturating_sub(1));
    // What the initialiser names it takes into itself: not the body, which must not move.
    let at = from_ref(&body).cast::<()>();
    let left = Atomic::new(turns);
    let shared = pin_init!(Loop {
        call: call::<F>,
        body: at,
        turns,
        next: Atomic::new(0),
        left,
        done <- Completion::new(),
    });
    let shared = match helpers {
        0 => None,
        _ => Arc::pin_init(shared, GFP_KERNEL).ok(),
    };
    let Some(shared) = shared else {
        return (0..turns).for_each(&body);
    };
    for _ in 0..helpers {
        if Helper::start(shared.clone(), lanes).is_err() {
            break;
        }
    }
    shared.help();
    // All turns are taken, by helpers that run.
    shared.done.wait_for_completion();
}

/// Where a slice is that turns divide among themselves.
struct Pieces<T>(*mut T);

// SAFETY: Each element is accessed by one thread at a time, which `T: Send` allows.
unsafe impl<T: Send> Sync for Pieces<T> {}

/// Cuts `data` into pieces of `size` elements (the last one may be shorter) and calls `body` with each,
/// and with the number of its first element, as [`for_each`] does.
pub fn chunks_mut<T: Send>(
    lanes: &Lanes,
    data: &mut [T],
    size: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let (len, size) = (data.len(), size.max(1));
    let pieces = Pieces(data.as_mut_ptr());
    for_each(lanes, len.div_ceil(size), |turn| {
        // Of the struct, not of its field: that is what can be shared.
        let pieces = &pieces;
        let start = turn * size;
        let piece = size.min(len - start);
        // SAFETY: The elements from `start` on are in `data`, which is borrowed for the time of the
        // call, and belong to this turn alone.
        body(start, unsafe {
            slice::from_raw_parts_mut(pieces.0.add(start), piece)
        });
    });
}

#[::kernel::macros::kunit_tests(kfs_parallel)]
mod tests {
    use super::*;

    /// Each turn is taken once.
    #[test]
    fn all_turns() -> Result {
        for turns in [0usize, 1, 2, 100] {
            let taken = [const { Atomic::<u32>::new(0) }; 100];
            for_each(&Lanes::new(), turns, |turn| {
                if let Some(taken) = taken.get(turn) {
                    taken.add(1, ordering::Relaxed);
                }
            });
            for (turn, taken) in taken.iter().enumerate() {
                assert_eq!(taken.load(ordering::Relaxed), u32::from(turn < turns));
            }
        }
        Ok(())
    }

    /// Each element is in one piece.
    #[test]
    fn all_pieces() -> Result {
        for len in [0usize, 1, 7, 8, 9] {
            let mut data = [usize::MAX; 9];
            chunks_mut(
                &Lanes::new(),
                data.get_mut(..len).unwrap_or_default(),
                4,
                |start, piece| {
                    for (index, element) in piece.iter_mut().enumerate() {
                        *element = start + index;
                    }
                },
            );
            for (index, element) in data.iter().enumerate() {
                assert_eq!(*element, if index < len { index } else { usize::MAX });
            }
        }
        Ok(())
    }
}
