// SPDX-License-Identifier: GPL-2.0

//! What is known in memory of the data of one regular file.
//!
//! A sector of a file is in at most one of these states besides what its items say: *delayed*
//! (dirty in the page cache, or about to be, with space reserved), or *in flight* (on its way to
//! disk; its items are not put yet).
//!
//! # Who may rely on what
//!
//! What was looked up of a range is true until the range *changes*: its items, or its state.
//! Every change gets a number and is remembered for a while; a look-up carries the number before
//! it ([`FileState::version`]), and [`FileState::is_unchanged`] says whether it still holds.
//!
//! # Sizes
//!
//! The inode item has [`FileState::disk_size`], which rises to the size of the file only as far
//! as everything below is on disk: after a crash a file is shorter, but has no zeroes that
//! nobody wrote.

use core::ops::Range;
use kernel::prelude::*;
use kernel::sync::{
    atomic::{Acquire, Atomic, Relaxed, Release},
    lock::mutex::MutexGuard,
    new_mutex, Mutex,
};

use super::cache::ExtentCache;
use super::claims::Claims;
use super::compress::Recode;
use super::extent::{Extent, Extents};
use super::promise::Rates;
use super::ranges::RangeSet;
use crate::space::{DataReservation, MetaReservation};

/// How many changes are remembered.
const CHANGES: usize = 32;

/// The data of one regular file.
#[pin_data]
pub(crate) struct FileState {
    /// Held while items are looked at in order to change them; taken under a handle.
    #[pin]
    edit: Mutex<()>,
    /// Rises when that is taken, and when it is let go: odd meanwhile.
    edits: Atomic<u64>,
    #[pin]
    inner: Mutex<Inner>,
    /// Held while all data is compressed in a certain way; taken before the inode lock.
    #[pin]
    recoding: Mutex<()>,
    rates: Rates,
}

struct Inner {
    cache: ExtentCache,
    delayed: RangeSet,
    /// What of `delayed` will be written where there is space for it already.
    unpaid: RangeSet,
    /// What gets a new place, although it could be written in place.
    moving: RangeSet,
    /// How all data is compressed for now.
    recode: Option<Recode>,
    /// One byte for each of `delayed` that is not `unpaid`.
    reserved: Option<DataReservation>,
    /// Tree blocks for the items of what is pending.
    trees: Option<MetaReservation>,
    /// What is pending where items say that nothing is allocated.
    fresh: RangeSet,
    in_flight: RangeSet,
    claims: Claims,
    changes: [Range<u64>; CHANGES],
    version: u64,
    disk_size: u64,
    /// Bytes that the items say are allocated.
    bytes: u64,
}

/// What the items say of a range that is about to be delayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Under {
    /// Nothing is allocated there.
    pub(crate) fresh: bool,
    /// It can be written in place, and no space is reserved for it.
    ///
    /// What makes this untrue later, a snapshot for instance, has to write the file out before.
    pub(crate) unpaid: bool,
    /// It is to get a new place, even if it can be written in place. Not with `unpaid`.
    pub(crate) moving: bool,
    /// The number of the last change before this was found out.
    pub(crate) version: u64,
}

/// What happens to a range besides its items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    /// It is delayed or in flight.
    pub(crate) yes: bool,
    /// Up to where that is so.
    pub(crate) until: u64,
}

/// The right to change items; see [`FileState::edit`].
pub(crate) struct Editing<'a> {
    edits: &'a Atomic<u64>,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for Editing<'_> {
    fn drop(&mut self) {
        let _ = self.edits.fetch_add(1u64, Release);
    }
}

/// All data of a file is compressed in a certain way; see [`FileState::recode_as`].
pub(super) struct Recoding<'a> {
    file: &'a FileState,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for Recoding<'_> {
    fn drop(&mut self) {
        self.file.inner.lock().recode = None;
    }
}

impl FileState {
    /// For a file whose inode item has size `size` and `bytes` bytes allocated.
    pub(crate) fn new(size: u64, bytes: u64, rates: Rates) -> impl PinInit<Self> {
        let inner = Inner {
            cache: ExtentCache::new(),
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
            version: 1,
            disk_size: size,
            bytes,
        };
        pin_init!(Self {
            edit <- new_mutex!((), "btrfs-file-edit"),
            edits: Atomic::new(0),
            inner <- new_mutex!(inner, "btrfs-file"),
            recoding <- new_mutex!((), "btrfs-file-recoding"),
            rates,
        })
    }

    /// The right to change the items of the file's extents. To be taken under a handle.
    pub(crate) fn edit(&self) -> Editing<'_> {
        let guard = self.edit.lock();
        let _ = self.edits.fetch_add(1u64, Relaxed);
        Editing {
            edits: &self.edits,
            _guard: guard,
        }
    }

    /// What `look` sees of the items while nobody changes them: half of a change is a hole where
    /// there is none, or two items for the same bytes. Not for who has the right to change them.
    pub(crate) fn look<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        let before = self.edits.load(Acquire);
        if before % 2 == 0 {
            let seen = look();
            // Who saw something of a change had a lock after its maker, and sees this as well.
            if self.edits.load(Acquire) == before {
                return seen;
            }
        }
        let _guard = self.edit.lock();
        look()
    }

    /// The number of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.inner.lock().version
    }

    /// Whether nothing in `range` changed since `version`.
    pub(crate) fn is_unchanged(&self, range: &Range<u64>, version: u64) -> bool {
        self.inner.lock().is_unchanged(range, version)
    }

    /// The size that the inode item gets.
    pub(crate) fn disk_size(&self) -> u64 {
        self.inner.lock().disk_size
    }

    /// The number of bytes that the inode item gets.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }

    /// The number of bytes that `stat` reports: with those that will be allocated.
    pub(crate) fn stat_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        inner.bytes.saturating_add(inner.fresh.total())
    }

    /// Counts bytes that items say are allocated now, and no more.
    pub(crate) fn count(&self, more: u64, less: u64) {
        self.inner.lock().count(more, less);
    }

    /// As [`Self::count`], for what was in flight to `range` and has its items now.
    pub(crate) fn arrived(&self, range: Range<u64>, more: u64, less: u64) {
        let mut inner = self.inner.lock();
        inner.count(more, less);
        // Without memory to cut it, more is reported until the file is let go; that is harmless.
        let _ = inner.fresh.remove(range);
    }

    /// Lets the size for the inode item rise towards `size`, as far as nothing is pending below.
    pub(crate) fn raise_disk_size(&self, size: u64) {
        let mut inner = self.inner.lock();
        let from = inner.disk_size;
        let pending = [&inner.delayed, &inner.in_flight].map(|set| set.first_behind(from));
        let open = pending.into_iter().flatten().map(|range| range.start).min();
        let size = open.map_or(size, |open| size.min(open));
        inner.disk_size = from.max(size);
    }

    /// The file was cut: sets the size for the inode item, if that is less than now.
    pub(crate) fn cut_disk_size(&self, size: u64) {
        let mut inner = self.inner.lock();
        inner.disk_size = inner.disk_size.min(size);
    }

    /// The extent at `pos`, if it is known; else the number that [`Self::remember`] wants.
    pub(crate) fn find(&self, pos: u64) -> Result<Extent, u64> {
        let inner = self.inner.lock();
        inner.cache.find(pos).ok_or(inner.version)
    }

    /// Keeps an extent, and those that follow it in the leaf, unless there were changes since
    /// the look-up began.
    pub(crate) fn remember(&self, version: u64, found: Extent, walk: &mut Extents) {
        let mut inner = self.inner.lock();
        let before = self.edits.load(Acquire);
        if inner.version == version && before % 2 == 0 {
            inner.cache.fill(found, walk);
            if self.edits.load(Acquire) != before {
                inner.cache.clear();
            }
        }
    }

    /// What is pending at `pos`.
    pub(crate) fn pending(&self, pos: u64) -> Pending {
        let inner = self.inner.lock();
        let (delayed, a) = inner.delayed.at(pos);
        let (in_flight, b) = inner.in_flight.at(pos);
        Pending {
            yes: delayed || in_flight,
            until: match (delayed, in_flight) {
                (true, _) => a,
                (_, true) => b,
                _ => a.min(b),
            },
        }
    }

    /// Whether some of `range` is in flight, or claimed.
    pub(crate) fn is_busy(&self, range: &Range<u64>) -> bool {
        let inner = self.inner.lock();
        inner.in_flight.covered(range) != 0 || inner.claims.overlap(range)
    }

    /// Whether some of `range` is claimed by a direct write.
    pub(crate) fn is_claimed(&self, range: &Range<u64>) -> bool {
        self.inner.lock().claims.overlap(range)
    }

    /// Claims `range` for a direct write, up to [`Self::unclaim`], unless some of it is delayed, in
    /// flight or claimed: then returns false. `ENOMEM`.
    pub(crate) fn claim(&self, range: &Range<u64>) -> Result<bool> {
        let mut inner = self.inner.lock();
        let pending = [&inner.delayed, &inner.in_flight].map(|set| set.covered(range));
        if pending != [0, 0] || inner.claims.overlap(range) {
            return Ok(false);
        }
        inner.claims.add(range)?;
        Ok(true)
    }

    /// Lets go of the claim that begins at `start`.
    pub(crate) fn unclaim(&self, start: u64) {
        self.inner.lock().claims.remove(start);
    }

    /// How many bytes of `range` are not delayed yet.
    pub(crate) fn missing(&self, range: &Range<u64>) -> u64 {
        let covered = self.inner.lock().delayed.covered(range);
        range
            .end
            .saturating_sub(range.start)
            .saturating_sub(covered)
    }

    /// Tree blocks to promise before `bytes` bytes that lie together are delayed.
    pub(crate) fn cost(&self, bytes: u64) -> u64 {
        self.rates.cost(1, bytes)
    }

    /// Delays `range`, paid by `reservation` where it is not `unpaid`; its items are paid by `trees`
    /// ([`Self::cost`]). Gives back what is left of the former; `EAGAIN` if it is not enough (any
    /// more), `under` is not true any more, or some of it is claimed.
    pub(crate) fn delay(
        &self,
        range: Range<u64>,
        under: Under,
        reservation: Option<DataReservation>,
        trees: MetaReservation,
    ) -> Result<Option<DataReservation>> {
        let mut trees = trees;
        let mut inner = self.inner.lock();
        let reservation = inner.delay(range, under, reservation)?;
        let missing = inner.cost(&self.rates).saturating_sub(inner.promised());
        let paid = trees.split(missing);
        match &mut inner.trees {
            Some(all) => all.merge(paid),
            none => *none = Some(paid),
        }
        Ok(reservation)
    }

    /// What is promised for the items of `range`, which is in flight, and which are put now; all that
    /// other pending data does not need.
    pub(super) fn take_trees(&self, range: &Range<u64>) -> Option<MetaReservation> {
        let mut inner = self.inner.lock();
        let len = range.end.saturating_sub(range.start);
        let (runs, bytes) = inner.pending();
        let rest = match bytes.saturating_sub(len) {
            0 => 0,
            bytes => self.rates.cost(runs.saturating_sub(1).max(1), bytes),
        };
        inner.cut_trees(rest)
    }

    /// What is delayed in `range` is not any more; returns what was reserved for it.
    pub(crate) fn undelay(&self, range: Range<u64>) -> Option<DataReservation> {
        let mut inner = self.inner.lock();
        if inner.reserve().is_err() {
            // Stays reserved until it is written or cut off.
            return None;
        }
        let (removed, unpaid) = inner.take_delayed(&range);
        let _ = inner.fresh.remove(range.clone());
        let _ = inner.moving.remove(range.clone());
        if removed == 0 {
            return None;
        }
        inner.change(range);
        let paid = removed.saturating_sub(unpaid);
        let reserved = inner.reserved.as_mut().map(|all| all.split(paid));
        let rest = inner.cost(&self.rates);
        let trees = inner.cut_trees(rest);
        drop(inner);
        drop(trees);
        reserved
    }

    /// `range` is on its way to disk now; returns what was reserved for it, and how many bytes of
    /// it need nothing. `ENOMEM`.
    pub(crate) fn launch(&self, range: Range<u64>) -> Result<(Option<DataReservation>, u64)> {
        let mut inner = self.inner.lock();
        inner.reserve()?;
        inner.in_flight.insert(range.clone())?;
        let (removed, unpaid) = inner.take_delayed(&range);
        inner.change(range);
        let reserved = match removed.saturating_sub(unpaid) {
            0 => None,
            paid => inner.reserved.as_mut().map(|all| all.split(paid)),
        };
        Ok((reserved, unpaid))
    }

    /// `range` has arrived, or failed: its items are what they will be.
    pub(crate) fn land(&self, range: Range<u64>) {
        let mut inner = self.inner.lock();
        // Without memory to cut it, more counts as in flight than is; that is harmless.
        let _ = inner.in_flight.remove(range.clone());
        let _ = inner.fresh.remove(range.clone());
        // What stays in here is copied once more than it need be.
        let _ = inner.moving.remove(range.clone());
        inner.change(range);
        let rest = inner.cost(&self.rates);
        let trees = inner.cut_trees(rest);
        drop(inner);
        drop(trees);
    }

    /// Whether `pos` is to get a new place, and up to where that is so.
    pub(super) fn moving(&self, pos: u64) -> (bool, u64) {
        self.inner.lock().moving.at(pos)
    }

    /// How all data is compressed for now, whatever options say.
    pub(super) fn recode(&self) -> Option<Recode> {
        self.inner.lock().recode
    }

    /// Sets it, up to when what is returned is dropped. One at a time.
    pub(super) fn recode_as(&self, recode: Recode) -> Recoding<'_> {
        let guard = self.recoding.lock();
        self.inner.lock().recode = Some(recode);
        Recoding {
            file: self,
            _guard: guard,
        }
    }

    /// The items of `range` are others now.
    pub(crate) fn changed(&self, range: Range<u64>) {
        self.inner.lock().change(range);
    }
}

impl Inner {
    fn is_unchanged(&self, range: &Range<u64>, version: u64) -> bool {
        let missed = self.version.saturating_sub(version);
        missed < CHANGES as u64
            && (version.saturating_add(1)..=self.version).all(|number| {
                let at = (number % CHANGES as u64) as usize;
                let changed = self.changes.get(at);
                changed.is_some_and(|c| c.end <= range.start || range.end <= c.start)
            })
    }

    /// See [`FileState::delay`].
    fn delay(
        &mut self,
        range: Range<u64>,
        under: Under,
        mut reservation: Option<DataReservation>,
    ) -> Result<Option<DataReservation>> {
        let len = range.end.saturating_sub(range.start);
        let missing = len.saturating_sub(self.delayed.covered(&range));
        if missing == 0 {
            return Ok(reservation);
        }
        if !self.is_unchanged(&range, under.version) || self.claims.overlap(&range) {
            return Err(EAGAIN);
        }
        if under.fresh {
            self.fresh.insert(range.clone())?;
        }
        if under.unpaid {
            self.delay_into(range, |inner| &mut inner.unpaid)?;
            return Ok(reservation);
        }
        let has = reservation.as_ref().map_or(0, |r| r.bytes());
        let (Some(rest), true) = (reservation.as_mut(), has >= missing) else {
            return Err(EAGAIN);
        };
        match under.moving {
            true => self.delay_into(range, |inner| &mut inner.moving)?,
            false => drop(self.delayed.insert(range)?),
        }
        let paid = rest.split(missing);
        match &mut self.reserved {
            Some(all) => all.merge(paid),
            none => *none = Some(paid),
        }
        Ok(reservation)
    }

    /// Runs and bytes that are pending.
    fn pending(&self) -> (u64, u64) {
        let sets = [&self.delayed, &self.in_flight];
        let sum = |of: fn(&RangeSet) -> u64| sets.iter().map(|set| of(set)).sum();
        (sum(RangeSet::count), sum(RangeSet::total))
    }

    /// What tree blocks for the items of all that is pending cost.
    fn cost(&self, rates: &Rates) -> u64 {
        let (runs, bytes) = self.pending();
        rates.cost(runs, bytes)
    }

    /// What is promised for that.
    fn promised(&self) -> u64 {
        self.trees.as_ref().map_or(0, |trees| trees.bytes())
    }

    /// Takes out what is promised beyond `rest`.
    fn cut_trees(&mut self, rest: u64) -> Option<MetaReservation> {
        let more = self.promised().saturating_sub(rest);
        self.trees.as_mut().map(|trees| trees.split(more))
    }

    fn count(&mut self, more: u64, less: u64) {
        self.bytes = self.bytes.saturating_add(more).saturating_sub(less);
    }

    /// Makes room for one change of each set.
    fn reserve(&mut self) -> Result {
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
    fn take_delayed(&mut self, range: &Range<u64>) -> (u64, u64) {
        let removed = self.delayed.remove(range.clone()).unwrap_or(0);
        (removed, self.unpaid.remove(range.clone()).unwrap_or(0))
    }

    fn change(&mut self, range: Range<u64>) {
        self.version = self.version.saturating_add(1);
        let at = (self.version % CHANGES as u64) as usize;
        self.cache.forget(&range);
        if let Some(slot) = self.changes.get_mut(at) {
            *slot = range;
        }
    }
}
