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
use super::compress::Recode;
use super::extent::{Extent, Extents};
use super::promise::Rates;
use super::work::{Inner, Work};
use crate::space::{DataReservation, MetaReservation};

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
        if let Some(work) = &mut self.file.inner.lock().work {
            work.recode = None;
        }
    }
}

impl FileState {
    /// For a file whose inode item has size `size` and `bytes` bytes allocated.
    pub(crate) fn new(size: u64, bytes: u64, rates: Rates) -> impl PinInit<Self> {
        let inner = Inner {
            cache: ExtentCache::new(),
            version: 1,
            disk_size: size,
            bytes,
            work: None,
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
        let fresh = inner.work.as_ref().map_or(0, |work| work.fresh.total());
        inner.bytes.saturating_add(fresh)
    }

    /// Counts bytes that items say are allocated now, and no more.
    pub(crate) fn count(&self, more: u64, less: u64) {
        self.inner.lock().count(more, less);
    }

    /// As [`Self::count`], for what was in flight to `range` and has its items now.
    pub(crate) fn arrived(&self, range: Range<u64>, more: u64, less: u64) {
        let mut inner = self.inner.lock();
        inner.count(more, less);
        if let Some(work) = &mut inner.work {
            // Without memory to cut it, more is reported until the file is let go; that is harmless.
            let _ = work.fresh.remove(range);
        }
    }

    /// Lets the size for the inode item rise towards `size`, as far as nothing is pending below.
    pub(crate) fn raise_disk_size(&self, size: u64) {
        let mut inner = self.inner.lock();
        let from = inner.disk_size;
        let open = inner.work.as_ref().and_then(|work| {
            let pending = [&work.delayed, &work.in_flight].map(|set| set.first_behind(from));
            pending.into_iter().flatten().map(|range| range.start).min()
        });
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
        let Some(work) = &inner.work else {
            return Pending {
                yes: false,
                until: u64::MAX,
            };
        };
        let (delayed, a) = work.delayed.at(pos);
        let (in_flight, b) = work.in_flight.at(pos);
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
        let busy =
            |work: &KBox<Work>| work.in_flight.covered(range) != 0 || work.claims.overlap(range);
        inner.work.as_ref().is_some_and(busy)
    }

    /// Whether some of `range` is claimed by a direct write.
    pub(crate) fn is_claimed(&self, range: &Range<u64>) -> bool {
        let inner = self.inner.lock();
        let claimed = |work: &KBox<Work>| work.claims.overlap(range);
        inner.work.as_ref().is_some_and(claimed)
    }

    /// Claims `range` for a direct write, up to [`Self::unclaim`], unless some of it is delayed, in
    /// flight or claimed: then returns false. `ENOMEM`.
    pub(crate) fn claim(&self, range: &Range<u64>) -> Result<bool> {
        let mut inner = self.inner.lock();
        let work = inner.work()?;
        let pending = [&work.delayed, &work.in_flight].map(|set| set.covered(range));
        if pending != [0, 0] || work.claims.overlap(range) {
            return Ok(false);
        }
        work.claims.add(range)?;
        Ok(true)
    }

    /// Lets go of the claim that begins at `start`.
    pub(crate) fn unclaim(&self, start: u64) {
        if let Some(work) = &mut self.inner.lock().work {
            work.claims.remove(start);
        }
    }

    /// How many bytes of `range` are not delayed yet.
    pub(crate) fn missing(&self, range: &Range<u64>) -> u64 {
        let inner = self.inner.lock();
        let covered = |work: &KBox<Work>| work.delayed.covered(range);
        let covered = inner.work.as_ref().map_or(0, covered);
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
        let work = inner.work()?;
        let missing = work.cost(&self.rates).saturating_sub(work.promised());
        let paid = trees.split(missing);
        match &mut work.trees {
            Some(all) => all.merge(paid),
            none => *none = Some(paid),
        }
        Ok(reservation)
    }

    /// What is promised for the items of `range`, which is in flight, and which are put now; all that
    /// other pending data does not need.
    pub(super) fn take_trees(&self, range: &Range<u64>) -> Option<MetaReservation> {
        let mut inner = self.inner.lock();
        let work = inner.work.as_mut()?;
        let len = range.end.saturating_sub(range.start);
        let (runs, bytes) = work.pending();
        let rest = match bytes.saturating_sub(len) {
            0 => 0,
            bytes => self.rates.cost(runs.saturating_sub(1).max(1), bytes),
        };
        work.cut_trees(rest)
    }

    /// What is delayed in `range` is not any more; returns what was reserved for it.
    pub(crate) fn undelay(&self, range: Range<u64>) -> Option<DataReservation> {
        let mut inner = self.inner.lock();
        let work = inner.work.as_mut()?;
        if work.reserve().is_err() {
            // Stays reserved until it is written or cut off.
            return None;
        }
        let (removed, unpaid) = work.take_delayed(&range);
        let _ = work.fresh.remove(range.clone());
        let _ = work.moving.remove(range.clone());
        if removed == 0 {
            return None;
        }
        let paid = removed.saturating_sub(unpaid);
        let reserved = work.reserved.as_mut().map(|all| all.split(paid));
        let rest = work.cost(&self.rates);
        let trees = work.cut_trees(rest);
        inner.change(range);
        drop(inner);
        drop(trees);
        reserved
    }

    /// `range` is on its way to disk now; returns what was reserved for it, and how many bytes of
    /// it need nothing. `ENOMEM`.
    pub(crate) fn launch(&self, range: Range<u64>) -> Result<(Option<DataReservation>, u64)> {
        let mut inner = self.inner.lock();
        let work = inner.work()?;
        work.reserve()?;
        work.in_flight.insert(range.clone())?;
        let (removed, unpaid) = work.take_delayed(&range);
        let reserved = match removed.saturating_sub(unpaid) {
            0 => None,
            paid => work.reserved.as_mut().map(|all| all.split(paid)),
        };
        inner.change(range);
        Ok((reserved, unpaid))
    }

    /// `range` has arrived, or failed: its items are what they will be.
    pub(crate) fn land(&self, range: Range<u64>) {
        let mut inner = self.inner.lock();
        let Some(work) = &mut inner.work else {
            return;
        };
        // Without memory to cut it, more counts as in flight than is; that is harmless.
        let _ = work.in_flight.remove(range.clone());
        let _ = work.fresh.remove(range.clone());
        // What stays in here is copied once more than it need be.
        let _ = work.moving.remove(range.clone());
        let rest = work.cost(&self.rates);
        let trees = work.cut_trees(rest);
        inner.change(range);
        drop(inner);
        drop(trees);
    }

    /// Whether `pos` is to get a new place, and up to where that is so.
    pub(super) fn moving(&self, pos: u64) -> (bool, u64) {
        let inner = self.inner.lock();
        let nowhere = (false, u64::MAX);
        inner
            .work
            .as_ref()
            .map_or(nowhere, |work| work.moving.at(pos))
    }

    /// How all data is compressed for now, whatever options say.
    pub(super) fn recode(&self) -> Option<Recode> {
        self.inner.lock().work.as_ref()?.recode
    }

    /// Sets it, up to when what is returned is dropped. One at a time.
    pub(super) fn recode_as(&self, recode: Recode) -> Result<Recoding<'_>> {
        let guard = self.recoding.lock();
        self.inner.lock().work()?.recode = Some(recode);
        Ok(Recoding {
            file: self,
            _guard: guard,
        })
    }

    /// The items of `range` are others now.
    pub(crate) fn changed(&self, range: Range<u64>) {
        self.inner.lock().change(range);
    }
}
