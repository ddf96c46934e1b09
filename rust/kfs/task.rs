// SPDX-License-Identifier: GPL-2.0

//! The current task.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use crate::bindings;
use core::fmt;
use kernel::task::Task;

/// The name of a task, as `ps` shows it.
#[derive(Clone, Copy)]
pub struct Comm([u8; 16]);

impl Comm {
    /// The name of the current task.
    pub fn current() -> Self {
        // SAFETY: The current task is valid while it runs. Its name may be changed by another
        // thread meanwhile; then the copy is a mixture of two names.
        let comm = unsafe { core::ptr::addr_of!((*Task::current_raw()).comm).read_volatile() };
        Self(comm)
    }

    /// Its bytes, without terminator.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|b| *b == 0).next().unwrap_or(&[])
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.as_bytes().utf8_chunks() {
            f.write_str(part.valid())?;
            if !part.invalid().is_empty() {
                f.write_str("?")?;
            }
        }
        Ok(())
    }
}

/// The number of the current thread; neighbouring threads have neighbouring numbers.
pub fn current_tid() -> u32 {
    // SAFETY: The current task is valid while it runs; its number does not change.
    let pid = unsafe { (*Task::current_raw()).pid };
    pid.unsigned_abs()
}

/// Lets other tasks run if they wait for the CPU; for long loops that do not sleep otherwise.
///
/// Only where sleeping is allowed.
pub fn cond_resched() {
    // SAFETY: Always allowed in process context; elsewhere it is a bug that the scheduler
    // reports, but no matter of memory.
    unsafe { bindings::kfs_cond_resched() };
}

/// Whether the current task has a signal to look at, so that what takes long should end early.
pub fn is_interrupted() -> bool {
    // SAFETY: Only looks at the current task.
    unsafe { bindings::kfs_signal_pending() }
}

/// Whether the current task is about to be killed, so that nobody waits for what it does.
pub fn is_killed() -> bool {
    // SAFETY: Only looks at the current task.
    unsafe { bindings::kfs_fatal_signal_pending() }
}
