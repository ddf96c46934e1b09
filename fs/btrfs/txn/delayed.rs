// SPDX-License-Identifier: GPL-2.0

//! Delayed data: having all of it written, for space or for a commit.
//!
//! A thread of its own does it, because who wants it may hold locks that the VFS wants for it. It
//! goes by the super block ([`DelayedData`]), if that can be had without waiting: while the file
//! system is mounted, remounted, frozen or unmounted it cannot, and then there is nothing delayed
//! that the VFS does not write by itself.
//!
//! # `flushoncommit`
//!
//! With this option the committing thread has it written before every commit, and waits. That what
//! is written ends in transactions of its own is no problem: these wait for no commit, but where
//! there is no room for their tree blocks, or no memory for their changes. So whoever waits for a
//! commit and may be waited for by the writing of data - all of [`Urgency::Deleting`], which
//! completions are at their last try, and so are the writing of inodes and their removal - says so
//! ([`Txn::commit_urgently`]). Then the commit waits for data no longer, and the next one does. This is
//! the only case in which a commit leaves delayed data out; what is done under one handle is in one
//! transaction all the same.
//!
//! [`Urgency::Deleting`]: crate::space::Urgency

use kernel::prelude::*;
use kernel::sync::{atomic::Relaxed, Arc};
use kfs::kthread::Stop;

use super::Txn;
use crate::space::Flusher;

/// Writes out what the page cache has for a file system.
pub(crate) trait DelayedData: Send + Sync {
    /// Writes all of it and waits, if that can be begun without waiting.
    fn write(&self);
}

/// How often delayed data was to be written, and was.
#[derive(Clone, Copy, Default)]
pub(super) struct Rounds {
    asked: u64,
    begun: u64,
    done: u64,
}

impl Flusher for Txn {
    fn commit(&self, urgent: bool) -> Result {
        match urgent {
            true => self.commit_urgently()?,
            false => Txn::commit(self)?,
        }
        Txn::reap(self);
        Ok(())
    }

    fn reap(&self) {
        Txn::reap(self);
    }

    fn write_delayed(&self) {
        self.write_all_delayed(false);
    }

    fn is_dropping(&self) -> bool {
        Txn::is_dropping(self)
    }
}

impl Txn {
    /// How delayed data is written; `None` before the file system is torn down.
    pub(crate) fn set_delayed_data(&self, how: Option<Arc<dyn DelayedData>>) {
        let old = core::mem::replace(&mut *self.delayed_data.lock(), how);
        drop(old);
    }

    /// Whether commits wait until delayed data is written.
    pub(crate) fn set_flush_on_commit(&self, on: bool) {
        self.flush_on_commit.store(on, Relaxed);
    }

    /// For the committing thread: has delayed data written if every commit is to have it.
    pub(super) fn write_before_commit(&self) {
        if self.flush_on_commit.load(Relaxed) {
            self.write_all_delayed(true);
        }
    }

    /// Somebody waits for a commit that delayed data may wait for, or does not any more.
    pub(super) fn hurry(&self, begin: bool) {
        let mut progress = self.progress.lock();
        progress.urgent = match begin {
            true => progress.urgent.saturating_add(1),
            false => progress.urgent.saturating_sub(1),
        };
        drop(progress);
        self.notify_delayed();
    }

    pub(super) fn notify_delayed(&self) {
        self.delayed_written.notify_all();
    }

    /// Has all that is delayed now written, and waits; with `for_commit` not when somebody waits for
    /// the commit.
    fn write_all_delayed(&self, for_commit: bool) {
        let mut progress = self.progress.lock();
        // What is being written may have been begun before the caller's data was there.
        let round = progress.delayed.begun.saturating_add(1);
        progress.delayed.asked = progress.delayed.asked.max(round);
        self.delayed_asked.notify_all();
        while progress.delayed.done < round && !progress.stopping && progress.failed().is_none() {
            if for_commit && progress.urgent > 0 {
                return;
            }
            self.delayed_written.wait(&mut progress);
        }
    }

    /// The thread that writes delayed data.
    pub(super) fn run_delayed(&self, stop: &Stop) {
        let mut progress = self.progress.lock();
        while !progress.stopping && !stop.requested() {
            if progress.delayed.begun >= progress.delayed.asked {
                let _ = self.delayed_asked.wait_interruptible(&mut progress);
                continue;
            }
            progress.delayed.begun = progress.delayed.begun.saturating_add(1);
            let round = progress.delayed.begun;
            drop(progress);
            let how = self.delayed_data.lock().clone();
            if let Some(how) = how {
                how.write();
            }
            progress = self.progress.lock();
            progress.delayed.done = round;
            self.notify_delayed();
        }
    }
}
