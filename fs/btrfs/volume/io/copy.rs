// SPDX-License-Identifier: GPL-2.0

//! One copy of a range, synchronously: reading it, and writing it to repair.

use super::super::{chunk_map::Chunk, device::Device, raid::Route, Volume};
use btrfs_format::device::DevStat;
use core::ops::Range;
use kernel::{prelude::*, sync::Arc};
use kfs::block::{Io, IoBuf, IoFlags, Op, OpenMode, SECTOR_SIZE};

/// A transfer that has been added to a request, and the device it goes to.
struct Transfer<'a> {
    device: &'a Arc<Device>,
    physical: u64,
}

impl Volume {
    /// Reads into the bytes `range` of `buf` what copy number `copy` has at `offset` of a chunk,
    /// and gives the buffer back. The range is in whole sectors and inside of the chunk.
    ///
    /// Fails with `EIO` if any of it cannot be had; then what the range holds is arbitrary.
    pub(super) fn read_copy(
        &self,
        chunk: &Chunk,
        offset: u64,
        copy: u16,
        mut buf: IoBuf,
        range: Range<usize>,
    ) -> (IoBuf, Result) {
        match chunk.route(offset, copy) {
            Some(Route::Direct(_)) => {
                let (buf, result) = self.transfer(Op::Read, chunk, offset, copy, buf, range);
                (buf, result.map(|_| ()))
            }
            Some(Route::Rebuild(_)) => {
                let result = self.rebuild_range(chunk, offset, copy, &mut buf, range);
                (buf, result)
            }
            None => (buf, Err(EIO)),
        }
    }

    /// Writes the bytes `range` of `buf` over those that copy number `copy` has at `offset` of a
    /// chunk: they were found to be bad. Returns the device and the place, in bytes, for a message.
    ///
    /// `EROFS` if the volume or the device is not to be written, `EOPNOTSUPP` if the copy is one
    /// that is computed.
    pub(super) fn write_copy<'a>(
        &self,
        chunk: &'a Chunk,
        offset: u64,
        copy: u16,
        buf: IoBuf,
        range: Range<usize>,
    ) -> (IoBuf, Result<(&'a Arc<Device>, u64)>) {
        if !self.is_writable() {
            return (buf, Err(EROFS));
        }
        match chunk.route(offset, copy) {
            Some(Route::Direct(_)) => {}
            _ => return (buf, Err(EOPNOTSUPP)),
        }
        let (buf, result) = self.transfer(Op::Write, chunk, offset, copy, buf, range);
        let first = result.and_then(|transfers| {
            let first = transfers.first().ok_or(EINVAL)?;
            Ok((first.device, first.physical))
        });
        (buf, first)
    }

    /// Moves the bytes `range` of `buf` from or to the devices that hold them, and waits.
    fn transfer<'a>(
        &self,
        op: Op,
        chunk: &'a Chunk,
        offset: u64,
        copy: u16,
        buf: IoBuf,
        range: Range<usize>,
    ) -> (IoBuf, Result<KVec<Transfer<'a>>>) {
        let mut io = Io::new(op, IoFlags::SYNC, buf);
        let transfers = match plan(&mut io, op, chunk, offset, copy, range) {
            Ok(transfers) => transfers,
            Err(error) => return (io.into_buf(), Err(error)),
        };
        let done = io.submit_wait();
        let mut result = Ok(());
        let stat = match op {
            Op::Read => DevStat::ReadErrors,
            Op::Write => DevStat::WriteErrors,
        };
        for (index, transfer) in transfers.iter().enumerate() {
            if done.status(index).is_err() {
                transfer.device.count(stat, &self.log);
                result = Err(EIO);
            }
        }
        (done.into_buf(), result.map(|()| transfers))
    }
}

/// Adds the transfers between the bytes `range` of a request's buffer and a copy to the request.
fn plan<'a>(
    io: &mut Io,
    op: Op,
    chunk: &'a Chunk,
    mut offset: u64,
    copy: u16,
    range: Range<usize>,
) -> Result<KVec<Transfer<'a>>> {
    let mut transfers = KVec::new();
    let mut start = range.start;
    while start < range.end {
        let Some(Route::Direct(piece)) = chunk.route(offset, copy) else {
            return Err(EIO);
        };
        let rest = range.end.saturating_sub(start);
        let len = usize::try_from(piece.len).unwrap_or(usize::MAX).min(rest);
        let (stripe, physical) = chunk.place(&piece).ok_or(EIO)?;
        let device = &stripe.device;
        let bdev = device.bdev().ok_or(EIO)?;
        if op == Op::Write && (!device.is_writable() || bdev.mode() != OpenMode::ReadWrite) {
            return Err(EROFS);
        }
        let end = start.saturating_add(len);
        io.add(bdev, physical, start..end)?;
        transfers.push(Transfer { device, physical }, GFP_KERNEL)?;
        start = end;
        offset = offset.saturating_add(u64::try_from(len)?);
    }
    Ok(transfers)
}

/// The sector of a byte offset on a device, for messages.
pub(super) fn sector(physical: u64) -> u64 {
    let size = u64::try_from(SECTOR_SIZE).unwrap_or(512);
    physical.checked_div(size).unwrap_or(0)
}
