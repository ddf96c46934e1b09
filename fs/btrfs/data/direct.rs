// SPDX-License-Identifier: GPL-2.0

//! Direct reads and writes.
//!
//! User memory can change while a device accesses it, and a checksum over it proves
//! nothing. So the bytes go through a buffer of ours, are verified there, and are then
//! copied. What cannot be read block by block (compressed and inline extents, and
//! requests that are not aligned) is left to the page cache.
//!
//! # Bounds
//!
//! What is waited for uses at most one buffer of [`BUFFER`] or [`EXTENT`] bytes at a time; for other
//! requests see [`queued`].

use btrfs_format::inode::InodeFlags;
use btrfs_format::types::Logical;
use core::ops::Range;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::sync::Arc;
use kfs::block::IoBuf;
use kfs::fs::{Kiocb, Outcome, Queued};

use super::extent::Place;
use super::ordered::{self, Ordered, Owner, Target, PART};
use super::{inplace, nowait, queued, read, writeback};
use crate::inode::Inode;
use crate::space::{DataReservation, Urgency};
use crate::vfs::{Btrfs, BtrfsInode};

/// Largest buffer, bytes.
const BUFFER: u64 = 1 << 20;

/// Most bytes written at once.
const EXTENT: u64 = 8 << 20;

/// What zeroes are copied from.
static ZEROES: [u8; 4096] = [0; 4096];

/// Reads into `to` at the position of `iocb`, as far as that is possible directly. The inode lock
/// is held.
pub(crate) fn read(iocb: Kiocb<'_, Btrfs>, to: &mut IovIterDest<'_>) -> Result<Outcome> {
    let inode = iocb.file().inode();
    let data = inode.data();
    let sector = data.fs().sector_size();
    let pos = u64::try_from(iocb.pos())?;
    let wanted = u64::try_from(to.len())?;
    // What is verified is folios.
    let verity = data.flags().contains(InodeFlags::RO_VERITY);
    if verity || pos % sector != 0 || wanted % sector != 0 {
        return Ok(Outcome::Done(0));
    }
    let size = u64::try_from(inode.size())?;
    let end = size.min(pos.saturating_add(wanted));
    if pos >= end {
        return Ok(Outcome::Done(0));
    }
    if iocb.nowait() && !nowait::can_read(data, &(pos..end)) {
        return Err(EAGAIN);
    }
    match queued::read(inode, iocb, pos..end, to) {
        Ok(queued) => Ok(Outcome::Queued(queued)),
        Err(_) => wait_read(data, pos..end, to).map(Outcome::Done),
    }
}

/// Reads `range` into `to`, as far as that is possible directly, and returns the number of bytes.
fn wait_read(data: &Inode, range: Range<u64>, to: &mut IovIterDest<'_>) -> Result<usize> {
    let Range { start: pos, end } = range;
    let sector = data.fs().sector_size();
    let mut at = pos;
    while at < end {
        let extent = data.locate(at)?;
        let stop = extent.end.min(end);
        let copied = match extent.place {
            Place::Hole | Place::Prealloc { .. } => zero(stop - at, to),
            Place::Plain { address, .. } => {
                let address = address.checked_add(at - extent.start).ok_or(EUCLEAN)?;
                let len = (stop - at).min(BUFFER);
                let whole = len.next_multiple_of(sector);
                let buf = IoBuf::alloc(usize::try_from(whole)?)?;
                match read::wait(data, at, address, extent.views(), buf) {
                    Ok(buf) => copy(&buf, len, to)?,
                    Err(_) if at > pos => break,
                    Err(e) => return Err(e),
                }
            }
            Place::Packed(_) | Place::Inline { .. } => break,
        };
        at += copied;
        if copied == 0 {
            // User memory is not there: the page cache will say so.
            break;
        }
    }
    Ok(usize::try_from(at - pos)?)
}

/// Copies up to `len` zeroes; returns how many.
fn zero(len: u64, to: &mut IovIterDest<'_>) -> u64 {
    let mut done = 0;
    while done < len {
        let part = (len - done).min(ZEROES.len() as u64);
        let chunk = ZEROES.get(..part as usize).unwrap_or_default();
        let copied = to.copy_to_iter(chunk) as u64;
        done += copied;
        if copied < part {
            break;
        }
    }
    done
}

/// Copies up to `len` bytes from the start of `buf`; returns how many.
fn copy(buf: &IoBuf, len: u64, to: &mut IovIterDest<'_>) -> Result<u64> {
    let mut done = 0;
    buf.for_each_slice(0..usize::try_from(len)?, |piece| {
        let copied = to.copy_to_iter(piece);
        done += copied;
        if copied < piece.len() {
            return Err(EFAULT);
        }
        Ok(())
    })
    .or_else(|e| if e == EFAULT { Ok(()) } else { Err(e) })?;
    Ok(u64::try_from(done)?)
}

/// What became of a direct write.
pub(crate) enum Written<'a> {
    /// It ends later.
    Queued(Queued),
    /// So many bytes are written; the rest is for the page cache.
    Done(Kiocb<'a, Btrfs>, usize),
}

/// Writes what is left of `from` at the position of `iocb`, as far as that is possible directly.
/// The position is moved on. The inode lock is held for writing.
///
/// Where whole sectors cannot be written in place of whole sectors, nothing is: that is left to the
/// page cache.
pub(crate) fn write<'a>(
    mut iocb: Kiocb<'a, Btrfs>,
    from: &mut IovIterSource<'_>,
) -> Result<Written<'a>> {
    let inode = iocb.file().inode();
    let data = inode.data();
    let sector = data.fs().sector_size();
    let pos = u64::try_from(iocb.pos())?;
    let wanted = u64::try_from(from.len())?;
    let end = pos.checked_add(wanted).ok_or(EFBIG)?;
    let mut supply = Supply::default();
    if iocb.nowait() {
        supply.reserved = Some(prepare(inode, &(pos..end))?);
    }
    let inline = matches!(data.extent_at(0)?.place, Place::Inline { .. });
    if pos % sector != 0 || wanted % sector != 0 || inline {
        return Ok(Written::Done(iocb, 0));
    }
    if !claim(inode, &(pos..end))? {
        return Ok(Written::Done(iocb, 0));
    }
    if end <= u64::try_from(inode.size())? {
        iocb = match queued::write(inode, iocb, pos..end, &mut supply, from) {
            Ok(queued) => return Ok(Written::Queued(queued)),
            Err(iocb) => iocb,
        };
    }
    let done = wait_write(inode, pos..end, &mut supply, from);
    data.file()?.unclaim(pos);
    let done = done?;
    iocb.advance(done)?;
    Ok(Written::Done(iocb, done))
}

/// How often a range is written out that mappings make dirty again.
const TRIES: u32 = 4;

/// Sees to it that nothing of `range` is in the page cache, or in flight, and claims it. Returns
/// whether that could be done. The inode lock is held for writing.
pub(super) fn claim(inode: &BtrfsInode, range: &Range<u64>) -> Result<bool> {
    let file = inode.data().file()?;
    for _ in 0..TRIES {
        if file.is_busy(range) {
            inode.wait_for_direct_io();
        }
        inode.write_and_wait(range.clone())?;
        if inode.invalidate_pages(range.clone()).is_err() {
            return Ok(false);
        }
        if file.claim(range)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What there is for a write.
#[derive(Default)]
pub(super) struct Supply {
    /// Where it would best be.
    hint: Option<Logical>,
    /// Space that was reserved in advance, for who does not want to wait.
    reserved: Option<DataReservation>,
}

/// Reserves space for a write to `range` whose maker does not want to wait. `EAGAIN` if it would
/// have to.
fn prepare(inode: &BtrfsInode, range: &Range<u64>) -> Result<DataReservation> {
    let data = inode.data();
    let busy = data.file()?.is_busy(range)
        || inode.has_pages(range.clone())
        || range.end > u64::try_from(inode.size())?;
    if busy || !nowait::can_write(data, range) {
        return Err(EAGAIN);
    }
    let bytes = range.end.saturating_sub(range.start);
    data.fs().space().reserve_data_as(bytes, Urgency::Nowait)
}

/// Writes to `range`; returns the number of bytes.
fn wait_write(
    inode: &BtrfsInode,
    range: Range<u64>,
    supply: &mut Supply,
    from: &mut IovIterSource<'_>,
) -> Result<usize> {
    let _direct = inode.begin_direct_io();
    let mut at = range.start;
    while at < range.end {
        let next = at..at.saturating_add(EXTENT).min(range.end);
        let written = start_next(inode, next, supply, from, Owner::Waiter)
            .and_then(|(ordered, end)| ordered.wait(inode, i64::try_from(end)?).map(|()| end));
        match written {
            Ok(end) => {
                // What a mapping brought into the page cache meanwhile is old.
                let _ = inode.invalidate_pages(at..end);
                at = end;
            }
            Err(e) if at == range.start => return Err(e),
            Err(_) => break,
        }
    }
    // Whoever could not be written in full is told so, not tried again.
    from.advance(match at < range.end {
        true => from.len(),
        false => 0,
    });
    Ok(usize::try_from(at - range.start)?)
}

/// Where the bytes from the beginning of `range` on are written.
fn place(data: &Inode, range: Range<u64>, supply: &mut Supply) -> Result<Target> {
    let (found, until) = inplace::find(data, &range)?;
    if let Some(target) = found {
        return Ok(target);
    }
    let (space, sector) = (data.fs().space(), data.fs().sector_size());
    let want = until.saturating_sub(range.start);
    let mut own = match &mut supply.reserved {
        Some(reserved) if reserved.bytes() >= want => reserved.split(want),
        _ => space.reserve_data(want)?,
    };
    let how = match &supply.reserved {
        Some(_) => Urgency::Nowait,
        None => Urgency::Normal,
    };
    let target = Target::fresh(own.allocate_as(want, sector, supply.hint, how)?);
    match &mut supply.reserved {
        Some(reserved) => reserved.merge(own),
        None => drop(own),
    }
    Ok(target)
}

/// Starts to write one extent from the beginning of `range` on; returns it, and where it ends.
pub(super) fn start_next(
    inode: &BtrfsInode,
    range: Range<u64>,
    supply: &mut Supply,
    from: &mut IovIterSource<'_>,
    owner: Owner,
) -> Result<(Arc<Ordered>, u64)> {
    let data = inode.data();
    let (fs, file) = (data.fs(), data.file()?);
    let csums = writeback::wants_csums(data);
    let start = range.start;
    let target = place(data, range, supply)?;
    let size = target.disk_len;
    supply.hint = target.disk.checked_add(size);
    let part = start..start.saturating_add(size);
    let parts = usize::try_from(size.div_ceil(PART))?;
    let geometry = fs.volume().geometry();
    let ordered = file.launch(part.clone()).and_then(|(delayed, _)| {
        drop(delayed);
        Ordered::new(geometry, part.clone(), target, parts, csums, owner)
    });
    let ordered = ordered.inspect_err(|_| {
        target.give_back(data);
        ordered::fail(inode, part.clone());
    })?;
    let mut at = 0;
    while at < size {
        let len = size.saturating_sub(at).min(PART);
        match take(from, len) {
            Ok(buf) => ordered.write(data, at, buf, true, csums),
            Err(e) => ordered.fail(e),
        }
        at = at.saturating_add(len);
    }
    Ok((ordered, part.end))
}

/// Copies the next `len` bytes to a buffer. `EFAULT` if they are not there.
fn take(from: &mut IovIterSource<'_>, len: u64) -> Result<IoBuf> {
    let len = usize::try_from(len)?;
    let mut buf = IoBuf::alloc(len)?;
    let mut missing = 0;
    buf.for_each_slice_mut(0..len, |piece| {
        let copied = from.copy_from_iter(piece);
        missing += piece.len() - copied;
    })?;
    match missing {
        0 => Ok(buf),
        _ => Err(EFAULT),
    }
}
