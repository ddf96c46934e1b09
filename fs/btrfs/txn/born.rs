// SPDX-License-Identifier: GPL-2.0

//! Data that was written, and is not in the extent or the checksum tree yet.

use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kfs::mem::GFP_NOFAIL;

/// A data extent on disk that a file refers to since this transaction.
pub(super) struct Born {
    /// Bytes it takes.
    pub(super) len: u64,
    /// The checksums of its sectors; `None` if it has none.
    pub(super) csums: Option<KVVec<u8>>,
}

/// The extents that were born in a transaction, by their addresses.
#[derive(Default)]
pub(super) struct BornMap {
    map: RBTree<u64, Born>,
    /// Checksums of parts of extents that were born without, now or earlier.
    sums: RBTree<u64, Born>,
}

impl BornMap {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty() && self.sums.is_empty()
    }

    /// Adds one. `EEXIST`: something was born there already.
    pub(super) fn insert(&mut self, at: Logical, born: Born) -> Result {
        if self.map.get(&at.get()).is_some() {
            return Err(EEXIST);
        }
        self.map.try_create_and_insert(at.get(), born, GFP_NOFAIL)?;
        Ok(())
    }

    /// All that were born, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Logical, &Born)> {
        self.map.iter().map(|(at, born)| (Logical(*at), born))
    }

    /// Adds checksums of the `len` bytes at `at`, where something without was born. `EEXIST`.
    pub(super) fn insert_sums(&mut self, at: Logical, len: u64, csums: KVVec<u8>) -> Result {
        if self.sums.get(&at.get()).is_some() {
            return Err(EEXIST);
        }
        let part = Born {
            len,
            csums: Some(csums),
        };
        self.sums
            .try_create_and_insert(at.get(), part, GFP_NOFAIL)?;
        Ok(())
    }

    /// The checksums of all of them: first those that were born with, in order, then the others.
    pub(super) fn csums(&self) -> impl Iterator<Item = (Logical, &[u8])> {
        let all = Iterator::chain(self.map.iter(), self.sums.iter());
        all.filter_map(|(at, born)| Some((Logical(*at), born.csums.as_deref()?)))
    }

    /// Fills in the checksums that are known of the sectors from `start` on: `out` has `size` bytes
    /// for each sector of `sector` bytes. Calls `known` with the address range of each part.
    pub(super) fn fill(
        &self,
        start: u64,
        sector: u64,
        size: usize,
        out: &mut [u8],
        mut known: impl FnMut(Range<u64>) -> Result,
    ) -> Result {
        for map in [&self.map, &self.sums] {
            fill(map, start, sector, size, out, &mut known)?;
        }
        Ok(())
    }
}

fn fill(
    map: &RBTree<u64, Born>,
    start: u64,
    sector: u64,
    size: usize,
    out: &mut [u8],
    known: &mut impl FnMut(Range<u64>) -> Result,
) -> Result {
    let sectors = u64::try_from(out.len().checked_div(size).ok_or(EINVAL)?)?;
    let end = start
        .checked_add(sectors.checked_mul(sector).ok_or(EINVAL)?)
        .ok_or(EINVAL)?;
    let mut from = first_behind(map, start);
    while let Some((at, born)) = from.filter(|(at, _)| *at < end) {
        let (low, high) = (at.max(start), at.saturating_add(born.len).min(end));
        if let (Some(csums), true) = (&born.csums, low < high) {
            let index = |bytes: u64| -> Result<usize> {
                let sectors = usize::try_from(bytes.checked_div(sector).ok_or(EINVAL)?)?;
                sectors.checked_mul(size).ok_or(EINVAL)
            };
            let source = csums
                .get(index(low - at)?..index(high - at)?)
                .ok_or(EINVAL)?;
            out.get_mut(index(low - start)?..index(high - start)?)
                .ok_or(EINVAL)?
                .copy_from_slice(source);
            known(low..high)?;
        }
        from = first_behind(map, at.saturating_add(born.len).max(at + 1));
    }
    Ok(())
}

/// The first extent that ends behind `at`.
fn first_behind(map: &RBTree<u64, Born>, at: u64) -> Option<(u64, &Born)> {
    let cursor = map.cursor_lower_bound(&at);
    let next = cursor.as_ref().map(|cursor| *cursor.current().0);
    let before = match &cursor {
        Some(cursor) => cursor.peek_prev().map(|(start, _)| *start),
        None => map.cursor_back().map(|last| *last.current().0),
    };
    let with = |start: u64| Some((start, map.get(&start)?));
    before
        .and_then(with)
        .filter(|(start, born)| start.saturating_add(born.len) > at)
        .or_else(|| next.and_then(with))
}
