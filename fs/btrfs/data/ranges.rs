// SPDX-License-Identifier: GPL-2.0

//! Sets of bytes of a file.

use core::ops::Range;
use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

/// A set of bytes, as disjoint ranges in order that do not touch each other.
#[derive(Default)]
pub(crate) struct RangeSet {
    ranges: KVVec<(u64, u64)>,
    total: u64,
}

impl RangeSet {
    /// The empty set.
    pub(crate) const fn new() -> Self {
        Self {
            ranges: KVVec::new(),
            total: 0,
        }
    }

    /// Number of ranges.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.len() as u64
    }

    /// Number of bytes in it.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Index of the first range that ends behind `pos`.
    fn behind(&self, pos: u64) -> usize {
        self.ranges.partition_point(|(_, end)| *end <= pos)
    }

    /// Number of bytes of `range` that are in the set.
    pub(crate) fn covered(&self, range: &Range<u64>) -> u64 {
        let mut sum = 0u64;
        let rest = self.ranges.get(self.behind(range.start)..);
        for (start, end) in rest.unwrap_or_default() {
            if *start >= range.end {
                break;
            }
            let part = (*end)
                .min(range.end)
                .saturating_sub((*start).max(range.start));
            sum = sum.saturating_add(part);
        }
        sum
    }

    /// Whether `pos` is in the set, and up to where that is so.
    pub(crate) fn at(&self, pos: u64) -> (bool, u64) {
        match self.ranges.get(self.behind(pos)) {
            Some((start, end)) if *start <= pos => (true, *end),
            Some((start, _)) => (false, *start),
            None => (false, u64::MAX),
        }
    }

    /// The first range that ends behind `pos`.
    pub(crate) fn first_behind(&self, pos: u64) -> Option<Range<u64>> {
        let (start, end) = *self.ranges.get(self.behind(pos))?;
        Some(start..end)
    }

    /// Makes room for one change.
    pub(crate) fn reserve(&mut self) -> Result {
        Ok(self.ranges.reserve(2, GFP_NOFAIL)?)
    }

    /// Adds `range`; returns how many bytes of it were not there. `ENOMEM`.
    pub(crate) fn insert(&mut self, range: Range<u64>) -> Result<u64> {
        if range.is_empty() {
            return Ok(0);
        }
        self.reserve()?;
        let (mut start, mut end) = (range.start, range.end);
        // All that overlap it or touch it become one.
        let first = self.ranges.partition_point(|(_, e)| *e < start);
        let last = self.ranges.partition_point(|(s, _)| *s <= end);
        let mut before = 0u64;
        for (s, e) in self.ranges.get(first..last).unwrap_or_default() {
            before = before.saturating_add(e.saturating_sub(*s));
            start = start.min(*s);
            end = end.max(*e);
        }
        self.replace(first, last, &[(start, end)]);
        let added = end.saturating_sub(start).saturating_sub(before);
        self.total = self.total.saturating_add(added);
        Ok(added)
    }

    /// Removes `range`; returns how many bytes of it were there. `ENOMEM` if a range would have
    /// to be cut in two and there was no room made by [`Self::reserve`].
    pub(crate) fn remove(&mut self, range: Range<u64>) -> Result<u64> {
        let first = self.behind(range.start);
        let last = self.ranges.partition_point(|(s, _)| *s < range.end);
        if first >= last {
            return Ok(0);
        }
        let (head, _) = self.ranges.get(first).copied().unwrap_or_default();
        let (_, tail) = self
            .ranges
            .get(last.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let removed = self.covered(&range);
        let left = (head < range.start).then_some((head, range.start));
        let right = (range.end < tail).then_some((range.end, tail));
        if left.is_some() && right.is_some() {
            self.reserve()?;
        }
        match (left, right) {
            (Some(left), Some(right)) => self.replace(first, last, &[left, right]),
            (Some(one), None) | (None, Some(one)) => self.replace(first, last, &[one]),
            (None, None) => self.replace(first, last, &[]),
        }
        self.total = self.total.saturating_sub(removed);
        Ok(removed)
    }

    /// Puts `new` (at most two) in the place of the ranges `first..last`. There is room.
    fn replace(&mut self, first: usize, last: usize, new: &[(u64, u64)]) {
        let old = last.saturating_sub(first);
        let kept = old.min(new.len());
        for (i, range) in new.iter().enumerate() {
            let at = first.saturating_add(i);
            match self.ranges.get_mut(at) {
                Some(slot) if i < kept => *slot = *range,
                _ => drop(self.ranges.insert_within_capacity(at, *range)),
            }
        }
        let gap = old.saturating_sub(kept);
        let from = first.saturating_add(kept);
        if gap == 0 {
            return;
        }
        if let Some(tail) = self.ranges.get_mut(from..) {
            tail.rotate_left(gap.min(tail.len()));
        }
        let len = self.ranges.len().saturating_sub(gap);
        self.ranges.truncate(len);
    }
}

#[::kernel::macros::kunit_tests(btrfs_ranges)]
mod tests {
    use super::*;

    /// Random changes against a bitmap.
    #[test]
    fn model() -> Result {
        let mut set = RangeSet::new();
        let mut model = [false; 64];
        let mut seed = 12345u32;
        let mut next = |n: u32| {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            u64::from((seed >> 8) % n)
        };
        for _ in 0..4000 {
            let start = next(64);
            let end = (start + 1 + next(9)).min(64);
            let put = next(2) == 0;
            let mut changed = 0u64;
            for bit in model[start as usize..end as usize].iter_mut() {
                changed += u64::from(*bit != put);
                *bit = put;
            }
            let got = match put {
                true => set.insert(start..end)?,
                false => set.remove(start..end)?,
            };
            assert_eq!(got, changed);
            let all = model.iter().filter(|bit| **bit).count() as u64;
            assert_eq!(set.total(), all);
            let probe = next(64);
            let (inside, until) = set.at(probe);
            assert_eq!(inside, model[probe as usize]);
            let same = model[probe as usize..]
                .iter()
                .take_while(|bit| **bit == inside);
            let end = probe + same.count() as u64;
            assert!(until == end || (end == 64 && until == u64::MAX));
            assert_eq!(set.covered(&(start..end.max(start))), {
                let part = &model[start as usize..(end.max(start)) as usize];
                part.iter().filter(|bit| **bit).count() as u64
            });
        }
        Ok(())
    }
}
