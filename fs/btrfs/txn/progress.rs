// SPDX-License-Identifier: GPL-2.0

//! Asking for commits, and waiting for them.

use btrfs_format::types::Generation;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::time::msecs_to_jiffies;
use kfs::kthread::Stop;
use kfs::mem::NoFs;

use super::delayed::Rounds;
use super::{Demand, Txn};
use crate::space::{Spare, Urgency};

/// How far transactions have got.
pub(super) struct Progress {
    /// The last one that is durable.
    durable: Generation,
    /// The last one that somebody wants to be durable.
    wanted: Generation,
    /// The first error of a commit.
    failed: Option<Error>,
    /// The thread is to end when nothing is wanted any more.
    pub(super) stopping: bool,
    /// The thread is to do nothing.
    parked: bool,
    /// The thread is at work.
    busy: bool,
    /// How often delayed data was to be written, and was.
    pub(super) delayed: Rounds,
    /// How many wait for a commit that delayed data may wait for.
    pub(super) urgent: u32,
}

impl Progress {
    pub(super) fn new(durable: Generation) -> Self {
        Self {
            durable,
            wanted: durable,
            failed: None,
            stopping: false,
            parked: false,
            busy: false,
            delayed: Rounds::default(),
            urgent: 0,
        }
    }

    /// Notes an error; whether it is the first one.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        let first = self.failed.is_none();
        self.failed.get_or_insert(error);
        first
    }

    /// The first error of a commit.
    pub(super) fn failed(&self) -> Option<Error> {
        self.failed
    }
}

/// Why the thread woke up.
enum Wake {
    Commit,
    Interval,
    End,
}

impl Txn {
    /// Commits what was changed up to now, and waits until it is durable.
    ///
    /// `EIO` after a commit failed. Must not be called with a handle.
    pub(crate) fn commit(&self) -> Result {
        let transid = self.request();
        self.wait(transid)
    }

    /// As [`Self::commit`], for those whom the writing of delayed data may wait for: a commit that
    /// would wait for that does so no longer.
    pub(super) fn commit_urgently(&self) -> Result {
        self.hurry(true);
        let result = self.commit();
        self.hurry(false);
        result
    }

    /// The last transaction that changes anything; it may still be under way.
    pub(crate) fn newest(&self) -> Generation {
        let gate = self.gate.read();
        match self.is_dirty() {
            true => gate.transid,
            false => Generation(gate.transid.get().saturating_sub(1)),
        }
    }

    /// Begins to commit what was changed up to now; returns what to wait for.
    pub(crate) fn request(&self) -> Generation {
        let want = self.newest();
        let mut progress = self.progress.lock();
        if progress.wanted < want {
            progress.wanted = want;
            drop(progress);
            self.asked.notify_all();
        }
        want
    }

    /// Waits until transaction `transid` is durable. `EIO` if it never will be.
    pub(crate) fn wait(&self, transid: Generation) -> Result {
        let mut progress = self.progress.lock();
        loop {
            if progress.durable >= transid {
                return Ok(());
            }
            if progress.failed.is_some() {
                return Err(EIO);
            }
            self.ended.wait(&mut progress);
        }
    }

    /// Commits, and then writes nothing until [`Self::unpark`]: the file system is frozen, and
    /// nobody changes it.
    pub(crate) fn park(&self) -> Result {
        self.commit()?;
        let mut progress = self.progress.lock();
        progress.parked = true;
        while progress.busy {
            self.ended.wait(&mut progress);
        }
        Ok(())
    }

    /// Ends [`Self::park`].
    pub(crate) fn unpark(&self) {
        self.progress.lock().parked = false;
        self.asked.notify_all();
    }

    /// Cuts the file system off: nothing is written any more, and what would change it fails with
    /// `EIO`.
    pub(crate) fn shut_down(&self) {
        let _ = self.with_gate_closed(Some(EIO));
        let mut progress = self.progress.lock();
        progress.fail(EIO);
        self.notify_delayed();
        while progress.busy {
            self.ended.wait(&mut progress);
        }
        drop(progress);
        self.volume.set_read_only();
        self.asked.notify_all();
        self.ended.notify_all();
        self.notify_delayed();
    }

    /// Waits for the last transaction that somebody wants to be durable.
    pub(crate) fn wait_for_wanted(&self) -> Result {
        let wanted = self.progress.lock().wanted;
        self.wait(wanted)
    }

    /// Notes that a transaction is durable.
    pub(super) fn note_durable(&self, transid: Generation) {
        let mut progress = self.progress.lock();
        progress.durable = transid;
        progress.wanted = progress.wanted.max(transid);
        drop(progress);
        self.ended.notify_all();
    }

    /// Counts memory of the overlays.
    pub(super) fn charge(&self, bytes: usize) {
        let now = self.bytes.load(Relaxed).saturating_add(bytes);
        self.bytes.add(bytes, Relaxed);
        if now > self.limit / 2 {
            self.request_quickly();
        }
    }

    /// As [`Self::request`], for whoever has a handle: the open transaction is the caller's.
    fn request_quickly(&self) {
        let mut progress = self.progress.lock();
        let open = progress.durable.max(progress.wanted).next();
        // At most one beyond the one under way.
        if open.get() <= progress.durable.get().saturating_add(2) {
            progress.wanted = progress.wanted.max(progress.durable.next());
            drop(progress);
            self.asked.notify_all();
        }
    }

    /// Waits as long as overlays take too much memory.
    pub(super) fn throttle(&self, demand: &Demand) -> Result {
        let limit = match demand.how {
            // What shrinks must not be stuck behind what grows.
            Urgency::Deleting => self.limit.saturating_add(self.limit / 8),
            Urgency::Completion => return Ok(()),
            Urgency::Normal | Urgency::Nowait => self.limit,
        };
        while self.bytes() > limit {
            if demand.how == Urgency::Nowait {
                return Err(EAGAIN);
            }
            if self.is_aborted() {
                return Err(EROFS);
            }
            match demand.how {
                Urgency::Deleting => self.commit_urgently()?,
                _ => self.commit()?,
            }
            if kfs::task::is_killed() {
                return Err(EINTR);
            }
        }
        Ok(())
    }

    /// The thread that commits.
    pub(super) fn run(&self, stop: &Stop) {
        // Whoever waits for a commit may have come from reclaim.
        let _nofs = NoFs::enter();
        loop {
            let wake = self.sleep(stop);
            if let Wake::Interval = wake {
                // What cannot be done now can be done the next time.
                let _ = self.space.remove_empty(Spare::Idle);
            }
            if let Wake::Commit | Wake::Interval = wake {
                self.write_before_commit();
            }
            match wake {
                Wake::End => return,
                Wake::Interval if !self.is_dirty() => self.reap(),
                Wake::Commit | Wake::Interval => {
                    if let Err(error) = self.commit_now() {
                        self.abort("commit", error);
                    }
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    fn sleep(&self, stop: &Stop) -> Wake {
        let mut progress = self.progress.lock();
        progress.busy = false;
        if progress.parked || progress.failed.is_some() {
            // Somebody may wait for just that.
            self.ended.notify_all();
        }
        loop {
            let failed = progress.failed.is_some();
            let idle = failed || progress.parked;
            // Dropping goes on after the next mount.
            let drops = !progress.stopping && self.is_dropping();
            let wanted = progress.wanted > progress.durable || drops;
            if wanted && !idle {
                progress.busy = true;
                return Wake::Commit;
            }
            if progress.stopping || stop.requested() {
                return Wake::End;
            }
            use kernel::sync::CondVarTimeoutResult::{Signal, Timeout, Woken};
            // A remount may have changed it.
            let interval = msecs_to_jiffies(self.interval.load(Relaxed).saturating_mul(1000));
            match self
                .asked
                .wait_interruptible_timeout(&mut progress, interval)
            {
                Timeout if !idle && !progress.parked => {
                    progress.busy = true;
                    return Wake::Interval;
                }
                Timeout | Woken { .. } | Signal { .. } => {}
            }
        }
    }
}
