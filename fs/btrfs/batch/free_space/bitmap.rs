// SPDX-License-Identifier: GPL-2.0

//! Free space as bitmaps: a bit per sector, set if it is free.

#![deny(clippy::arithmetic_side_effects)]

use super::{Group, SpaceChange, BROKEN, DOUBLE};
use crate::error::Result;
use crate::items::Items;
use btrfs_format::free_space::BITMAP_SIZE;
use btrfs_format::{item as item_type, Key};

/// The key of the bitmap of a range.
pub(super) fn bitmap_key(start: u64, end: u64) -> Key {
    let len = end.saturating_sub(start);
    Key::new(start, item_type::FREE_SPACE_BITMAP, len)
}

/// Bytes of a bitmap of so many sectors.
pub(super) fn bytes_of(sectors: u64) -> Result<usize> {
    usize::try_from(sectors.div_ceil(8)).map_err(|_| BROKEN)
}

/// The bitmaps of a group, one of them in memory.
pub(super) struct Bitmaps {
    group: Group,
    bits: [u8; BITMAP_SIZE],
    len: usize,
    start: u64,
    end: u64,
    dirty: bool,
}

impl Bitmaps {
    pub(super) fn new(group: Group) -> Self {
        Self {
            group,
            bits: [0; BITMAP_SIZE],
            len: 0,
            start: 0,
            end: 0,
            dirty: false,
        }
    }

    /// Applies one change, and counts.
    pub(super) fn change(
        &mut self,
        items: &mut dyn Items,
        change: &SpaceChange,
        count: &mut u64,
    ) -> Result {
        let (start, end) = self.group.range(change.span)?;
        let before = start > self.group.start
            && self.test(items, start.saturating_sub(self.group.sector))?;
        let mut at = start;
        while at < end {
            self.seek(items, at)?;
            let to = end.min(self.end);
            self.set(at, to, change.freed)?;
            at = to;
        }
        let behind = end < self.group.end && self.test(items, end)?;

        // One range more or less, unless it joins or parts what is beside it.
        let beside = u64::from(before).saturating_add(u64::from(behind));
        let (more, less) = if change.freed {
            (1, beside)
        } else {
            (beside, 1)
        };
        *count = count.saturating_add(more).checked_sub(less).ok_or(BROKEN)?;
        Ok(())
    }

    /// Writes the bitmap in memory if it has changed.
    pub(super) fn finish(&mut self, items: &mut dyn Items) -> Result {
        if !self.dirty {
            return Ok(());
        }
        self.dirty = false;
        let bits = self.bits.get(..self.len).ok_or(BROKEN)?;
        items.put(bitmap_key(self.start, self.end), bits)
    }

    /// Loads the bitmap that a sector is in.
    fn seek(&mut self, items: &mut dyn Items, at: u64) -> Result {
        if self.start <= at && at < self.end {
            return Ok(());
        }
        self.finish(items)?;
        let last = Key::new(at, u8::MAX, u64::MAX);
        let (key, data) = items.at_or_before(&last)?.ok_or(BROKEN)?;
        let end = key.objectid.checked_add(key.offset).ok_or(BROKEN)?;
        let fits = key.item_type == item_type::FREE_SPACE_BITMAP
            && key.objectid >= self.group.start
            && end <= self.group.end
            && at < end;
        let sectors = key.offset.checked_div(self.group.sector).unwrap_or(0);
        if !fits || data.len() != bytes_of(sectors)? {
            return Err(BROKEN);
        }
        let bits = self.bits.get_mut(..data.len()).ok_or(BROKEN)?;
        bits.copy_from_slice(data);
        self.len = data.len();
        self.start = key.objectid;
        self.end = end;
        Ok(())
    }

    /// The bit of an address in the bitmap in memory.
    fn bit(&self, at: u64) -> Result<usize> {
        let sector = at
            .saturating_sub(self.start)
            .checked_div(self.group.sector)
            .unwrap_or(0);
        usize::try_from(sector).map_err(|_| BROKEN)
    }

    fn test(&mut self, items: &mut dyn Items, at: u64) -> Result<bool> {
        self.seek(items, at)?;
        let bit = self.bit(at)?;
        let byte = self.bits.get(bit / 8).ok_or(BROKEN)?;
        Ok(byte & bit_mask(bit) != 0)
    }

    /// Sets or clears the bits of a range, which must all be otherwise.
    fn set(&mut self, start: u64, end: u64, free: bool) -> Result {
        let (first, end) = (self.bit(start)?, self.bit(end)?);
        change_bits(&mut self.bits, first, end, free)?;
        self.dirty = true;
        Ok(())
    }
}

/// The mask of a bit in its byte.
#[inline]
pub(super) fn bit_mask(bit: usize) -> u8 {
    [1u8, 2, 4, 8, 16, 32, 64, 128]
        .get(bit % 8)
        .copied()
        .unwrap_or(0)
}

/// Changes the bits from `first` to `end`, which must all be otherwise.
pub(super) fn change_bits(bits: &mut [u8], first: usize, end: usize, set: bool) -> Result {
    let mut bit = first;
    while bit < end {
        let byte = bits.get_mut(bit / 8).ok_or(BROKEN)?;
        let whole = bit % 8 == 0 && end.saturating_sub(bit) >= 8;
        let (mask, step) = if whole {
            (u8::MAX, 8)
        } else {
            (bit_mask(bit), 1)
        };
        let have = *byte & mask;
        if have != if set { 0 } else { mask } {
            return Err(DOUBLE);
        }
        *byte ^= mask;
        bit = bit.saturating_add(step);
    }
    Ok(())
}
