// SPDX-License-Identifier: GPL-2.0

//! What is done before a reservation fails.
//!
//! A promise that fits is made at once ([`Counters::promise`]). Else, in this order, each step only
//! where it can help, and after each the promise is tried again:
//!
//! | step | when | gives |
//! | --- | --- | --- |
//! | write delayed data ([`Urgency::Normal`]), commit | tree blocks: little is used and much promised | promises become what is used |
//! | make block groups | devices have place | all of it |
//! | draw | [`Urgency::Deleting`], [`Urgency::Completion`] | tree blocks of the global reserve |
//! | remove empty groups, commit | there are such, of any kind | their place on the devices |
//! | commit | space is *coming*, or is promised to operations | what was freed |
//! | wait | readers keep what was freed, or files are being removed | the same, later |
//! | write delayed data | once, [`Urgency::Normal`] only | promises become what is used, and what is overwritten becomes free |
//! | fail | nothing is coming, or [`ROUNDS`] of all that did not help | `ENOSPC` |
//!
//! # What is coming
//!
//! Freed data goes through these stages ([`Coming`]): a file is leaving; its extents are freed by
//! the open transaction; by the one whose commit is running; they are pinned; free. Each stage is
//! entered before the one before it is left, and a reservation looks at them in this order and
//! then at what is free: so it cannot miss space that is on its way. The amounts are hints, because
//! extents may be shared or freed in part: anything at all is worth a commit.
//!
//! # Who comes first
//!
//! One at a time climbs for each kind of block groups ([`Info::turn`](super::Info)), and as long as
//! somebody does, nobody else of [`Urgency::Normal`] or [`Urgency::Nowait`] is promised anything of
//! that kind: what becomes free goes to who has waited longest, however much that wants. Those who
//! give space back or finish what was begun pass by: a commit, or the writing of delayed data, may
//! wait for them.
//!
//! # Locks
//!
//! The turn is taken before all locks of this layer. Whoever climbs holds no transaction handle, no
//! folio, and nothing else that writeback or a commit waits for.
//!
//! # Bounds
//!
//! A reservation that is larger than everything there could be fails at once. Else at most
//! [`ROUNDS`] rounds, each a commit and at most [`WAIT`]; more only as long as deleted subvolumes
//! are being dropped, of which every commit drops a part.

use btrfs_format::types::Generation;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::time::msecs_to_jiffies;

use super::chunk::Spare;
use super::info::{Counters, Info, Kind};
use super::{Space, Urgency};

/// What a file system does to make room. Called without locks of this layer but a turn; may sleep.
pub(crate) trait Flusher: Send + Sync {
    /// Commits, and frees what is pinned as far as readers let it. `urgent`: the writing of data may
    /// wait for the caller.
    fn commit(&self, urgent: bool) -> Result;

    /// Frees what is pinned as far as readers let it.
    fn reap(&self);

    /// Writes delayed data, and waits for it.
    fn write_delayed(&self);

    /// Whether the next commits free more than was counted.
    fn is_dropping(&self) -> bool;
}

/// How often all is tried for one reservation.
const ROUNDS: u32 = 10;
/// How long to wait for space that no commit gives, in milliseconds.
const WAIT: u32 = 200;
/// How often to look meanwhile.
const LOOKS: u32 = 10;

/// Data that will be free later, bytes.
pub(super) struct Coming {
    /// Files that are being removed.
    leaving: Atomic<u64>,
    /// Freed in the open transaction.
    open: Atomic<u64>,
    /// Freed in the transaction that is being committed.
    frozen: Atomic<u64>,
}

impl Coming {
    pub(super) fn new() -> Self {
        Self {
            leaving: Atomic::new(0),
            open: Atomic::new(0),
            frozen: Atomic::new(0),
        }
    }
}

/// What a reservation wants.
struct Climb<'a> {
    info: &'a Info,
    kind: Kind,
    bytes: u64,
    how: Urgency,
}

/// What might help.
#[derive(Clone, Copy)]
struct Hope {
    /// Files are being removed.
    leaving: bool,
    /// A commit gives something.
    commit: bool,
}

impl Space {
    /// Tells that a file is about to be removed, with its data. Followed by [`Self::note_gone`].
    pub(crate) fn note_leaving(&self) {
        self.coming.leaving.fetch_add(1, Relaxed);
    }

    /// It was, or could not be.
    pub(crate) fn note_gone(&self) {
        let _ = self.coming.leaving.fetch_sub(1, Relaxed);
        if let Ok(info) = self.info(Kind::Data) {
            info.wake();
        }
    }

    /// Tells that `bytes` of data will be free after the next commit; a hint.
    pub(crate) fn note_freed(&self, bytes: u64) {
        self.coming.open.fetch_add(bytes, Relaxed);
    }

    /// The transaction takes no more changes: what is freed from now on is for the next commit, and
    /// groups that are made from now on are none for the one that begins.
    ///
    /// Called before there can be a handle of the next transaction.
    pub(crate) fn note_frozen(&self, transid: Generation) {
        self.committing.store(transid.get(), Relaxed);
        let freed = self.coming.open.load(Relaxed);
        self.coming.frozen.store(freed, Relaxed);
        let _ = self.coming.open.fetch_sub(freed, Relaxed);
    }

    /// What it freed is pinned, all of it.
    pub(crate) fn note_pinned(&self) {
        self.coming.frozen.store(0, Relaxed);
    }

    /// By how much promises of this kind may exceed what there is.
    fn overcommit(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Metadata => self.overcommit.load(Relaxed),
            Kind::Data | Kind::System => 0,
        }
    }

    /// Promises `bytes`, as `how` says.
    pub(super) fn reserve(&self, kind: Kind, bytes: u64, how: Urgency) -> Result {
        let info = self.info(kind)?;
        let climb = Climb {
            info,
            kind,
            bytes,
            how,
        };
        let waits = matches!(how, Urgency::Normal | Urgency::Nowait) && info.is_climbed();
        if bytes == 0 || (!waits && self.try_reserve(&climb)) {
            return Ok(());
        }
        let result = match how {
            Urgency::Nowait => return Err(EAGAIN),
            Urgency::Completion => match self.draw(&climb) {
                true => Ok(()),
                false => Err(ENOSPC),
            },
            Urgency::Deleting => self.climb(&climb),
            Urgency::Normal => {
                let _turn = info.take_turn()?;
                self.climb(&climb)
            }
        };
        if result == Err(ENOSPC) {
            self.dump(info, bytes);
        }
        result
    }

    fn try_reserve(&self, climb: &Climb<'_>) -> bool {
        let more = self.overcommit(climb.kind);
        climb
            .info
            .with(|counters| counters.promise(climb.bytes, more))
    }

    /// Takes from the global reserve what this one may have of it.
    fn draw(&self, climb: &Climb<'_>) -> bool {
        let share = match climb.how {
            Urgency::Normal | Urgency::Nowait => return false,
            Urgency::Deleting => 2,
            Urgency::Completion => 4,
        };
        let draw = |c: &mut Counters| c.draw(climb.bytes, c.reserve_size / share);
        climb.kind == Kind::Metadata && climb.info.with(draw)
    }

    /// The steps that need no commit.
    fn step_up(&self, climb: &Climb<'_>) -> Result<bool> {
        Ok(self.try_reserve(climb) || self.grow_for(climb)? || self.draw(climb))
    }

    /// Does what there is to be done until it is promised, or nothing is left to do.
    fn climb(&self, climb: &Climb<'_>) -> Result {
        if self.try_reserve(climb) {
            return Ok(());
        }
        let flusher = self.flusher();
        if climb.kind == Kind::Metadata && is_mostly_promised(&climb.info.counters()) {
            if let Some(flusher) = &flusher {
                // Dirty data is promised most, and is given back when it is written.
                if climb.how == Urgency::Normal {
                    flusher.write_delayed();
                }
                flusher.commit(climb.how != Urgency::Normal)?;
            }
        }
        let (mut rounds, mut written) = (0, false);
        loop {
            let hope = self.hope(climb);
            if self.step_up(climb)? {
                return Ok(());
            }
            let flusher = flusher.as_ref().ok_or(ENOSPC)?;
            if !self.could_fit(climb)? || rounds >= ROUNDS {
                return Err(ENOSPC);
            }
            // Groups that are empty keep space from others until they are gone.
            let dropping = flusher.is_dropping();
            let removed = self.remove_empty(Spare::All).unwrap_or(false);
            // Promises for the items of dirty data outlive commits.
            let write = climb.how == Urgency::Normal && !written;
            if write && rounds > 0 && climb.kind == Kind::Metadata {
                flusher.write_delayed();
                written = true;
            } else if removed || hope.commit || hope.leaving || dropping {
                flusher.commit(climb.how != Urgency::Normal)?;
                if self.step_up(climb)? {
                    return Ok(());
                }
                self.wait_for_readers(climb, &**flusher)?;
                rounds += u32::from(!dropping);
            } else if write {
                flusher.write_delayed();
                written = true;
            } else {
                return Err(ENOSPC);
            }
            if kfs::task::is_killed() {
                return Err(EINTR);
            }
        }
    }

    /// Waits for a while, as long as what commits freed is read, or files are being removed.
    fn wait_for_readers(&self, climb: &Climb<'_>, flusher: &dyn Flusher) -> Result {
        let more = self.overcommit(climb.kind);
        let jiffies = u64::try_from(msecs_to_jiffies(WAIT / LOOKS)).unwrap_or(0);
        for _ in 0..LOOKS {
            let leaving = self.coming.leaving.load(Relaxed) > 0;
            let counters = climb.info.counters();
            if fits(&counters, climb.bytes, more) || (counters.pinned == 0 && !leaving) {
                break;
            }
            climb.info.wait(jiffies, |c| fits(c, climb.bytes, more))?;
            flusher.reap();
        }
        Ok(())
    }

    /// Makes block groups until it is promised. `false` if that cannot be.
    fn grow_for(&self, climb: &Climb<'_>) -> Result<bool> {
        let Climb {
            info, kind, bytes, ..
        } = *climb;
        loop {
            let more = self.overcommit(kind);
            let counters = info.counters();
            let need = counters.taken().saturating_add(bytes);
            let missing = need.saturating_sub(counters.total.saturating_add(more));
            if missing > self.growable(info)? {
                return Ok(false);
            }
            if !self.grow(kind, &|counters| !fits(counters, bytes, more))? {
                return Ok(false);
            }
            if self.try_reserve(climb) {
                return Ok(true);
            }
        }
    }

    /// Whether it would fit if nobody else had anything.
    fn could_fit(&self, climb: &Climb<'_>) -> Result<bool> {
        let total = climb.info.counters().total;
        let devices = self.volume.superblock().total_bytes.get();
        Ok(climb.bytes <= total.max(devices))
    }

    /// What might help; to be asked before it is tried for the last time.
    fn hope(&self, climb: &Climb<'_>) -> Hope {
        // In the order in which space goes through these.
        let leaving = self.coming.leaving.load(Relaxed) > 0;
        let freed = [&self.coming.open, &self.coming.frozen].map(|stage| stage.load(Relaxed));
        let counters = climb.info.counters();
        let own = match climb.kind {
            Kind::Data => freed.iter().any(|bytes| *bytes > 0),
            // What operations promised to themselves is more than they use.
            Kind::Metadata | Kind::System => counters.may_use > counters.reserve,
        };
        let refill = climb.how == Urgency::Deleting && counters.reserve < counters.reserve_size;
        Hope {
            leaving: leaving && climb.how == Urgency::Normal,
            commit: own || refill || counters.pinned > 0,
        }
    }
}

/// Whether groups are not well filled, and there are only so many promises: upper bounds, which are
/// a few times of what a commit takes.
fn is_mostly_promised(counters: &Counters) -> bool {
    let promised = counters.may_use.saturating_sub(counters.reserve);
    counters.allocated() < counters.total / 10 * 7 && promised > counters.total / 8
}

fn fits(counters: &Counters, bytes: u64, more: u64) -> bool {
    counters.taken().saturating_add(bytes) <= counters.total.saturating_add(more)
}
