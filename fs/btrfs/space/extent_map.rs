// SPDX-License-Identifier: GPL-2.0

//! The free ranges of a block group, in memory.
//!
//! Ranges are kept in ascending order in runs of at most [`RUN`]; a directory has the first
//! address of each run and its longest range. So a search for a place of some length skips whole
//! runs that have none, and a change moves at most one run. With *n* ranges an operation costs
//! O(n / RUN + RUN) steps over memory that lies together.
//!
//! Ranges that touch are one range. No operation allocates but through the [`Room`] that was put
//! in before, so that the owner's lock is not held while memory is reclaimed; one operation takes
//! at most one.
//!
//! Bound: 16 bytes for each free range, half of that again where runs are half full.

use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

/// Ranges in a run at most.
const RUN: usize = 128;

/// A range of addresses.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    /// First address.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
}

impl Extent {
    /// The address behind it.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Neighbours in order of addresses. Never empty while in a directory.
struct Run {
    first: u64,
    longest: u64,
    extents: KVec<Extent>,
}

impl Run {
    fn refresh(&mut self) {
        self.first = self.extents.first().map_or(u64::MAX, |e| e.start);
        self.longest = self.extents.iter().map(|e| e.len).max().unwrap_or(0);
    }
}

/// Memory that an operation may need: for one more run, and for its place in the directory.
pub(crate) struct Room {
    extents: KVec<Extent>,
    runs: Option<KVVec<Run>>,
}

/// Why a change was not made; nothing has been changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// The range is not wholly free (when taken), or not wholly taken (when freed).
    State,
    /// There was no [`Room`] left.
    Memory,
}

/// Free ranges.
pub(crate) struct ExtentMap {
    runs: KVVec<Run>,
    spare: Option<KVec<Extent>>,
    free: u64,
    count: usize,
}

/// Where an address is: behind how many runs, and how many ranges of the last of these, begin at
/// or before it.
#[derive(Clone, Copy)]
struct Place {
    run: usize,
    slot: usize,
}

impl ExtentMap {
    /// Nothing is free.
    pub(crate) fn new() -> Self {
        Self {
            runs: KVVec::new(),
            spare: None,
            free: 0,
            count: 0,
        }
    }

    /// Free bytes.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// Number of ranges.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether the next change could need a [`Room`], which [`Self::room`] makes for the size
    /// that is returned.
    pub(crate) fn wants_room(&self) -> Option<usize> {
        let full = self.runs.len() >= self.runs.capacity();
        (self.spare.is_none() || full).then_some(self.runs.len())
    }

    /// Allocates for [`Self::put_room`]; `runs` is from [`Self::wants_room`].
    pub(crate) fn room(runs: usize) -> Result<Room> {
        let more = runs.saturating_add(runs / 2).saturating_add(8);
        Ok(Room {
            extents: KVec::with_capacity(RUN, GFP_NOFAIL)?,
            runs: Some(KVVec::with_capacity(more, GFP_NOFAIL)?),
        })
    }

    /// Takes memory for the next change. What was not needed is in the result, to be dropped
    /// where that may sleep.
    pub(crate) fn put_room(&mut self, room: Room) -> Room {
        let Room { extents, mut runs } = room;
        if let Some(larger) = runs
            .as_mut()
            .filter(|r| r.capacity() > self.runs.capacity())
        {
            core::mem::swap(larger, &mut self.runs);
            for run in larger.drain_all() {
                // The capacity is larger than that of where they come from.
                let _ = self.runs.push_within_capacity(run);
            }
        }
        let extents = self.spare.replace(extents).unwrap_or_default();
        Room { extents, runs }
    }

    /// The range that begins at or before `at`, by its place.
    fn place(&self, at: u64) -> Option<Place> {
        let run = self
            .runs
            .partition_point(|r| r.first <= at)
            .checked_sub(1)?;
        let extents = &self.runs.get(run)?.extents;
        let slot = extents.partition_point(|e| e.start <= at).checked_sub(1)?;
        Some(Place { run, slot })
    }

    fn at(&self, place: Place) -> Option<Extent> {
        self.runs.get(place.run)?.extents.get(place.slot).copied()
    }

    /// The place that follows.
    fn behind(&self, place: Option<Place>) -> Option<Place> {
        let Some(Place { run, slot }) = place else {
            return (!self.runs.is_empty()).then_some(Place { run: 0, slot: 0 });
        };
        if slot + 1 < self.runs.get(run)?.extents.len() {
            return Some(Place {
                run,
                slot: slot + 1,
            });
        }
        (run + 1 < self.runs.len()).then_some(Place {
            run: run + 1,
            slot: 0,
        })
    }

    fn set(&mut self, place: Place, extent: Extent) {
        let Some(run) = self.runs.get_mut(place.run) else {
            return;
        };
        let Some(old) = run.extents.get_mut(place.slot) else {
            return;
        };
        let was = core::mem::replace(old, extent);
        if extent.len >= run.longest {
            run.longest = extent.len;
        } else if was.len == run.longest {
            run.refresh();
        }
        if place.slot == 0 {
            run.first = extent.start;
        }
    }

    fn delete(&mut self, place: Place) {
        let Some(run) = self.runs.get_mut(place.run) else {
            return;
        };
        let Ok(was) = run.extents.remove(place.slot) else {
            return;
        };
        self.count = self.count.saturating_sub(1);
        if run.extents.is_empty() {
            if let Ok(run) = self.runs.remove(place.run) {
                self.spare.get_or_insert(run.extents);
            }
        } else if place.slot == 0 || was.len == run.longest {
            run.refresh();
        }
    }

    /// Puts a range behind `place`.
    fn add(&mut self, place: Option<Place>, extent: Extent) -> Result<(), Refused> {
        let (mut run, mut slot) = place.map_or((0, 0), |p| (p.run, p.slot + 1));
        if self.runs.is_empty() {
            self.new_run(0)?;
        } else if self.runs.get(run).is_some_and(|r| r.extents.len() >= RUN) {
            (run, slot) = self.split(run, slot)?;
        }
        let run = self.runs.get_mut(run).ok_or(Refused::State)?;
        let added = run.extents.insert_within_capacity(slot, extent);
        added.map_err(|_| Refused::Memory)?;
        run.longest = run.longest.max(extent.len);
        if slot == 0 {
            run.first = extent.start;
        }
        self.count += 1;
        Ok(())
    }

    /// An empty run at `index`.
    fn new_run(&mut self, index: usize) -> Result<(), Refused> {
        if self.runs.len() >= self.runs.capacity() {
            return Err(Refused::Memory);
        }
        let extents = self.spare.take().ok_or(Refused::Memory)?;
        let run = Run {
            first: u64::MAX,
            longest: 0,
            extents,
        };
        let added = self.runs.insert_within_capacity(index, run);
        added.map_err(|_| Refused::Memory)
    }

    /// Makes room before `slot` of the full run `run`, and tells where that is then.
    fn split(&mut self, run: usize, slot: usize) -> Result<(usize, usize), Refused> {
        self.new_run(run + 1)?;
        // What only ever grows at the end, as when filled in order, has full runs.
        let last = run + 2 == self.runs.len();
        let keep = if last && slot == RUN { RUN } else { RUN / 2 };
        if let Some((left, right)) = self.runs.split_at_mut_checked(run + 1) {
            if let (Some(left), Some(right)) = (left.last_mut(), right.first_mut()) {
                for extent in left.extents.get(keep..).unwrap_or_default() {
                    let _ = right.extents.push_within_capacity(*extent);
                }
                left.extents.truncate(keep);
                left.refresh();
                right.refresh();
            }
        }
        Ok(if slot > keep || keep == RUN {
            (run + 1, slot - keep)
        } else {
            (run, slot)
        })
    }

    /// Makes `len` bytes from `start` on free.
    pub(crate) fn insert(&mut self, start: u64, len: u64) -> Result<(), Refused> {
        let end = start.checked_add(len).ok_or(Refused::State)?;
        if len == 0 {
            return Ok(());
        }
        let before = self.place(start);
        let behind = self.behind(before);
        let left = before.and_then(|p| Some((p, self.at(p)?)));
        let right = behind.and_then(|p| Some((p, self.at(p)?)));
        if left.is_some_and(|(_, e)| e.end() > start) || right.is_some_and(|(_, e)| e.start < end) {
            return Err(Refused::State);
        }
        let left = left.filter(|(_, e)| e.end() == start);
        let right = right.filter(|(_, e)| e.start == end);
        let join = |start, end: u64| Extent {
            start,
            len: end.saturating_sub(start),
        };
        match (left, right) {
            (Some((at, a)), Some((gone, b))) => {
                self.set(at, join(a.start, b.end()));
                self.delete(gone);
            }
            (Some((at, a)), None) => self.set(at, join(a.start, end)),
            (None, Some((at, b))) => self.set(at, join(start, b.end())),
            (None, None) => self.add(before, Extent { start, len })?,
        }
        self.free = self.free.saturating_add(len);
        Ok(())
    }

    /// Takes `len` bytes from `start` on, all of which must be free.
    pub(crate) fn remove(&mut self, start: u64, len: u64) -> Result<(), Refused> {
        let end = start.checked_add(len).ok_or(Refused::State)?;
        if len == 0 {
            return Ok(());
        }
        let place = self.place(start).ok_or(Refused::State)?;
        let extent = self.at(place).ok_or(Refused::State)?;
        if extent.end() < end {
            return Err(Refused::State);
        }
        let head = Extent {
            start: extent.start,
            len: start.saturating_sub(extent.start),
        };
        let tail = Extent {
            start: end,
            len: extent.end().saturating_sub(end),
        };
        match (head.len > 0, tail.len > 0) {
            (false, false) => self.delete(place),
            (true, false) => self.set(place, head),
            (false, true) => self.set(place, tail),
            (true, true) => {
                self.add(Some(place), tail)?;
                // Adding may have split the run.
                if let Some(place) = self.place(start) {
                    self.set(place, head);
                }
            }
        }
        self.free = self.free.saturating_sub(len);
        Ok(())
    }

    /// The number of free bytes from `start` on, up to the next taken one.
    pub(crate) fn free_at(&self, start: u64) -> u64 {
        self.place(start)
            .and_then(|place| self.at(place))
            .map_or(0, |extent| extent.end().saturating_sub(start))
    }

    /// The first free place at or behind `from` that has `len` bytes and whose address is a
    /// multiple of `align`, a power of two.
    pub(crate) fn first_fit(&self, from: u64, len: u64, align: u64) -> Option<u64> {
        let skip = self
            .runs
            .partition_point(|r| r.first <= from)
            .saturating_sub(1);
        for run in self.runs.iter().skip(skip) {
            if run.longest < len {
                continue;
            }
            let first = run.extents.partition_point(|e| e.end() <= from);
            for extent in run.extents.iter().skip(first) {
                let at = extent.start.max(from).checked_next_multiple_of(align)?;
                if extent.len >= len && extent.end().saturating_sub(at) >= len && at < extent.end()
                {
                    return Some(at);
                }
            }
        }
        None
    }

    /// The longest free range, the first of several.
    pub(crate) fn longest(&self) -> Option<Extent> {
        let longest = self.runs.iter().map(|r| r.longest).max()?;
        let run = self.runs.iter().find(|r| r.longest == longest)?;
        run.extents.iter().find(|e| e.len == longest).copied()
    }

    /// The length of the longest free range.
    pub(crate) fn longest_len(&self) -> u64 {
        self.runs.iter().map(|r| r.longest).max().unwrap_or(0)
    }

    /// The first free range that ends behind `from`, cut to what is not before it.
    pub(crate) fn next(&self, from: u64) -> Option<Extent> {
        let skip = self
            .runs
            .partition_point(|r| r.first <= from)
            .saturating_sub(1);
        let mut extents = self.runs.iter().skip(skip).flat_map(|r| r.extents.iter());
        let extent = extents.find(|e| e.end() > from)?;
        let start = extent.start.max(from);
        Some(Extent {
            start,
            len: extent.end().saturating_sub(start),
        })
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(btrfs_extent_map)]
mod tests {
    use super::*;

    /// Puts room in, as owners do.
    fn prepare(map: &mut ExtentMap) -> Result {
        if let Some(size) = map.wants_room() {
            let room = ExtentMap::room(size)?;
            drop(map.put_room(room));
        }
        Ok(())
    }

    fn insert(map: &mut ExtentMap, start: u64, len: u64) -> Result {
        prepare(map)?;
        map.insert(start, len).map_err(|_| EINVAL)
    }

    fn remove(map: &mut ExtentMap, start: u64, len: u64) -> Result {
        prepare(map)?;
        map.remove(start, len).map_err(|_| EINVAL)
    }

    #[test]
    fn joins_and_cuts() -> Result {
        let mut map = ExtentMap::new();
        insert(&mut map, 100, 10)?;
        insert(&mut map, 120, 10)?;
        insert(&mut map, 110, 10)?;
        assert_eq!((map.free(), map.count()), (30, 1));
        assert!(insert(&mut map, 129, 2).is_err());
        assert!(insert(&mut map, 99, 2).is_err());
        remove(&mut map, 110, 5)?;
        assert_eq!((map.free(), map.count()), (25, 2));
        assert!(remove(&mut map, 109, 2).is_err());
        assert!(remove(&mut map, 90, 1).is_err());
        assert_eq!(
            (map.free_at(105), map.free_at(112), map.free_at(115)),
            (5, 0, 15)
        );
        assert_eq!(
            map.longest(),
            Some(Extent {
                start: 115,
                len: 15
            })
        );
        remove(&mut map, 100, 10)?;
        remove(&mut map, 115, 15)?;
        assert_eq!((map.free(), map.count()), (0, 0));
        assert_eq!(map.longest(), None);
        Ok(())
    }

    #[test]
    fn first_fit() -> Result {
        let mut map = ExtentMap::new();
        insert(&mut map, 4096, 4096)?;
        insert(&mut map, 20480, 32768)?;
        assert_eq!(map.first_fit(0, 4096, 4096), Some(4096));
        assert_eq!(map.first_fit(4097, 4096, 4096), Some(20480));
        assert_eq!(map.first_fit(0, 16384, 16384), Some(32768));
        assert_eq!(map.first_fit(0, 32768, 4096), Some(20480));
        assert_eq!(map.first_fit(0, 32769, 4096), None);
        assert_eq!(map.first_fit(53248, 1, 1), None);
        let rest = Extent {
            start: 30000,
            len: 23248,
        };
        assert_eq!(map.next(30000), Some(rest));
        Ok(())
    }

    #[test]
    fn without_room() {
        let mut map = ExtentMap::new();
        assert_eq!(map.insert(5, 5), Err(Refused::Memory));
        assert_eq!((map.free(), map.count()), (0, 0));
    }

    /// Many operations in a fixed disorder, against one flag per unit.
    #[test]
    fn against_a_model() -> Result {
        const UNITS: usize = 3000;
        let mut model = KVec::from_elem(false, UNITS, GFP_KERNEL)?;
        let mut map = ExtentMap::new();
        let mut seed = 12345u64;
        let mut random = |below: usize| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap_or(0) % below
        };
        for round in 0..6000 {
            let at = random(UNITS);
            let len = (1 + random(6)).min(UNITS - at);
            let free = round < 3000 || random(2) == 0;
            let range = model.get_mut(at..at + len).ok_or(EINVAL)?;
            let wanted = range.iter().all(|unit| *unit != free);
            let done = if free {
                insert(&mut map, at as u64, len as u64)
            } else {
                remove(&mut map, at as u64, len as u64)
            };
            assert_eq!(done.is_ok(), wanted);
            if wanted {
                range.fill(free);
            }
        }
        let free = model.iter().filter(|unit| **unit).count();
        assert_eq!(map.free(), free as u64);
        // Every range, in order, is where the model has it.
        let mut at = 0;
        let mut count = 0;
        let mut longest = 0;
        while let Some(extent) = map.next(at) {
            let range = usize::try_from(extent.start)?..usize::try_from(extent.end())?;
            assert!(model.get(range).ok_or(EINVAL)?.iter().all(|unit| *unit));
            count += 1;
            longest = longest.max(extent.len);
            at = extent.end();
        }
        assert_eq!(count, map.count());
        assert_eq!(longest, map.longest_len());
        for len in 1..=longest {
            let fit = map.first_fit(0, len, 1).ok_or(EINVAL)?;
            assert!(map.free_at(fit) >= len);
        }
        Ok(())
    }
}
