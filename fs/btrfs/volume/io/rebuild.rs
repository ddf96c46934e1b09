// SPDX-License-Identifier: GPL-2.0

//! Computing data from the other members of its row.

use super::super::{
    chunk_map::Chunk,
    raid::{Rebuild, Route},
    Volume,
};
use btrfs_format::device::DevStat;
use core::ops::Range;
use kernel::prelude::*;
use kfs::{
    block::{Io, IoBuf, KBuf, Segment},
    raid,
};

/// The members of a row in memory, in the order of the row, all of the same length.
struct RowBuf {
    bufs: KVec<KBuf>,
    /// For each member, whether it is not what the device has: the target, what is distrusted
    /// or missing, and what could not be read.
    failed: KVec<bool>,
}

impl Volume {
    /// Computes what belongs into the bytes `range` of `buf`, which is at `offset` of a chunk, by
    /// way number `copy`.
    pub(super) fn rebuild_range(
        &self,
        chunk: &Chunk,
        mut offset: u64,
        copy: u16,
        buf: &mut IoBuf,
        range: Range<usize>,
    ) -> Result {
        let mut start = range.start;
        while start < range.end {
            let Some(Route::Rebuild(rebuild)) = chunk.route(offset, copy) else {
                return Err(EIO);
            };
            let rest = range.end.saturating_sub(start);
            let len = usize::try_from(rebuild.len).unwrap_or(usize::MAX).min(rest);
            let data = self.rebuild(chunk, &rebuild, len)?;
            buf.copy_from(start, &data)?;
            start = start.saturating_add(len);
            offset = offset.saturating_add(u64::try_from(len)?);
        }
        Ok(())
    }

    /// Computes `len` bytes of a row's target.
    fn rebuild(&self, chunk: &Chunk, rebuild: &Rebuild, len: usize) -> Result<KBuf> {
        let row = &rebuild.row;
        let mut members = self.read_row(chunk, rebuild, len)?;
        let target = usize::from(rebuild.target);
        let num_data = usize::from(row.num_data());
        let lost = |members: &RowBuf, i: usize| members.failed.get(i).copied().unwrap_or(true);
        let mut lost_data = (0..num_data).filter(|i| *i != target && lost(&members, *i));
        let other = lost_data.next();
        if lost_data.next().is_some() {
            return Err(EIO);
        }
        let lost_p = lost(&members, usize::from(row.p()));
        let lost_q = row.q().is_none_or(|q| lost(&members, usize::from(q)));
        match (other, lost_p, lost_q) {
            (None, false, _) => return xor_rest(members.bufs, target, num_data, len),
            (None, true, false) => raid::raid6_recover_data_p(&mut members.bufs, 0..len, target)?,
            (Some(other), false, false) => {
                raid::raid6_recover_2data(&mut members.bufs, 0..len, target, other)?;
            }
            _ => return Err(EIO),
        }
        members.bufs.remove(target).map_err(|_| EIO)
    }

    /// Reads `len` bytes of all members of a row that can be had and are trusted.
    fn read_row(&self, chunk: &Chunk, rebuild: &Rebuild, len: usize) -> Result<RowBuf> {
        let row = &rebuild.row;
        let begin = row
            .stripe_offset()
            .and_then(|begin| begin.checked_add(rebuild.offset))
            .ok_or(EIO)?;
        let count = usize::from(row.members());
        let mut buf = IoBuf::new();
        for _ in 0..count {
            let member = Segment::Buf(KBuf::new(len, GFP_KERNEL)?);
            buf.push(member).map_err(|_| ENOMEM)?;
        }
        let mut failed = KVec::from_elem(true, count, GFP_KERNEL)?;
        let mut io = Io::read(buf);
        let mut readers = KVec::with_capacity(count, GFP_KERNEL)?;
        for member in 0..row.members() {
            if member == rebuild.target || rebuild.distrust == Some(member) {
                continue;
            }
            let stripe = row
                .stripe_of(member)
                .and_then(|index| chunk.stripe(index))
                .ok_or(EIO)?;
            let physical = stripe.physical.checked_add(begin).ok_or(EIO)?;
            let Some(bdev) = stripe.device.bdev() else {
                continue;
            };
            let index = usize::from(member);
            let start = index.saturating_mul(len);
            let range = start..start.saturating_add(len);
            match io.add(bdev, physical.get(), range) {
                Ok(()) => readers.push((index, &stripe.device), GFP_KERNEL)?,
                Err(error) if error == ENOMEM => return Err(error),
                Err(_) => {}
            }
        }
        let done = io.submit_wait();
        for (part, (index, device)) in readers.iter().enumerate() {
            match (done.status(part), failed.get_mut(*index)) {
                (Ok(()), Some(failed)) => *failed = false,
                _ => device.count(DevStat::ReadErrors, &self.log),
            }
        }
        let mut bufs = KVec::with_capacity(count, GFP_KERNEL)?;
        for (_, segment) in done.into_buf().into_segments() {
            if let Segment::Buf(buf) = segment {
                bufs.push(buf, GFP_KERNEL)?;
            }
        }
        Ok(RowBuf { bufs, failed })
    }
}

/// The data that all other data and P leave over.
fn xor_rest(mut bufs: KVec<KBuf>, target: usize, num_data: usize, len: usize) -> Result<KBuf> {
    let mut data = bufs.remove(target).map_err(|_| EIO)?;
    data.fill(0);
    // Without the target, P is number `num_data - 1`.
    raid::xor_into(&mut data, bufs.iter().take(num_data), 0..len)?;
    Ok(data)
}
