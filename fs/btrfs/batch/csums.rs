// SPDX-License-Identifier: GPL-2.0

//! Edits of the checksum tree: runs of checksums in, ranges out.
//!
//! An item holds the checksums of consecutive sectors, up to a limit. New ones join what lies
//! before and behind them; extents are written next to each other and erased in pieces, so without
//! that the tree would fall apart into items of a few bytes.
//!
//! Nothing relies on ranges being new: where checksums are there already, they are replaced.

#![deny(clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use crate::items::Items;
use crate::mem::{KVVec, GFP_NOFAIL};
use btrfs_format::leaf::Item;
use btrfs_format::types::objectid;
use btrfs_format::{item as item_type, Geometry, Key, Logical};

/// Most checksums of an item whatever the size of blocks.
const MAX_SUMS: usize = 4096;

/// A range of logical addresses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: Logical,
    /// The length.
    pub len: u64,
}

impl Span {
    /// The address behind the range.
    pub(crate) fn end(&self) -> Result<u64> {
        let end = self.start.get().checked_add(self.len);
        end.ok_or(Error::Corrupt("a range beyond all addresses"))
    }
}

/// Writes the checksums of one extent. Cheaper for many: [`CsumWriter`].
pub fn insert_csums(
    items: &mut dyn Items,
    geometry: &Geometry,
    start: Logical,
    sums: &[u8],
) -> Result {
    let mut writer = CsumWriter::new(geometry);
    writer.add(items, start, sums)?;
    writer.finish(items)
}

/// Erases the checksums of ranges that ascend and do not overlap.
pub fn erase_csums(items: &mut dyn Items, geometry: &Geometry, spans: &[Span]) -> Result {
    let shape = Shape::of(geometry);
    let mut old = KVVec::new();
    let mut spans = spans.iter().copied();
    let mut span = spans.next();
    while let Some(current) = span {
        let Some((start, end)) = shape.first_in(items, current.start.get(), &mut old)? else {
            break;
        };
        if !geometry.is_sector_aligned(current.start.get() | current.len) {
            return Err(Error::Corrupt("checksums are not aligned"));
        }
        if current.end()? <= start {
            span = spans.next();
            continue;
        }
        items.delete(csum_key(start))?;
        // What is between erased ranges stays.
        let mut keep = start;
        while let Some(current) = span {
            let erase = current.start.get().clamp(keep, end);
            if current.start.get() >= end {
                break;
            }
            shape.keep(items, &old, start, keep, erase)?;
            keep = current.end()?.clamp(erase, end);
            if current.end()? > end {
                break;
            }
            span = spans.next();
        }
        shape.keep(items, &old, start, keep, end)?;
    }
    Ok(())
}

fn csum_key(start: u64) -> Key {
    Key::new(objectid::EXTENT_CSUM, item_type::EXTENT_CSUM, start)
}

fn is_csum(key: &Key) -> bool {
    key.objectid == objectid::EXTENT_CSUM && key.item_type == item_type::EXTENT_CSUM
}

/// How checksums lie in items.
#[derive(Clone, Copy)]
struct Shape {
    sector: u64,
    size: usize,
    max_bytes: usize,
}

impl Shape {
    fn of(geometry: &Geometry) -> Self {
        let size = geometry.csum_type.size();
        let room = geometry.body_size().saturating_sub(Item::SIZE * 2);
        let max = (room.checked_div(size).unwrap_or(0)).saturating_sub(1);
        Self {
            sector: u64::from(geometry.sectorsize),
            size,
            max_bytes: max.clamp(1, MAX_SUMS).saturating_mul(size),
        }
    }

    /// Bytes of data that so many bytes of checksums are of.
    fn covered(&self, sums: usize) -> Result<u64> {
        let count = sums.checked_div(self.size).unwrap_or(0);
        u64::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(self.sector))
            .ok_or(Error::Corrupt("too many checksums"))
    }

    /// The end of the item that begins at `start`.
    fn end(&self, start: u64, sums: usize) -> Result<u64> {
        let end = start.checked_add(self.covered(sums)?);
        end.ok_or(Error::Corrupt("checksums beyond all addresses"))
    }

    /// Bytes of checksums of so many bytes of data.
    fn sums(&self, bytes: u64) -> Result<usize> {
        let count = bytes.checked_div(self.sector).unwrap_or(0);
        usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(self.size))
            .ok_or(Error::Corrupt("too many checksums"))
    }

    /// Copies the first item that ends behind `from`; returns its range.
    fn first_in(
        &self,
        items: &mut dyn Items,
        from: u64,
        into: &mut KVVec<u8>,
    ) -> Result<Option<(u64, u64)>> {
        into.clear();
        let before = items.at_or_before(&csum_key(from))?;
        if let Some((key, data)) = before.filter(|(key, _)| is_csum(key)) {
            let end = self.end(key.offset, data.len())?;
            if end > from {
                into.extend_from_slice(data, GFP_NOFAIL)?;
                return Ok(Some((key.offset, end)));
            }
        }
        let behind = items.at_or_after(&csum_key(from))?;
        let Some((key, data)) = behind.filter(|(key, _)| is_csum(key)) else {
            return Ok(None);
        };
        into.extend_from_slice(data, GFP_NOFAIL)?;
        Ok(Some((key.offset, self.end(key.offset, data.len())?)))
    }

    /// Writes the part from `from` to `to` of an item that began at `start`.
    fn keep(&self, items: &mut dyn Items, old: &[u8], start: u64, from: u64, to: u64) -> Result {
        if from >= to {
            return Ok(());
        }
        let range = self.sums(from.saturating_sub(start))?..self.sums(to.saturating_sub(start))?;
        let part = old
            .get(range)
            .ok_or(Error::Corrupt("checksums are not aligned"))?;
        items.put(csum_key(from), part)
    }
}

/// Writes many runs of checksums, best in ascending order; an item is written when it is complete.
pub struct CsumWriter {
    shape: Shape,
    geometry: Geometry,
    /// The item that is being filled: `start` to `end`. Nothing if `start == end`.
    sums: KVVec<u8>,
    start: u64,
    end: u64,
    /// Where the next item of the tree begins.
    next: u64,
}

impl CsumWriter {
    /// Nothing to write yet.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            shape: Shape::of(geometry),
            geometry: *geometry,
            sums: KVVec::new(),
            start: 0,
            end: 0,
            next: 0,
        }
    }

    /// Adds checksums of consecutive sectors. They are in the tree after [`Self::finish`].
    pub fn add(&mut self, items: &mut dyn Items, start: Logical, sums: &[u8]) -> Result {
        let shape = self.shape;
        if sums.len().checked_rem(shape.size) != Some(0)
            || !self.geometry.is_sector_aligned(start.get())
        {
            return Err(Error::Corrupt("checksums are not aligned"));
        }
        let mut at = start.get();
        let end = shape.end(at, sums.len())?;
        let mut sums = sums;
        while !sums.is_empty() {
            if self.sums.is_empty() || self.end != at {
                self.finish(items)?;
                self.open(items, at, end)?;
            } else if self.next < end {
                // Written already: make room, and continue behind what is written.
                self.finish(items)?;
                continue;
            }
            let room = shape.max_bytes.saturating_sub(self.sums.len());
            let Some((now, rest)) = sums.split_at_checked(room.min(sums.len())) else {
                break;
            };
            self.sums.extend_from_slice(now, GFP_NOFAIL)?;
            at = shape.end(at, now.len())?;
            self.end = at;
            sums = rest;
            if self.sums.len() >= shape.max_bytes {
                self.flush(items)?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(&mut self, items: &mut dyn Items) -> Result {
        if self.sums.is_empty() {
            return Ok(());
        }
        if self.end == self.next {
            // Take in what is behind, if it fits.
            let key = csum_key(self.next);
            if let Some(behind) = items.get(&key)? {
                if self.sums.len().saturating_add(behind.len()) <= self.shape.max_bytes {
                    self.sums.extend_from_slice(behind, GFP_NOFAIL)?;
                    items.delete(key)?;
                }
            }
        }
        self.flush(items)
    }

    fn flush(&mut self, items: &mut dyn Items) -> Result {
        items.put(csum_key(self.start), &self.sums)?;
        self.sums.clear();
        Ok(())
    }

    /// Begins an item at `at`, or continues the one that ends there. `end`: of what will be added.
    fn open(&mut self, items: &mut dyn Items, at: u64, end: u64) -> Result {
        let shape = self.shape;
        let mut next = shape.next(items, at)?;
        let before = items.at_or_before(&csum_key(at))?;
        let before = before.filter(|(key, _)| is_csum(key));
        let before_end = match before {
            Some((key, data)) => shape.end(key.offset, data.len())?,
            None => 0,
        };
        if before_end > at || next < end {
            let span = Span {
                start: Logical(at),
                len: end.saturating_sub(at),
            };
            erase_csums(items, &self.geometry, &[span])?;
            next = shape.next(items, at)?;
        }
        self.next = next;
        self.start = at;
        self.end = at;
        self.sums.clear();
        let before = items.at_or_before(&csum_key(at))?;
        if let Some((key, data)) = before.filter(|(key, _)| is_csum(key)) {
            if data.len() < shape.max_bytes && shape.end(key.offset, data.len())? == at {
                self.sums.extend_from_slice(data, GFP_NOFAIL)?;
                self.start = key.offset;
            }
        }
        Ok(())
    }
}

impl Shape {
    /// Where the first item at or behind `at` begins.
    fn next(&self, items: &mut dyn Items, at: u64) -> Result<u64> {
        let found = items.at_or_after(&csum_key(at))?;
        let found = found.filter(|(key, _)| is_csum(key));
        Ok(found.map_or(u64::MAX, |(key, _)| key.offset))
    }
}
