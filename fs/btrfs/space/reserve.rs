// SPDX-License-Identifier: GPL-2.0

//! Reservations: promises that space will be there.
//!
//! They are values. What is left of one goes back when it is dropped.
//!
//! # When it does not fit
//!
//! In this order, each step only if it can help: commit, if tree blocks are mostly promised and not
//! used; allocate a chunk; commit, if that frees space; draw from the global reserve, for those
//! that give space back or finish what was begun; `ENOSPC`.
//!
//! No lock of this layer is held meanwhile, and whoever reserves holds no transaction handle: all
//! of these steps may need one.

use btrfs_format::types::Logical;
use kernel::prelude::*;
use kernel::sync::{atomic::ordering::Relaxed, Arc};
use kernel::time::msecs_to_jiffies;

use super::info::{Counters, Info, Kind};
use super::{Range, Space};

/// How a reservation may be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// Whatever it takes but the global reserve.
    Normal,
    /// Gives space back: may have the global reserve too.
    Deleting,
    /// Finishes what was begun, maybe for a commit that waits for it: waits for nothing, and may
    /// have the global reserve.
    Completion,
    /// Waits for nothing; `EAGAIN`.
    Nowait,
}

/// What a file system does to make room. Called without locks of this layer; may sleep.
pub(crate) trait Flusher: Send + Sync {
    /// Commits, and frees what is pinned as far as readers let it.
    fn commit(&self) -> Result;
}

/// How often a commit is tried for one reservation.
const COMMITS: u32 = 3;
/// How long to wait for pinned space after a commit, in milliseconds.
const PIN_WAIT: u32 = 200;

/// Data that may be written, bytes.
pub(crate) struct DataReservation {
    space: Arc<Space>,
    bytes: u64,
}

impl DataReservation {
    /// What is left of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives `bytes` back, or all if that is less.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        drop(self.split(bytes));
    }

    /// Takes `bytes` out, or all if that is less.
    pub(crate) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self {
            space: self.space.clone(),
            bytes,
        }
    }

    /// Takes another one in.
    pub(crate) fn merge(&mut self, mut other: Self) {
        let bytes = core::mem::take(&mut other.bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Allocates as [`Space::alloc_data`] does, for bytes of this reservation, which then has so
    /// much less.
    pub(crate) fn allocate(&mut self, want: u64, min: u64, hint: Option<Logical>) -> Result<Range> {
        let own = self.bytes;
        let range = self
            .space
            .alloc_data_paid(want, min, hint, |counters, len| {
                counters.may_use = counters.may_use.saturating_sub(len.min(own));
            })?;
        self.bytes = own.saturating_sub(range.len);
        Ok(range)
    }
}

impl Drop for DataReservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if let Ok(info) = self.space.info(Kind::Data) {
            info.with(|counters| {
                counters.may_use = counters.may_use.saturating_sub(self.bytes);
            });
            info.wake();
        }
    }
}

/// Tree blocks that may be written, bytes.
pub(crate) struct MetaReservation {
    space: Arc<Space>,
    bytes: u64,
}

impl MetaReservation {
    /// What is left of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives `bytes` back, or all if that is less.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        drop(self.split(bytes));
    }

    /// Takes `bytes` out, or all if that is less.
    pub(crate) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self {
            space: self.space.clone(),
            bytes,
        }
    }

    /// Takes another one in.
    pub(crate) fn merge(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.into_bytes());
    }

    /// Ends the guard; somebody else answers for the bytes.
    pub(super) fn into_bytes(mut self) -> u64 {
        core::mem::take(&mut self.bytes)
    }
}

impl Drop for MetaReservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if let Ok(info) = self.space.info(Kind::Metadata) {
            info.with(|counters| counters.give_back(self.bytes));
            info.wake();
        }
    }
}

impl Space {
    /// Promises `bytes` of data, whole sectors.
    ///
    /// May sleep, and commit. `ENOSPC`; `EINTR` when killed.
    pub(crate) fn reserve_data(self: &Arc<Self>, bytes: u64) -> Result<DataReservation> {
        self.reserve_data_as(bytes, Urgency::Normal)
    }

    /// As [`Self::reserve_data`]; with [`Urgency::Nowait`] `EAGAIN` where it would sleep.
    pub(crate) fn reserve_data_as(
        self: &Arc<Self>,
        bytes: u64,
        how: Urgency,
    ) -> Result<DataReservation> {
        self.reserve(Kind::Data, bytes, how)?;
        Ok(DataReservation {
            space: self.clone(),
            bytes,
        })
    }

    /// Promises `bytes` of tree blocks.
    ///
    /// May sleep, and commit, as `how` says. `ENOSPC`; `EAGAIN` for [`Urgency::Nowait`]; `EINTR`
    /// when killed.
    pub(crate) fn reserve_metadata(
        self: &Arc<Self>,
        bytes: u64,
        how: Urgency,
    ) -> Result<MetaReservation> {
        self.reserve(Kind::Metadata, bytes, how)?;
        Ok(MetaReservation {
            space: self.clone(),
            bytes,
        })
    }

    /// A reservation of nothing, to merge others into.
    pub(crate) fn no_metadata(self: &Arc<Self>) -> MetaReservation {
        MetaReservation {
            space: self.clone(),
            bytes: 0,
        }
    }

    /// By how much promises of this kind may exceed what there is.
    fn overcommit(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Metadata => self.overcommit.load(Relaxed),
            Kind::Data | Kind::System => 0,
        }
    }

    fn try_reserve(&self, info: &Info, kind: Kind, bytes: u64) -> bool {
        let more = self.overcommit(kind);
        info.with(|counters| counters.promise(bytes, more))
    }

    fn reserve(&self, kind: Kind, bytes: u64, how: Urgency) -> Result {
        let info = self.info(kind)?;
        if bytes == 0 || self.try_reserve(info, kind, bytes) {
            return Ok(());
        }
        match how {
            Urgency::Nowait => Err(EAGAIN),
            Urgency::Normal | Urgency::Deleting => self.make_room(info, kind, bytes, how),
            Urgency::Completion => match self.draw(info, kind, bytes, how) {
                true => Ok(()),
                false => Err(ENOSPC),
            },
        }
    }

    /// Takes from the global reserve what `how` may have of it.
    fn draw(&self, info: &Info, kind: Kind, bytes: u64, how: Urgency) -> bool {
        let share = match how {
            Urgency::Normal | Urgency::Nowait => return false,
            Urgency::Deleting => 2,
            Urgency::Completion => 4,
        };
        let draw = |counters: &mut Counters| counters.draw(bytes, counters.reserve_size / share);
        kind == Kind::Metadata && info.with(draw)
    }

    /// Does what there is to be done until `bytes` are promised, or nothing is left to do.
    fn make_room(&self, info: &Info, kind: Kind, bytes: u64, how: Urgency) -> Result {
        if kind == Kind::Metadata && is_mostly_promised(&info.counters()) {
            if let Some(flusher) = self.flusher() {
                flusher.commit()?;
                if self.try_reserve(info, kind, bytes) {
                    return Ok(());
                }
            }
        }
        if self.grow_for(info, kind, bytes)? {
            return Ok(());
        }
        let Some(flusher) = self.flusher() else {
            return Err(ENOSPC);
        };
        if self.draw(info, kind, bytes, how) {
            return Ok(());
        }
        for _ in 0..COMMITS {
            // Groups that are empty keep space from others until they are gone.
            let removed = self.remove_empty().unwrap_or(0);
            if removed == 0 && !self.commit_helps(info, kind, bytes, how) {
                break;
            }
            flusher.commit()?;
            if self.try_reserve(info, kind, bytes) || self.grow_for(info, kind, bytes)? {
                return Ok(());
            }
            if self.draw(info, kind, bytes, how) {
                return Ok(());
            }
            // What the commit freed may still be read by somebody.
            let more = self.overcommit(kind);
            let jiffies = u64::try_from(msecs_to_jiffies(PIN_WAIT)).unwrap_or(0);
            info.wait(jiffies, |c| fits(c, bytes, more) || c.pinned == 0)?;
            if self.try_reserve(info, kind, bytes) {
                return Ok(());
            }
        }
        Err(ENOSPC)
    }

    /// Makes block groups until `bytes` are promised. `false` if that cannot be.
    fn grow_for(&self, info: &Info, kind: Kind, bytes: u64) -> Result<bool> {
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
            if self.try_reserve(info, kind, bytes) {
                return Ok(true);
            }
        }
    }

    /// Whether a commit could free enough.
    fn commit_helps(&self, info: &Info, kind: Kind, bytes: u64, how: Urgency) -> bool {
        let counters = info.counters();
        if how == Urgency::Deleting && counters.reserve < counters.reserve_size {
            return true;
        }
        let freed = match kind {
            Kind::Data => self.freed.load(Relaxed),
            // What operations promised to themselves is more than they use.
            Kind::Metadata | Kind::System => counters.may_use.saturating_sub(counters.reserve),
        };
        let more = counters.pinned.saturating_add(freed);
        fits(&counters, bytes, more.saturating_add(self.overcommit(kind)))
    }

    /// Tells that `bytes` of data will be free after the next commit; a hint.
    pub(crate) fn note_freed(&self, bytes: u64) {
        self.freed.fetch_add(bytes, Relaxed);
    }
}

/// Whether groups are not well filled, and there are only so many promises: upper bounds, which are
/// a few times of what a commit takes.
fn is_mostly_promised(counters: &Counters) -> bool {
    let taken = counters.allocated().saturating_add(counters.reserve);
    let promised = counters.may_use.saturating_sub(counters.reserve);
    taken < counters.total / 10 * 7 && promised > counters.total / 8
}

fn fits(counters: &Counters, bytes: u64, more: u64) -> bool {
    counters.taken().saturating_add(bytes) <= counters.total.saturating_add(more)
}
