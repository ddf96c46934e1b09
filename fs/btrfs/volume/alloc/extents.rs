// SPDX-License-Identifier: GPL-2.0

//! What of a device is taken by chunks.

use btrfs_format::superblock::{mirror_offset, MIRRORS, RESERVED_BYTES, SUPER_SIZE};
use kernel::prelude::*;
use kfs::mem::GFP_NOFAIL;

/// Ranges of a device that chunks have, in bytes: sorted and disjoint.
pub(super) struct Extents {
    list: KVVec<Range>,
}

/// A range of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Range {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

impl Extents {
    pub(super) const fn new() -> Self {
        Self { list: KVVec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes a range. `EEXIST` if some of it is taken, `EINVAL` if it is empty or passes the end of
    /// the numbers.
    pub(super) fn insert(&mut self, start: u64, len: u64) -> Result {
        if len == 0 || start.checked_add(len).is_none() {
            return Err(EINVAL);
        }
        let range = Range { start, len };
        let at = self.list.partition_point(|r| r.start < start);
        let before = at.checked_sub(1).and_then(|i| self.list.get(i));
        if before.is_some_and(|before| before.end() > start)
            || self
                .list
                .get(at)
                .is_some_and(|next| next.start < range.end())
        {
            return Err(EEXIST);
        }
        self.list.reserve(1, GFP_NOFAIL)?;
        self.list
            .insert_within_capacity(at, range)
            .map_err(|_| ENOMEM)
    }

    /// Gives the range that begins at `start` back.
    pub(super) fn remove(&mut self, start: u64) {
        let at = self.list.partition_point(|r| r.start < start);
        if self.list.get(at).is_some_and(|r| r.start == start) {
            let _ = self.list.remove(at);
        }
    }

    /// Length of the range that begins at `start`.
    pub(super) fn get(&self, start: u64) -> Option<u64> {
        let at = self.list.partition_point(|r| r.start < start);
        let range = self.list.get(at)?;
        (range.start == start).then_some(range.len)
    }

    /// The first hole of at least `want` bytes, cut to that; if there is none, the largest one,
    /// which is empty if everything is taken. Below `size`, and behind what is never allocated.
    pub(super) fn hole(&self, size: u64, want: u64) -> Range {
        let mut largest = Range {
            start: RESERVED_BYTES,
            len: 0,
        };
        let mut start = RESERVED_BYTES;
        let end = Range {
            start: size,
            len: 0,
        };
        for taken in Iterator::chain(self.list.iter(), core::iter::once(&end)) {
            let len = taken.start.min(size).saturating_sub(start);
            if len > largest.len {
                largest = Range { start, len };
            }
            if largest.len >= want {
                largest.len = want;
                break;
            }
            start = start.max(taken.end());
        }
        largest
    }

    /// The first piece that nothing has at or behind `from` and below `size`, at most
    /// [`LONGEST`] bytes. Copies of the superblock are not part of it.
    pub(super) fn hole_behind(&self, from: u64, size: u64) -> Option<Range> {
        let mut start = from.max(RESERVED_BYTES);
        loop {
            let next = self.list.partition_point(|r| r.end() <= start);
            let mut end = self.list.get(next).map_or(size, |r| r.start.min(size));
            if let Some(taken) = self.list.get(next).filter(|r| r.start <= start) {
                start = taken.end();
                continue;
            }
            if start >= size {
                return None;
            }
            let copies = (0..MIRRORS).filter_map(mirror_offset);
            let copy = copies.map(|at| (at, at.saturating_add(SUPER_SIZE as u64)));
            let copy = copy.filter(|(_, behind)| *behind > start).min();
            if let Some((at, behind)) = copy {
                if at <= start {
                    start = behind;
                    continue;
                }
                end = end.min(at);
            }
            let len = end.saturating_sub(start).min(LONGEST);
            return Some(Range { start, len });
        }
    }
}

/// Largest piece of [`Extents::hole_behind`], bytes.
const LONGEST: u64 = 256 << 20;

#[cfg(CONFIG_KUNIT)]
#[kernel::prelude::kunit_tests(btrfs_dev_extents)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn pieces_that_nothing_has() -> Result {
        let mut extents = Extents::new();
        extents.insert(2 * MIB, 8 * MIB)?;
        extents.insert(10 * MIB, 6 * MIB)?;
        extents.insert(100 * MIB, MIB)?;
        let size = 500 * MIB;
        let mut found = KVec::new();
        let mut at = 0;
        while let Some(hole) = extents.hole_behind(at, size) {
            at = hole.end();
            found.push((hole.start, hole.end()), GFP_KERNEL)?;
        }
        let copy = 64 * MIB;
        let wanted = [
            (MIB, 2 * MIB),
            (16 * MIB, copy),
            (copy + 4096, 100 * MIB),
            (101 * MIB, 357 * MIB),
            (357 * MIB, size),
        ];
        assert_eq!(found.as_slice(), wanted);
        Ok(())
    }

    #[test]
    fn ranges() -> Result {
        let mut extents = Extents::new();
        extents.insert(10 * MIB, 5 * MIB)?;
        extents.insert(MIB, 2 * MIB)?;
        assert_eq!(extents.insert(2 * MIB, MIB), Err(EEXIST));
        assert_eq!(extents.insert(9 * MIB, 2 * MIB), Err(EEXIST));
        assert_eq!(extents.insert(0, 20 * MIB), Err(EEXIST));
        assert_eq!(extents.insert(15 * MIB, 0), Err(EINVAL));
        assert_eq!(extents.insert(u64::MAX, 2), Err(EINVAL));
        extents.insert(15 * MIB, MIB)?;
        extents.insert(9 * MIB, MIB)?;
        assert_eq!(extents.len(), 4);
        assert_eq!(extents.get(9 * MIB), Some(MIB));
        assert_eq!(extents.get(8 * MIB), None);
        extents.remove(8 * MIB);
        extents.remove(9 * MIB);
        assert_eq!((extents.len(), extents.get(9 * MIB)), (3, None));
        Ok(())
    }

    #[test]
    fn holes() -> Result {
        let hole = |extents: &Extents, size, want| {
            let Range { start, len } = extents.hole(size, want);
            (start / MIB, len / MIB)
        };
        let mut extents = Extents::new();
        assert_eq!(hole(&extents, 100 * MIB, 10 * MIB), (1, 10));
        assert_eq!(hole(&extents, 5 * MIB, 10 * MIB), (1, 4));
        assert_eq!(hole(&extents, MIB, 10 * MIB), (1, 0));
        extents.insert(5 * MIB, 5 * MIB)?;
        extents.insert(20 * MIB, 10 * MIB)?;
        // First fit, not best fit.
        assert_eq!(hole(&extents, 100 * MIB, 4 * MIB), (1, 4));
        assert_eq!(hole(&extents, 100 * MIB, 5 * MIB), (10, 5));
        assert_eq!(hole(&extents, 100 * MIB, 50 * MIB), (30, 50));
        assert_eq!(hole(&extents, 100 * MIB, 80 * MIB), (30, 70));
        // A device that was made smaller.
        assert_eq!(hole(&extents, 25 * MIB, 80 * MIB), (10, 10));
        assert_eq!(hole(&extents, 12 * MIB, 80 * MIB), (1, 4));
        Ok(())
    }
}
