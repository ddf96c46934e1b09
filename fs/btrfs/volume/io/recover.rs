// SPDX-License-Identifier: GPL-2.0

//! Getting damaged data from other copies.

use super::{
    super::log::limited,
    copies_from,
    copy::sector,
    data::{DataClient, Part, Pending},
};
use core::ops::Range;
use kernel::prelude::*;
use kfs::block::{IoBuf, KBuf};

/// Number of sectors that are recovered at a time, at most.
const RUN_SECTORS: usize = 64;

/// Consecutive sectors of a part that are being recovered.
struct Run {
    /// Where in the request.
    range: Range<usize>,
    /// Where in the chunk.
    offset: u64,
    step: usize,
    /// The sectors that are still bad, as bits.
    bad: u64,
    /// The copies that they were bad in.
    tried: KVec<u16>,
}

impl Run {
    fn sectors(&self) -> usize {
        let len = self.range.end.saturating_sub(self.range.start);
        len.checked_div(self.step).unwrap_or(0).min(RUN_SECTORS)
    }

    fn is_bad(&self, index: usize) -> bool {
        self.bad & bit(index) != 0
    }

    /// The bytes of a sector, relative to the run.
    fn inner(&self, index: usize) -> Range<usize> {
        let start = index.saturating_mul(self.step);
        start..start.saturating_add(self.step)
    }

    /// The bytes of a sector, relative to the request.
    fn outer(&self, index: usize) -> Range<usize> {
        let inner = self.inner(index);
        let base = self.range.start;
        base.saturating_add(inner.start)..base.saturating_add(inner.end)
    }

    fn offset_of(&self, index: usize) -> u64 {
        let inside = u64::try_from(self.inner(index).start).unwrap_or(0);
        self.offset.saturating_add(inside)
    }
}

fn bit(index: usize) -> u64 {
    u32::try_from(index)
        .ok()
        .and_then(|index| 1u64.checked_shl(index))
        .unwrap_or(0)
}

impl<C: DataClient> Pending<C> {
    /// Fills the bytes `range` of `buf`, which the first copy does not have, from other copies;
    /// adds what cannot be had to `bad`. Fails only for memory.
    pub(super) fn recover(
        &self,
        part: &Part,
        range: Range<usize>,
        buf: &mut IoBuf,
        bad: &mut KVec<Range<usize>>,
    ) -> Result {
        let step = usize::try_from(self.volume.geometry().sectorsize)?;
        let longest = step.saturating_mul(RUN_SECTORS);
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(longest));
            let inside = u64::try_from(start.saturating_sub(part.range.start))?;
            let mut tried = KVec::new();
            tried.push(part.copy, GFP_KERNEL)?;
            let mut run = Run {
                range: start..end,
                offset: part.offset.saturating_add(inside),
                step,
                bad: 0,
                tried,
            };
            for index in 0..run.sectors() {
                run.bad |= bit(index);
            }
            self.recover_run(part, &mut run, buf)?;
            for index in (0..run.sectors()).filter(|index| run.is_bad(*index)) {
                push_range(bad, run.outer(index))?;
            }
            start = end;
        }
        Ok(())
    }

    fn recover_run(&self, part: &Part, run: &mut Run, buf: &mut IoBuf) -> Result {
        let len = run.range.end.saturating_sub(run.range.start);
        let mut bounce = IoBuf::from_buf(KBuf::new(len, GFP_KERNEL)?)?;
        for copy in copies_from(&part.chunk, part.copy).skip(1) {
            let read;
            (bounce, read) = self
                .volume
                .read_copy(&part.chunk, run.offset, copy, bounce, 0..len);
            let mut good = 0;
            for index in 0..run.sectors() {
                if !run.is_bad(index) {
                    continue;
                }
                let mut sector_read = read;
                if read.is_err() && run.sectors() > 1 {
                    // Only some of it may be unreadable.
                    (bounce, sector_read) = self.volume.read_copy(
                        &part.chunk,
                        run.offset_of(index),
                        copy,
                        bounce,
                        run.inner(index),
                    );
                }
                if sector_read.is_ok() && self.verify(part, run, index, &bounce, copy)? {
                    good |= bit(index);
                    copy_sector(&bounce, run.inner(index), buf, run.outer(index).start)?;
                }
            }
            bounce = self.repair(part, run, good, bounce);
            run.bad &= !good;
            if run.bad == 0 {
                break;
            }
            run.tried.push(copy, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn verify(
        &self,
        part: &Part,
        run: &Run,
        index: usize,
        bounce: &IoBuf,
        copy: u16,
    ) -> Result<bool> {
        let Some(csums) = &self.csums else {
            return Ok(true);
        };
        let position = run.outer(index).start;
        self.sector_is_good(part, csums, bounce, run.inner(index), position, copy)
    }

    /// Writes the sectors `good`, which `bounce` has, over the copies that did not have them.
    fn repair(&self, part: &Part, run: &Run, good: u64, mut bounce: IoBuf) -> IoBuf {
        if good == 0 || !self.volume.is_writable() {
            return bounce;
        }
        for index in (0..run.sectors()).filter(|index| good & bit(*index) != 0) {
            for copy in &run.tried {
                let result;
                (bounce, result) = self.volume.write_copy(
                    &part.chunk,
                    run.offset_of(index),
                    *copy,
                    bounce,
                    run.inner(index),
                );
                if let Ok((device, physical)) = result {
                    let file = self.client.position(run.outer(index).start);
                    limited!(
                        self.volume.log(),
                        Info,
                        "read error corrected: ino {} off {} (dev {} sector {})",
                        file.ino,
                        file.offset,
                        device.path(),
                        sector(physical)
                    );
                }
            }
        }
        bounce
    }
}

/// Copies the bytes `range` of `from` into `to` at `start`.
fn copy_sector(from: &IoBuf, range: Range<usize>, to: &mut IoBuf, start: usize) -> Result {
    let mut at = start;
    from.for_each_slice(range, |piece| {
        to.copy_from(at, piece)?;
        at = at.saturating_add(piece.len());
        Ok(())
    })
}

/// Appends a range, or extends the last one if they touch.
fn push_range(ranges: &mut KVec<Range<usize>>, range: Range<usize>) -> Result {
    if let Some(last) = ranges.last_mut() {
        if last.end == range.start {
            last.end = range.end;
            return Ok(());
        }
    }
    ranges.push(range, GFP_KERNEL)?;
    Ok(())
}
