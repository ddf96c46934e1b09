// SPDX-License-Identifier: GPL-2.0

//! The sum of changes per extent and reference, as a log that is sorted a bit at a time.
//!
//! Entries arrive in any order and by the thousand, and a few look-ups fall in between. An ordered
//! tree would cost an allocation per entry; here they go to the end of one vector. Full tails are
//! sorted, and sorted runs merged when two are about as long, so that there are few of them and an
//! entry moves a logarithmic number of times. Equal entries add up when they meet, and those that
//! come to nothing vanish.

#![deny(clippy::arithmetic_side_effects)]

use super::Change;
use crate::error::{Error, Result};
use crate::mem::{KVVec, GFP_NOFAIL};
use crate::sort::sort_by_key;
use btrfs_format::Logical;

/// A change of an extent and how often it happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) extent: Logical,
    pub(super) change: Change,
    pub(super) delta: i64,
}

impl Entry {
    #[inline]
    fn key(&self) -> (Logical, Change) {
        (self.extent, self.change)
    }
}

/// Entries that may wait unsorted; a look-up goes through them all.
const TAIL: usize = 256;

/// The log.
///
/// Invariant: `entries` from `runs[i]` to `runs[i + 1]`, and from the last one to `tail`, is
/// strictly ascending by extent and change.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: KVVec<Entry>,
    runs: KVVec<usize>,
    tail: usize,
    scratch: KVVec<Entry>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Number of changes, at most.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `delta` to the sum of a change.
    #[inline]
    pub(super) fn add(&mut self, extent: Logical, change: Change, delta: i64) -> Result {
        let entry = Entry {
            extent,
            change,
            delta,
        };
        self.entries.push(entry, GFP_NOFAIL)?;
        if self.entries.len().saturating_sub(self.tail) >= TAIL {
            self.seal()?;
            self.merge(false)?;
        }
        Ok(())
    }

    /// Calls `each` with every entry of an extent; the same change may come several times.
    pub(super) fn of_extent(&self, extent: Logical, mut each: impl FnMut(&Entry)) {
        let mut ends = self.runs.iter().skip(1).chain(core::iter::once(&self.tail));
        for &start in self.runs.iter() {
            let Some(&end) = ends.next() else { break };
            let run = self.entries.get(start..end).unwrap_or(&[]);
            let first = run.partition_point(|entry| entry.extent < extent);
            let found = run.get(first..).unwrap_or(&[]).iter();
            found
                .take_while(|entry| entry.extent == extent)
                .for_each(&mut each);
        }
        let tail = self.entries.get(self.tail..).unwrap_or(&[]).iter();
        tail.filter(|entry| entry.extent == extent)
            .for_each(&mut each);
    }

    /// Takes all sums that are not zero, ascending by extent and change.
    pub(super) fn take(&mut self) -> Result<KVVec<Entry>> {
        self.seal()?;
        self.merge(true)?;
        self.runs.clear();
        self.tail = 0;
        Ok(core::mem::take(&mut self.entries))
    }

    /// Gives the memory back for what comes next.
    pub(super) fn recycle(&mut self, mut entries: KVVec<Entry>) {
        if self.entries.is_empty() && self.entries.capacity() < entries.capacity() {
            entries.clear();
            self.entries = entries;
        }
    }

    /// Makes a run of the tail.
    fn seal(&mut self) -> Result {
        let start = self.tail;
        let Some(tail) = self.entries.get_mut(start..) else {
            return Err(Error::Corrupt("reference log"));
        };
        if tail.is_empty() {
            return Ok(());
        }
        sort_by_key(tail, Entry::key);
        let mut used = 0usize;
        for read in 0..tail.len() {
            let Some(&entry) = tail.get(read) else { break };
            push_sum(tail, &mut used, entry);
        }
        used = drop_zero(tail, used);
        let end = start.saturating_add(used);
        self.entries.truncate(end);
        if end > start {
            self.runs.push(start, GFP_NOFAIL)?;
        }
        self.tail = end;
        Ok(())
    }

    /// Merges the last runs while they are of about the same length, or all.
    fn merge(&mut self, all: bool) -> Result {
        while let [.., first, second] = *self.runs {
            let left = second.saturating_sub(first);
            let right = self.tail.saturating_sub(second);
            if !all && left > right.saturating_mul(2) {
                break;
            }
            self.merge_two(first, second)?;
            self.runs.pop();
            if self.tail == first {
                self.runs.pop();
            }
        }
        Ok(())
    }

    /// Merges the last two runs, which begin at `first` and `second`.
    fn merge_two(&mut self, first: usize, second: usize) -> Result {
        const BROKEN: Error = Error::Corrupt("reference log");
        self.scratch.clear();
        let left = self.entries.get(first..second).ok_or(BROKEN)?;
        self.scratch.extend_from_slice(left, GFP_NOFAIL)?;
        let middle = second.saturating_sub(first);
        let out = self.entries.get_mut(first..).ok_or(BROKEN)?;

        // Writing never overtakes reading: the left run has been moved away.
        let mut left = self.scratch.iter().copied().peekable();
        let mut right = middle;
        let mut used = 0usize;
        loop {
            let next = match (left.peek(), out.get(right)) {
                (Some(l), Some(r)) if l.key() <= r.key() => left.next(),
                (_, Some(&r)) => {
                    right = right.saturating_add(1);
                    Some(r)
                }
                (_, None) => left.next(),
            };
            let Some(entry) = next else { break };
            push_sum(out, &mut used, entry);
        }
        used = drop_zero(out, used);
        self.tail = first.saturating_add(used);
        self.entries.truncate(self.tail);
        Ok(())
    }
}

/// Appends an entry to the first `used` of `out`, or adds it to the last one.
///
/// An entry that has come to nothing is overwritten by the next.
#[inline]
fn push_sum(out: &mut [Entry], used: &mut usize, entry: Entry) {
    if let Some(last) = used.checked_sub(1).and_then(|last| out.get_mut(last)) {
        if last.key() == entry.key() {
            last.delta = last.delta.saturating_add(entry.delta);
            return;
        }
        if last.delta == 0 {
            *last = entry;
            return;
        }
    }
    if let Some(slot) = out.get_mut(*used) {
        *slot = entry;
        *used = used.saturating_add(1);
    }
}

/// How many of the first `used` remain when a last one that has come to nothing goes.
#[inline]
fn drop_zero(out: &[Entry], used: usize) -> usize {
    match used.checked_sub(1) {
        Some(last) if out.get(last).is_some_and(|entry| entry.delta == 0) => last,
        _ => used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use btrfs_format::TreeId;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn agrees_with_a_map() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for extents in [3, 100, 5000] {
            let mut log = Log::new();
            let mut map = BTreeMap::<(Logical, Change), i64>::new();
            for step in 0..20_000 {
                let extent = Logical(random(extents));
                let root = TreeId(random(4));
                let change = Change::TreeBlock { root };
                let delta = if random(2) == 0 { -1 } else { 1 };
                log.add(extent, change, delta).unwrap();
                *map.entry((extent, change)).or_default() += delta;
                if step % 37 == 0 {
                    let extent = Logical(random(extents));
                    let mut sum = 0;
                    log.of_extent(extent, |entry| sum += entry.delta);
                    let want: i64 = (0..4)
                        .filter_map(|root| {
                            let root = TreeId(root);
                            map.get(&(extent, Change::TreeBlock { root }))
                        })
                        .sum();
                    assert_eq!(sum, want);
                }
            }
            assert!(log.runs.len() <= 12);
            map.retain(|_, delta| *delta != 0);
            let taken = log.take().unwrap();
            let taken: Vec<_> = taken.iter().map(|e| (e.key(), e.delta)).collect();
            assert_eq!(taken, map.into_iter().collect::<Vec<_>>());
            assert!(log.is_empty());
        }
    }
}
