// SPDX-License-Identifier: GPL-2.0

//! What is under way in a file: what is in memory only, on its way to disk, or has just changed.
//!
//! [`FileState`] says what this is for, and has the lock around it.
//!
//! [`FileState`]: super::state::FileState

use core::ops::Range;
use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

use super::cache::ExtentCache;
use super::claims::Claims;
use super::compress::Recode;
use super::promise::Rates;
use super::ranges::RangeSet;
use super::state::Under;
use crate::space::{DataReservation, MetaReservation};

/// How many changes are remembered.
const CHANGES: usize = 32;

/// What is known of a file's data.
pub(super) struct Inner {
    pub(super) cache: ExtentCache,
    pub(super) version: u64,
    pub(super) disk_size: u64,
    /// Bytes that the items say are allocated.
    pub(super) bytes: u64,
    /// Most files that are looked at are not written to.
    pub(super) work: Option<KBox<Work>>,
}

/// What is under way.
pub(super) struct Work {
    pub(super) delayed: RangeSet,
    /// What of `delayed` will be written where there is space for it already.
    pub(super) unpaid: RangeSet,
    /// What gets a new place, although it could be written in place.
    pub(super) moving: RangeSet,
    /// How all data is compressed for now.
    pub(super) recode: Option<Recode>,
    /// One byte for each of `delayed` that is not `unpaid`.
    pub(super) reserved: Option<DataReservation>,
    /// Tree blocks for the items of what is pending.
    pub(super) trees: Option<MetaReservation>,
    /// What is pending where items say that nothing is allocated.
    pub(super) fresh: RangeSet,
    pub(super) in_flight: RangeSet,
    pub(super) claims: Claims,
    /// The last changes, of which `version` is the number of the newest.
    pub(super) changes: [Range<u64>; CHANGES],
}

impl Inner {
    /// What is under way; from now on there is something. Waits for memory.
    pub(super) fn work(&mut self) -> Result<&mut Work> {
        if self.work.is_none() {
            self.work = Some(KBox::new(Work::new(), GFP_NOFAIL)?);
        }
        self.work.as_deref_mut().ok_or(ENOMEM)
    }

    pub(super) fn is_unchanged(&self, range: &Range<u64>, version: u64) -> bool {
        let missed = self.version.saturating_sub(version);
        let apart = |number: u64| {
            let at = (number % CHANGES as u64) as usize;
            let changed = self.work.as_ref().and_then(|work| work.changes.get(at));
            changed.is_some_and(|c| c.end <= range.start || range.end <= c.start)
        };
        missed < CHANGES as u64 && (version.saturating_add(1)..=self.version).all(apart)
    }

    /// See [`FileState::delay`].
    pub(super) fn delay(
        &mut self,
        range: Range<u64>,
        under: Under,
        mut reservation: Option<DataReservation>,
    ) -> Result<Option<DataReservation>> {
        let len = range.end.saturating_sub(range.start);
        let work = self.work()?;
        let missing = len.saturating_sub(work.delayed.covered(&range));
        if missing == 0 {
            return Ok(reservation);
        }
        if !self.is_unchanged(&range, under.version) {
            return Err(EAGAIN);
        }
        let work = self.work()?;
        if work.claims.overlap(&range) {
            return Err(EAGAIN);
        }
        if under.fresh {
            work.fresh.insert(range.clone())?;
        }
        if under.unpaid {
            work.delay_into(range, |work| &mut work.unpaid)?;
            return Ok(reservation);
        }
        let has = reservation.as_ref().map_or(0, |r| r.bytes());
        let (Some(rest), true) = (reservation.as_mut(), has >= missing) else {
            return Err(EAGAIN);
        };
        match under.moving {
            true => work.delay_into(range, |work| &mut work.moving)?,
            false => drop(work.delayed.insert(range)?),
        }
        let paid = rest.split(missing);
        match &mut work.reserved {
            Some(all) => all.merge(paid),
            none => *none = Some(paid),
        }
        Ok(reservation)
    }

    pub(super) fn count(&mut self, more: u64, less: u64) {
        self.bytes = self.bytes.saturating_add(more).saturating_sub(less);
    }

    pub(super) fn change(&mut self, range: Range<u64>) {
        self.cache.forget(&range);
        let next = self.version.saturating_add(1);
        let at = (next % CHANGES as u64) as usize;
        match self.work().map(|work| work.changes.get_mut(at)) {
            Ok(Some(slot)) => {
                *slot = range;
                self.version = next;
            }
            // All of the file may be another.
            _ => self.version = self.version.saturating_add(CHANGES as u64),
        }
    }
}

impl Work {
    fn new() -> Self {
        Self {
            delayed: RangeSet::new(),
            unpaid: RangeSet::new(),
            moving: RangeSet::new(),
            recode: None,
            reserved: None,
            trees: None,
            fresh: RangeSet::new(),
            in_flight: RangeSet::new(),
            claims: Claims::new(),
            changes: [const { 0..0 }; CHANGES],
        }
    }

    /// Runs and bytes that are pending.
    pub(super) fn pending(&self) -> (u64, u64) {
        let sets = [&self.delayed, &self.in_flight];
        let sum = |of: fn(&RangeSet) -> u64| sets.iter().map(|set| of(set)).sum();
        (sum(RangeSet::count), sum(RangeSet::total))
    }

    /// What tree blocks for the items of all that is pending cost.
    pub(super) fn cost(&self, rates: &Rates) -> u64 {
        let (runs, bytes) = self.pending();
        rates.cost(runs, bytes)
    }

    /// What is promised for that.
    pub(super) fn promised(&self) -> u64 {
        self.trees.as_ref().map_or(0, |trees| trees.bytes())
    }

    /// Takes out what is promised beyond `rest`.
    pub(super) fn cut_trees(&mut self, rest: u64) -> Option<MetaReservation> {
        let more = self.promised().saturating_sub(rest);
        self.trees.as_mut().map(|trees| trees.split(more))
    }

    /// Makes room for one change of each set.
    pub(super) fn reserve(&mut self) -> Result {
        self.delayed.reserve()?;
        self.unpaid.reserve()?;
        self.moving.reserve()?;
        self.fresh.reserve()
    }

    /// Delays what of `range` is not delayed yet, and puts that into another set as well.
    fn delay_into(&mut self, range: Range<u64>, set: fn(&mut Self) -> &mut RangeSet) -> Result {
        let mut at = range.start;
        while at < range.end {
            let (inside, until) = self.delayed.at(at);
            let end = until.min(range.end);
            if !inside {
                // Both or none.
                self.reserve()?;
                set(self).insert(at..end)?;
                self.delayed.insert(at..end)?;
            }
            at = end;
        }
        Ok(())
    }

    /// `range` is not delayed any more; returns how many bytes were, and how many of these were
    /// unpaid. There is room for the change.
    pub(super) fn take_delayed(&mut self, range: &Range<u64>) -> (u64, u64) {
        let removed = self.delayed.remove(range.clone()).unwrap_or(0);
        (removed, self.unpaid.remove(range.clone()).unwrap_or(0))
    }
}
